"""Shells that stay: one script after the other through one session in the guest.

Starting a session costs a login shell each time, and entering a container costs ``pct``, which takes half a second
on a hypervisor. A worker pays that once per connection; after it a command takes one round trip and a few
processes. :data:`phoenix.remote.wrapping.WORKER` is its other half and describes the protocol.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable

from phoenix.remote.streams import BusyError, LostError, Output, RawAnswer, Sink, Stream
from phoenix.remote.wrapping import MARK, NO_WORKER, format_seconds

WORKER_LIMIT = 8
"""Workers at a time on one connection; sshd's MaxSessions is 10 by default (sshd_config(5))."""

PATIENCE = 0.05
"""Seconds to wait for a busy worker before another is started."""

ALIVE_SECONDS = 5.0
"""Seconds that a worker has for a sign of life."""

IDLE_SECONDS = 0.25
"""A worker that was idle for longer is asked for a sign of life before it gets a script."""


class Worker:
    """One shell that stays.

    Attributes:
        output: what comes from it.
        stream: what goes to it.
    """

    def __init__(self, output: Output, stream: Stream) -> None:
        self.output = output
        self.stream = stream
        self._used = time.monotonic()

    async def ready(self) -> bool | None:
        """Wait for its first sign: True, or None where the target has no ``head`` that reads exactly.

        Returns:
            False when it ended without any sign.
        """
        while True:
            if MARK in self.output.stdout and MARK in self.output.stderr:
                return True
            if NO_WORKER in self.output.stdout:
                return None
            if self.output.over or self.output.overflowed:
                return False
            await self.output.more()

    async def alive(self, limit: float) -> bool:
        """Whether it can take a script: at once if it was used lately, else it has to answer within `limit`."""
        if self.output.over:
            return False
        if time.monotonic() - self._used <= IDLE_SECONDS:
            return True
        token = secrets.token_hex(8)
        try:
            self.stream.write(f"{token} ping\n".encode())
            async with asyncio.timeout(limit):
                while not self.output.over:
                    if f"\x1e{token} 0\x1e".encode() in self.output.stderr:
                        return True
                    await self.output.more()
        except (OSError, TimeoutError):
            pass
        return False

    async def run(self, script: str, stdin: bytes, seconds: float, limit: float) -> RawAnswer:
        """Run one script; a worker that was killed for it, or was lost, is over afterwards.

        Raises:
            LostError: it was lost before the script ended.
        """
        token = secrets.token_hex(8)
        encoded = script.encode()
        header = f"{token} {len(encoded)} {len(stdin)} {format_seconds(seconds)}\n".encode()
        self.output.stdout.clear()
        self.output.stderr.clear()
        out, err = _Section(self.output.stdout, token), _Section(self.output.stderr, token)
        timed_out = False
        try:
            async with asyncio.timeout(limit):
                self.stream.write(header + encoded + stdin)
                while not (out.complete() and err.complete()) and not self.output.over and not self.output.overflowed:
                    await self.output.more()
        except TimeoutError:
            timed_out = True
        except OSError as error:
            self.output.ended(None, str(error))
        except BaseException:
            self.end()
            raise
        overflowed = self.output.overflowed
        if timed_out or overflowed:
            self.end()
            return RawAnswer(137, out.so_far(), err.so_far(), timed_out=timed_out, overflowed=overflowed)
        if not (out.complete() and err.complete()):
            raise LostError(self.output.reason or "the shell there ended")
        self._used = time.monotonic()
        return RawAnswer(out.exit_code, out.so_far(), err.so_far())

    def end(self) -> None:
        """End it, whatever it does."""
        self.output.ended(None, "ended from here")
        self.stream.abort()


class _Section:
    """One script's part of an output: between its token and its token with the exit code."""

    def __init__(self, data: bytearray, token: str) -> None:
        self._data = data
        self._first = f"\x1e{token}\x1e".encode()
        self._last = re.compile(rb"\x1e" + token.encode() + rb" (\d{1,3})\x1e")
        self._start = -1
        self._searched = 0
        self._match: re.Match[bytes] | None = None

    def complete(self) -> bool:
        """Whether all of it has come."""
        if self._match is None and self._start < 0 and (at := self._data.find(self._first)) >= 0:
            self._start = self._searched = at + len(self._first)
        if self._match is None and self._start >= 0:
            self._match = self._last.search(self._data, self._searched)
            self._searched = max(self._start, len(self._data) - 64)
        return self._match is not None

    @property
    def exit_code(self) -> int:
        """The script's exit code, once it is complete."""
        return int(self._match[1]) if self._match else 255

    def so_far(self) -> bytes:
        """What the script wrote until now, without the marks."""
        if not self.complete() and self._start < 0:
            return b""
        return bytes(self._data[self._start : self._match.start() if self._match else len(self._data)])


