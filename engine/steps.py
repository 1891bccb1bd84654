"""Carries out single steps: same, create, update, delete, read; each journaled and told as events."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from engine.checkpoint import Resource, now
from engine.diff import DiffResult
from engine.errors import EngineError, OutcomeUnknown, ProviderError
from engine.events import DiagnosticEvent, Sink, StepEvent
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
        self.failed = False
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

    def give_up(self, error: BaseException, resource: Resource) -> Aborted:
        """Report a failed step and stop the operation."""
        self.say("error", str(error) or type(error).__name__, resource.urn)
        self.control.stop.set()
        return Aborted()

    @contextmanager
    def _step(self, event: StepEvent) -> Iterator[StepEvent]:
        """Tell the beginning and end of a step."""
        if self.control.stop.is_set():
            raise Aborted
        self.events(event)
        done = dataclasses.replace(event, phase="done")
        started = time.monotonic()
        try:
            yield done
        except Aborted:
            raise
        except Exception as error:
            if not isinstance(error, EngineError):
                import traceback

                error = ProviderError("".join(traceback.format_exception(error)).strip())
            aborted = self.give_up(error, event.resource)
            self.events(dataclasses.replace(event, phase="failed", seconds=time.monotonic() - started))
            raise aborted from error
        done.timestamp = time.time()
        done.seconds = time.monotonic() - started
        self.events(done)

    def _perform(self, kind: str, pending: Resource, subject: Resource, action: Callable[[], Any]) -> tuple[Any, int]:
        """Run a provider's operation with its pending operation recorded; return result and token."""
        with self._slots:
            if self.control.stop.is_set():
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

    def same(self, old: Resource, new: Resource, *, count: bool = True) -> Resource:
        """Leave a resource as it is; options of it that changed are recorded."""
        if self.control.stop.is_set():
            raise Aborted
        new.id, new.outputs = old.id, old.outputs
        new.created, new.modified = old.created, old.modified
        new.init_errors, new.import_id, new.other = old.init_errors, old.import_id, old.other
        carry_ciphertexts(new.inputs, old.inputs)
        if _identical(old, new):
            self.manager.keep(old, old)
            new = old
        else:
            self.manager.add(new, old)
        if count:
            self.count("same", new)
        event = StepEvent("pre", "same", new.urn, old, new)
        self.events(event)
        self.events(dataclasses.replace(event, phase="done"))
        return new

    def create(
        self,
        new: Resource,
        *,
        operation: str = "create",
        replaces: Resource | None = None,
        diff: DiffResult | None = None,
    ) -> Resource:
        """Create a resource; ``replaces`` is the state entry it takes the place of, if any."""
        event = StepEvent("pre", operation, new.urn, replaces, new, diff, logical=operation == "create")
        with self._step(event) as done:
            stamp = now()
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
            self.manager.add(new, replaces, token)
            if operation in ("create", "import"):
                self.count(operation, new)
            done.new = new
            if failure is not None:
                raise failure
        return new

    def update(self, old: Resource, new: Resource, diff: DiffResult | None) -> Resource:
        """Update a resource in place."""
        with self._step(StepEvent("pre", "update", new.urn, old, new, diff)) as done:
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
            done.new = new
            if failure is not None:
                raise failure
        return new

    def mark_replaced(self, old: Resource, new: Resource, diff: DiffResult | None) -> None:
        """Tell the logical half of a replacement."""
        self.count("replace", new)
        event = StepEvent("pre", "replace", new.urn, old, new, diff)
        self.events(event)
        self.events(dataclasses.replace(event, phase="done"))

    def condemn(self, old: Resource) -> None:
        """Mark an old resource for deletion after its replacement was created."""
        old.delete = True
        self.manager.change(old)

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
        logical = operation == "delete"
        with self._step(StepEvent("pre", operation, old.urn, old, None, logical=logical)) as _:
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
                self.count("delete", old)

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
