"""What is special to guests on a hypervisor, and to commands that somebody else runs there."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from remote_servers import SHIMS

from phoenix.errors import CommandError, InputError, UnreachableError
from phoenix.remote import Connection, open_transport, wrap_command

AWKWARD = "a'b\"c`d$e\\f*g\nh!i#j;k&l|m"


@pytest.mark.parametrize(
    ("name", "guest", "says"),
    [
        ("pct", 103, "container '103' not running!): start it with `pct start 103`"),
        ("pct", 999, "there is no container 999 on that hypervisor"),
        ("pct-over-ssh", 103, "start it with `pct start 103`"),
        ("pct-over-ssh", 999, "there is no container 999"),
        ("qm", 1002, "VM 1002 is not running): start it with `qm start 1002`"),
        ("qm", 1003, "QEMU guest agent is not running): install qemu-guest-agent in the VM"),
        ("qm", 1999, "there is no VM 1999 on that hypervisor"),
        ("qm-over-ssh", 1002, "start it with `qm start 1002`"),
        ("qm-over-ssh", 1003, "`qm set 1003 --agent 1`"),
    ],
)
def test_guests_that_are_not_there(make_connection: Any, name: str, guest: int, says: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        open_transport(make_connection(name, guest=guest)).run("echo hello")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("transport", "guest"), [("pct", 102), ("qm", 1001)])
def test_a_machine_that_is_no_hypervisor(monkeypatch: pytest.MonkeyPatch, transport: Any, guest: int) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(UnreachableError, match=f"{transport} cannot be started on this machine .*: install it"):
        open_transport(Connection(transport=transport, guest=guest)).run("true")


def test_a_server_that_is_no_hypervisor(make_connection: Any, ssh_data: dict, keys: Any) -> None:
    from remote_servers import AsyncsshServer

    from phoenix.remote import close_all

    plain = AsyncsshServer(keys, {"PATH": "/usr/bin:/bin"})
    try:
        for name, program in (("pct-over-ssh", "pct"), ("qm-over-ssh", "qm")):
            with pytest.raises(UnreachableError, match=f"{program} is missing there: correct host or transport"):
                open_transport(make_connection(name, port=plain.port)).run("true")
    finally:
        close_all()
        plain.close()


def test_an_agent_that_keeps_too_much(make_connection: Any) -> None:
    with pytest.raises(CommandError, match="more than the guest agent returns"):
        open_transport(make_connection("qm")).run("head -c 14000000 /dev/zero")


def test_large_input_leaves_nothing_in_the_guest(make_connection: Any, tmp_path: Any) -> None:
    transport = open_transport(make_connection("qm"))
    done = transport.run("wc -c; readlink /proc/self/fd/0", stdin=b"x" * 2_000_000)
    assert done.stdout.split()[0] == b"2000000"
    spool = done.stdout.splitlines()[1].decode().removesuffix(" (deleted)")
    assert not os.path.exists(os.path.dirname(spool))  # noqa: PTH110, PTH120 - a path as the guest printed it


def test_scripts_that_no_command_line_carries(make_connection: Any) -> None:
    for name in ("local", "pct", "qm"):
        transport = open_transport(make_connection(name))
        with pytest.raises(InputError, match="limit of 100000: pass its data through stdin"):
            transport.run("#" * 100_001)
        with pytest.raises(InputError, match="NUL"):
            transport.run("echo \0")


@pytest.mark.parametrize("name", ["local", "ssh", "ssh-sudo", "pct", "pct-over-ssh", "qm", "qm-over-ssh"])
@pytest.mark.parametrize("limit", [None, 20.0])
def test_wrapped_commands(make_connection: Any, name: str, limit: float | None) -> None:
    """The hypervisor's shell runs the wrapped line; streams and exit code are the script's."""
    script = "printf %s '" + AWKWARD.replace("'", "'\"'\"'") + "'; cat; echo problem >&2; exit 9"
    line = wrap_command(make_connection(name), script, timeout=limit)
    environment = {**os.environ, "PATH": f"{SHIMS}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", line], input=b"\xff\x00in", capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (9, AWKWARD.encode() + b"\xff\x00in", b"problem\n")


def test_a_plain_command_is_itself(make_connection: Any) -> None:
    assert wrap_command(make_connection("ssh"), "systemctl daemon-reload") == "systemctl daemon-reload"
    assert wrap_command(make_connection("pct"), "true") == "pct exec 102 -- sh -c true"


@pytest.mark.parametrize(("name", "guest"), [("pct", 103), ("qm", 1003), ("qm", 1999)])
def test_wrapped_commands_fail_with_their_guest(make_connection: Any, name: str, guest: int) -> None:
    line = wrap_command(make_connection(name, guest=guest), "true")
    environment = {**os.environ, "PATH": f"{SHIMS}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False
    )
    assert done.returncode == 255
    assert str(guest).encode() in done.stderr or b"agent" in done.stderr


@pytest.mark.parametrize("name", ["local", "ssh", "pct", "qm"])
def test_wrapped_commands_are_bounded(make_connection: Any, name: str) -> None:
    line = wrap_command(make_connection(name), "sleep 60", timeout=0.5)
    environment = {**os.environ, "PATH": f"{SHIMS}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False, timeout=30
    )
    assert done.returncode == 124


def test_pulumis_variables_stay_here(make_connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "top-secret")
    assert b"PULUMI" not in open_transport(make_connection("local")).run("env").stdout
