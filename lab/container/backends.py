"""HTTP services that answer with their name. A script of its own, standard library only: guests run it too.

Usage: ``python3 backends.py CONFIGURATION``, a JSON list of
``{"name": str, "address": str, "port": int, "certificate"?: path, "key"?: path}``.

Every request is answered with 200 and what the service saw of it, as JSON. ``/status/<code>`` answers with that
code, ``/slow/<seconds>`` after that time. What asks for a WebSocket gets one in which every byte comes back.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

_MAXIMUM_BODY = 16 * 1024 * 1024


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> int:
    """Read a request's body; returns its length."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        total = 0
        while (size := int((await reader.readline()).split(b";")[0], 16)) > 0:
            total += size
            if total > _MAXIMUM_BODY:
                raise ValueError("body too large")
            await reader.readexactly(size + 2)
        while (await reader.readline()).strip():
            pass
        return total
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _MAXIMUM_BODY:
        raise ValueError("body too large")
    await reader.readexactly(length)
    return length


def _answer(service: dict[str, Any], request: str, headers: dict[str, str], length: int, peer: str) -> bytes:
    status = 200
    method, target = request.split(" ")[:2]
    kind, _, argument = target.lstrip("/").partition("/")
    if kind == "status" and argument.isdigit() and 200 <= int(argument) <= 599:
        status = int(argument)
    body = json.dumps(
        {
            "service": service["name"],
            "host": headers.get("host", ""),
            "method": method,
            "path": target,
            "bodyLength": length,
            "peer": peer,
            "tls": "certificate" in service,
            "headers": sorted(headers),
            "forwarded": {name: value for name, value in headers.items() if name.startswith("x-forwarded-")},
        }
    ).encode()
    head = (
        f"HTTP/1.1 {status} Lab\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Lab-Service: {service['name']}\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
    """The handshake of RFC 6455, then whatever comes goes back as it is."""
    key = headers.get("sec-websocket-key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324 - what RFC 6455 asks for
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


def _handler(service: dict[str, Any]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ["?"])[0])
        try:
            while line := await reader.readline():
                request = line.decode("latin-1")
                _, target, _ = request.split(" ", 2)
                headers: dict[str, str] = {}
                while (line := await reader.readline()).strip():
                    name, _, value = line.decode("latin-1").partition(":")
                    headers[name.strip().lower()] = value.strip()
                if headers.get("upgrade", "").lower() == "websocket":
                    await _echo(reader, writer, headers)
                    break
                length = await _body(reader, headers)
                if target.startswith("/slow/"):
                    await asyncio.sleep(min(float(target[6:]), 60.0))
                writer.write(_answer(service, request, headers, length, peer))
                await writer.drain()
                if headers.get("connection", "").lower() == "close":
                    break
        except (ValueError, asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # a client that breaks off, or speaks no HTTP, is no news
        finally:
            writer.close()

    return handle


async def serve(services: list[dict[str, Any]]) -> None:
    """Serve until cancelled."""
    servers = []
    for service in services:
        context = None
        if "certificate" in service:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(service["certificate"], service["key"])
        server = await asyncio.start_server(
            _handler(service), service["address"], service["port"], ssl=context, backlog=1024
        )
        servers.append(server.serve_forever())
    await asyncio.gather(*servers)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
