"""The first hop: what executes an argument list here or over SSH, and gives back raw output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Protocol, cast

from phoenix.errors import UnreachableError
from phoenix.remote.streams import Output, RawAnswer, Sink, Stream


class Carrier(Protocol):
    """Executes argument lists in one place. Used on the background loop only."""

    async def execute(self, arguments: list[str], stdin: bytes, limit: float) -> RawAnswer:
        """Execute, at most `limit` seconds long.

        Raises:
            UnreachableError: the place cannot be reached, or was lost while the command ran.
        """
        ...

    async def start(self, arguments: list[str], sink: Sink) -> Stream:
        """Start a command that stays, and hand what it writes to `sink`.

        Raises:
            UnreachableError: the place cannot be reached.
            BusyError: it takes no further command at a time.
        """
        ...

    async def close(self) -> None:
        """Close what is open; a later command opens it again."""
        ...


class LocalCarrier:
    """Executes on this machine, each command in a process group of its own, without Pulumi's variables."""

    async def execute(self, arguments: list[str], stdin: bytes, limit: float) -> RawAnswer:
        """See :meth:`Carrier.execute`."""
        output = Output()
        answer = await output.finished(await self.start(arguments, output), stdin, limit)
        return answer or RawAnswer(255, bytes(output.stdout), bytes(output.stderr))

    async def start(self, arguments: list[str], sink: Sink) -> Stream:
        """See :meth:`Carrier.start`."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
        try:
            _, protocol = await asyncio.get_running_loop().subprocess_exec(
                lambda: _LocalProcess(sink), *arguments, env=environment, start_new_session=True
            )
        except OSError as error:
            raise UnreachableError(
                f"{arguments[0]} cannot be started on this machine ({error.strerror or error}): "
                "install it, or choose another transport."
            ) from None
        return protocol

    async def close(self) -> None:
        """Nothing is kept open but workers, which end with their streams."""


class _LocalProcess(asyncio.SubprocessProtocol):
    """A command on this machine; see :class:`phoenix.remote.streams.Stream`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        self._sink.feed(cast(bytes, data), error=fd == 2)

    def connection_lost(self, exc: Exception | None) -> None:
        code = self._transport.get_returncode() if self._transport else None
        self._sink.ended(code if code is None or code >= 0 else 128 - code, str(exc or "the command ended"))

    def write(self, data: bytes) -> None:
        pipe = self._input()
        if data and pipe is not None:
            pipe.write(data)

    def write_eof(self) -> None:
        pipe = self._input()
        if pipe is not None:
            pipe.close()

    def abort(self) -> None:
        """Kill the command and all it started in its process group."""
        if self._transport is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), signal.SIGKILL)
        self._transport.close()

    def _input(self) -> asyncio.WriteTransport | None:
        pipe = self._transport.get_pipe_transport(0) if self._transport else None
        return cast(asyncio.WriteTransport | None, pipe)
