"""A small HTTP/1.1 server protocol: enough for backends that answer every request with who they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

_HEAD_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Request:
    """A request; header names are in lower case, and the body is empty where the server does not want bodies."""

    method: str
    target: str
    headers: dict[str, str]
    client: str
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True)
class Response:
    """An answer; a ``body`` that is not bytes is sent as JSON."""

    body: Mapping[str, object] | bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


class HttpProtocol(asyncio.Protocol):
    """One connection: keep-alive, pipelining, bodies by length or chunked, ``Expect: 100-continue``.

    Args:
        answer: makes the response.
        body_limit: bytes of a request's body that are kept for ``answer``; a longer one is refused with 413. With 0,
            bodies of any length are read and dropped.
    """

    def __init__(self, answer: Callable[[Request], Response], body_limit: int = 0) -> None:
        self._answer = answer
        self._body_limit = body_limit
        self._body = bytearray()
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
        except OverflowError:
            self._send(Response({"error": f"body over {self._body_limit} bytes"}, 413), close=True, head=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._transport = None

    def _step(self) -> bool:
        if self._request is None:
            return self._read_head()
        if self._chunked:
            return self._read_chunk()
        self._take()
        if self._left:
            return False
        self._finish()
        return True

    def _take(self) -> int:
        taken = min(self._left, len(self._buffer))
        if self._body_limit:
            if len(self._body) + taken > self._body_limit:
                raise OverflowError
            self._body += self._buffer[:taken]
        del self._buffer[:taken]
        self._left -= taken
        return taken

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
        if self._left > 2:
            # The two bytes of the line end are no part of the chunk.
            self._left -= 2
            taken = self._take()
            self._left += 2
            return taken > 0
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
        body = bytes(self._body)
        self._request, self._chunked, self._left, self._body = None, False, 0, bytearray()
        if request is None:
            return
        if body:
            request = replace(request, body=body)
        close = "close" in request.headers.get("connection", "").lower()
        self._send(self._answer(request), close=close, head=request.method == "HEAD")

    def _send(self, response: Response, *, close: bool, head: bool) -> None:
        if self._transport is None:
            return
        body = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode() + b"\n"
        if response.status == 204:
            body = b""
        lines = [
            f"HTTP/1.1 {response.status} {_reason(response.status)}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        if close:
            lines.append("Connection: close")
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if head else body))
        if close:
            self._transport.close()
