"""The recording twin of a transport: scripted answers, and a list of what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from phoenix.remote.transport import Completed, ContextManaged, raise_for_exit


@dataclass(frozen=True, slots=True)
class Call:
    """One command as it was asked for."""

    script: str
    stdin: bytes = field(default=b"", repr=False)
    timeout: float | None = None


Answer = Completed | Exception | bytes | Callable[[Call], "Completed | bytes"]


class RecordingTransport(ContextManaged):
    """A transport that runs nothing.

    Args:
        answers: one per command, in order: bytes stand for standard output with exit code 0, an exception is raised,
            a function computes the answer from the :class:`Call`. A command beyond them is an ``AssertionError``.
        description: what messages call this transport.

    Attributes:
        calls: every command so far.
        closed: whether :meth:`close` was called.
    """

    def __init__(self, answers: Iterable[Answer] = (), description: str = "recorded target") -> None:
        self.description = description
        self.calls: list[Call] = []
        self.closed = False
        self._answers = list(answers)

    def run(self, script: str, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True) -> Completed:
        """See :meth:`phoenix.remote.transport.Transport.run`."""
        call = Call(script, stdin, timeout)
        self.calls.append(call)
        if not self._answers:
            raise AssertionError(f"{self.description}: no answer is left for: {script[:200]}")
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = answer(call)
        if isinstance(answer, bytes):
            answer = Completed(f"the command on {self.description}", 0, answer)
        return raise_for_exit(answer) if check else answer

    def close(self) -> None:
        """Note that it was called."""
        self.closed = True
