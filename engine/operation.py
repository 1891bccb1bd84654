"""Runs one operation on one stack: lock, state, program, deletions, history."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engine import deletion, pending, refresh, sdk
from engine.capture import capturing
from engine.checkpoint import STACK_TYPE
from engine.configuration import decrypt_setting, hidden, to_text
from engine.deployment import Deployment
from engine.errors import CancelledError, StackNotFoundError
from engine.events import DiagnosticEvent, PreludeEvent, Sink, SummaryEvent
from engine.goal import make_urn
from engine.journal import SnapshotManager
from engine.monitor import Engine, Monitor
from engine.project import Project
from engine.providers.base import GRACE
from engine.providers.ssh import Pool
from engine.secrets import SecretsManager, read_passphrase
from engine.session import Session
from engine.steps import Control, Options
from engine.values import Properties, reencrypted


@dataclass
class Outcome:
    """What an operation came to."""

    changes: dict[str, int]
    failed: bool
    interrupted: bool = False

    @property
    def changed(self) -> int:
        """How many resources change."""
        return sum(count for name, count in self.changes.items() if name not in ("same", "read", "discard"))


def run(
    session: Session,
    kind: str,
    options: Options,
    events: Sink,
    *,
    message: str = "",
    clear_pending_creates: bool = False,
    gate: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run an operation: ``update``, ``refresh`` or ``destroy``, for real or as a preview.

    Args:
        session: the stack.
        kind: what is done.
        options: how.
        events: hears what happens.
        message: for the history.
        clear_pending_creates: forget interrupted creations.
        gate: called, maybe more than once, when the program has been read and before anything is done; what it raises
            ends the operation as if it had never been begun.

    Raises:
        EngineError: it could not begin.
    """
    control = Control()
    started = time.time()
    begun = False
    manager = session.manager()
    if not options.preview:
        manager.start()
    # Let the key derivation and the program's imports overlap; both take most of a small preview.
    if kind == "update":
        sdk.load()
    config = session.config(checked=kind == "update")
    project, stack = session.project.name, session.store.name
    stack_urn = make_urn(stack, project, "", STACK_TYPE, f"{project}-{stack}")
    events(PreludeEvent({key: setting.value for key, setting in session.shown_config().items()}, stack_urn))

    def warn(text: str, *, at_once: bool = False) -> None:
        if at_once:
            events(DiagnosticEvent("info", text + "\n", stack_urn, ephemeral=True))
        events(DiagnosticEvent("warning", text + "\n", stack_urn))

    def begin() -> None:
        """Let the operation begin, once its key is there: a wrong passphrase is told before anything is done."""
        nonlocal begun, started
        if not begun:
            manager.wait()
            gate()
            started, begun = time.time(), True

    snapshot = session.snapshot(warn, settled=not options.preview)
    interrupted = pending.set_aside(snapshot, clear_creations=clear_pending_creates)
    pending.tell(interrupted, warn)
    state = SnapshotManager(None if options.preview else session.store, snapshot, manager)
    pool = Pool()
    deployment = Deployment(
        project=project,
        stack=stack,
        config=config,
        snapshot=snapshot,
        manager=state,
        events=events,
        options=options,
        control=control,
        pool=pool,
    )

    try:
        with (
            capturing(functools.partial(_report, events)),
            _interruptible(control, functools.partial(warn, at_once=True)),
        ):
            if kind != "update" or interrupted or options.refresh:
                begin()
            pending.resolve(deployment, interrupted)
            _work(session, kind, deployment, stack_urn, begin)
    finally:
        pool.close()
        if begun:
            state.close()
    failed = deployment.steps.failed or control.stop.is_set()
    changes = dict(sorted(deployment.steps.changes.items()))
    seconds = time.time() - started
    if deployment.steps.step_failed or control.interrupted:
        ended = "failed" if deployment.steps.step_failed else "canceled"
        events(DiagnosticEvent("error", f"{'preview' if options.preview else 'update'} {ended}\n"))
    events(SummaryEvent(changes, seconds, options.preview, failed))
    if not options.preview:
        _record(session, kind, message, started, changes, failed=failed)
    return Outcome(changes, failed, control.interrupted)


def _report(events: Sink, urn: str, stream: str, text: str) -> None:
    """Tell what a provider printed."""
    events(DiagnosticEvent("info" if stream == "stdout" else "info#err", text, urn))


def _record(
    session: Session, kind: str, message: str, started: float, changes: dict[str, int], *, failed: bool
) -> None:
    session.store.add_history(
        {
            "kind": kind,
            "startTime": int(started),
            "message": message,
            "environment": _environment(session.project),
            "config": _history_config(session),
            "result": "failed" if failed else "succeeded",
            "endTime": int(time.time()),
            "version": 3,
            "resourceChanges": changes,
        }
    )


