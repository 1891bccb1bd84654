"""Whatever is changed through the product, no request behind the gateway fails."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.continuity.deployment import Deployment
from tests.continuity.load import Counts
from tests.install.programs import OTHER_VERSION, REAL_VERSION, make_other, source, traefik_program

pytestmark = pytest.mark.container

RATE = 500
AT_LEAST = 1000
"""So many requests must have been sent for a count of failures to mean anything, on however slow a machine."""


def assert_lossless(deployment: Deployment, counts: Counts) -> None:
    assert counts.sent >= AT_LEAST, counts
    assert counts.failed == 0, f"{counts}: {counts.failures}\n{deployment.gateway_log()}"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings for a Traefik of another version, which is the installed one with another number in it."""
    real, path = traefik_program(), tmp_path_factory.mktemp("program") / "traefik"
    make_other(real, path)
    return {"version": OTHER_VERSION, "install": {"file": str(path), "sha256": source(path, OTHER_VERSION).sha256}}


Change = Callable[[Deployment, dict[str, Any]], object]


def back_to_the_newer(deployment: Deployment, _: dict[str, Any]) -> None:
    install = deployment.lab.settings["traefik"]["install"]
    deployment.change(traefik={"logLevel": "INFO", "harden": True, "version": REAL_VERSION, "install": install})


STATIC_CHANGES: dict[str, tuple[Change, str]] = {
    "traefik.yml": (lambda it, _: it.change(traefik={"logLevel": "WARN"}), "static changed"),
    "the unit": (lambda it, _: it.change(traefik={"harden": False}), "unit changed"),
    "a downgrade": (lambda it, older: it.change(traefik=older), "binary changed"),
    "an upgrade and all else": (back_to_the_newer, "static, unit, binary changed"),
    "the throttle": (lambda it, _: it.change(traefik={"throttle": "200ms"}), "static changed"),
}


def running_version(deployment: Deployment) -> str:
    """What the instance that serves says, not the file."""
    return str(json.loads(deployment.lab.shell(deployment.traefik, "curl -sf 127.0.0.1:8080/api/version"))["Version"])


def test_ten_dynamic_and_five_static_changes_lose_nothing(deployment: Deployment, older: dict[str, Any]) -> None:
    with deployment.load(RATE) as load:
        load.run_for(1)
        for number in range(10):
            middlewares: dict[str, Any] = {"squeeze": {"compress": {}}} if number % 2 == 0 else {}
            deployment.settings["middlewares"] = middlewares
            deployment.settings["routes"] = {
                "grafana-router": {"middlewares": list(middlewares)},  # a route under load
                "llamacpp-router": {"hostname": f"llama-{number}.{deployment.lab.plan.internal_domain}"},
            }
            deployment.up()
        before = deployment.main_pid()
        assert load.counts.failed == 0, f"{load.counts}: {load.counts.failures}"
        for name, (change, because) in STATIC_CHANGES.items():
            change(deployment, older)
            said = deployment.up()
            assert because in said, f"{name}: {said}"
            after = deployment.main_pid()
            assert after != before, f"{name} did not restart Traefik: {said}"
            assert not deployment.switched()
            assert running_version(deployment) == (OTHER_VERSION if name == "a downgrade" else REAL_VERSION)
            before = after
        load.run_for(1)
    assert_lossless(deployment, load.counts)
    assert deployment.clean()


def test_a_reload_by_hand_loses_nothing(deployment: Deployment) -> None:
    with deployment.load(RATE) as load:
        for _ in range(20):
            deployment.lab.shell(deployment.traefik, "systemctl reload traefik")
        load.run_for(1)
    assert_lossless(deployment, load.counts)


MARKS = {
    "the standby starts": "systemctl is-active traefik-standby",
    "requests go to the standby": "test -e /run/phoenix/use-standby",
}


