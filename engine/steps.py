"""Carries out single steps: same, create, update, delete, read; each journaled and told as events."""

from __future__ import annotations

import dataclasses
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from engine.checkpoint import Resource, now
from engine.diff import DiffResult
from engine.errors import EngineError, OutcomeUnknown, ProviderError
from engine.events import DiagnosticEvent, OutputsEvent, Sink, StepEvent
from engine.journal import SnapshotManager
from engine.providers.base import Context, Provider, ReadResult, run_limited
from engine.values import Properties, Secret, carry_ciphertexts, same

PENDING_KIND: Final = {"create": "creating", "update": "updating", "delete": "deleting", "read": "reading"}


class Aborted(Exception):  # noqa: N818 - no error of its own: the reason is told already
    """The operation is being given up; the program is told so."""


@dataclass
class Options:
    """How an operation is run."""

    preview: bool = False
    parallel: int = 16
    refresh: bool = False
    targets: list[str] = field(default_factory=list)
    target_dependents: bool = False


@dataclass
class Control:
    """Stops an operation: ``stop`` lets running steps finish, ``cancelled`` ends them too."""

    stop: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    interrupted: bool = False


class Steps:
    """Performs steps against providers and records them.

    Args:
        manager: the state.
        events: hears what happens.
        options: how the operation runs.
        control: stops it.
        provider_of: finds the provider of a resource.
    """

    def __init__(
        self,
        manager: SnapshotManager,
        events: Sink,
        options: Options,
        control: Control,
        provider_of: Callable[[Resource], Provider],
    ) -> None:
        self.manager = manager
        self.events = events
        self.options = options
        self.control = control
        self.failed = False  # something was told as an error
        self.step_failed = False  # a provider's operation failed
        self._open: dict[str, StepEvent] = {}  # components whose outputs are awaited
        self.changes: Counter[str] = Counter()
        self._provider_of = provider_of
        self._slots = threading.Semaphore(options.parallel)
        self._count_lock = threading.Lock()

    # -- telling --------------------------------------------------------------------------------

    def context(self, resource: Resource, *, preview: bool | None = None) -> Context:
        """Return the circumstances of a call for a resource."""
        urn = resource.urn

        def log(line: str) -> None:
            self.events(DiagnosticEvent("info", line + "\n", urn, ephemeral=True))

        return Context(
            urn,
            resource.name,
            resource.type,
            self.options.preview if preview is None else preview,
            log,
            self.control.cancelled,
        )

    def say(self, severity: str, message: str, urn: str = "") -> None:
        """Tell a diagnostic; an error fails the operation."""
        if severity == "error":
            self.failed = True
        self.events(DiagnosticEvent(severity, message.rstrip("\n") + "\n", urn))

    def count(self, operation: str, resource: Resource) -> None:
        """Count a step for the summary."""
        if not resource.is_default_provider:
            with self._count_lock:
                self.changes[operation] += 1

    def give_up(self, error: BaseException, urn: str) -> Aborted:
        """Report what went wrong with a resource and stop the operation."""
        self.say("error", str(error) or type(error).__name__, urn)
        self.control.stop.set()
        return Aborted()

    def tell(
        self, operation: str, old: Resource | None, new: Resource, diff: DiffResult | None, *, count: bool = True
    ) -> None:
        """Tell and count a step that has nothing to do, or whose halves are steps of their own."""
        if count:
            self.count(operation, new)
        event = StepEvent("pre", operation, new.urn, old, new, diff)
        self.events(event)
        self._done(event)

    def _done(self, event: StepEvent) -> None:
        """Tell the end of a step; a component's is told with its outputs."""
        resource = event.resource
        if not resource.custom and event.operation in ("same", "create", "update", "create-replacement"):
            self._open[event.urn] = dataclasses.replace(event)
            return
        done = dataclasses.replace(event, phase="done", seconds=time.time() - event.timestamp)
        self.events(done)

    def outputs(self, resource: Resource, before: Properties) -> None:
        """Tell that a component's outputs are there."""
        event = self._open.pop(resource.urn, None)
        if event is None:
            return
        old = event.old
        if old is resource:  # kept as it was: the entry holds the new outputs already
            old = dataclasses.replace(resource, outputs=before)
        self.events(OutputsEvent(event.operation, resource, old, time.time() - event.timestamp))

    @contextmanager
    def _step(self, event: StepEvent) -> Iterator[StepEvent]:
        """Tell the beginning and end of a step."""
        if self.control.stop.is_set() and event.operation != "delete":
            raise Aborted
        self.events(event)
        try:
            yield event
        except Aborted:
            raise
        except Exception as error:
            told: BaseException = error
            if not isinstance(error, EngineError):
                told = ProviderError("".join(traceback.format_exception(error)).strip())
            aborted = self.give_up(told, event.urn)
            self.step_failed = True
            self.events(dataclasses.replace(event, phase="failed", seconds=time.time() - event.timestamp))
            raise aborted from error
        self._done(event)

    def _perform(self, kind: str, pending: Resource, subject: Resource, action: Callable[[], Any]) -> tuple[Any, int]:
        """Run a provider's operation with its pending operation recorded; return result and token."""
        with self._slots:
            if self.control.stop.is_set() and (kind != "delete" or self.control.interrupted):
                raise Aborted
            token = self.manager.begin(PENDING_KIND[kind], pending)
            try:
                limit = float(subject.custom_timeouts.get(kind) or 0)
                return run_limited(limit, f"{kind} of {subject.name}", action), token
            except OutcomeUnknown:
                raise  # what came of it is not known: it stays pending
            except ProviderError as error:
                if error.partial is None:
                    self.manager.end(token)
                    raise
                return error, token
            except BaseException:
                self.manager.end(token)
                raise

    # -- steps ----------------------------------------------------------------------------------

    def same(self, old: Resource, new: Resource) -> Resource:
        """Leave a resource as it is; options of it that changed are recorded."""
        if self.control.stop.is_set():
            raise Aborted
        if new is not old:
            new.id, new.outputs = old.id, old.outputs
            new.created, new.modified = old.created, old.modified
            new.init_errors, new.import_id, new.other = old.init_errors, old.import_id, old.other
            carry_ciphertexts(new.inputs, old.inputs)
        if new is old or _identical(old, new):
            self.manager.keep(old, old)
            new = old
        else:
            self.manager.add(new, old)
        self.tell("same", old, new, None)
        return new

    def create(
        self,
        new: Resource,
        *,
        operation: str = "create",
        replaces: Resource | None = None,
        diff: DiffResult | None = None,
        was: Resource | None = None,
    ) -> Resource:
        """Create a resource.

        Args:
            new: what is created.
            operation: create, or create-replacement.
            replaces: the state entry it takes the place of, if any.
            diff: why.
            was: the old resource, where it is deleted later.
        """
        event = StepEvent("pre", operation, new.urn, replaces or was, new, diff, logical=operation == "create")
        with self._step(event):
            stamp = now()
            if new.is_provider and not new.id and not self.options.preview:
                new.id = str(uuid.uuid4())
            token: int | None = None
            failure: ProviderError | None = None
            if new.custom and not new.is_provider:
                provider, context = self._provider_of(new), self.context(new)
                if self.options.preview:
                    new.id, new.outputs = provider.create(context, new.inputs)
                else:
                    result, token = self._perform("create", new, new, lambda: provider.create(context, new.inputs))
                    if isinstance(result, ProviderError):
                        failure, new.id, new.outputs = result, result.identifier, result.partial or {}
                        new.init_errors = [str(result)]
                    else:
                        new.id, new.outputs = result
                _mark_secret_outputs(new)
            elif new.is_provider and not self.options.preview:
                new.outputs = {k: v for k, v in new.inputs.items() if k != "__internal"}
            new.created = new.modified = stamp
            carry_ciphertexts(new.outputs, new.inputs)
            self.manager.add(new, replaces, token, condemns=was)
            if operation == "create":
                self.count(operation, new)
            if failure is not None:
                raise failure
        return new

    def update(self, old: Resource, new: Resource, diff: DiffResult | None) -> Resource:
        """Update a resource in place."""
        with self._step(StepEvent("pre", "update", new.urn, old, new, diff)):
            new.id, new.created, new.other = old.id, old.created, old.other
            new.modified = now()
            new.import_id = old.import_id
            token: int | None = None
            failure: ProviderError | None = None
            carry_ciphertexts(new.inputs, old.inputs)
            if new.custom and not new.is_provider:
                provider, context = self._provider_of(new), self.context(new)

                def action() -> Properties:
                    return provider.update(context, old.id, old.inputs, old.outputs, new.inputs)

                if self.options.preview:
                    new.outputs = action()
                else:
                    result, token = self._perform("update", new, new, action)
                    if isinstance(result, ProviderError):
                        failure, new.outputs, new.init_errors = result, result.partial or {}, [str(result)]
                    else:
                        new.outputs = result
                _mark_secret_outputs(new)
            elif new.is_provider:
                new.outputs = {k: v for k, v in new.inputs.items() if k != "__internal"}
            else:
                new.outputs = old.outputs
            carry_ciphertexts(new.outputs, old.outputs)
            self.manager.add(new, old, token)
            self.count("update", new)
            if failure is not None:
                raise failure
        return new

    def delete(
        self, old: Resource, *, operation: str = "delete", with_another: bool = False, keep_entry: bool = False
    ) -> None:
        """Delete a resource.

        Args:
            old: what is deleted.
            operation: delete, or delete-replaced for one half of a replacement.
            with_another: its ``deletedWith`` resource goes too: the provider is not called.
            keep_entry: leave it in the state as pending replacement (delete before replace).
        """
        logical = operation != "delete-replaced"
        with self._step(StepEvent("pre", operation, old.urn, old, None, logical=logical)):
            if old.protect and logical:
                raise EngineError(
                    f'resource "{old.urn}" cannot be deleted\nbecause it is protected. To unprotect the resource, '
                    "either remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`, "
                    f"or use the command:\n`pulumi state unprotect '{old.urn}'`"
                )
            token: int | None = None
            real = old.custom and not old.is_provider and not old.external
            if real and not (old.retain_on_delete or with_another or old.pending_replacement):
                provider, context = self._provider_of(old), self.context(old)
                if not self.options.preview:
                    _, token = self._perform(
                        "delete", old, old, lambda: provider.delete(context, old.id, old.inputs, old.outputs)
                    )
            if keep_entry:
                old.pending_replacement = True
                self.manager.change(old, token)
            else:
                self.manager.drop(old, token)
            if logical:
                self.count(operation, old)

    def read(self, old: Resource) -> ReadResult:
        """Ask a resource's provider for the live state.

        Raises:
            Aborted: the provider failed.
        """
        provider, context = self._provider_of(old), self.context(old)
        with self._slots:
            if self.control.stop.is_set():
                raise Aborted
            limit = float(old.custom_timeouts.get("read") or 0)
            result: ReadResult = run_limited(
                limit,
                f"read of {old.name}",
                lambda: provider.read(context, old.id, old.inputs, old.outputs),
            )
            return result


def _identical(old: Resource, new: Resource) -> bool:
    for item in dataclasses.fields(Resource):
        if item.name in ("inputs", "outputs"):
            continue
        if getattr(old, item.name) != getattr(new, item.name):
            return False
    return same(old.inputs, new.inputs) and not _secretness_differs(old.inputs, new.inputs)


def _secretness_differs(old: Any, new: Any) -> bool:
    if isinstance(old, Secret) or isinstance(new, Secret):
        return isinstance(old, Secret) != isinstance(new, Secret)
    if isinstance(old, dict) and isinstance(new, dict):
        return any(_secretness_differs(old.get(key), value) for key, value in new.items())
    if isinstance(old, list) and isinstance(new, list):
        return any(_secretness_differs(a, b) for a, b in zip(old, new, strict=False))
    return False


def _mark_secret_outputs(resource: Resource) -> None:
    for name in resource.additional_secret_outputs:
        if name in resource.outputs and not isinstance(resource.outputs[name], Secret):
            resource.outputs = {**resource.outputs, name: Secret(resource.outputs[name])}
