"""A stack with its settings, secrets and state, ready for operations."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.backend import Backend, StackStore, parse_url
from engine.checkpoint import Snapshot, verify
from engine.configuration import Setting, StackSettings, effective, hidden
from engine.errors import EngineError, SecretsError
from engine.journal import recover, settle
from engine.project import Project, check_stack_name, find_project
from engine.secrets import SecretsManager, read_passphrase
from engine.workspace import resolve_url, select_stack, selected_stack


class Session:
    """A stack, ready for operations.

    Args:
        project: its project.
        store: its files.
    """

    def __init__(self, project: Project, store: StackStore) -> None:
        self.project = project
        self.store = store
        self.settings = StackSettings(project.settings_file(store.name), project.name)
        self._manager: SecretsManager | None = None
        self.changed_urns: list[tuple[str, str]] = []

    def manager(self) -> SecretsManager:
        """Return the secrets manager of the stack; a stack without one gets one.

        Raises:
            SecretsError: no or a wrong passphrase.
        """
        if self._manager is None:
            state_salt = self.store.salt()
            salt = self.settings.salt or state_salt
            if salt:
                if self.settings.salt and state_salt and state_salt != self.settings.salt:
                    raise SecretsError(
                        f"{self.settings.path} and the stack's state name different encryption salts: "
                        "restore the settings file the stack was made with"
                    )
                self._manager = SecretsManager(salt, read_passphrase())
                if not self.settings.salt:
                    self.settings.set_salt(salt)
            else:
                self._manager = SecretsManager.create(read_passphrase())
                self.settings.set_salt(self._manager.salt)
            self.store.manager = self._manager
        return self._manager

    def config(self, *, checked: bool = True) -> dict[str, Setting]:
        """Return the effective configuration, decrypted."""
        return effective(self.project, self.settings, lambda text: self.manager().decrypt_text(text), checked=checked)

    def shown_config(self) -> dict[str, Setting]:
        """Return the effective configuration for eyes: its secrets hidden, so that no passphrase is needed."""
        return effective(self.project, self.settings, hidden, checked=False)

    def snapshot(self, warn: Callable[[str], None] | None = None, *, settled: bool = False) -> Snapshot:
        """Read the state, a killed run's journal folded in; a wrong passphrase shows when a secret is first used.

        Args:
            warn: told where there was a journal.
            settled: make what was folded the checkpoint.

        Raises:
            StateError: the state is damaged.
        """
        manager = self.manager()
        snapshot = self.store.read(manager)
        recovered = recover(self.store, snapshot, manager)
        snapshot = replace(recovered or snapshot, salt=manager.salt)
        verify(snapshot.resources)
        if recovered is not None:
            if warn is not None:
                warn("the last operation was killed: its journal was folded into the state")
            if settled:
                settle(self.store, snapshot)
        return snapshot

    def remove(self, *, keep_settings: bool = False) -> None:
        """Remove the stack: its files, its settings, and the choice of it."""
        self.store.remove()
        if not keep_settings:
            self.settings.path.unlink(missing_ok=True)
        url = self.store.backend.url
        if selected_stack(self.project, url) == self.store.name:
            select_stack(self.project, url, None)


def open_backend(project: Project) -> Backend:
    """Return the backend the environment, the project file or ``login`` names."""
    url = resolve_url(project.backend_url)
    base = Path.cwd() if os.environ.get("PULUMI_BACKEND_URL") else project.directory
    root = parse_url(url, base)
    if not root.is_dir():
        raise EngineError(f"the backend {url} is not there: {root} is no directory: make it, or name another")
    return Backend(root, url)


def named_stack(arguments: argparse.Namespace, project: Project) -> str | None:
    """Return the stack the command line names, if it does.

    Raises:
        ConfigurationError: the name is malformed, or one of another project's.
    """
    named = getattr(arguments, "name", None) or getattr(arguments, "stack", None)
    return check_stack_name(named, project.name) if named else None


def previews_first(arguments: argparse.Namespace) -> bool:
    """Tell whether a command previews in a process of its own before it changes anything."""
    if arguments.command == "preview" or arguments.preview_only:
        return False
    return not (arguments.skip_preview or os.environ.get("PULUMI_SKIP_PREVIEW"))


def operate(arguments: argparse.Namespace) -> None:
    """Open a stack for ``preview``, ``up``, ``refresh`` or ``destroy``, and run it.

    The key takes longest to be had: it is derived while the rest of the engine is imported, but for a command that
    forks first, which a thread would not survive.
    """
    forks = previews_first(arguments)
    session = open_session(arguments)
    if not forks:
        session.manager().start()
    from engine import run

    run.operate(session, arguments)


def open_session(arguments: argparse.Namespace) -> Session:
    """Open the stack a command line names, or the selected one.

    Raises:
        StackNotFoundError: there is no such stack.
        EngineError: none is selected.
    """
    project = find_project(Path.cwd())
    backend = open_backend(project)
    name = named_stack(arguments, project) or os.environ.get("PULUMI_STACK") or selected_stack(project, backend.url)
    if not name:
        raise EngineError("no stack selected; please use `pulumi stack select` or `pulumi stack init` to choose one")
    return Session(project, backend.stack(project.name, check_stack_name(name, project.name)))
