"""The certificate authorities of a lab as a process: ``python -m lab.acme.server CONFIGURATION``.

The configuration is JSON: ``address``, ``port``, ``certificate`` and ``key`` of the server itself, ``web`` and
``websecure`` (where names are looked for) and ``authorities``: for each path such as ``/acme/acme`` the ``directory``
and ``name`` of its root, the ``hours`` that its certificates live and the ``challenges`` it offers.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import signal
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509

from lab.acme.authority import State, chain
from lab.acme.resources import Resources
from lab.local.authority import Authority
from lab.local.http import HttpProtocol, Request, Response

_BODY_LIMIT = 256 * 1024


def _issue(
    authority: Authority, life: datetime.timedelta, request: x509.CertificateSigningRequest, names: list[str]
) -> bytes:
    return chain([authority.sign(request.public_key(), names, life), authority.certificate])


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def build(configuration: dict[str, Any]) -> dict[str, Resources]:
    """The authorities by their paths.

    Args:
        configuration: as in the module's description.
    """
    web, websecure = _host_and_port(configuration["web"]), _host_and_port(configuration["websecure"])
    origin = f"https://{configuration['address']}:{configuration['port']}"
    found = {}
    for path, settings in configuration["authorities"].items():
        authority = Authority(Path(settings["directory"]), settings["name"])
        issue = partial(_issue, authority, datetime.timedelta(hours=settings["hours"]))
        found[path] = Resources(State(issue, web, websecure, tuple(settings["challenges"])), f"{origin}{path}")
    return found


def answer(authorities: dict[str, Resources], request: Request) -> Response:
    """Answer a request to any of the authorities; ``/health`` as Step-CA answers it."""
    if request.path == "/health":
        return Response({"status": "ok"})
    for path, resources in authorities.items():
        if request.path.startswith(f"{path}/"):
            return resources.answer(request, request.path.removeprefix(f"{path}/"))
    return Response({"status": 404, "message": "The requested resource could not be found."}, 404)


async def serve(configuration: dict[str, Any]) -> None:
    """Run until SIGTERM."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(configuration["certificate"], configuration["key"])
    authorities = build(configuration)
    server = await loop.create_server(
        lambda: HttpProtocol(partial(answer, authorities), _BODY_LIMIT),
        configuration["address"],
        configuration["port"],
        ssl=context,
    )
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
