"""Checks before the start that every port of the lab is free, so that the mistake is named before anything runs."""

from __future__ import annotations

import errno
import socket

from lab.errors import LabError
from lab.local.inventory import Guests
from lab.local.layout import API_PORT, AUTHORITY_PORT, SSH_PORT, STANDBY_API_PORT, WEB_PORT, WEBSECURE_PORT


def check(traefik: str, portainer: str, authority: str, guests: Guests) -> None:
    """Try every port.

    Args:
        traefik: address of the Traefik container.
        portainer: address of the Portainer machine.
        authority: address of the certificate authorities.
        guests: whose backends are to listen.

    Raises:
        LabError: one is taken, wanted twice, or not allowed; what, where and the remedy.
    """
    wanted = [
        ("SSH to the Traefik container", traefik, SSH_PORT),
        ("SSH to the Portainer machine", portainer, SSH_PORT),
        ("Traefik's entry point web", traefik, WEB_PORT),
        ("Traefik's entry point websecure", traefik, WEBSECURE_PORT),
        ("Traefik's API", traefik, API_PORT),
        ("the API of Traefik's standby", traefik, STANDBY_API_PORT),
        ("the certificate authorities", authority, AUTHORITY_PORT),
        *((f"the backend of {each.name}", each.address, each.port) for each in guests.backends),
    ]
    owners: dict[tuple[str, int], str] = {}
    for what, address, port in wanted:
        first = owners.setdefault((address, port), what)
        if first != what:
            raise LabError(
                f"{address}:{port} is wanted by {first} and by {what}: give one another port in the inventory."
            )
        _try(what, address, port)


def _try(what: str, address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise LabError(
                    f"{address}:{port} for {what} needs root: give it a port from 1024 on, or run the lab as root."
                ) from None
            if error.errno == errno.EADDRINUSE:
                raise LabError(
                    f"{address}:{port} for {what} is taken: end what listens there (ss -ltnp 'sport = :{port}'), "
                    "or choose another --network."
                ) from None
            raise LabError(
                f"{address}:{port} for {what} cannot be used ({error.strerror}): choose another --network."
            ) from None
