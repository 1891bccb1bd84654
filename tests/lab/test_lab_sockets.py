"""Socket activation: systemd.socket(5), sd_listen_fds(3)."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.testing import ServiceManager, wait_for

Write = Callable[..., None]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def ask(port: int) -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        answer = connection.makefile().readline().split(" ", 1)
    return int(answer[0]), answer[1].strip()


def test_the_first_connection_starts_the_service(service_manager: ServiceManager, service: Write, port: int) -> None:
    service("a")
    service_manager.write("a.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\nFileDescriptorName=web\n")
    assert service_manager.systemctl("start", "a.socket").code == 0
    assert service_manager.show("a.socket", "ActiveState", "SubState") == {
        "ActiveState": "active",
        "SubState": "listening",
    }
    assert service_manager.systemctl("is-active", "a.service").code == 3
    pid, names = ask(port)
    assert names == "web"
    assert pid == service_manager.pid_of("a")
    service_manager.wait("a.socket", SubState="running")
    assert service_manager.value("a", "TriggeredBy") == "a.socket"


def test_several_sockets_with_names(service_manager: ServiceManager, service: Write, port: int, tmp_path: Path) -> None:
    service("a", lines="Sockets=one.socket two.socket")
    path = tmp_path / "two"
    service_manager.write(
        "one.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\nFileDescriptorName=one\nService=a.service\n"
    )
    service_manager.write(
        "two.socket", f"[Socket]\nListenStream={path}\nFileDescriptorName=two\nService=a.service\nSocketMode=0600\n"
    )
    assert service_manager.systemctl("start", "a").code == 0
    assert service_manager.systemctl("is-active", "one.socket", "two.socket").out == "active\nactive\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(ask(port)[1].split(":")) == ["one", "two"]


def test_no_connection_is_refused_while_the_service_restarts(
    service_manager: ServiceManager, service: Write, port: int
) -> None:
    service("a", lines="Restart=always\nRestartSec=0", rest="[Unit]\nStartLimitIntervalSec=0")
    service_manager.write("a.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\n")
    service_manager.systemctl("start", "a.socket")
    first, _ = ask(port)
    os.kill(first, signal.SIGKILL)
    second, _ = ask(port)
    assert second != first
    service_manager.systemctl("restart", "a")
    third, _ = ask(port)
    assert third not in {first, second}


def test_stopping_the_service_leaves_the_socket(service_manager: ServiceManager, service: Write, port: int) -> None:
    service("a")
    service_manager.write("a.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\n")
    service_manager.systemctl("start", "a.socket")
    ask(port)
    stopped = service_manager.systemctl("stop", "a")
    assert stopped.code == 0
    assert stopped.err == "Stopping 'a.service', but its triggering units are still active:\na.socket\n"
    service_manager.wait("a.socket", SubState="listening")
    assert ask(port)[0] == service_manager.pid_of("a")
    assert service_manager.systemctl("stop", "a.socket", "a.service").code == 0
    with pytest.raises(ConnectionRefusedError):
        ask(port)


def test_a_socket_does_not_start_beside_its_running_service(
    service_manager: ServiceManager, service: Write, port: int
) -> None:
    service("a")
    service_manager.write("a.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\n")
    service_manager.systemctl("start", "a")
    refused = service_manager.systemctl("start", "a.socket")
    assert (refused.code, refused.err) == (1, 'Job failed. See "journalctl -xe" for details.\n')
    assert "a.socket: Socket service a.service already active, refusing." in service_manager.journal("a.socket")


def test_a_taken_port(service_manager: ServiceManager, service: Write) -> None:
    service("a")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service_manager.write("a.socket", f"[Socket]\nListenStream=127.0.0.1:{taken.getsockname()[1]}\n")
        failed = service_manager.systemctl("start", "a.socket")
    assert failed.code == 1
    assert service_manager.show("a.socket", "ActiveState", "Result") == {"ActiveState": "failed", "Result": "resources"}
    assert any("Address already in use" in line for line in service_manager.journal("a.socket"))


def test_a_service_that_will_not_start_takes_its_socket_down(service_manager: ServiceManager, port: int) -> None:
    service_manager.write(
        "a.service",
        "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=3\n[Service]\nType=exec\nExecStart=/nonexistent/program\n",
    )
    service_manager.write("a.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\n")
    service_manager.systemctl("start", "a.socket")
    with socket.create_connection(("127.0.0.1", port), timeout=20):
        service_manager.wait("a.socket", ActiveState="failed")
    assert service_manager.value("a", "ActiveState") == "failed"


@pytest.mark.parametrize("text", ["[Socket]\n", "[Socket]\nListenStream=127.0.0.1:1\nAccept=yes\n"])
def test_bad_socket_units(service_manager: ServiceManager, text: str) -> None:
    service_manager.write("a.socket", text)
    assert service_manager.systemctl("start", "a.socket").code == 1
    assert service_manager.value("a.socket", "LoadState") == "bad-setting"


def test_enabled_sockets_start_with_the_manager(service_manager: ServiceManager, service: Write, port: int) -> None:
    service("a")
    service_manager.write("a.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\n[Install]\nWantedBy=sockets.target\n")
    assert service_manager.systemctl("enable", "--now", "a.socket").code == 0
    wait_for(lambda: ask(port)[0] == service_manager.pid_of("a"), "an answer")
