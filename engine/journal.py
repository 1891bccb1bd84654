"""Keeps a running operation's state on disk without rewriting the whole checkpoint per step.

Before a provider may touch anything, a ``begin`` line is appended to the journal and fsynced; after
it answered, a line with the outcome is. A run killed at any moment therefore leaves checkpoint plus
journal, and :func:`recover` folds them into the state the official CLI would have written: finished
steps done, an unfinished one under ``pending_operations``. The checkpoint itself is rewritten whole
(aside, fsynced, renamed) at the end, and in between as often as that stays cheap.

Lines (JSON, one an entry): ``base`` names a checkpoint by its sha256 and the handles of what it holds
(``h`` and ``done`` of resources, ``p`` of operations; by default all from 0); ``begin`` an operation ``n``,
``end`` it; ``add`` a finished resource that takes the place of ``d`` or condemns ``c``; ``keep`` one as it
was; ``set`` one changed in place; ``drop`` a deleted one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from typing import Any, Final

from engine.backend import StackStore, sync_directory
from engine.checkpoint import PendingOperation, Resource, Snapshot, resource_from_json, resource_to_json
from engine.errors import StateError
from engine.secrets import SecretsManager
from engine.values import same

# The whole checkpoint is written during a run when that costs less than this share of its time.
SHARE: Final = 0.05


class _Fold:
    """The state while it changes, made by applying entries: live, and again when a journal is read."""

    def __init__(self, snapshot: Snapshot, base: dict[str, Any]) -> None:
        handles = base.get("h", range(len(snapshot.resources)))
        numbered: list[tuple[int, Resource]] = list(zip(handles, snapshot.resources, strict=True))
        done: int = base.get("done", 0)
        self.snapshot = snapshot
        self.finished = dict(numbered[:done])
        self.rest = dict(numbered[done:])  # what this run has not come to yet, in its old order
        self.pending = dict(zip(base.get("p", range(len(snapshot.pending))), snapshot.pending, strict=True))
        self.renamed: dict[str, str] = {}

    def apply(self, entry: dict[str, Any]) -> None:
        """Change the state as an entry says; its ``r`` is a Resource here."""
        kind: str = entry["o"]
        handle: int = entry.get("h", -1)
        if kind == "begin":
            self.pending[entry["n"]] = PendingOperation(entry["r"], entry["t"])
            return
        self.pending.pop(entry.get("n"), None)
        if kind == "add":
            if (old := self._pop(entry.get("d"))) is not None and old.urn != entry["r"].urn:
                self.renamed[old.urn] = entry["r"].urn
            if "c" in entry:
                (self.finished.get(entry["c"]) or self.rest[entry["c"]]).delete = True
            self.finished[handle] = entry["r"]
        elif kind == "keep":
            self.finished[handle] = self.rest.pop(handle)
        elif kind == "set":
            for part in (self.finished, self.rest):
                if handle in part:
                    part[handle] = entry["r"]
        elif kind == "drop":
            self._pop(handle)

    def _pop(self, handle: int | None) -> Resource | None:
        for part in (self.finished, self.rest):
            if handle in part:
                return part.pop(handle)
        return None

    def layout(self) -> dict[str, Any]:
        """Return what a ``base`` line says of a checkpoint written now."""
        return {"h": [*self.finished, *self.rest], "done": len(self.finished), "p": list(self.pending)}

    def merged(self) -> Snapshot:
        """Return the state as it stands."""
        rest = [_rename(item, self.renamed) if self.renamed else item for item in self.rest.values()]
        return dataclasses.replace(
            self.snapshot, resources=[*self.finished.values(), *rest], pending=list(self.pending.values())
        )


def _rename(resource: Resource, renamed: dict[str, str]) -> Resource:
    """Point a resource that still stands in its old form at the new names of those it needs."""

    def new(urn: str) -> str:
        return renamed.get(urn, urn)

    urn, _, identifier = resource.provider.rpartition("::")
    return dataclasses.replace(
        resource,
        parent=new(resource.parent),
        dependencies=[new(item) for item in resource.dependencies],
        property_dependencies={k: [new(i) for i in v] for k, v in resource.property_dependencies.items()},
        deleted_with=new(resource.deleted_with),
        replace_with=[new(item) for item in resource.replace_with],
        provider=f"{new(urn)}::{identifier}" if urn else resource.provider,
    )


class SnapshotManager:
    """Records what a run does. All methods may be called from any thread.

    Args:
        store: where to write, or None in a preview: then nothing is written.
        snapshot: the state the run starts from; pending operations are the caller's to clear first.
        manager: encrypts secrets.
    """

    def __init__(self, store: StackStore | None, snapshot: Snapshot, manager: SecretsManager) -> None:
        self._store = store
        self._manager = manager
        self._fold = _Fold(snapshot, {})
        self._handles = {resource: handle for handle, resource in self._fold.rest.items()}
        self._next_handle = len(snapshot.resources)
        self._next_operation = len(snapshot.pending)
        self._mine: set[int] = set()  # operations of this run
        self._lock = threading.RLock()
        self._sync_lock = threading.Lock()
        self._file: Any = None
        self._buffer: list[bytes] = []
        self._written = 0
        self._synced = 0
        self._cost = 0.0
        self._last = time.monotonic()
        if store is not None:
            self._line({"o": "base", "sha256": store.checkpoint_digest()})

    # -- what the run tells --------------------------------------------------------------------

    def begin(self, kind: str, resource: Resource) -> int:
        """Record that an operation begins, durably; return its token."""
        with self._lock:
            token = self._next_operation
            self._next_operation += 1
            self._mine.add(token)
            self._record({"o": "begin", "n": token, "t": kind, "r": resource})
        self._sync()
        return token

    def end(self, token: int) -> None:
        """Record that an operation ended and changed nothing."""
        self._finish({"o": "end"}, token)

    def add(
        self, resource: Resource, replaces: Resource | None, token: int | None = None, condemns: Resource | None = None
    ) -> None:
        """Record a finished resource.

        Args:
            resource: its state.
            replaces: the old entry it stands for.
            token: the operation that ends with it.
            condemns: the old one it replaces, which is to be deleted later.
        """
        with self._lock:
            entry: dict[str, Any] = {"o": "add", "h": self._next_handle, "r": resource}
            if replaces is not None:
                entry["d"] = self._handles.get(replaces)
            if condemns is not None:
                entry["c"] = self._handles[condemns]
            self._handles[resource] = self._next_handle
            self._next_handle += 1
            self._finish(entry, token, sync=False)
            if not resource.external:
                self._settle(resource)
        self._after(token)

    def keep(self, resource: Resource) -> None:
        """Record a resource that stays as it was."""
        self._finish({"o": "keep", "h": self._handles[resource]}, None)

    def change(self, resource: Resource, token: int | None = None) -> None:
        """Record that a recorded resource's fields changed in place."""
        if resource in self._handles:
            self._finish({"o": "set", "h": self._handles[resource], "r": resource}, token)

    def drop(self, resource: Resource, token: int | None = None) -> None:
        """Record that a resource is gone."""
        self._finish({"o": "drop", "h": self._handles[resource]}, token)

    def _settle(self, resource: Resource) -> None:
        """Forget a creation an earlier run left pending: the same resource is there now."""
        for number, operation in list(self._fold.pending.items()):
            found = operation.resource
            if number not in self._mine and found.urn == resource.urn and same(found.inputs, resource.inputs):
                self._record({"o": "end", "n": number})

    def _finish(self, entry: dict[str, Any], token: int | None, *, sync: bool = True) -> None:
        with self._lock:
            self._record(entry if token is None else {**entry, "n": token})
        if sync:
            self._after(token)

    def _after(self, token: int | None) -> None:
        """Make the end of an operation durable."""
        if token is None:
            return
        self._sync()
        with self._lock:
            if self._store is not None and self._cost <= SHARE * (time.monotonic() - self._last):
                self.save()

    def _record(self, entry: dict[str, Any]) -> None:
        self._fold.apply(entry)
        self._line(entry)

    # -- the file -------------------------------------------------------------------------------

    def _line(self, entry: dict[str, Any]) -> None:
        """Write an entry; nothing is written before the first operation begins."""
        if self._store is None:
            return
        if "r" in entry:
            entry = {**entry, "r": resource_to_json(entry["r"], self._manager.encrypt)}
        self._buffer.append(json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        if self._file is None and "n" in entry:
            directory = self._store.journal_file.parent
            directory.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            self._file = os.fdopen(os.open(self._store.journal_file, flags, 0o600), "wb", buffering=0)
            sync_directory(directory)
        if self._file is not None:
            self._file.write(b"".join(self._buffer))
            self._written += len(self._buffer)
            self._buffer.clear()

    def _sync(self) -> None:
        """Make all written lines durable; threads that wait together share one fsync."""
        wanted = self._written
        with self._sync_lock:
            if self._file is None or self._synced >= wanted:
                return
            target = self._written
            os.fdatasync(self._file.fileno())
            self._synced = target

    # -- the checkpoint ---------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint whole; the journal goes on from it."""
        if self._store is None:
            return
        with self._lock:
            started = time.monotonic()
            self._store.write_checkpoint(self._fold.merged(), self._announce)
            self._last = time.monotonic()
            self._cost = self._last - started

    def _announce(self, digest: str) -> None:
        if self._file is None:
            self._buffer.clear()
        self._line({"o": "base", "sha256": digest, **self._fold.layout()})
        self._sync()

    def close(self) -> Snapshot:
        """Write the final checkpoint, remove the journal, and return the state."""
        self.save()
        with self._lock:
            if self._file is not None and self._store is not None:
                self._file.close()
                self._file = None
                self._store.journal_file.unlink(missing_ok=True)
            return self._fold.merged()


def recover(store: StackStore, snapshot: Snapshot, manager: SecretsManager) -> Snapshot | None:
    """Fold the journal a killed run left into its checkpoint's state.

    Returns:
        The state, or None where there is no journal or it adds nothing.

    Raises:
        StateError: the journal is damaged, or continues another checkpoint.
    """
    try:
        lines = store.journal_file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            entries.append(json.loads(line))
        except ValueError:
            if number >= len(lines) - 2:
                break  # the line that was being written when the run was killed
            raise StateError(
                f"{store.journal_file} line {number + 1} is damaged: move the file away to go on "
                "from the checkpoint alone"
            ) from None
    if not entries:
        store.journal_file.unlink()
        return None
    digest = store.checkpoint_digest()
    bases = [n for n, entry in enumerate(entries) if entry.get("o") == "base" and entry.get("sha256") == digest]
    if not bases:
        raise StateError(
            f"{store.journal_file} continues a checkpoint that has been changed since (by another engine?): "
            "compare it with the state, then move it away"
        )
    fold = _Fold(snapshot, entries[bases[-1]])
    for entry in entries[bases[-1] + 1 :]:
        if entry["o"] != "base":  # announced, but killed before it was in place
            if "r" in entry:
                entry["r"] = resource_from_json(entry["r"], manager.decrypt)
            fold.apply(entry)
    return fold.merged()


def settle(store: StackStore, snapshot: Snapshot) -> None:
    """Make a recovered state the checkpoint, and remove the journal it came from."""

    def announce(digest: str) -> None:
        with store.journal_file.open("r+b") as file:
            content = file.read()
            # A torn last line goes: the next line must be one of its own.
            file.truncate(content.rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(json.dumps({"o": "base", "sha256": digest}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    store.write_checkpoint(snapshot, announce)
    store.journal_file.unlink()
