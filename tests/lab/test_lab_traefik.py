"""The real Traefik under the lab's service manager: what the facts of a systemd container say must hold here too."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.local import Lab
from lab.testing import local_lab, wait_for
from tests.lab.deployment import Deployment

INVENTORY = Path(__file__).parent / "fixtures/inventory"


@pytest.fixture(scope="module")
def module_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with local_lab(tmp_path_factory.mktemp("t lab"), INVENTORY) as lab:
        yield lab


@pytest.fixture
def traefik(module_lab: Lab) -> Iterator[Deployment]:
    deployment = Deployment(module_lab)
    yield deployment
    deployment.systemctl("disable --now traefik web.socket")
    deployment.systemctl("stop traefik web.socket")
    for path in deployment.units.iterdir():
        if path.is_file():
            path.unlink()
    deployment.systemctl("reset-failed")
    deployment.systemctl("daemon-reload")


def test_it_is_ready_routes_and_comes_back(traefik: Deployment) -> None:
    traefik.write(service="Restart=always\nRestartSec=0")
    started = traefik.systemctl("enable --now traefik")
    assert started.code == 0, started.err
    wait_for(traefik.routed, "the first routed answer")
    first = int(traefik.value("MainPID"))
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: traefik.value("NRestarts") == "1" and traefik.value("ActiveState") == "active", "the restart")
    wait_for(traefik.routed, "a routed answer after the restart")
    assert int(traefik.value("MainPID")) not in {0, first}
    stopped = traefik.systemctl("stop traefik")
    assert stopped.code == 0
    assert traefik.systemctl("is-active traefik").code == 3


def test_a_broken_static_file_fails_the_start(traefik: Deployment) -> None:
    traefik.write()
    (traefik.configuration / "traefik.yml").write_text("entryPoints:\n  web:\n    nope: 1\n")
    failed = traefik.systemctl("start traefik")
    assert failed.code == 1
    assert "because the control process exited with error code" in failed.err
    assert "field not found, node: nope" in traefik.session.run("journalctl -u traefik -n 20 -o cat").out


@pytest.mark.parametrize(("restart", "state"), [("on-failure", "inactive"), ("always", "active")])
def test_a_reload_without_file_provider_kills_it(traefik: Deployment, restart: str, state: str) -> None:
    traefik.write(dynamic=False, service=f"Restart={restart}\nRestartSec=0")
    assert traefik.systemctl("start traefik").code == 0
    first = traefik.value("MainPID")
    assert traefik.systemctl("reload traefik").code == 0
    wait_for(lambda: traefik.value("MainPID") != first, "its end")
    wait_for(lambda: traefik.value("ActiveState") == state, f"state {state}")
    assert traefik.value("Result") == "success"


def test_a_reload_with_file_provider_keeps_it(traefik: Deployment) -> None:
    traefik.write()
    assert traefik.systemctl("start traefik").code == 0
    wait_for(traefik.routed, "the first routed answer")
    first = traefik.value("MainPID")
    assert traefik.systemctl("reload traefik").code == 0
    assert traefik.routed()
    assert traefik.value("MainPID") == first


def test_no_connection_is_refused_with_a_socket_unit(traefik: Deployment) -> None:
    # By default Traefik's stop waits up to 10 s for connections that it took and that say nothing.
    life = {"lifeCycle": {"graceTimeOut": "1s"}}
    entry_points = {"web": {"address": traefik.settings["webAddress"], "transport": life}}
    traefik.write(service="Restart=always\nRestartSec=0\nSockets=web.socket", entry_points=entry_points)
    (traefik.units / "web.socket").write_text(
        f"[Socket]\nListenStream={traefik.settings['webAddress']}\nFileDescriptorName=web\nService=traefik.service\n"
    )
    assert traefik.systemctl("start web.socket").code == 0
    assert traefik.systemctl("is-active traefik").code == 3
    # The first request starts Traefik; it answers before its routes are known.
    assert traefik.ask() in {200, 404}
    wait_for(traefik.routed, "the first routed answer")
    seen: list[int | str] = []
    ended = threading.Event()

    def clients() -> None:
        while not ended.is_set():
            try:
                seen.append(traefik.ask())
            except OSError as error:
                seen.append(type(error).__name__)

    thread = threading.Thread(target=clients)
    thread.start()
    try:
        assert traefik.systemctl("restart traefik").code == 0
        wait_for(lambda: seen and seen[-1] == 200, "routes after the restart")
    finally:
        ended.set()
        thread.join()
    # A connection that Traefik takes while it shuts down may end without an answer; none is refused.
    assert {200} <= set(seen) <= {200, 404, "RemoteDisconnected", "ConnectionResetError"}
