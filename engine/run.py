"""``pulumi preview``, ``up``, ``refresh`` and ``destroy``: preview, ask, run, show."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

from engine import operation, sdk
from engine.display.json_view import Digest, EventLog
from engine.display.lines import DiffDisplay, Display, LinesDisplay
from engine.display.render import Palette, wants_colour
from engine.display.summary import urn_label
from engine.display.view import View
from engine.errors import CancelledError, ConfigurationError, DeploymentFailed, EngineError, NoChangesExpectedError
from engine.operation import Outcome
from engine.preview import Preview
from engine.session import Session, previews_first
from engine.steps import Options

_TITLES = {
    "update": ("Previewing update", "Updating"),
    "refresh": ("Previewing refresh", "Refreshing"),
    "destroy": ("Previewing destroy", "Destroying"),
}


def operate(session: Session, arguments: argparse.Namespace) -> None:
    """Run one operation command.

    Raises:
        DeploymentFailed: it failed; its display says why.
        NoChangesExpectedError: there are changes though none were expected.
    """
    for setting in arguments.config:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ConfigurationError(f"--config {setting!r} must be key=value")
        session.settings.set(session.settings.qualify(key), value)
    kind = "update" if arguments.command in ("preview", "up") else arguments.command
    if arguments.command != "preview" and arguments.preview_only and arguments.yes:
        raise EngineError("--yes and --preview-only may not be given together: a preview asks nothing")
    if arguments.command == "preview" or arguments.preview_only:
        _expect(session, arguments, _once(session, kind, arguments, _no_gate, preview=True))
        return
    yes = arguments.yes or not previews_first(arguments) or bool(os.environ.get("PULUMI_SKIP_CONFIRMATIONS"))
    if not yes and (getattr(arguments, "non_interactive", False) or not sys.stdin.isatty()):
        raise ConfigurationError(
            "--yes or --skip-preview or --preview-only must be passed in to proceed when running in "
            "non-interactive mode"
        )
    with session.store.locked(_warn):
        outcome = _after_preview(session, kind, arguments, ask=not yes)
        if kind == "destroy":
            _after_destroy(session, arguments)
    _expect(session, arguments, outcome)


def _after_preview(session: Session, kind: str, arguments: argparse.Namespace, *, ask: bool) -> Outcome:
    """Preview, ask, and run; where nobody is asked, the run gets ready while the preview looks around."""
    if not previews_first(arguments):
        return _once(session, kind, arguments, _no_gate, preview=False)
    preview = _preview(session, kind, arguments)
    meanwhile = threading.Thread(target=_import_ssh, daemon=True)
    meanwhile.start()
    if ask:
        preview.succeed()
        _ask(session, kind, arguments)
    else:
        preview.wait_until_read()
    meanwhile.join()
    return _once(session, kind, arguments, preview.succeed, preview=False)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)  # noqa: T201


def _preview(session: Session, kind: str, arguments: argparse.Namespace) -> Preview:
    """Preview in a child process: the program may leave anything behind in its own."""
    if kind == "update":
        sdk.load()
    return Preview(session.manager(), lambda read: _once(session, kind, arguments, read, preview=True))


def _import_ssh() -> None:
    """Import what remote commands need while there is nothing else to do: an eighth of an update's time."""
    with suppress(ImportError):
        importlib.import_module("asyncssh")


def _ask(session: Session, kind: str, arguments: argparse.Namespace) -> None:
    while True:
        answer = input(f"Do you want to perform this {kind} of {session.store.name}? [yes/no/details] ").strip().lower()
        if answer == "details":
            detailed = argparse.Namespace(**{**vars(arguments), "diff": True})
            _preview(session, kind, detailed).succeed()
        elif answer in ("y", "yes"):
            return
        else:
            raise CancelledError(f"confirmation declined, not proceeding with the {kind}")


class _Audience:
    """Who hears an operation's events, once it may show anything; what comes before that is kept for then."""

    def __init__(self, views: list[View], *, at_once: bool) -> None:
        self._views = views
        self._kept: list[object] | None = None if at_once else []
        self._lock = threading.RLock()  # Ctrl-C is told from a signal handler, which may come upon its own thread

    def __call__(self, event: object) -> None:
        with self._lock:
            if self._kept is not None:
                self._kept.append(event)
                return
        for view in self._views:
            view(event)

    def admit(self) -> None:
        """Tell what was kept, and from now on everything at once."""
        with self._lock:
            for event in self._kept or ():
                for view in self._views:
                    view(event)
            self._kept = None


def _once(
    session: Session, kind: str, arguments: argparse.Namespace, gate: Callable[[], None], *, preview: bool
) -> Outcome:
    display = _display(session, kind, arguments, preview=preview)
    options = Options(
        preview=preview,
        parallel=max(1, arguments.parallel),
        refresh=getattr(arguments, "refresh", "false") in ("true", "True"),
        targets=list(arguments.target),
        target_dependents=arguments.target_dependents,
    )
    log_file = arguments.event_log or os.environ.get("PULUMI_EVENT_LOG")
    opened: Any = Path(log_file).open("a", encoding="utf-8") if log_file else nullcontext()  # noqa: SIM115
    with opened as log, closing(display):
        audience = _Audience([EventLog(log), display] if log is not None else [display], at_once=preview)

        def pass_gate() -> None:
            gate()
            audience.admit()

        outcome = operation.run(
            session,
            kind,
            options,
            audience,
            message=arguments.message,
            clear_pending_creates=getattr(arguments, "clear_pending_creates", False),
            gate=pass_gate,
        )
    session.changed_urns = display.changed_urns
    if outcome.failed:
        failed = DeploymentFailed("the operation failed")
        if outcome.interrupted:
            failed.exit_code = CancelledError.exit_code
        raise failed
    return outcome


def _no_gate() -> None:
    """For an operation that nothing goes before."""


def _display(session: Session, kind: str, arguments: argparse.Namespace, *, preview: bool) -> View:
    out = sys.stdout
    if arguments.json:
        digest = Digest(out, show_secrets=arguments.show_secrets, show_sames=arguments.show_sames)
        return digest if preview else EventLog(out)
    chosen: type[Display] = LinesDisplay
    if arguments.diff:
        chosen = DiffDisplay
    elif out.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not arguments.suppress_progress:
        from engine.display.tree import TreeDisplay

        chosen = TreeDisplay
    return chosen(
        out,
        Palette(enabled=wants_colour(getattr(arguments, "color", "auto"), out)),
        title=_TITLES[kind][0 if preview else 1],
        stack=session.store.name,
        preview=preview,
        show_secrets=arguments.show_secrets,
        suppress_outputs=arguments.suppress_outputs,
        show_sames=arguments.show_sames,
    )


def _expect(session: Session, arguments: argparse.Namespace, outcome: Outcome) -> None:
    if arguments.expect_no_changes and outcome.changed:
        named = "".join(f"\n  {kind} {urn_label(urn)}" for kind, urn in session.changed_urns)
        what = "preview" if arguments.command == "preview" else arguments.command.replace("up", "update")
        raise NoChangesExpectedError(f"no changes were expected for {what} but changes were proposed:{named}")


def _after_destroy(session: Session, arguments: argparse.Namespace) -> None:
    if arguments.target:
        return
    kept = "but the history and configuration associated with the stack are still maintained. \nIf you want to remove "
    kept += f"the stack completely, run `pulumi stack rm {session.store.name}`."
    if arguments.remove:
        session.remove()
        kept = "and the history and configuration removed."
    if not arguments.json:
        print(f"The resources in the stack have been deleted, {kept}")  # noqa: T201
