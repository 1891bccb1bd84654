"""The interface that every remote step goes through, and what a command leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from phoenix.errors import CommandError

TIME_LIMIT_EXIT_CODE = 124
"""What ``timeout`` exits with when it ended its command (coreutils, `timeout invocation`)."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended.

    Attributes:
        command: what ran, in a form fit for messages: never the script itself.
        exit_code: 0 to 255; a command that a signal ended has 128 + the signal's number, as in a shell.
        stdout: bytes as the command wrote them; kept out of ``repr``, since output may hold a secret.
        stderr: likewise.
    """

    command: str
    exit_code: int
    stdout: bytes = field(default=b"", repr=False)
    stderr: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """Standard output as text, undecodable bytes replaced."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def complaint(self) -> str:
        """The first line of standard error that says something, at most 300 characters; may be empty."""
        return first_line(self.stderr)


@runtime_checkable
class Transport(Protocol):
    """A way to run scripts in one place. Safe to share between threads; also a context manager."""

    description: str

    def run(self, script: str, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True) -> Completed:
        """Run a POSIX shell script.

        Args:
            script: what ``sh -c`` gets; it is visible in the process list over there, so secrets go into `stdin`.
            stdin: bytes for its standard input, of any size.
            timeout: limit in seconds, enforced on both sides; default: the connection's ``commandTimeout``.
            check: raise when the exit code is not 0.

        Raises:
            UnreachableError: the place cannot be reached; nothing ran, or it is not known how far it got.
            CommandError: the limit was reached, or `check` and a non-zero exit code.
        """
        ...

    def close(self) -> None:
        """Give the connection back. It may be used again: it then opens anew."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ContextManaged:
    """The context-manager half of a transport: leaving the block closes."""

    def close(self) -> None:
        """See :meth:`Transport.close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def first_line(output: bytes) -> str:
    """Return the first line that says something, stripped of control characters, at most 300 characters."""
    for raw in output[:65536].splitlines():
        line = "".join(char for char in raw.decode("utf-8", "replace") if char.isprintable()).strip()
        if line:
            return line if len(line) <= 300 else line[:297] + "..."
    return ""


def raise_for_exit(completed: Completed) -> Completed:
    """Return `completed`, or raise a sentence that holds the first line of its standard error.

    Raises:
        CommandError: its exit code is not 0.
    """
    if completed.exit_code == 0:
        return completed
    complaint = completed.complaint or "it printed no error"
    raise CommandError(f"{completed.command} ended with exit code {completed.exit_code}: {complaint}")
