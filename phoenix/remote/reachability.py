"""What could not be reached in this process: a preview asks a dead target once, not once a file."""

from __future__ import annotations

import threading

from phoenix.remote.connection import Connection

_lock = threading.Lock()
_failures: dict[Connection, str] = {}


def note_failure(connection: Connection, message: str) -> None:
    """Remember that `connection` failed."""
    with _lock:
        _failures[connection] = message


def known_failure(connection: Connection) -> str | None:
    """Return the message of its failure, if it failed before."""
    with _lock:
        return _failures.get(connection)


def forget_failure(connection: Connection) -> None:
    """It works again."""
    with _lock:
        _failures.pop(connection, None)
