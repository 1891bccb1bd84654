"""Requests from the host to the lab's own services: names for the DNS servers, roots of the certificate authorities."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request

from lab.container.errors import ContainerLabError
from lab.container.services import DNS_MANAGEMENT_PORT, PEBBLE_MANAGEMENT_PORT

READY_SECONDS = 30.0


def add_name(server: str, name: str, address: str) -> None:
    """Have one of the lab's DNS servers answer a name with an address.

    Args:
        server: the hypervisor's address for the internal server, the internet's for the external one.
        name: a host name.
        address: an IPv4 address.

    Raises:
        ContainerLabError: the server does not take it.
    """
    body = json.dumps({"host": f"{name.rstrip('.')}.", "addresses": [address]}).encode()
    fetch(f"http://{server}:{DNS_MANAGEMENT_PORT}/add-a", body=body)


def issuing_root(address: str, root: str) -> str:
    """The root that a pebble signs with, PEM; it makes a new one at each start.

    Args:
        address: where its management interface is.
        root: PEM of the root that vouches for that interface.

    Raises:
        ContainerLabError: it does not answer in time.
    """
    return fetch(f"https://{address}:{PEBBLE_MANAGEMENT_PORT}/roots/0", root=root)


def fetch(url: str, *, body: bytes | None = None, root: str | None = None) -> str:
    """One request to a service that may still be starting; no proxy is asked.

    Raises:
        ContainerLabError: it does not answer in time.
    """
    context = ssl.create_default_context(cadata=root) if root is not None else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with opener.open(urllib.request.Request(url, data=body), timeout=5) as answer:  # noqa: S310 - our own URL
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError) as error:
            if time.monotonic() > deadline:
                raise ContainerLabError(f"{url} does not answer: {error}.") from error
            time.sleep(0.03)


def listens(address: str, port: int) -> bool:
    """Whether a TCP connection is accepted."""
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
