"""The guests' services: one process that listens on every backend's address and answers with its name.

``python -m lab.local.backends CONFIGURATION SOCKET``; a connection to the Unix socket makes it read its
configuration again and answers with what could not be done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.local.http import HttpProtocol, Request, Response

_BACKLOG = 1024


def responder(backend: dict[str, Any]) -> Callable[[Request], Response]:
    """What a backend answers.

    Args:
        backend: ``name``, ``guest``, ``kind``, ``scheme``, ``address`` and ``port``.
    """
    fixed: dict[str, object] = {
        "service": backend["name"],
        "guest": backend["guest"],
        "address": f"{backend['address']}:{backend['port']}",
        "scheme": backend["scheme"],
    }

    def answer(request: Request) -> Response:
        if backend["kind"] == "agent" and request.path == "/ping":
            # Portainer's agent says it is well in this way.
            return Response({}, 204)
        forwarded = {name: value for name, value in request.headers.items() if name.startswith("x-forwarded-")}
        return Response(
            {
                **fixed,
                "host": request.headers.get("host", ""),
                "method": request.method,
                "path": request.target,
                "client": request.client,
                "forwarded": forwarded,
            }
        )

    return answer


@dataclass
class Backends:
    """The listening backends, by what they are."""

    servers: dict[str, asyncio.Server] = field(default_factory=dict)
    connections: dict[str, set[asyncio.BaseTransport]] = field(default_factory=dict)

    async def apply(self, wanted: list[dict[str, Any]]) -> list[str]:
        """Start what is wanted and missing, stop what runs and is not wanted.

        Returns:
            A sentence for each backend that cannot listen.
        """
        keys = {json.dumps(each, sort_keys=True): each for each in wanted}
        for key in [key for key in self.servers if key not in keys]:
            server = self.servers.pop(key)
            server.close()
            for transport in self.connections.pop(key, set()):
                transport.close()
        mistakes: list[str] = []
        for key, backend in keys.items():
            if key in self.servers:
                continue
            try:
                self.servers[key] = await self._listen(key, backend)
            except OSError as error:
                where = f"{backend['address']}:{backend['port']}"
                mistakes.append(f"{backend['name']} cannot listen on {where}: {os.strerror(error.errno or 0)}")
        return mistakes

    async def _listen(self, key: str, backend: dict[str, Any]) -> asyncio.Server:
        answer = responder(backend)
        open_connections = self.connections.setdefault(key, set())

        class Tracked(HttpProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                open_connections.add(transport)
                self._made = transport
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                open_connections.discard(self._made)
                super().connection_lost(exc)

        context = None
        if backend["scheme"] == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.set_alpn_protocols(["http/1.1"])
            context.load_cert_chain(backend["certificate"], backend["key"])
        return await asyncio.get_running_loop().create_server(
            lambda: Tracked(answer), backend["address"], backend["port"], ssl=context, backlog=_BACKLOG
        )


async def serve(configuration: Path, control: Path) -> None:
    """Run until SIGTERM.

    Args:
        configuration: JSON: a list of backends.
        control: the Unix socket.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    backends = Backends()
    lock = asyncio.Lock()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        with contextlib.suppress(ConnectionError):
            async with lock:
                mistakes = await backends.apply(json.loads(configuration.read_text()))
            writer.write(json.dumps({"mistakes": mistakes, "listening": len(backends.servers)}).encode())
            await writer.drain()
        writer.close()

    control.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, control)
    control.chmod(0o600)
    await ended.wait()
    server.close()
    await backends.apply([])
    control.unlink(missing_ok=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
