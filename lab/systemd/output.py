"""Where a service's output goes: ``StandardOutput=`` and ``StandardError=`` of systemd.exec(5)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

_LINE_LIMIT = 48 * 1024


class JournalPipe:
    """A pipe whose lines go to the journal.

    Args:
        write: called with each line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._rest = b""
        self._read, self.descriptor = os.pipe()
        os.set_blocking(self._read, False)
        asyncio.get_running_loop().add_reader(self._read, self._readable)

    def release(self) -> None:
        """Close our copy of the writing end; to be called once the program has its own."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _readable(self) -> None:
        try:
            data = os.read(self._read, 65536)
        except BlockingIOError:
            return
        if not data:
            self._close()
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_LIMIT:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._write(line.decode(errors="replace"))

    def drain(self) -> None:
        """Take what is in the pipe now, so that a service's last words stand before the note of its end."""
        with contextlib.suppress(BlockingIOError, OSError):
            while self._read >= 0 and (data := os.read(self._read, 65536)):
                self._take(data)

    def _close(self) -> None:
        if self._rest:
            self._write(self._rest.decode(errors="replace"))
            self._rest = b""
        if self._read >= 0:
            asyncio.get_running_loop().remove_reader(self._read)
            os.close(self._read)
            self._read = -1


def open_target(target: str) -> int | None:
    """The descriptor of ``file:``, ``append:`` or ``truncate:``; None for every other kind.

    Raises:
        OSError: the file cannot be opened.
    """
    kind, colon, path = target.partition(":")
    flags = {"file": 0, "append": os.O_APPEND, "truncate": os.O_TRUNC}
    if not colon or kind not in flags:
        return None
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags[kind], 0o644)
