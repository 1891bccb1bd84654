"""The transports: a carrier for the first hop, and what enters the guest from there."""

from __future__ import annotations

import time
from dataclasses import replace

from phoenix.errors import CommandError, UnreachableError
from phoenix.remote import loop
from phoenix.remote.carriers import Carrier, LocalCarrier
from phoenix.remote.connection import IN_GUEST, OVER_SSH, Connection
from phoenix.remote.streams import OUTPUT_LIMIT, LostError, RawAnswer, Sink, Stream
from phoenix.remote.transport import (
    TIME_LIMIT_EXIT_CODE,
    Completed,
    ContextManaged,
    first_line,
    raise_for_exit,
)
from phoenix.remote.worker import Workers
from phoenix.remote.wrapping import KILL_GRACE, after_mark, check_script, guest_arguments, worker_arguments

ANSWER_MARGIN = 5
"""Seconds that this side waits longer than the target's own limit and grace, for the answer to travel."""


class ShellTransport(ContextManaged):
    """Runs scripts in a shell here, on an SSH server, or in a container on either."""

    def __init__(self, connection: Connection, carrier: Carrier) -> None:
        self.connection = connection
        self.description = connection.description
        self._carrier = carrier
        self._workers: Workers | None = None

    def run(self, script: str, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True) -> Completed:
        """See :meth:`phoenix.remote.transport.Transport.run`."""
        check_script(script)
        limit = self.connection.command_timeout if timeout is None else timeout
        started = time.monotonic()
        answer = loop.call(self._answer(script, stdin, limit))
        elapsed = time.monotonic() - started
        completed = Completed(f"the command on {self.description}", answer.exit_code, answer.stdout, answer.stderr)
        raise_for_limits(completed, answer, elapsed, limit)
        return raise_for_exit(completed) if check else completed

    async def _answer(self, script: str, stdin: bytes, limit: float) -> RawAnswer:
        """Run on a worker; by a session of its own where there is none."""
        here = limit + KILL_GRACE + ANSWER_MARGIN
        if self.connection.transport != "local":
            try:
                answer = await self._shells().run(script, stdin, limit, here)
            except LostError as error:
                raise UnreachableError(
                    f"{self.description} was lost while a command ran ({error}), "
                    "so it is not known how far it got: run again."
                ) from None
            if answer is not None:
                return answer
        answer = await self._carrier.execute(guest_arguments(self.connection, script, limit), stdin, here)
        stdout, stderr = after_mark(answer.stdout), after_mark(answer.stderr)
        if stdout is None and not answer.timed_out and not answer.overflowed:
            raise self._not_entered(answer)
        return replace(answer, stdout=stdout or b"", stderr=stderr or b"")

    def warm_up(self) -> None:
        """Begin to connect, and do not wait for it; the first command finds the connection, or its error."""
        if self.connection.transport != "local":
            loop.start(self._warm_up())

    async def _warm_up(self) -> None:
        await self._shells().warm_up()

    def _shells(self) -> Workers:
        if self._workers is None:
            self._workers = Workers(self._start, self.connection.connect_timeout, self._not_entered)
        return self._workers

    async def _start(self, sink: Sink) -> Stream:
        return await self._carrier.start(worker_arguments(self.connection), sink)

    def close(self) -> None:
        """See :meth:`phoenix.remote.transport.Transport.close`."""
        loop.call(self._close())

    async def _close(self) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None
        await self._carrier.close()

    def _not_entered(self, answer: RawAnswer) -> UnreachableError:
        return _not_entered(self.connection, answer)


def raise_for_limits(completed: Completed, answer: RawAnswer, elapsed: float, limit: float) -> None:
    """Raise when a command was ended by its time limit, on either side, or for its endless output.

    Raises:
        CommandError: it was.
    """
    if answer.overflowed:
        raise CommandError(
            f"{completed.command} wrote more than {OUTPUT_LIMIT // 2**20} MiB and was ended: let it write less."
        )
    killed = completed.exit_code in (TIME_LIMIT_EXIT_CODE, 137) and elapsed >= limit
    if answer.timed_out or killed:
        heard = f"; the last it printed was: {completed.complaint}" if completed.complaint else ""
        raise CommandError(
            f"{completed.command} was ended after {limit:g} s, its time limit: raise commandTimeout on the "
            f"connection, or find out what it waits for{heard}"
        )


def _not_entered(connection: Connection, answer: RawAnswer) -> UnreachableError:
    """Say why a command ended before the guest's shell began."""
    heard = first_line(answer.stderr) or first_line(answer.stdout) or f"exit code {answer.exit_code}"
    low = heard.lower()
    if low.startswith("sudo:"):
        remedy = f"let {connection.user} use sudo without a password, or set sudo: false"
    elif "not running" in low:
        remedy = f"start it with `pct start {connection.guest}`"
    elif "does not exist" in low and connection.transport in IN_GUEST:
        remedy = f"correct guest, there is no container {connection.guest} on that hypervisor"
    elif "not found" in low or answer.exit_code == 127:
        program = "pct" if connection.transport in IN_GUEST else "sh"
        remedy = f"{program} is missing there: correct host or transport"
    else:
        remedy = "log in by hand and see what the login shell does"
    return UnreachableError(f"{connection.description} gives no shell ({heard}): {remedy}.")


def make_transport(connection: Connection) -> ShellTransport:
    """Build the transport for a connection, without opening anything."""
    if connection.transport in OVER_SSH:
        from phoenix.remote.ssh import SshCarrier

        carrier: Carrier = SshCarrier(connection)
    else:
        carrier = LocalCarrier()
    if connection.transport in ("qm", "qm-over-ssh"):
        from phoenix.remote.qemu import QemuTransport

        return QemuTransport(connection, carrier)
    return ShellTransport(connection, carrier)
