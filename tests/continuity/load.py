"""A load client that knows what became of every request: GET and POST, on kept and on new connections.

It keeps to a rate on the average whatever the answers take, and counts each request exactly once: by its status, or by
the error that ended it. A kept connection that the server closed while nothing was under way is no failure; one that
ends under a request is.
"""

from __future__ import annotations

import asyncio
import collections
import ssl
import threading
import time
from dataclasses import dataclass, field

BODY = b"x" * 512
PATIENCE = 30.0


@dataclass
class Counts:
    """What became of the requests.

    Attributes:
        answered: status → number.
        broken: kind of error → number, of requests that got no answer.
        failures: method, status or error, and second since the start, of each failed request; the first 200.
    """

    answered: collections.Counter[int] = field(default_factory=collections.Counter)
    broken: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[tuple[str, str, float]] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def sent(self) -> int:
        """All requests."""
        return self.answered.total() + self.broken.total()

    @property
    def failed(self) -> int:
        """Those that were not answered 200."""
        return self.sent - self.answered[200]

    def __str__(self) -> str:
        parts = [f"{count} × {status}" for status, count in sorted(self.answered.items())]
        parts += [f"{count} × {error}" for error, count in sorted(self.broken.items())]
        return f"{self.failed} of {self.sent} requests failed ({', '.join(parts)}; slowest {self.slowest:.2f} s)"


class Load:
    """Requests to one address over https, in a thread of its own.

    Args:
        address: where they go.
        port: its port.
        hostnames: whom they are for, in turn.
        rate: requests a second, of all connections together.
        context: how the server's certificate is checked.
        connections: kept connections.
        fresh: of how many requests one is sent over a new connection.
        posts: of how many requests one is a POST.
    """

    def __init__(
        self,
        address: str,
        port: int,
        hostnames: list[str],
        rate: float,
        context: ssl.SSLContext,
        *,
        connections: int = 24,
        fresh: int = 10,
        posts: int = 3,
    ) -> None:
        self.address, self.port, self.hostnames, self.rate = address, port, hostnames, rate
        self.context, self.connections, self.fresh, self.posts = context, connections, fresh, posts
        self.counts = Counts()
        self._stop = threading.Event()
        self._began = 0.0
        self._number = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)

    def __enter__(self) -> Load:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Counts:
        """Let what is under way end; returns the counts."""
        self._stop.set()
        self._thread.join(PATIENCE + 10)
        if self._thread.is_alive():
            raise AssertionError("the load client does not end")
        return self.counts

    def run_for(self, seconds: float) -> None:
        """Wait, so that a steady state is measured too."""
        time.sleep(seconds)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    async def _all(self) -> None:
        await asyncio.gather(*(self._worker(index) for index in range(self.connections)))

    async def _worker(self, index: int) -> None:
        pause = self.connections / self.rate
        due = time.monotonic() + pause * index / self.connections
        hostname = self.hostnames[index % len(self.hostnames)]
        kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += pause
            self._number += 1
            method = "POST" if self._number % self.posts == 0 else "GET"
            new = self._number % self.fresh == 0
            stream = None if new else kept
            if stream is not None and (stream[0].at_eof() or stream[1].is_closing()):
                stream = None
            began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    if stream is None:
                        stream = await asyncio.open_connection(
                            self.address, self.port, ssl=self.context, server_hostname=hostname
                        )
                    if not new:
                        kept = stream
                    status, close = await self._request(stream, method, hostname, last=new)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self._note(method, type(error).__name__)
                self.counts.broken[type(error).__name__] += 1
                close = True
            else:
                self.counts.answered[status] += 1
                if status != 200:
                    self._note(method, str(status))
            self.counts.slowest = max(self.counts.slowest, time.monotonic() - began)
            if (close or new) and stream is not None:
                stream[1].close()
                if stream is kept:
                    kept = None
        if kept is not None:
            kept[1].close()

    def _note(self, method: str, what: str) -> None:
        if len(self.counts.failures) < 200:
            self.counts.failures.append((method, what, round(self.seconds, 3)))

    async def _request(
        self, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], method: str, hostname: str, *, last: bool
    ) -> tuple[int, bool]:
        reader, writer = stream
        head = f"{method} /load HTTP/1.1\r\nHost: {hostname}\r\n"
        if last:
            head += "Connection: close\r\n"
        if method == "POST":
            head += f"Content-Length: {len(BODY)}\r\n"
        writer.write(head.encode() + b"\r\n" + (BODY if method == "POST" else b""))
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in answer[1:])}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while (size := int((await reader.readline()).split(b";")[0], 16)) > 0:
                await reader.readexactly(size + 2)
            await reader.readline()
        else:
            await reader.readexactly(int(headers["content-length"]))
        return int(answer[0].split()[1]), any(line.lower() == "connection: close" for line in answer)
