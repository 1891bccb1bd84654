"""The file backend, laid out as the official CLI lays it out.

``<root>/.pulumi/``: ``stacks/<project>/<stack>.json`` (and ``.bak``), ``locks/organization/…``,
``history/…``, ``backups/…``. One directory is ours: ``journals/<project>/<stack>.jsonl``, which
exists while an operation runs. Layout: pulumi/pkg/backend/diy/state.go.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import shutil
import socket
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.checkpoint import Snapshot, deployment_from_json, deployment_to_json, encode, now, refused_version, salt_of
from engine.errors import EngineError, LockedError, StackNotFoundError, StateError, UnsupportedError
from engine.secrets import SecretsManager


def parse_url(url: str, relative_to: Path) -> Path:
    """Return the directory a ``file://`` URL names.

    Raises:
        UnsupportedError: the URL names another kind of backend.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme != "file":
        raise UnsupportedError(f"the backend {url}")
    path = urllib.parse.unquote(rest.split("?", 1)[0])
    if path == "~" or path.startswith("~/"):
        return Path(path).expanduser()
    return (relative_to / path).resolve()


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write beside the target, fsync, rename over it, and fsync the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON map; empty where there is none."""
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


class Backend:
    """A file backend.

    Args:
        root: the directory that holds ``.pulumi``.
        url: its URL, for messages.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root = root / ".pulumi"
        self.url = url

    def _ready(self) -> None:
        meta = self.root / "meta.yaml"
        if meta.is_file():
            text = meta.read_text(encoding="utf-8")
            version = text.partition("version:")[2].strip()
            if version != "1":
                raise UnsupportedError(f"{meta}: layout version {version or 'unknown'}")
            return
        if any(self.root.glob("stacks/*.json")):
            raise UnsupportedError(f"{self.root}: the legacy layout without projects")
        write_atomically(meta, b"version: 1\n", 0o644)

    def stack(self, project: str, name: str) -> StackStore:
        """Return the store of a stack that exists.

        Raises:
            StackNotFoundError: it does not.
        """
        store = StackStore(self, project, name)
        if not store.exists():
            raise StackNotFoundError(f"no stack named '{name}' found")
        self._ready()
        return store

    def create(self, project: str, name: str) -> StackStore:
        """Make an empty stack.

        Raises:
            EngineError: it exists.
        """
        self._ready()
        store = StackStore(self, project, name)
        if store.exists():
            raise EngineError(f"stack '{store.full_name}' already exists")
        store.write_deployment(None)
        return store

    def list(self, project: str) -> list[str]:
        """Return the names of a project's stacks."""
        found = (self.root / "stacks" / project).glob("*.json")
        return sorted(file.name.removesuffix(".json") for file in found if not file.name.startswith("."))


