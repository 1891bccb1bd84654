"""A started command and what it writes: the seam between what starts commands and what waits for them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Protocol

OUTPUT_LIMIT = 64 * 1024 * 1024
"""Most bytes of output kept from one command; more ends it."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What the first hop gave back.

    Attributes:
        exit_code: 128 + signal number for a command that a signal ended.
        timed_out: this side's limit was reached, and the command was ended from here.
        overflowed: the command wrote more than :data:`OUTPUT_LIMIT` and was ended from here.
    """

    exit_code: int
    stdout: bytes = field(default=b"", repr=False)
    stderr: bytes = field(default=b"", repr=False)
    timed_out: bool = False
    overflowed: bool = False


class LostError(Exception):
    """A command ended without an exit code; the argument is the reason."""


class BusyError(Exception):
    """The server opens no further session on this connection, which is alive."""


class Stream(Protocol):
    """A started command: what is written goes to its standard input."""

    def write(self, data: bytes) -> None:
        """Send bytes; they are buffered without limit."""
        ...

    def write_eof(self) -> None:
        """End its standard input."""
        ...

    def abort(self) -> None:
        """End the command and forget it."""
        ...


class Sink(Protocol):
    """Takes what a started command writes."""

    def feed(self, data: bytes, *, error: bool) -> None:
        """Take bytes of standard output, or of standard error."""
        ...

    def ended(self, exit_code: int | None, reason: str) -> None:
        """Take the end: an exit code, or None with the reason why there is none."""
        ...


class Output:
    """Gathers both outputs of a command, and wakes whoever waits for more."""

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.over = False
        self.exit_code: int | None = None
        self.reason = ""
        self._more = asyncio.Event()

    def feed(self, data: bytes, *, error: bool) -> None:
        """See :meth:`Sink.feed`."""
        (self.stderr if error else self.stdout).extend(data)
        self._more.set()

    def ended(self, exit_code: int | None, reason: str) -> None:
        """See :meth:`Sink.ended`."""
        if not self.over:
            self.over, self.exit_code, self.reason = True, exit_code, reason
            self._more.set()

    async def more(self) -> None:
        """Wait until something came since the last call."""
        await self._more.wait()
        self._more.clear()

    @property
    def overflowed(self) -> bool:
        """Whether more came than is kept."""
        return len(self.stdout) + len(self.stderr) > OUTPUT_LIMIT

    async def finished(self, stream: Stream, stdin: bytes, limit: float) -> RawAnswer | None:
        """Feed a command and wait for its end; at the limit, or after too much output, end it.

        Returns:
            None where it was lost: there is no exit code, and :attr:`reason` says why.
        """
        with contextlib.suppress(OSError):  # a command may end without reading its input; its exit code says the rest
            stream.write(stdin)
            stream.write_eof()
        timed_out = False
        try:
            async with asyncio.timeout(limit):
                while not self.over and not self.overflowed:
                    await self.more()
        except TimeoutError:
            timed_out = True
        finally:
            if not self.over:
                stream.abort()
        if self.exit_code is None and not timed_out and not self.overflowed:
            return None
        code = 137 if self.exit_code is None else self.exit_code
        return RawAnswer(code, bytes(self.stdout), bytes(self.stderr), timed_out, self.overflowed)