@pytest.mark.parametrize("moment", MARKS)
def test_a_deployment_killed_on_the_way_is_finished_by_the_next(deployment: Deployment, moment: str) -> None:
    level = "WARN" if deployment.settings["traefik"].get("logLevel") != "WARN" else "INFO"
    deployment.change(traefik={"logLevel": level})
    guest = deployment.gateway if "use-standby" in MARKS[moment] else deployment.traefik
    with deployment.load(RATE) as load:
        process = subprocess.Popen(
            deployment.command("up", "--stack", "local", "--yes", "--skip-preview"),
            env=deployment.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deployment.lab.wait_for(guest, MARKS[moment], 60)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        load.run_for(1)
        deployment.pulumi("cancel", "--stack", "local", "--yes", check=False)
        deployment.up()
        load.run_for(1)
    assert_lossless(deployment, load.counts)
    assert not deployment.switched()
    assert deployment.is_active("traefik-standby") in ("inactive", "deactivating")
    assert deployment.clean()


def occupied(deployment: Deployment, port: int, after: str = "true") -> contextlib.AbstractContextManager[object]:
    """Another process on a port of Traefik's container, from when a condition holds there."""
    script = f"until {after}; do sleep 0.05; done; exec /usr/bin/python3 -m http.server {port}"

    @contextlib.contextmanager
    def occupant() -> Iterator[None]:
        deployment.lab.shell(
            deployment.traefik, f"systemd-run --quiet --unit=occupant /bin/sh -c {shlex.quote(script)}"
        )
        try:
            yield
        finally:
            deployment.lab.shell(deployment.traefik, "systemctl stop occupant")

    return occupant()


def test_a_configuration_only_the_standby_can_run_is_taken_back(deployment: Deployment) -> None:
    """The port is taken after the candidate was proved, and the standby has another: only Traefik itself finds out."""
    before = deployment.lab.shell(deployment.traefik, "cat /etc/traefik/traefik.yml")
    with deployment.load(RATE) as load, occupied(deployment, 8222, "grep -q :8222 /etc/traefik/traefik.yml"):
        said = deployment.up(check=False, traefik={"webAddress": ":8222"})
        load.run_for(1)
    assert_lossless(deployment, load.counts)
    assert "address already in use" in said, said
    assert "it runs with the old traefik.yml again" in " ".join(said.split()), said
    assert deployment.lab.shell(deployment.traefik, "cat /etc/traefik/traefik.yml") == before
    assert ":8222" in deployment.lab.shell(deployment.traefik, "cat /etc/traefik/traefik.yml.refused")
    assert not deployment.switched()
    deployment.up(traefik={"webAddress": ":80"})
    assert deployment.clean()


def test_a_configuration_the_standby_cannot_run_never_restarts_traefik(deployment: Deployment) -> None:
    pid = deployment.main_pid()
    level = "WARN" if deployment.settings["traefik"].get("logLevel") != "WARN" else "INFO"
    with deployment.load(RATE) as load:
        with occupied(deployment, 8443):
            deployment.lab.wait_for(deployment.traefik, "curl -s -o /dev/null 127.0.0.1:8443")
            said = deployment.up(check=False, traefik={"logLevel": level})
        load.run_for(1)
    assert_lossless(deployment, load.counts)
    assert "Traefik itself was not restarted" in " ".join(said.split()), said
    assert "address already in use" in said, said
    assert deployment.main_pid() == pid
    deployment.up()
    assert deployment.main_pid() != pid
    assert deployment.clean()


def test_a_standby_that_always_runs_takes_over_after_a_crash(deployment: Deployment) -> None:
    deployment.up(traefik={"standbyRuns": "always"})
    assert deployment.is_active("traefik-standby") == "active"
    with deployment.load(RATE) as load:
        load.run_for(1)
        before = deployment.main_pid()
        deployment.lab.shell(deployment.traefik, f"kill -9 {before}")
        deployment.lab.wait_for(deployment.traefik, f"[ $(systemctl show -P MainPID traefik) -gt 0{before} ]")
        load.run_for(8)
    counts = load.counts
    assert counts.sent >= AT_LEAST, counts
    # What Traefik had begun to answer when it died is lost where it may not be sent twice; nothing else is.
    assert all(method == "POST" and what == "502" for method, what, _ in counts.failures), counts.failures
    assert len({when for _, _, when in counts.failures}) <= 24
    with deployment.load(RATE) as load:
        deployment.up(traefik={"logLevel": "DEBUG"})
        load.run_for(1)
    assert_lossless(deployment, load.counts)
    assert deployment.is_active("traefik-standby") == "active"
    deployment.up(traefik={"standbyRuns": "restarts"})
    assert deployment.is_active("traefik-standby") in ("inactive", "deactivating")
    assert deployment.clean()
