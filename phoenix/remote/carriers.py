"""The first hop: what executes an argument list here or over SSH, and gives back raw output."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass, field
from typing import Protocol

from phoenix.errors import UnreachableError

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


class Carrier(Protocol):
    """Executes argument lists in one place."""

    def execute(self, arguments: list[str], stdin: bytes, limit: float) -> RawAnswer:
        """Execute, at most `limit` seconds long.

        Raises:
            UnreachableError: the place cannot be reached, or was lost while the command ran.
        """
        ...

    def close(self) -> None:
        """Close what is open; a later `execute` opens it again."""
        ...


class LocalCarrier:
    """Executes on this machine, each command in a process group of its own."""

    def execute(self, arguments: list[str], stdin: bytes, limit: float) -> RawAnswer:
        """See :meth:`Carrier.execute`; the environment is this process's, without Pulumi's variables."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UnreachableError(
                f"{arguments[0]} cannot be started on this machine ({error.strerror or error}): "
                "install it, or choose another transport."
            ) from None
        try:
            stdout, stderr = process.communicate(stdin, timeout=limit)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            stdout, stderr = process.communicate()
            return RawAnswer(128 + signal.SIGKILL, stdout, stderr, timed_out=True)
        except BaseException:
            _kill_group(process)
            process.wait()
            raise
        code = process.returncode
        overflowed = len(stdout) + len(stderr) > OUTPUT_LIMIT
        return RawAnswer(code if code >= 0 else 128 - code, stdout, stderr, overflowed=overflowed)

    def close(self) -> None:
        """Nothing is kept open."""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
