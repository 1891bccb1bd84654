"""The transports: a carrier for the first hop, and what enters the guest from there."""

from __future__ import annotations

import time

from phoenix.errors import CommandError, UnreachableError
from phoenix.remote.carriers import OUTPUT_LIMIT, Carrier, LocalCarrier, RawAnswer
from phoenix.remote.connection import IN_GUEST, OVER_SSH, Connection
from phoenix.remote.transport import (
    TIME_LIMIT_EXIT_CODE,
    Completed,
    ContextManaged,
    first_line,
    raise_for_exit,
)
from phoenix.remote.wrapping import KILL_GRACE, after_mark, check_script, guest_arguments

ANSWER_MARGIN = 5
"""Seconds that this side waits longer than the target's own limit and grace, for the answer to travel."""


class ShellTransport(ContextManaged):
    """Runs scripts in a shell here, on an SSH server, or in a container on either."""

    def __init__(self, connection: Connection, carrier: Carrier) -> None:
        self.connection = connection
        self.description = connection.description
        self._carrier = carrier

    def run(self, script: str, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True) -> Completed:
        """See :meth:`phoenix.remote.transport.Transport.run`."""
        check_script(script)
        limit = self.connection.command_timeout if timeout is None else timeout
        started = time.monotonic()
        answer = self._carrier.execute(
            guest_arguments(self.connection, script, limit), stdin, limit + KILL_GRACE + ANSWER_MARGIN
        )
        elapsed = time.monotonic() - started
        stdout, stderr = after_mark(answer.stdout), after_mark(answer.stderr)
        if stdout is None and not answer.timed_out and not answer.overflowed:
            raise _not_entered(self.connection, answer)
        completed = Completed(f"the command on {self.description}", answer.exit_code, stdout or b"", stderr or b"")
        raise_for_limits(completed, answer, elapsed, limit)
        return raise_for_exit(completed) if check else completed

    def close(self) -> None:
        """See :meth:`phoenix.remote.transport.Transport.close`."""
        self._carrier.close()


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
