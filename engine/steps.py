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
from engine.values import Properties, Secret, annotate_secrets, carry_ciphertexts, same

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
    """Stops an operation: ``stop`` lets running steps finish, each event of ``running`` ends one at once."""

    stop: threading.Event = field(default_factory=threading.Event)
    running: set[threading.Event] = field(default_factory=set)
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

    def context(self, resource: Resource) -> Context:
        """Return the circumstances of a call for a resource."""
        urn, name, kind = resource.urn, resource.name, resource.type

        def log(line: str) -> None:
            self.events(DiagnosticEvent("info", line + "\n", urn, ephemeral=True))

        return Context(urn, name, kind, self.options.preview, log)

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

    def _limited(self, kind: str, subject: Resource, context: Context, action: Callable[[], Any]) -> Any:
        """Run a provider's operation within its custom timeout, and so that Ctrl-C can end it."""
        limit = float(subject.custom_timeouts.get(kind) or 0)
        self.control.running.add(context.cancelled)
        try:
            return run_limited(limit, f"{kind} of {subject.name}", action, context.cancelled)
        except ProviderError as error:
            if context.cancelled.is_set() and not isinstance(error, OutcomeUnknown):
                raise OutcomeUnknown(f"{kind} of {subject.name} was cut off: {error}") from error
            raise
        finally:
            self.control.running.discard(context.cancelled)

    def _perform(self, kind: str, subject: Resource, context: Context, action: Callable[[], Any]) -> tuple[Any, int]:
        """Run a provider's operation with its pending operation recorded; return result and token."""
        with self._slots:
            if self.control.stop.is_set() and (kind != "delete" or self.control.interrupted):
                raise Aborted
            token = self.manager.begin(PENDING_KIND[kind], subject)
            try:
                return self._limited(kind, subject, context, action), token
            except OutcomeUnknown:
                raise  # what came of it is not known: it stays pending
            except BaseException:
                self.manager.end(token)
                raise

    def _apply(
        self, kind: str, new: Resource, action: Callable[[Provider, Context], tuple[str, Properties]]
    ) -> int | None:
        """Create or update a resource for real or in a preview: sets its id and outputs; return the token."""
        if new.is_provider:
            new.outputs = {key: value for key, value in new.inputs.items() if key != "__internal"}
        if new.is_provider or not new.custom:
            return None
        provider, context = self._provider_of(new), self.context(new)
        token: int | None = None
        if self.options.preview:
            new.id, new.outputs = action(provider, context)
        else:
            (new.id, new.outputs), token = self._perform(kind, new, context, lambda: action(provider, context))
        for name in new.additional_secret_outputs:
            if name in new.outputs and not isinstance(new.outputs[name], Secret):
                new.outputs = {**new.outputs, name: Secret(new.outputs[name])}
        return token

    # -- steps ----------------------------------------------------------------------------------

    def same(self, old: Resource, new: Resource) -> Resource:
        """Leave a resource as it is; options of it that changed are recorded."""
        if self.control.stop.is_set():
            raise Aborted
        if new is not old:
            new.id = old.id
            new.outputs = annotate_secrets(old.outputs, new.inputs) if new.custom else old.outputs
            new.created, new.modified = old.created, old.modified
            new.init_errors, new.import_id, new.other = old.init_errors, old.import_id, old.other
            carry_ciphertexts(new.inputs, old.inputs)
        if new is old or _identical(old, new):
            self.manager.keep(old)
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
            new.created = new.modified = now()
            if new.is_provider and not self.options.preview:
                new.id = new.id or str(uuid.uuid4())
            token = self._apply("create", new, lambda provider, context: provider.create(context, new.inputs))
            carry_ciphertexts(new.outputs, new.inputs)
            self.manager.add(new, replaces, token, condemns=was)
            if operation == "create":
                self.count(operation, new)
        return new

    def update(self, old: Resource, new: Resource, diff: DiffResult | None) -> Resource:
        """Update a resource in place."""

        def action(provider: Provider, context: Context) -> tuple[str, Properties]:
            return old.id, provider.update(context, old.id, old.inputs, old.outputs, new.inputs)

        new.id, new.outputs, new.other, new.import_id = old.id, old.outputs, old.other, old.import_id
        new.created, new.modified = old.created, now()
        with self._step(StepEvent("pre", "update", new.urn, old, new, diff)):
            carry_ciphertexts(new.inputs, old.inputs)
            token = self._apply("update", new, action)
            carry_ciphertexts(new.outputs, old.outputs)
            self.manager.add(new, old, token)
            self.count("update", new)
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
                        "delete", old, context, lambda: provider.delete(context, old.id, old.inputs, old.outputs)
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
            result: ReadResult = self._limited(
                "read", old, context, lambda: provider.read(context, old.id, old.inputs, old.outputs)
            )
            return result


def _identical(old: Resource, new: Resource) -> bool:
    names = [item.name for item in dataclasses.fields(Resource) if item.name not in ("inputs", "outputs")]
    return all(getattr(old, name) == getattr(new, name) for name in names) and same(old.inputs, new.inputs)
