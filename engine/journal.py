"""Keeps a running operation's state on disk without rewriting the whole checkpoint per step.

Before a provider may touch anything, a ``begin`` line is appended to the journal and fsynced; after
it answered, a line with the outcome is. A run killed at any moment therefore leaves checkpoint plus
journal, and :func:`recover` folds them into the state the official CLI would have written: finished
steps done, an unfinished one under ``pending_operations``. The checkpoint itself is rewritten whole
(aside, fsynced, renamed) at the end, and in between as often as that stays cheap.

Lines (JSON, one an entry): ``base`` names the checkpoint by its sha256; ``begin`` an operation;
``end`` it; ``add`` a finished resource that takes the place of ``d`` or condemns ``c``; ``keep`` one left as it was;
``set`` one changed in place; ``drop`` a deleted one. Handles ``h`` number the resources of the base
from 0, and new ones from there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from engine.checkpoint import (
    PendingOperation,
    Resource,
    Snapshot,
    resource_from_json,
    resource_to_json,
)
from engine.errors import StateError
from engine.secrets import SecretsManager
from engine.values import same

# The whole checkpoint is written during a run when that costs less than this share of its time.
SHARE: Final = 0.05


class Store(Protocol):
    """Where a stack's checkpoint and journal live (the backend's side)."""

    journal_file: Path

    def write_checkpoint(self, snapshot: Snapshot, announce: Callable[[str], None] | None = None) -> None:
        """Write the checkpoint whole; ``announce`` hears its sha256 before it is in place."""

    def checkpoint_digest(self) -> str:
        """Return the sha256 of the checkpoint file, or an empty string."""


class _Fold:
    """The state while it changes: the base, what took its place, and what is under way."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.pending: dict[int, PendingOperation] = {}
        self.rebase(snapshot)

    def rebase(self, snapshot: Snapshot, done: int = 0) -> None:
        """Start over from a snapshot whose first ``done`` resources this run has finished."""
        self.done = done
        self.snapshot = snapshot
        self.base = list(snapshot.resources)
        self.gone: set[int] = set()
        self.new: dict[int, Resource] = {}
        self.renamed: dict[str, str] = {}
        self.pending = dict(enumerate(snapshot.pending))
        self.next_handle = len(self.base)
        self.next_operation = len(self.pending)

    def add(self, resource: Resource, replaces: int | None, handle: int | None = None) -> int:
        handle = self.next_handle if handle is None else handle
        self.next_handle = max(self.next_handle, handle + 1)
        if replaces is not None:
            self.gone.add(replaces)
            old = self.base[replaces]
            if old.urn != resource.urn:
                self.renamed[old.urn] = resource.urn
        self.new[handle] = resource
        return handle

    def drop(self, handle: int) -> None:
        if handle in self.new:
            del self.new[handle]
        else:
            self.gone.add(handle)

    def finished(self) -> list[Resource]:
        kept = [self.base[number] for number in range(self.done) if number not in self.gone]
        return [*kept, *self.new.values()]

    def remaining(self) -> list[Resource]:
        return [self.base[n] for n in range(self.done, len(self.base)) if n not in self.gone]

    def merged(self) -> Snapshot:
        finished = self.finished()
        rest = self.remaining()
        if self.renamed:
            rest = [_rename(item, self.renamed) for item in rest]
        resources = [*finished, *rest]
        return dataclasses.replace(
            self.snapshot, resources=resources, pending=[self.pending[n] for n in sorted(self.pending)]
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

    def __init__(self, store: Store | None, snapshot: Snapshot, manager: SecretsManager) -> None:
        self._store = store
        self._manager = manager
        self._fold = _Fold(snapshot)
        self._lock = threading.RLock()
        self._sync_lock = threading.Lock()
        self._file: Any = None
        self._buffer: list[str] = []
        self._written = 0
        self._synced = 0
        self._number()
        self._cost = 0.0
        self._last = time.monotonic()
        self._operations: dict[int, int] = {}
        self._next_token = 0
        if store is not None:
            self._line({"o": "base", "sha256": store.checkpoint_digest()})

    def _number(self) -> None:
        fold = self._fold
        self._handles = {id(item): number for number, item in enumerate(fold.base)}

    # -- what the run tells --------------------------------------------------------------------

    def begin(self, kind: str, resource: Resource) -> int:
        """Record that an operation begins, durably; return its token."""
        with self._lock:
            number = self._fold.next_operation
            self._fold.next_operation += 1
            self._fold.pending[number] = PendingOperation(resource, kind)
            token = self._next_token
            self._next_token += 1
            self._operations[token] = number
            self._line({"o": "begin", "n": number, "t": kind, "r": resource}, open_file=True)
        self._sync()
        return token

    def end(self, token: int) -> None:
        """Record that an operation ended and changed nothing."""
        with self._lock:
            self._line({"o": "end", **self._ended(token)})
        self._sync()

    def add(
        self,
        resource: Resource,
        replaces: Resource | None,
        token: int | None = None,
        condemns: Resource | None = None,
    ) -> None:
        """Record a finished resource.

        Args:
            resource: its state.
            replaces: the old entry it stands for.
            token: the operation that ends with it.
            condemns: the old one it replaces, which is to be deleted later.
        """
        with self._lock:
            condemned = {}
            if condemns is not None:
                condemns.delete = True
                condemned = {"c": self._handles[id(condemns)]}
            old = self._handles.get(id(replaces)) if replaces is not None else None
            handle = self._fold.add(resource, old)
            self._handles[id(resource)] = handle
            self._line({"o": "add", "h": handle, "d": old, "r": resource, **condemned, **self._ended(token)})
            if not resource.external:
                self._settle(resource)
        if token is not None:
            self._sync()
            self._perhaps_save()

    def keep(self, resource: Resource, old: Resource) -> None:
        """Record a resource that stays as it was."""
        with self._lock:
            number = self._handles[id(old)]
            handle = self._fold.add(resource, number)
            self._handles[id(resource)] = handle
            self._line({"o": "keep", "h": handle, "d": number})

    def change(self, resource: Resource, token: int | None = None) -> None:
        """Record that a recorded resource's fields changed in place."""
        with self._lock:
            handle = self._handles.get(id(resource))
            if handle is None:
                return
            self._line({"o": "set", "h": handle, "r": resource, **self._ended(token)})
        if token is not None:
            self._sync()

    def drop(self, resource: Resource, token: int | None = None) -> None:
        """Record that a resource is gone."""
        with self._lock:
            handle = self._handles[id(resource)]
            self._fold.drop(handle)
            self._line({"o": "drop", "h": handle, **self._ended(token)})
        if token is not None:
            self._sync()
            self._perhaps_save()

    def _settle(self, resource: Resource) -> None:
        """Forget a creation an earlier run left pending: the same resource is there now."""
        mine = set(self._operations.values())
        for number, operation in list(self._fold.pending.items()):
            pending = operation.resource
            if number not in mine and pending.urn == resource.urn and same(pending.inputs, resource.inputs):
                del self._fold.pending[number]
                self._line({"o": "end", "n": number})

    def _ended(self, token: int | None) -> dict[str, int]:
        if token is None:
            return {}
        number = self._operations.pop(token)
        self._fold.pending.pop(number, None)
        return {"n": number}

    # -- the file -------------------------------------------------------------------------------

    def _line(self, entry: dict[str, Any], *, open_file: bool = False) -> None:
        if self._store is None:
            return
        if isinstance(entry.get("r"), Resource):
            entry["r"] = resource_to_json(entry["r"], self._manager.encrypt)
        self._buffer.append(json.dumps(entry, separators=(",", ":"), ensure_ascii=False) + "\n")
        if self._file is None and (open_file or "n" in entry):
            self._open()
        if self._file is not None:
            self._file.write("".join(self._buffer).encode())
            self._written += len(self._buffer)
            self._buffer.clear()

    def _open(self) -> None:
        store = self._store
        if store is None:
            return
        store.journal_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(store.journal_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        directory = os.open(store.journal_file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _sync(self) -> None:
        """Make all written lines durable; threads that wait together share one fsync."""
        if self._store is None:
            return
        wanted = self._written
        with self._sync_lock:
            if self._file is None or self._synced >= wanted:
                return
            target = self._written
            os.fdatasync(self._file.fileno())
            self._synced = target

    # -- the checkpoint ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the state as it stands."""
        with self._lock:
            return self._fold.merged()

    def _perhaps_save(self) -> None:
        with self._lock:
            if self._store is not None and self._cost <= SHARE * (time.monotonic() - self._last):
                self.save()

    def save(self) -> None:
        """Write the checkpoint whole, and begin the journal anew from it."""
        store = self._store
        if store is None:
            return
        with self._lock:
            started = time.monotonic()
            merged = self._fold.merged()
            announce = self._announce if self._file is not None else None
            store.write_checkpoint(merged, announce)
            self._rebase(merged)
            self._last = time.monotonic()
            self._cost = self._last - started

    def _announce(self, digest: str) -> None:
        self._line({"o": "base", "sha256": digest, "done": len(self._fold.finished())})
        self._sync()

    def _rebase(self, merged: Snapshot) -> None:
        pending = {id(item): token for token, item in self._pending_by_token()}
        # The objects the run holds stay the ones it knows, though renamed copies were written.
        finished = self._fold.finished()
        originals = [*finished, *self._fold.remaining()]
        renamed = dict(self._fold.renamed)
        self._fold.rebase(merged, len(finished))
        self._fold.renamed = renamed
        self._fold.base = originals
        self._number()
        self._operations = {
            pending[id(item)]: number for number, item in self._fold.pending.items() if id(item) in pending
        }

    def _pending_by_token(self) -> list[tuple[int, PendingOperation]]:
        return [
            (token, self._fold.pending[number])
            for token, number in self._operations.items()
            if number in self._fold.pending
        ]

    def close(self) -> Snapshot:
        """Write the final checkpoint, remove the journal, and return the state."""
        self.save()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
                if self._store is not None:
                    self._store.journal_file.unlink(missing_ok=True)
            return self._fold.merged()


def recover(store: Store, snapshot: Snapshot, manager: SecretsManager) -> Snapshot | None:
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
    digest = store.checkpoint_digest()
    bases = [n for n, entry in enumerate(entries) if entry.get("o") == "base" and entry.get("sha256") == digest]
    if not entries or not bases:
        if not entries:
            store.journal_file.unlink()
            return None
        raise StateError(
            f"{store.journal_file} continues a checkpoint that has been changed since (by another engine?): "
            "compare it with the state, then move it away"
        )
    fold = _Fold(snapshot)
    fold.done = entries[bases[-1]].get("done", 0)
    for entry in entries[bases[-1] + 1 :]:
        _replay(fold, entry, manager)
    return fold.merged()


def settle(store: Store, snapshot: Snapshot) -> None:
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


def _replay(fold: _Fold, entry: dict[str, Any], manager: SecretsManager) -> None:
    kind = entry["o"]
    if kind == "base":
        return  # announced, but killed before it was in place
    resource = resource_from_json(entry["r"], manager.decrypt) if "r" in entry else None
    if kind == "begin" and resource is not None:
        fold.pending[entry["n"]] = PendingOperation(resource, entry["t"])
        return
    if "n" in entry:
        fold.pending.pop(entry["n"], None)
    if kind == "add" and resource is not None:
        fold.add(resource, entry["d"], entry["h"])
        if "c" in entry:
            (fold.new.get(entry["c"]) or fold.base[entry["c"]]).delete = True
    elif kind == "keep":
        fold.add(fold.base[entry["d"]], entry["d"], entry["h"])
    elif kind == "drop":
        fold.drop(entry["h"])
    elif kind == "set" and resource is not None:
        if entry["h"] in fold.new:
            fold.new[entry["h"]] = resource
        else:
            fold.base[entry["h"]] = resource
