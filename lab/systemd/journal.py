"""The journal: one JSON object a line; written by the service manager, read by the ``journalctl`` stand-in."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIMIT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Record:
    """One line of the journal; ``moment`` is seconds since the epoch."""

    moment: float
    unit: str
    identifier: str
    pid: int
    message: str

    def short(self, host: str) -> str:
        """As ``journalctl -o short`` prints it."""
        stamp = time.strftime("%b %d %H:%M:%S", time.localtime(self.moment))
        return f"{stamp} {host} {self.identifier}[{self.pid}]: {self.message}"


class Journal:
    """Appends to the journal; at 8 MiB the file becomes ``<name>.1`` and a new one begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        path.chmod(0o600)

    def write(self, unit: str, identifier: str, pid: int, message: str) -> None:
        """Append one line; it is on the file when this returns."""
        record = {"t": round(time.time(), 6), "u": unit, "i": identifier, "p": pid, "m": message}
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()
        if self._file.tell() > LIMIT_BYTES:
            self._file.close()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self._file = self.path.open("a", encoding="utf-8")
            self.path.chmod(0o600)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def records(path: Path) -> Iterator[Record]:
    """All records of the journal, the oldest first; a line cut short by a crash is passed over."""
    for file in (path.with_name(path.name + ".1"), path):
        if not file.exists():
            continue
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    raw = json.loads(line)
                    yield Record(raw["t"], raw["u"], raw["i"], raw["p"], raw["m"])
                except (ValueError, KeyError, TypeError):
                    continue


def tail(path: Path, units: frozenset[str], count: int | None) -> list[Record]:
    """The last ``count`` records of ``units`` (all units where empty; all records where None)."""
    chosen = (record for record in records(path) if not units or record.unit in units)
    return list(deque(chosen, maxlen=count))
