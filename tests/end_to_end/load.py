"""A bounded load client: so many requests a second over kept connections, and what became of each."""

import asyncio
import collections
import ssl
import time

CONNECTIONS = 6


class Load:
    """Sends GETs for several host names in turn until it is stopped, or for ``limit_seconds``.

    ``failures`` counts by status or kind of error; a slow machine sends fewer requests, never more.
    """

    def __init__(self, address: str, hostnames: list[str], rate: float, limit_seconds: float) -> None:
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        self.hostnames = hostnames
        self.rate = rate
        self.limit_seconds = limit_seconds
        self.sent = 0
        self.failures: collections.Counter[str] = collections.Counter()
        self._stopped = False
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def run(self) -> None:
        asyncio.run(self._all())

    def stop(self) -> None:
        self._stopped = True

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Until so many requests were sent."""
        deadline = time.monotonic() + seconds
        while self.sent < count:
            assert time.monotonic() < deadline, f"only {self.sent} requests in {seconds} s"
            time.sleep(0.02)

    async def _all(self) -> None:
        end = time.monotonic() + self.limit_seconds
        await asyncio.gather(*(self._one(index, end) for index in range(CONNECTIONS)))

    async def _one(self, index: int, end: float) -> None:
        hostname = self.hostnames[index % len(self.hostnames)]
        request = f"GET / HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode()
        pause = CONNECTIONS / self.rate
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        due = time.monotonic()
        while not self._stopped and time.monotonic() < end:
            try:
                if writer is None or reader is None:
                    reader, writer = await asyncio.open_connection(
                        self.host, self.port, ssl=self._context, server_hostname=hostname
                    )
                writer.write(request)
                status = await asyncio.wait_for(self._answer(reader), 10)
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
                self.failures[type(error).__name__] += 1
                if writer is not None:
                    writer.close()
                reader = writer = None
            else:
                if status != 200:
                    self.failures[str(status)] += 1
            self.sent += 1
            due += pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if writer is not None:
            writer.close()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader) -> int:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        await reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1])
