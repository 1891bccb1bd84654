"""Faults on purpose, and the log of every request."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

#: ``before`` hits before the request is carried out, ``after`` once it was. ``500`` answers an error, ``timeout``
#: never answers, ``drop`` closes the connection, ``502`` is a proxy's answer, ``restart`` restarts the server.
FaultKind = Literal[
    "500-before",
    "500-after",
    "502-before",
    "502-after",
    "timeout-before",
    "timeout-after",
    "drop-before",
    "drop-after",
    "restart-before",
    "restart-after",
]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@dataclass
class Fault:
    """A fault that waits for its request.

    Attributes:
        method: the HTTP method, or ``*``.
        prefix: how the path begins.
        kind: what happens.
        skip: how many such requests are let through first.
    """

    method: str
    prefix: str
    kind: FaultKind
    skip: int = 0


class Faults:
    """The faults of one server; each hits once."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()
        self.hits: list[Fault] = []

    def add(self, method: str, prefix: str, kind: FaultKind, *, skip: int = 0) -> None:
        """Let the next fitting request meet a fault."""
        with self._lock:
            self._waiting.append(Fault(method, prefix, kind, skip))

    def clear(self) -> None:
        """Forget what still waits."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, which is spent with it."""
        with self._lock:
            for fault in self._waiting:
                if fault.method in {"*", method} and path.startswith(fault.prefix):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    self._waiting.remove(fault)
                    self.hits.append(fault)
                    return fault
        return None


@dataclass(frozen=True)
class Entry:
    """A request that was answered, without its body.

    Attributes:
        seconds: the server's clock.
        method: HTTP method.
        path: without the query.
        query: the query.
        status: the answer's status; 0 where none was sent.
    """

    seconds: float
    method: str
    path: str
    query: str
    status: int


@dataclass
class Log:
    """Every request in order."""

    clock: Callable[[], float]
    file: Path | None = None
    entries: list[Entry] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, path: str, query: str, status: int) -> None:
        """Note a request."""
        entry = Entry(self.clock(), method, path, query, status)
        with self.lock:
            self.entries.append(entry)
            if self.file is not None:
                descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(entry)) + "\n")

    def clear(self) -> None:
        """Forget what was noted; the file keeps it."""
        with self.lock:
            self.entries.clear()

    def calls(self, method: str, path: str) -> list[Entry]:
        """The requests with this method and exactly this path."""
        with self.lock:
            return [entry for entry in self.entries if entry.method == method and entry.path == path]

    def writes(self) -> list[Entry]:
        """The requests that may change something: all but GET, HEAD and the login."""
        with self.lock:
            return [
                entry for entry in self.entries if entry.method not in {"GET", "HEAD"} and entry.path != "/api/auth"
            ]
