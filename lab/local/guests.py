"""Puts an inventory's guests to work: their addresses, certificates and listening backends."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from pathlib import Path

from lab.errors import LabError
from lab.local import inventory
from lab.local.authority import Authority, write_private
from lab.local.layout import Layout


def read(layout: Layout, source: Path, network: str) -> inventory.Guests:
    """Read an inventory; where its addresses are not the lab's, from a copy with every address moved.

    Args:
        layout: the lab's paths; the copy is its ``inventory``.
        source: the directory with the JSON files.
        network: first two numbers of the lab's addresses.

    Raises:
        LabError: there is no such directory, or a file cannot be read.
    """
    if not source.is_dir():
        raise LabError(f"{source} is no directory: name one with the installation's JSON files (--inventory).")
    copy = layout.directory / "inventory"
    if inventory.in_network(source, network):
        shutil.rmtree(copy, ignore_errors=True)
        return inventory.read(source)
    inventory.translate(source, copy, network)
    return inventory.read(copy)


def configuration(layout: Layout) -> Path:
    """The file that the backends' process reads."""
    return layout.directory / "backends.json"


def _certificate(layout: Layout, backend: inventory.Backend) -> tuple[Path, Path]:
    # Other names make another certificate; the stem says for what.
    digest = hashlib.sha256(" ".join(backend.names).encode()).hexdigest()[:8]
    stem = f"{backend.guest}-{backend.address}-{digest}"
    return Authority(layout.authority).issue(stem, list(backend.names), [backend.address])


def write(layout: Layout, guests: inventory.Guests, *, with_portainer: bool) -> None:
    """Write what is to listen, with a certificate for each https backend.

    Args:
        layout: the lab's paths.
        guests: what the inventory holds.
        with_portainer: whether Portainer's own backend is among them, or something else answers for it.
    """
    content = []
    for backend in guests.backends:
        if backend.kind == "portainer" and not with_portainer:
            continue
        entry = backend.as_json()
        if backend.scheme == "https":
            certificate, key = _certificate(layout, backend)
            entry |= {"certificate": str(certificate), "key": str(key)}
        content.append(entry)
    write_private(configuration(layout), json.dumps(content, indent=1).encode())


def apply(layout: Layout) -> None:
    """Make the backends' process start what is new and stop what is gone.

    Raises:
        LabError: one cannot listen.
    """
    received = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        try:
            connection.connect(str(layout.runtime / "backends"))
            while chunk := connection.recv(65536):
                received += chunk
        except OSError as error:
            raise LabError(f"the backends' process does not answer ({error}): run bin/lab down, then up.") from None
    if not received:
        raise LabError("the backends' process gave no answer: see bin/lab logs backends.")
    mistakes = json.loads(received)["mistakes"]
    if mistakes:
        raise LabError(f"{mistakes[0]}: free the port, or give the guest another in the inventory.")


def change(layout: Layout, guests: inventory.Guests, *, with_portainer: bool) -> None:
    """Bring the running backends in line; where one cannot listen, all stay as they were. Arguments: as :func:`write`.

    Raises:
        LabError: one cannot listen.
    """
    before = configuration(layout).read_bytes()
    write(layout, guests, with_portainer=with_portainer)
    try:
        apply(layout)
    except LabError:
        write_private(configuration(layout), before)
        apply(layout)
        raise


def portainer_command(layout: Layout, backend: inventory.Backend, version: str) -> list[str]:
    """Module and arguments of the stand-in that has Portainer's API; what it is told lives as long as the lab.

    Args:
        layout: the lab's paths.
        backend: the Portainer server.
        version: the version it plays.
    """
    certificate, key = _certificate(layout, backend)
    state = layout.portainer / "var/lib/portainer"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "mode": version,
        "host": backend.address,
        "port": backend.port,
        "certificate": certificate,
        "key": key,
        "state": state / "state.json",
        "log": layout.logs / "portainer-requests.log",
    }
    return ["lab.portainer", *(f"--{name}={value}" for name, value in options.items())]
