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


def write(layout: Layout, guests: inventory.Guests) -> None:
    """Write what is to listen, with a certificate for each https backend."""
    authority = Authority(layout.authority)
    content = []
    for backend in guests.backends:
        entry = backend.as_json()
        if backend.scheme == "https":
            # Other names make another certificate; the stem says for what.
            digest = hashlib.sha256(" ".join(backend.names).encode()).hexdigest()[:8]
            stem = f"{backend.guest}-{backend.address}-{digest}"
            certificate, key = authority.issue(stem, list(backend.names), [backend.address])
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


def change(layout: Layout, guests: inventory.Guests) -> None:
    """Bring the running backends in line; where one cannot listen, all stay as they were.

    Raises:
        LabError: one cannot listen.
    """
    before = configuration(layout).read_bytes()
    write(layout, guests)
    try:
        apply(layout)
    except LabError:
        write_private(configuration(layout), before)
        apply(layout)
        raise