class Workers:
    """The workers of one connection, started as they are needed. Used on the background loop only.

    Args:
        start: starts the worker's command; gets the sink for its output. May raise :class:`BusyError`.
        connect_limit: seconds for a worker's first sign.
        explain: turns the raw end of a worker that never gave a sign into the error to raise.
    """

    def __init__(
        self,
        start: Callable[[Sink], Awaitable[Stream]],
        connect_limit: float,
        explain: Callable[[RawAnswer], Exception],
    ) -> None:
        self._start = start
        self._connect_limit = connect_limit
        self._explain = explain
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._count = 0
        self._limit = WORKER_LIMIT
        self._changed = asyncio.Event()
        self._unsupported = False
        self._opening: asyncio.Task[None] | None = None

    async def warm_up(self) -> None:
        """Start the first worker, for scripts that are to come; whatever is wrong shows with the first of those."""
        if not self._all:
            self._started()

    async def run(self, script: str, stdin: bytes, seconds: float, limit: float) -> RawAnswer | None:
        """Run a script on a free worker.

        Returns:
            None where the target cannot have workers.

        Raises:
            UnreachableError: the target cannot be reached.
            LostError: it was lost while the script ran.
        """
        worker = await self._take()
        if worker is None:
            return None
        try:
            return await worker.run(script, stdin, seconds, limit)
        finally:
            if worker.output.over:
                self._drop(worker)
            else:
                self._idle.append(worker)
            self._changed.set()

    def close(self) -> None:
        """End all workers."""
        if self._opening is not None:
            self._opening.cancel()
        for worker in list(self._all):
            worker.end()
            self._drop(worker)
        self._idle.clear()
        self._changed.set()

    async def _take(self) -> Worker | None:
        """The first worker that is free. Where that takes long one more is started, yet not waited for."""
        patient = True
        while not self._unsupported:
            while self._idle:
                worker = self._idle.pop()
                if await worker.alive(min(self._connect_limit, ALIVE_SECONDS)):
                    return worker
                worker.end()
                self._drop(worker)
            if not self._all:
                await asyncio.shield(self._started())
                continue
            if not patient and self._count < self._limit:
                self._started()
            patient = await self._wait(PATIENCE if self._count < self._limit else None)
        return None

    def _started(self) -> asyncio.Task[None]:
        """The attempt to start a worker; all who need one share it, and its error."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(self._open())
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._opening

    async def _wait(self, seconds: float | None) -> bool:
        """Wait for a change; False when none came in time."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _open(self) -> None:
        """Start a worker, wait for its first sign, and put it among the idle ones."""
        self._count += 1
        output = Output()
        worker: Worker | None = None
        try:
            worker = Worker(output, await self._start(output))
            async with asyncio.timeout(self._connect_limit):
                ready = await worker.ready()
            if ready:
                self._all.add(worker)
                self._idle.append(worker)
            elif ready is None:
                self._unsupported = True
            else:
                code = 255 if output.exit_code is None else output.exit_code
                raise self._explain(RawAnswer(code, bytes(output.stdout), bytes(output.stderr)))
        except TimeoutError:
            heard = f"no shell within {self._connect_limit:g} s".encode()
            raise self._explain(RawAnswer(255, b"", bytes(output.stderr) or heard)) from None
        except BusyError:
            if self._count == 1:
                raise self._explain(RawAnswer(255, b"", b"the server opens no session")) from None
            self._limit = self._count - 1
        finally:
            if worker is None or worker not in self._all:
                self._count -= 1
                if worker is not None:
                    worker.end()
            self._changed.set()

    def _drop(self, worker: Worker) -> None:
        if worker in self._all:
            self._all.discard(worker)
            self._count -= 1
