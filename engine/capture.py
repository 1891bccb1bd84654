"""Catches what a provider's methods print and hands it to the resource they work on.

``sys.stdout`` and ``sys.stderr`` are replaced while an operation runs; text printed by a thread that
works for a resource becomes a diagnostic of that resource, any other text one of the stack.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Report = Callable[[str, str, str], None]
"""Takes (urn, stream name, text)."""

_current = threading.local()


@contextmanager
def working_for(urn: str) -> Iterator[None]:
    """Attribute what this thread prints to a resource."""
    previous = getattr(_current, "urn", "")
    _current.urn = urn
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Capture):
                stream.finish_line()
        _current.urn = previous


class Capture(io.TextIOBase):
    """A text stream that reports whole lines, each with its resource."""

    def __init__(self, name: str, behind: TextIO, report: Report) -> None:
        self._name = name
        self._behind = behind
        self._report = report
        self._partial = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream behind."""
        return self._behind.encoding or "utf-8"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The binary stream behind: what is written there is not caught."""
        return self._behind.buffer  # type: ignore[return-value]

    def writable(self) -> bool:
        """A capture can be written to."""
        return True

    def isatty(self) -> bool:
        """A capture is no terminal."""
        return False

    def fileno(self) -> int:
        """Return the file behind, for child processes that inherit it."""
        return self._behind.fileno()

    def write(self, text: str) -> int:
        """Take text; whole lines are reported."""
        held = getattr(self._partial, "text", "") + text
        lines = held.splitlines(keepends=True)
        self._partial.text = lines.pop() if lines and not lines[-1].endswith("\n") else ""
        if lines:
            self._report(getattr(_current, "urn", ""), self._name, "".join(lines))
        return len(text)

    def finish_line(self) -> None:
        """Report this thread's unfinished line."""
        held = getattr(self._partial, "text", "")
        if held:
            self._partial.text = ""
            self._report(getattr(_current, "urn", ""), self._name, held + "\n")


@contextmanager
def capturing(report: Report) -> Iterator[None]:
    """Replace the standard streams for the time of an operation."""
    before = sys.stdout, sys.stderr
    sys.stdout = Capture("stdout", before[0], report)
    sys.stderr = Capture("stderr", before[1], report)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Capture):
                stream.finish_line()
        sys.stdout, sys.stderr = before
