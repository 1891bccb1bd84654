"""The whole workflow from nothing, in the container lab: ``phoenix sync all``, behind a right Traefik only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.container.testing import ContainerLab

pytestmark = pytest.mark.container

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Workstation:
    """A user's machine in the lab's network, with a state and settings of its own."""

    lab: ContainerLab
    directory: Path

    @property
    def settings(self) -> Path:
        return self.directory / "settings.yaml"

    def change_settings(self, **sections: Any) -> None:
        data = yaml.safe_load(self.lab.settings_file.read_text(encoding="utf-8"))
        self.settings.write_text(yaml.safe_dump({**data, **sections}), encoding="utf-8")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PHOENIX_SETTINGS_FILE": str(self.settings),
            "PULUMI_BACKEND_URL": f"file://{self.directory / 'state'}",
            "PULUMI_HOME": str(self.directory / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "",
            "NO_COLOR": "1",
            "PYTHONPATH": str(REPOSITORY),
        }
        entry = [sys.executable, "-m", "lab", "exec", "--kind", "container", "--directory", str(self.lab.directory)]
        return subprocess.run(
            [*entry, "workstation", "--", *command],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def sync(self, *options: str) -> subprocess.CompletedProcess[str]:
        done = self.run("bin/phoenix", "sync", "all", "--stack", "local", *options)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done

    def logins(self) -> int:
        """How often anybody logged in on the Portainer VM."""
        log = self.lab.shell("1001", "journalctl --no-pager -o cat -t sshd || true")
        return log.count("Accepted ")


@pytest.fixture(scope="module")
def workstation(container_lab: ContainerLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workstation]:
    if not container_lab.has_docker:
        pytest.skip("the lab's VMs have no Docker engine here")
    container_lab.reset("101", "102", "1001", "1002")
    directory = tmp_path_factory.mktemp("workstation")
    (directory / "state").mkdir()
    made = Workstation(container_lab, directory)
    made.change_settings()
    done = made.run("bin/pulumi", "stack", "init", "local")
    assert done.returncode == 0, done.stderr
    yield made
    container_lab.reset("101", "102", "1001", "1002")


def test_a_wrong_traefik_configuration_leaves_portainers_host_alone(workstation: Workstation) -> None:
    workstation.change_settings(routes={"portainer-router": {"certResolver": "myresolver"}})
    before = workstation.logins()
    done = workstation.run("bin/phoenix", "sync", "all", "--stack", "local")
    said = done.stdout + done.stderr
    assert done.returncode not in (0, 1), said
    assert "myresolver" in said
    readiness = 1  # the readiness check asks Docker on the VM once, before anything is deployed
    assert workstation.logins() - before <= readiness
    assert "portainer" not in workstation.lab.shell("1001", "docker ps --all --format '{{.Names}}'")
    workstation.change_settings()


def test_sync_all_from_nothing_ends_healthy_through_the_gateway(workstation: Workstation) -> None:
    done = workstation.sync()
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = workstation.run("bin/pulumi", "stack", "output", "--stack", "local", "--json")
    hostname = json.loads(outputs.stdout)["portainer"]["hostname"]
    answer = workstation.lab.get(hostname, "/api/system/status", roots=workstation.lab.root("public"))
    assert answer.status == 200
    assert answer.json()["Version"]


def test_a_second_sync_changes_nothing(workstation: Workstation) -> None:
    before = workstation.lab.shell("1001", "docker ps --format '{{.ID}}' | sort")
    done = workstation.sync("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    actions = {step["action"] for step in _steps(report)}
    assert actions == {"unchanged"}, report
    assert workstation.lab.shell("1001", "docker ps --format '{{.ID}}' | sort") == before


def _steps(report: Any) -> list[dict[str, Any]]:
    """Every object with an ``action``, wherever it stands in the report."""
    if isinstance(report, dict):
        own = [report] if isinstance(report.get("action"), str) else []
        return own + [step for value in report.values() for step in _steps(value)]
    if isinstance(report, list):
        return [step for value in report for step in _steps(value)]
    return []
