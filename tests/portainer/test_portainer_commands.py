"""The commands as a user runs them: a process of their own against a stand-in server over TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lab.portainer import StandIn
from phoenix.configuration import configure
from phoenix.errors import InputError, PortainerError
from phoenix.inventory import load
from phoenix.outputs import program_outputs
from phoenix.portainer.secret_files import read_secret
from phoenix.portainer.settings import split_address
from phoenix.portainer.sync import EXIT_CODES
from phoenix.portainer.world import Live
from tests.portainer.support import HOSTNAME, PASSWORD, Certificates, Start

PROJECT = Path(__file__).resolve().parents[2]


class Installation:
    """An inventory, settings and files in a directory, for a stand-in server."""

    def __init__(self, directory: Path, server: StandIn, certificates: Certificates) -> None:
        self.directory = directory
        self.server = server
        self.settings: dict[str, object] = {
            "inventory": str(directory / "inventory"),
            "environment": "production",
            "gateway": {"address": server.host, "port": server.port},
            "readiness": {"skip": ["dns", "traefik", "certificate authority"], "tries": 1, "timeout": 5},
            "portainer": {"api": {"rootFile": str(certificates.root), "passwordFile": str(directory / "password")}},
        }
        self.write("password", f"{PASSWORD}\n", 0o600)
        self.inventory()

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def inventory(self, *, value: str = "DEBUG") -> None:
        def network(last: int) -> dict[str, str]:
            return {"ip": f"127.0.0.{last}/24"}

        files = {
            "hypervisor_config": {
                "domain_name": "example.test",
                "portainer_api": {"portainer_hostname": HOSTNAME},
            },
            "lxc_configs": {"lxc_configs": {"102": {"name": "Traefik", "network_config": network(12)}}},
            "vm_configs": {
                "vms": [
                    {"vmid": 1001, "name": "Portainer", "portainer_role": "primary", "network_config": network(101)},
                    {
                        "vmid": 1002,
                        "name": "apps",
                        "portainer_role": "agent",
                        "network_config": network(102),
                        "docker_stacks": ["store", {"name": "store", "environment": "testing"}],
                    },
                ]
            },
            "stacks_config": {
                "docker_stacks": {
                    "store": {
                        "compose_file_path": "compose/store.yml",
                        "environments": {
                            "production": {"variables": [{"name": "LEVEL", "value": value}], "files": []},
                            "testing": {},
                        },
                    }
                }
            },
        }
        for name, data in files.items():
            self.write(f"inventory/phoenix_{name}.json", json.dumps(data))
        self.write("inventory/compose/store.yml", "services:\n  db:\n    image: qdrant:1\n    environment: [LEVEL]\n")

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        self.write("settings.yaml", yaml.safe_dump(self.settings))
        environment = {
            **os.environ,
            "PHOENIX_SETTINGS_FILE": str(self.directory / "settings.yaml"),
            "PYTHONPATH": str(PROJECT),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        return subprocess.run(
            [sys.executable, "-m", "phoenix.cli", *words],
            env=environment,
            cwd=PROJECT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def installation(tmp_path: Path, start: Start, certificates: Certificates) -> Installation:
    # In the commands' processes time is real, and so it has to be in the server.
    return Installation(tmp_path, start("2.39", clock=time.monotonic), certificates)


def test_dry_run_run_and_status(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_it = ("sync", "all", "--stack", "local", "--skip-pulumi", "--outputs")
    outputs = installation.directory / "outputs.json"
    installation.write("settings.yaml", yaml.safe_dump(installation.settings))
    monkeypatch.setenv("PHOENIX_SETTINGS_FILE", str(installation.directory / "settings.yaml"))
    live = Live(PROJECT, "local")
    inventory = load(installation.directory / "inventory")
    exported = program_outputs(inventory, live.settings, configure(inventory, live.settings))
    outputs.write_text(json.dumps(exported), encoding="utf-8")

    dry = installation.run(*all_of_it, str(outputs), "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    planned = json.loads(dry.stdout)
    assert [(step["action"], step["name"]) for step in planned["plan"]["steps"]] == [
        ("create", "apps"),
        ("create", "store-production"),
    ]
    assert installation.server.log.writes() == []

    real = installation.run(*all_of_it, str(outputs))
    assert real.returncode == 0, real.stderr
    assert "Plan: 2 create" in real.stdout
    assert "✓ health" in real.stderr
    assert "\x1b" not in real.stdout + real.stderr
    (record,) = installation.server.state.stacks.values()
    assert record.env == [{"name": "LEVEL", "value": "DEBUG"}]

    status = installation.run("status", "--stack", "local", "--outputs", str(outputs), "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["ok"] is True

    one = installation.run("sync", "stack", "store", "to", "1002", "--stack", "local", "--outputs", str(outputs))
    assert one.returncode == 0, one.stderr
    assert "2 unchanged" in one.stdout

    for text in (dry, real, status, one):
        assert PASSWORD not in text.stdout + text.stderr


def test_exit_code_and_json_say_which_step_failed(installation: Installation) -> None:
    installation.server.stop()
    done = installation.run("sync", "all", "--stack", "local", "--skip-pulumi", "--json")
    assert done.returncode == EXIT_CODES["readiness"]
    report = json.loads(done.stdout)
    assert (report["ok"], report["failedStep"]) == (False, "readiness")
    assert report["readiness"][0]["check"] == "gateway"
    assert "error: The system is not ready: gateway" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_are_said_without_a_traceback(installation: Installation) -> None:
    installation.settings["portainer"] = {"api": {"rotFile": "x", "timeout": -1}}
    done = installation.run("sync", "all", "--stack", "local", "--skip-pulumi")
    assert done.returncode == 2
    assert "phoenix:portainer.api.rotFile: there is no such setting" in done.stderr
    assert "phoenix:portainer.api.timeout" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_password_that_everybody_can_read_is_refused(installation: Installation) -> None:
    (installation.directory / "password").chmod(0o644)
    done = installation.run("sync", "all", "--stack", "local", "--skip-pulumi", "--dry-run")
    assert done.returncode == 0, "a dry run before the first user needs no password"
    done = installation.run("sync", "all", "--stack", "local", "--skip-pulumi")
    assert done.returncode == 2
    assert "chmod 600" in done.stderr


def test_words_that_are_no_command_are_refused(installation: Installation) -> None:
    for words in (("sync", "stack", "store", "at", "1002", "--stack", "local"), ("sync", "all")):
        assert installation.run(*words).returncode == 2


def test_secret_files(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    for text, said in (("", "one line"), ("a\nb\n", "one line")):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(InputError, match=said):
            read_secret(path, "password")
    path.write_text("correct\r\n")
    assert read_secret(path, "password").get_secret_value() == "correct"
    with pytest.raises(InputError, match="cannot be read"):
        read_secret(tmp_path / "missing", "password")


def test_compose_files_stay_below_their_directory(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.write("settings.yaml", yaml.safe_dump(installation.settings))
    monkeypatch.setenv("PHOENIX_SETTINGS_FILE", str(installation.directory / "settings.yaml"))
    live = Live(PROJECT, "local")
    assert live.read("compose/store.yml").startswith(b"services:")
    for path in ("../password", "/etc/passwd", "compose/../../password", "compose", "compose/missing.yml"):
        with pytest.raises(OSError, match=r"must stay below|there is no file"):
            live.read(path)


def test_a_second_run_of_the_same_portainer_is_kept_away(tmp_path: Path) -> None:
    first, second = Live(tmp_path, "local"), Live(tmp_path, "local")
    with first.lock(HOSTNAME):
        with pytest.raises(PortainerError, match=rf"another sync .*process {os.getpid()}"), second.lock(HOSTNAME):
            pytest.fail("two runs at once")
        with second.lock("other.example.test"):
            pass
    with second.lock(HOSTNAME):
        pass


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("host.example.test", ("host.example.test", None)),
        ("10.1.2.3:9443", ("10.1.2.3", 9443)),
        ("[::1]:9443", ("::1", 9443)),
        ("::1", ("::1", None)),
    ],
)
def test_addresses(text: str, parts: tuple[str, int | None]) -> None:
    assert split_address(text) == parts
