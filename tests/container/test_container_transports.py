"""Every transport reaches real guests: the same tests over ssh, sudo, a jump host, pct and qm."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

import pytest

from lab.container.plan import Role
from lab.container.testing import ContainerLab
from phoenix.errors import CommandError, UnreachableError
from phoenix.remote import Connection, Transport, close_all, open_transport
from phoenix.remote.file_model import DesiredFile
from phoenix.remote.files import observe, put, remove

pytestmark = pytest.mark.container

NAMES = ("ssh", "ssh-sudo", "ssh-jump", "pct", "pct-over-ssh", "qm", "qm-over-ssh")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def transport(container_lab: ContainerLab, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    monkeypatch.setenv("PATH", f"{container_lab.tools}:{os.environ['PATH']}")
    with contextlib.closing(open_transport(Connection.parse(container_lab.connection(name)))) as opened:
        yield opened
    close_all()


def test_exit_code_stdin_both_outputs_and_who_runs_it(
    container_lab: ContainerLab, transport: Transport, name: str
) -> None:
    done = transport.run("hostname; id -un; cat; echo oops >&2; exit 7", stdin=b"in\0put\n", check=False)
    role: Role = "agent" if name.startswith("qm") else "traefik"
    host = container_lab.plan.machine(role).name.lower()
    assert (done.exit_code, done.stderr) == (7, b"oops\n")
    assert done.stdout == f"{host}\nroot\n".encode() + b"in\0put\n"


def test_binary_input_and_output_of_three_megabytes(transport: Transport) -> None:
    content = secrets.token_bytes(3 * 1024 * 1024)
    assert transport.run("cat", stdin=content).stdout == content


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("qm")])
def test_programs_in_usr_local_bin_are_named_by_path(transport: Transport) -> None:
    assert "Version:" in transport.run("/usr/local/bin/traefik version").text


def test_a_time_limit_ends_the_command_in_the_guest(
    container_lab: ContainerLab, transport: Transport, name: str
) -> None:
    marker = f"/tmp/limit-{secrets.token_hex(4)}"
    with pytest.raises(CommandError):
        transport.run(f"sleep 5; touch {marker}", timeout=1)
    guest = container_lab.number("agent" if name.startswith("qm") else "traefik")
    container_lab.wait_for(guest, "! pgrep -x sleep", 20)
    assert container_lab.exec(guest, "test", "-e", marker).returncode == 1


def test_a_managed_file_lands_by_rename_with_mode_and_owner(
    container_lab: ContainerLab, transport: Transport, name: str
) -> None:
    guest = container_lab.number("agent" if name.startswith("qm") else "traefik")
    path = f"/etc/lab-{secrets.token_hex(4)}/a file.yml"
    desired = DesiredFile(path, b"one: 1\n", "0640", "root", "traefik")
    put(transport, desired)
    first = container_lab.shell(guest, f"stat -c '%i %a %U:%G' '{path}'").split()
    assert first[1:] == ["640", "root:traefik"]
    put(transport, DesiredFile(path, b"two: 2\n", "0640", "root", "traefik"))
    assert container_lab.shell(guest, f"stat -c %i '{path}'").strip() != first[0], "a new file took the place"
    seen = observe(transport, path, expected=desired.sha256)
    assert (seen.content, seen.mode, seen.owner, seen.group) == (b"two: 2\n", "0640", "root", "traefik")
    remove(transport, path, seen.sha256 or "")
    assert not observe(transport, path).exists


def test_a_stopped_guest_is_unreachable(container_lab: ContainerLab, transport: Transport, name: str) -> None:
    guest = container_lab.number("agent" if name.startswith("qm") else "traefik")
    transport.run("true")
    container_lab.stop(guest)
    try:
        with pytest.raises(UnreachableError) as caught:
            transport.run("true", timeout=15)
        assert "\n" not in str(caught.value)
    finally:
        container_lab.start(guest)
    assert transport.run("echo back").stdout == b"back\n"