class StackStore:
    """The files of one stack."""

    def __init__(self, backend: Backend, project: str, name: str) -> None:
        root = backend.root
        self.backend = backend
        self.name = name
        self.manager: SecretsManager | None = None
        self.full_name = f"organization/{project}/{name}"
        self.file = root / "stacks" / project / f"{name}.json"
        self.lock_directory = root / "locks" / "organization" / project / name
        self.history_directory = root / "history" / project / name
        self.backup_directory = root / "backups" / project / name
        self.journal_file = root / "journals" / project / f"{name}.jsonl"

    def exists(self) -> bool:
        """Tell whether the stack exists.

        Raises:
            UnsupportedError: its checkpoint is compressed.
        """
        for suffix in (".gz", ".zst"):
            if self.file.with_name(self.file.name + suffix).exists() and not self.file.exists():
                raise UnsupportedError(f"the compressed checkpoint {self.file}{suffix}")
        return self.file.is_file()

    def read_deployment(self) -> dict[str, Any] | None:
        """Return the raw deployment, or None for a stack that never had one.

        Raises:
            StateError: the checkpoint is damaged.
        """
        try:
            document = json.loads(self.file.read_bytes())
            refused = refused_version(document)
            latest = document["checkpoint"].get("latest")
        except FileNotFoundError:
            raise StackNotFoundError(f"no stack named '{self.name}' found") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StateError(
                f"{self.file} is not a checkpoint: the last good one may be {self.file.name}.bak beside it, "
                f"and older ones stand in {self.backup_directory}"
            ) from None
        if refused:
            raise UnsupportedError(f"{self.file}: a checkpoint of {refused}")
        return latest  # type: ignore[no-any-return]

    def updated(self) -> str:
        """Return when the state was last written."""
        time_ = ((self.read_deployment() or {}).get("manifest") or {}).get("time")
        return time_ or datetime.fromtimestamp(self.file.stat().st_mtime, UTC).isoformat().replace("+00:00", "Z")

    def salt(self) -> str:
        """Return the salt of the state's secrets, or an empty string."""
        return salt_of(self.read_deployment())

    def read(self, manager: SecretsManager) -> Snapshot:
        """Read and decode the checkpoint alone, without a journal."""
        return deployment_from_json(self.read_deployment(), manager)

    def checkpoint_digest(self) -> str:
        """Return the sha256 of the checkpoint file, or an empty string."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest() if self.file.exists() else ""

    def write_checkpoint(self, snapshot: Snapshot, announce: Callable[[str], None] | None = None) -> None:
        """Write the checkpoint, the one before it to ``.bak``; ``announce`` hears its sha256 first."""
        if self.manager is None:
            raise StateError("the state cannot be written without its secrets provider")
        self.write_deployment(deployment_to_json(snapshot, self.manager.encrypt), announce)

    def write_deployment(
        self, deployment: dict[str, Any] | None, announce: Callable[[str], None] | None = None
    ) -> None:
        """Write a raw deployment as the checkpoint."""
        content = encode(self.full_name, deployment)
        if announce is not None:
            announce(hashlib.sha256(content).hexdigest())
        if self.file.exists():
            backup = self.file.with_name(self.file.name + ".bak")
            staged = backup.with_name(f".{backup.name}.{os.getpid()}")
            staged.unlink(missing_ok=True)
            os.link(self.file, staged)
            staged.replace(backup)
        write_atomically(self.file, content)

    # -- locks ----------------------------------------------------------------------------------

    @contextmanager
    def locked(self, warn: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hold the stack's lock.

        A lock this engine left behind when it was killed is recognised (the kernel dropped its flock)
        and taken over with a warning; any other lock is respected.

        Raises:
            LockedError: another process holds the stack.
        """
        self.lock_directory.mkdir(parents=True, exist_ok=True)
        mine = self.lock_directory / f"{uuid.uuid4()}.json"
        held: int | None = None
        gate = os.open(self.lock_directory, os.O_RDONLY)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            self._refuse_if_held(warn)
            content = {
                "pid": os.getpid(),
                "username": username(),
                "hostname": socket.gethostname(),
                "timestamp": now(),
                "engine": "embedded",
            }
            held = os.open(mine, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(held, fcntl.LOCK_EX)
            os.write(held, json.dumps(content).encode())
            self._refuse_if_held(warn, but=mine)
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield
        finally:
            if held is not None:
                mine.unlink(missing_ok=True)
                os.close(held)
            os.close(gate)

    def holders(self) -> list[tuple[Path, dict[str, Any]]]:
        """Return the lock files and what they say."""
        return [(file, read_json(file)) for file in sorted(self.lock_directory.glob("*.json"))]

    def _refuse_if_held(self, warn: Callable[[str], None] | None, but: Path | None = None) -> None:
        live = []
        for file, content in self.holders():
            if file == but:
                continue
            if _left_behind(file, content):
                file.unlink(missing_ok=True)
                if warn is not None:
                    warn(f"took over the lock of {_who(content)}, which was killed")
                continue
            live.append(f"\n  {file}: created by {_who(content)} at {content.get('timestamp', 'an unknown time')}")
        if live:
            raise LockedError(
                f"the stack is currently locked by {len(live)} lock(s). Either wait for the other process(es) "
                f"to end or delete the lock file with `pulumi cancel`.{''.join(live)}"
            )

    def cancel(self) -> int:
        """Remove every lock, whoever holds it, and return how many there were."""
        holders = self.holders()
        for file, _ in holders:
            file.unlink(missing_ok=True)
        return len(holders)

    # -- history --------------------------------------------------------------------------------

    def add_history(self, record: dict[str, Any]) -> None:
        """Record an update, with copies of the checkpoint, as the official backend does."""
        self.history_directory.mkdir(parents=True, exist_ok=True)
        self.backup_directory.mkdir(parents=True, exist_ok=True)
        stamp = time.time_ns()
        prefix = self.history_directory / f"{self.name}-{stamp}"
        write_atomically(prefix.with_name(prefix.name + ".history.json"), json.dumps(record).encode())
        for copy in (
            prefix.with_name(prefix.name + ".checkpoint.json"),
            self.backup_directory / f"{self.name}.{stamp}.json",
        ):
            try:
                os.link(self.file, copy)  # the checkpoint is replaced, never written into
            except OSError:
                shutil.copy2(self.file, copy)

    def history(self) -> list[dict[str, Any]]:
        """Return the recorded updates, the newest first."""
        records = []
        for file in sorted(self.history_directory.glob("*.history.json"), reverse=True):
            try:
                records.append(json.loads(file.read_bytes()))
            except ValueError:
                raise StateError(f"{file} is not a history record") from None
        return records

    def remove(self) -> None:
        """Remove the stack: its checkpoint becomes the ``.bak``, as in the official CLI."""
        self.file.replace(self.file.with_name(self.file.name + ".bak"))
        self.journal_file.unlink(missing_ok=True)
        shutil.rmtree(self.history_directory, ignore_errors=True)


def username() -> str:
    """Return the user's name, or number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _who(content: dict[str, Any]) -> str:
    return (
        f"{content.get('username', 'unknown')}@{content.get('hostname', 'unknown')} "
        f"(pid {content.get('pid', 'unknown')})"
    )


def _left_behind(file: Path, content: dict[str, Any]) -> bool:
    """Tell whether a lock is this engine's, made on this host, and its process is gone."""
    if content.get("engine") != "embedded" or content.get("hostname") != socket.gethostname():
        return False
    try:
        descriptor = os.open(file, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
