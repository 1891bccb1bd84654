"""A small HTTP/1.1 server protocol: enough for backends that answer every request with who they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

_HEAD_LIMIT = 64 * 1024
_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
            413: "Content Too Large", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request whose body has been read and dropped; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    client: str

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True)
class Response:
    """An answer; ``body`` is sent as JSON."""

    body: dict[str, object]
    status: int = 200


class HttpProtocol(asyncio.Protocol):
    """One connection: keep-alive, pipelining, bodies by length or chunked, ``Expect: 100-continue``.

    Args:
        answer: makes the response.
    """

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self._answer = answer
        self._buffer = bytearray()
        self._request: Request | None = None
        self._left = 0
        self._chunked = False
        self._transport: asyncio.Transport | None = None
        self._client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio gives stream protocols nothing else
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._client = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer each request that is complete."""
        self._buffer += data
        try:
            while self._transport is not None and not self._transport.is_closing() and self._step():
                pass
        except ValueError:
            self._send(Response({"error": "no HTTP/1.1 request"}, 400), close=True, head=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._transport = None

    def _step(self) -> bool:
        if self._request is None:
            return self._read_head()
        if self._chunked:
            return self._read_chunk()
        taken = min(self._left, len(self._buffer))
        del self._buffer[:taken]
        self._left -= taken
        if self._left:
            return False
        self._finish()
        return True

    def _read_head(self) -> bool:
        while self._buffer[:2] == b"\r\n":
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_LIMIT:
                self._send(Response({"error": "header over 64 KiB"}, 431), close=True, head=False)
            return False
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        method, target, version = first.split(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(version)
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError(line)
            headers[name.strip().lower()] = value.strip()
        if version == "HTTP/1.0":
            headers.setdefault("connection", "close")
        self._request = Request(method, target, headers, self._client)
        self._chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        self._left = int(headers.get("content-length", "0"))
        if self._left < 0:
            raise ValueError(self._left)
        if headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _read_chunk(self) -> bool:
        if self._left:
            taken = min(self._left, len(self._buffer))
            del self._buffer[:taken]
            self._left -= taken
            return taken > 0
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_LIMIT:
                raise ValueError("chunk header")
            return False
        line = bytes(self._buffer[:end]).partition(b";")[0].strip()
        size = int(line, 16)
        if size < 0:
            raise ValueError(size)
        if size:
            del self._buffer[: end + 2]
            # The chunk and the line end after it.
            self._left = size + 2
            return True
        trailer = 0 if self._buffer[end : end + 4] == b"\r\n\r\n" else self._buffer.find(b"\r\n\r\n", end)
        if trailer < 0:
            return False
        del self._buffer[: (end if trailer == 0 else trailer) + 4]
        self._finish()
        return True

    def _finish(self) -> None:
        request = self._request
        self._request, self._chunked, self._left = None, False, 0
        if request is None:
            return
        close = "close" in request.headers.get("connection", "").lower()
        self._send(self._answer(request), close=close, head=request.method == "HEAD")

    def _send(self, response: Response, *, close: bool, head: bool) -> None:
        if self._transport is None:
            return
        body = b"" if response.status == 204 else json.dumps(response.body).encode() + b"\n"
        lines = [
            f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if close:
            lines.append("Connection: close")
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if head else body))
        if close:
            self._transport.close()
