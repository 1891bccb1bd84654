"""Starts the lab's processes and waits until each does its work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.kinds import SshServer
from lab.local import authorities, guests, hosts
from lab.local.inventory import Guests
from lab.local.layout import AUTHORITY_PORT, Layout
from lab.local.processes import Process, wait_until

Start = Callable[[str, Sequence[str]], Process]


def log(layout: Layout, name: str) -> Path:
    """The log of a process."""
    return layout.logs / f"{name.replace(' ', '-')}.log"


def start(
    layout: Layout,
    found: Guests,
    addresses: Mapping[str, str],
    ca: str,
    ssh: SshServer,
    portainer: str,
    owner: int | None,
    run: Start,
) -> str:
    """Start everything. All processes are begun before the first is waited for, so that they start side by side.

    Args:
        layout: the lab's paths.
        found: what the inventory holds.
        addresses: of the hosts, by name.
        ca: address of the certificate authorities.
        ssh: which SSH server.
        portainer: what answers for Portainer.
        owner: a process with which the lab ends; None for none.
        run: starts a background process by its name and command.

    Returns:
        The SSH server that runs.

    Raises:
        LabError: one ended, or was not ready in time.
    """
    python = [sys.executable, "-m"]
    systemd, backends = layout.runtime / "systemd", layout.runtime / "backends"
    acme = authorities.write(layout, ca, addresses["traefik"])
    waiting: list[tuple[Process, Callable[[], bool]]] = []

    def part(name: str, command: Sequence[str], ready: Callable[[], bool]) -> None:
        waiting.append((run(name, [*python, *command]), ready))

    manager = ["lab.systemd.daemon", str(layout.traefik), str(systemd), str(layout.journal)]
    if owner is not None:
        manager += [str(owner), *python, "lab", "down", "--directory", str(layout.directory)]
    part("service manager", manager, lambda: hosts.listens(systemd))
    part(
        "backends",
        ["lab.local.backends", str(guests.configuration(layout)), str(backends)],
        lambda: hosts.listens(backends),
    )
    part("certificate authorities", ["lab.acme.server", str(acme)], lambda: hosts.accepts(ca, AUTHORITY_PORT))
    server = next((each for each in found.backends if each.kind == "portainer"), None)
    if server is not None and portainer != "plain":
        command = guests.portainer_command(layout, server, portainer)
        part("portainer", command, lambda: hosts.accepts(server.address, server.port))
    kind = hosts.start_ssh(layout, ssh, addresses, run)
    for process, ready in waiting:
        wait_until(process, ready, log(layout, process.name))
    guests.apply(layout)
    return kind