def _work(session: Session, kind: str, deployment: Deployment, stack_urn: str, begin: Callable[[], None]) -> None:
    options = deployment.options
    if kind != "update" and not _found_targets(deployment):
        return
    if options.refresh or kind == "refresh":
        refresh.refresh(deployment, alone=kind == "refresh")
    if kind == "destroy":
        if not deployment.control.stop.is_set():
            deletion.delete(deployment, everything=True)
        return
    if kind != "update" or deployment.control.stop.is_set():
        return
    monitor = Monitor(deployment, lambda name: _other_stack(session, name), stack_urn, begin)
    program = session.project.main
    error = sdk.run_program(
        program.parent if program.name == "__main__.py" else program,
        monitor,
        Engine(deployment, stack_urn),
        project=session.project.name,
        stack=session.store.name,
        config=deployment.config,
        preview=options.preview,
        parallel=options.parallel,
        root=session.project.directory,
    )
    begin()
    if error is not None:
        if error:
            deployment.steps.say("error", error)
        deployment.control.stop.set()
    ended = _found_targets(deployment) and not deployment.control.stop.is_set()
    if ended:
        deletion.delete(deployment, everything=False)
    # Where anything failed, the outputs told so far may not be all of them: they come over those there were.
    failed = deployment.steps.failed or deployment.steps.step_failed or deployment.control.stop.is_set()
    deployment.register_stack_outputs(stack_urn, monitor.stack_outputs, over_old=failed)


def _found_targets(deployment: Deployment) -> bool:
    """Tell whether all targets are in the state, or the program has made them."""
    known = deployment.olds.keys() | deployment.registered
    missing = [urn for urn in deployment.targets.literals if urn not in known]
    for urn in missing:
        hint = "" if "$" in urn else " Did you forget to escape $ in your shell?"
        deployment.steps.say("error", f"Target '{urn}' could not be found in the stack.{hint}")
    if missing:
        deployment.control.stop.set()
    return not missing


def _other_stack(session: Session, name: str) -> Properties:
    """Return the outputs of a stack of the same backend; ``name`` may be qualified."""
    parts = name.split("/")
    project = parts[-2] if len(parts) > 1 else session.project.name
    store = session.store.backend.stack(project, parts[-1])
    salt = store.salt()
    manager = session.manager() if salt in ("", session.manager().salt) else SecretsManager(salt, read_passphrase())
    stack = next((item for item in store.read(manager).resources if item.type == STACK_TYPE), None)
    if stack is None:
        raise StackNotFoundError(f"the stack {name} has no outputs yet: run `pulumi up` on it first")
    return {key: reencrypted(value) for key, value in stack.outputs.items()}


@contextmanager
def _interruptible(control: Control, warn: Callable[[str], None]) -> Iterator[None]:
    """First Ctrl-C: finish what runs and save. Second: end at once; the journal holds the state."""

    def handle(_number: int, _frame: Any) -> None:
        if control.stop.is_set() and control.interrupted:
            for running in list(control.running):
                running.set()
            deadline = time.monotonic() + GRACE
            while control.running and time.monotonic() < deadline:
                time.sleep(0.02)
            os._exit(CancelledError.exit_code)
        control.interrupted = True
        control.stop.set()
        warn(
            "interrupted: the running operations are being finished; press Ctrl-C again to stop at once "
            "(what runs then stays a pending operation)"
        )

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _environment(project: Project) -> dict[str, str]:
    """Describe the git commit at hand, as the official CLI records it."""
    found = {"exec.kind": "cli"}
    try:
        shown = subprocess.run(
            ["git", "-C", str(project.directory), "log", "-1", "--format=%H%n%cn%n%ce%n%an%n%ae"],
            capture_output=True, text=True, check=True, timeout=5,
        ).stdout.splitlines()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return found
    names = ("git.head", "git.committer", "git.committer.email", "git.author", "git.author.email")
    return found | dict(zip(names, shown, strict=False))


def _history_config(session: Session) -> dict[str, Any]:
    recorded: dict[str, Any] = {}
    for key, raw in session.settings.config.items():
        whole = isinstance(raw, dict) and set(raw) == {"secure"}
        _, secret = decrypt_setting(raw, hidden)
        entry: dict[str, Any] = {"value": raw["secure"] if whole else to_text(raw), "secret": secret}
        if isinstance(raw, dict | list) and not whole:
            entry["object"] = True
        recorded[key] = entry
    return recorded
