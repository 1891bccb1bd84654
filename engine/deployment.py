"""Decides what is to be done: from the program's wishes and the recorded state to steps.

The rules are the official engine's (pulumi/pkg/resource/deploy/step_generator.go).
"""

from __future__ import annotations

import dataclasses
import fnmatch
import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from engine.checkpoint import PROVIDER_PREFIX, STACK_TYPE, Resource, Snapshot, now
from engine.configuration import Setting
from engine.diff import DiffResult, apply_ignore_changes, apply_replace_on_changes, inputs_differ
from engine.errors import EngineError, ProviderError, UnsupportedError
from engine.events import OutputsEvent, Sink, StepEvent
from engine.journal import SnapshotManager
from engine.providers.base import Provider
from engine.providers.command import CommandProvider
from engine.providers.dynamic import DynamicProvider
from engine.providers.ssh import Pool
from engine.steps import Aborted, Control, Options, Steps
from engine.values import (
    UNKNOWN,
    UNKNOWN_STRING,
    Properties,
    Secret,
    carry_ciphertexts,
    contains_secret,
    contains_unknown,
    from_struct,
    same,
)

GO_PROVIDER_VERSION: Final = "v1.2.0"


@dataclass
class Goal:
    """A resource as the program wants it."""

    type: str
    name: str
    custom: bool
    inputs: Properties
    parent: str = ""
    provider: str = ""
    version: str = ""
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    protect: bool | None = None
    retain_on_delete: bool | None = None
    delete_before_replace: bool | None = None
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    ignore_changes: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    custom_timeouts: dict[str, float] = field(default_factory=dict)


def make_urn(stack: str, project: str, parent: str, kind: str, name: str) -> str:
    """Compose a URN; the stack's own type is left out of the chain."""
    chain = parent.split("::")[2] if parent else ""
    if chain == STACK_TYPE:
        chain = ""
    return f"urn:pulumi:{stack}::{project}::{chain + '$' if chain else ''}{kind}::{name}"


class Deployment:
    """One preview, update, refresh or destroy of a stack."""

    def __init__(
        self,
        *,
        project: str,
        stack: str,
        config: dict[str, Setting],
        snapshot: Snapshot,
        manager: SnapshotManager,
        events: Sink,
        options: Options,
        control: Control,
        pool: Pool,
    ) -> None:
        self.project = project
        self.stack = stack
        self.config = config
        self.options = options
        self.control = control
        self.manager = manager
        self.events = events
        self.base = list(snapshot.resources)
        self.olds = {item.urn: item for item in self.base if not item.delete}
        self.news: dict[str, Resource] = {}
        self.steps = Steps(manager, events, options, control, self.provider_of)
        self._pool = pool
        self._providers: dict[str, Provider] = {}
        self._lock = threading.RLock()
        self._seen: set[str] = set()
        self._handled: set[int] = set()  # ids of base resources a step stands for
        self._deleted: dict[str, Resource] = {}  # deleted before replacement, by URN
        self._replaced: set[str] = set()
        self._aliased: dict[str, str] = {}
        self._skipped: set[str] = set()

    # -- providers ------------------------------------------------------------------------------

    def provider_of(self, resource: Resource) -> Provider:
        """Return the provider that manages a resource.

        Raises:
            UnsupportedError: it is none of those built in.
        """
        package = resource.type.split(":", 1)[0]
        with self._lock:
            if package not in self._providers:
                self._providers[package] = self._make_provider(package)
            return self._providers[package]

    def _make_provider(self, package: str) -> Provider:
        if package == "command":
            return CommandProvider("", self._pool)
        if package == "pulumi-python":
            return DynamicProvider(self.project, {key: item.value for key, item in self.config.items()})
        raise UnsupportedError(f"the provider plugin {package}")

    def default_provider(self, package: str, version: str) -> str:
        """Return the reference of a package's default provider, registered at its first use."""
        name = "default" + (f"_{version.replace('.', '_')}" if version else "")
        urn = make_urn(self.stack, self.project, "", PROVIDER_PREFIX + package, name)
        with self._lock:
            if urn not in self.news:
                self._make_provider(package)
                self._register_provider(urn, package, version)
            provider = self.news[urn]
        return f"{urn}::{provider.id or UNKNOWN_STRING}"

    def _register_provider(self, urn: str, package: str, version: str) -> None:
        old = self.olds.get(urn)
        inputs: Properties
        if package == "pulumi-python":
            inputs = {k: Secret(s.value) if s.secret else s.value for k, s in self.config.items()}
        else:
            inputs = {"__internal": {}, "__pulumi-go-provider-version": GO_PROVIDER_VERSION}
            inputs |= {
                key.partition(":")[2]: Secret(s.value) if s.secret else s.value
                for key, s in self.config.items()
                if key.startswith(package + ":")
            }
            if version:
                inputs["version"] = version
            if old is not None and "__pulumi-go-provider-version" in old.inputs:
                inputs["__pulumi-go-provider-version"] = old.inputs["__pulumi-go-provider-version"]
        new = Resource(urn, PROVIDER_PREFIX + package, custom=True, inputs=inputs)
        self._seen.add(urn)
        if old is None:
            new.id = "" if self.options.preview else str(uuid.uuid4())
            self.news[urn] = self.steps.create(new)
            return
        self._handled.add(id(old))
        if inputs_differ(old.inputs, inputs):
            self.news[urn] = self.steps.update(old, new, None)
        else:
            self.news[urn] = self.steps.same(old, new)

    # -- registration ---------------------------------------------------------------------------

    def register(self, goal: Goal) -> Resource:
        """Bring one resource to the state the program wants, and return it.

        Raises:
            Aborted: the operation is being given up; the reason is told.
        """
        try:
            return self._register(goal)
        except Aborted:
            raise
        except EngineError as error:
            urn = make_urn(self.stack, self.project, goal.parent, goal.type, goal.name)
            raise self.steps.give_up(error, Resource(urn, goal.type)) from error

    def _register(self, goal: Goal) -> Resource:
        if self.control.stop.is_set():
            raise Aborted
        urn = make_urn(self.stack, self.project, goal.parent, goal.type, goal.name)
        with self._lock:
            if urn in self._seen:
                raise EngineError(f"Duplicate resource URN '{urn}'; try giving it a unique name")
            self._seen.add(urn)
        new = self._wanted(urn, goal)
        old = self._old(urn, goal.aliases)
        if old is not None:
            with self._lock:
                self._handled.add(id(old))
                if old.urn != urn:
                    self._aliased[old.urn] = urn
        if goal.custom and not new.is_provider:
            if not new.provider:
                new.provider = self.default_provider(goal.type.split(":", 1)[0], goal.version)
            self.provider_of(new)
        result = self._decide(goal, new, old)
        with self._lock:
            self.news[urn] = result
        return result

    def _wanted(self, urn: str, goal: Goal) -> Resource:
        parent = self.news.get(goal.parent)
        return Resource(
            urn,
            goal.type,
            goal.custom,
            inputs=goal.inputs,
            parent=goal.parent,
            protect=goal.protect if goal.protect is not None else bool(parent and parent.protect),
            dependencies=goal.dependencies,
            provider=goal.provider,
            property_dependencies=goal.property_dependencies,
            additional_secret_outputs=goal.additional_secret_outputs,
            custom_timeouts=goal.custom_timeouts,
            retain_on_delete=(
                goal.retain_on_delete if goal.retain_on_delete is not None else bool(parent and parent.retain_on_delete)
            ),
            deleted_with=goal.deleted_with or (parent.deleted_with if parent else ""),
            replace_with=goal.replace_with,
            ignore_changes=goal.ignore_changes,
            replace_on_changes=goal.replace_on_changes,
        )

    def _old(self, urn: str, aliases: Iterable[str]) -> Resource | None:
        for candidate in (urn, *aliases):
            old = self.olds.get(candidate)
            if old is not None and (candidate == urn or id(old) not in self._handled):
                return old
        return None

    def _decide(self, goal: Goal, new: Resource, old: Resource | None) -> Resource:
        if not self.targeted(new):
            return self._untargeted(new, old)
        if old is not None and goal.ignore_changes:
            new.inputs = apply_ignore_changes(new.inputs, old.inputs, goal.ignore_changes)
        recreating = new.urn in self._deleted or (old is not None and old.pending_replacement)
        if goal.custom and not new.is_provider:
            self._check(new, None if recreating else old)
        if old is None:
            if new.is_provider and not self.options.preview:
                new.id = str(uuid.uuid4())
            return self.steps.create(new)
        if recreating:
            return self._recreate(new, old)
        if old.external:
            raise UnsupportedError(f"taking over the external resource {old.urn}")
        return self._change(goal, new, old)

    def _check(self, new: Resource, old: Resource | None) -> None:
        inputs, failures = self.provider_of(new).check(
            self.steps.context(new), old.inputs if old is not None else None, new.inputs
        )
        if failures:
            for failure in failures:
                where = f" for property {failure.property}" if failure.property else ""
                self.steps.say(
                    "error",
                    f"{new.type} resource '{new.name}' has a problem{where}: {failure.reason}",
                    new.urn,
                )
            self.control.stop.set()
            raise Aborted
        new.inputs = inputs

    def _change(self, goal: Goal, new: Resource, old: Resource) -> Resource:
        diff = self._diff(new, old)
        apply_replace_on_changes(diff, goal.replace_on_changes, old.inputs, new.inputs)
        if diff.changes and diff.replaces:
            return self._replace(goal, new, old, diff)
        if diff.changes or old.init_errors:
            return self.steps.update(old, new, diff)
        return self.steps.same(old, new)

    def _diff(self, new: Resource, old: Resource) -> DiffResult:
        if new.deleted_with and new.deleted_with in self._replaced:
            return DiffResult(changes=True, replace_keys=["deletedWith"])
        if any(urn in self._replaced for urn in new.replace_with):
            return DiffResult(changes=True, replace_keys=["replaceWith"])
        if old.taint:
            return DiffResult(changes=True, replace_keys=["id"])
        if old.type != new.type or old.custom != new.custom or bool(old.provider) != bool(new.provider):
            return DiffResult(changes=True, replace_keys=["provider"])
        if not new.custom or new.is_provider:
            return DiffResult(changes=inputs_differ(old.inputs, new.inputs))
        diff = self.provider_of(new).diff(self.steps.context(new), old.id, old.inputs, old.outputs, new.inputs)
        if diff.changes is None:
            diff.changes = inputs_differ(old.inputs, new.inputs)
        return diff

    def _untargeted(self, new: Resource, old: Resource | None) -> Resource:
        if old is None:
            with self._lock:
                self._skipped.add(new.urn)
            new.outputs = {}
            return new
        copy = dataclasses.replace(old, urn=new.urn)
        return self.steps.same(old, copy if copy.urn != old.urn else old)

    # -- replacement ----------------------------------------------------------------------------

    def _replace(self, goal: Goal, new: Resource, old: Resource, diff: DiffResult) -> Resource:
        if old.protect and new.protect:
            self.steps.say(
                "error",
                f'unable to replace resource "{new.urn}"\nas it is currently marked for protection. To unprotect '
                "the resource, remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`",
                new.urn,
            )
            if not self.options.preview:
                self.control.stop.set()
                raise Aborted
        with self._lock:
            self._replaced.add(new.urn)
        if new.custom and not new.is_provider:
            new.inputs = goal.inputs
            self._check(new, None)
        if new.is_provider and not self.options.preview:
            new.id = str(uuid.uuid4())
        before = goal.delete_before_replace
        if before is None:
            before = bool(diff.delete_before_replace)
        if before:
            self._delete_dependents_first(old)
            self.steps.delete(old, operation="delete-replaced", keep_entry=True)
            self.steps.mark_replaced(old, new, diff)
            return self.steps.create(new, operation="create-replacement", replaces=old, diff=diff)
        result = self.steps.create(new, operation="create-replacement", diff=diff)
        self.steps.mark_replaced(old, new, diff)
        self.steps.condemn(old)
        with self._lock:
            self._handled.discard(id(old))
        return result

    def _recreate(self, new: Resource, old: Resource) -> Resource:
        """Create again what was deleted because something it depends on was."""
        with self._lock:
            self._replaced.add(new.urn)
        if new.is_provider and not self.options.preview:
            new.id = str(uuid.uuid4())
        self.steps.mark_replaced(old, new, None)
        return self.steps.create(new, operation="create-replacement", replaces=old)

    def _delete_dependents_first(self, root: Resource) -> None:
        """Delete what would have to be replaced with a resource that is deleted before replacement."""
        replaced = {root.urn}
        condemned: list[Resource] = []
        with self._lock:
            candidates = [
                item for item in self.base
                if not item.delete and id(item) not in self._handled and item.urn not in self._deleted
            ]  # fmt: skip
        for item in candidates:
            if self._must_go_with(item, replaced):
                replaced.add(item.urn)
                condemned.append(item)
        for item in condemned:
            if item.protect:
                raise EngineError(
                    f'unable to replace resource "{item.urn}" as part of replacing "{root.urn}" as it is currently '
                    "marked for protection. To unprotect the resource, remove the `protect` flag from the "
                    "resource in your Pulumi program and run `pulumi up`"
                )
        for item in reversed(condemned):
            with self._lock:
                self._deleted[item.urn] = item
            if not item.pending_replacement:
                self.steps.delete(item, operation="delete-replaced", keep_entry=True)

    def _must_go_with(self, item: Resource, replaced: set[str]) -> bool:
        if not item.custom or item.external:
            return False
        if item.provider and item.provider.rsplit("::", 1)[0] in replaced:
            return True
        if item.deleted_with in replaced or any(urn in replaced for urn in item.replace_with):
            return True
        touched = [
            key for key, urns in item.property_dependencies.items() if key in item.inputs and replaced & set(urns)
        ]
        if not touched or item.is_provider:
            return False
        inputs = {**item.inputs, **dict.fromkeys(touched, UNKNOWN)}
        diff = self.provider_of(item).diff(
            self.steps.context(item, preview=True), item.id, item.inputs, item.outputs, inputs
        )
        if diff.changes is None:
            diff.changes = True
        apply_replace_on_changes(diff, item.replace_on_changes, item.inputs, inputs)
        return diff.replaces

    # -- reads ----------------------------------------------------------------------------------

    def reference(self, urn: str, request: Any, outputs: Properties) -> Resource:
        """Record a stack reference with the outputs read."""
        secret_names = sorted(name for name, value in outputs.items() if contains_secret(value))
        shown: Properties = {"name": request.id, "outputs": outputs, "secretOutputNames": secret_names}
        new = Resource(
            urn,
            request.type,
            custom=True,
            id=request.id,
            inputs=from_struct(request.properties),
            outputs=shown,
            parent=request.parent,
            external=True,
            dependencies=sorted(set(request.dependencies)),
        )
        old = self.olds.get(urn)
        with self._lock:
            if urn in self._seen:
                raise EngineError(f"Duplicate resource URN '{urn}'; try giving it a unique name")
            self._seen.add(urn)
            if old is not None:
                self._handled.add(id(old))
        new.created = new.modified = old.created if old is not None and old.created else now()
        carry_ciphertexts(new.outputs, old.outputs if old is not None else {})
        if old is not None and same(old.outputs, new.outputs) and old.inputs == new.inputs:
            self.manager.keep(old, old)
            new = old
        else:
            self.manager.add(new, old)
        with self._lock:
            self.news[urn] = new
        self.steps.count("same" if new is old else "read", new)
        event = StepEvent("pre", "same" if new is old else "read", urn, old, new)
        self.events(event)
        self.events(dataclasses.replace(event, phase="done"))
        return new

    # -- outputs --------------------------------------------------------------------------------

    def register_outputs(self, urn: str, outputs: Properties) -> None:
        """Record the outputs of a component or the stack."""
        with self._lock:
            resource = self.news.get(urn)
        if resource is None:
            raise EngineError(f"outputs were registered for {urn}, which the program has not made")
        if urn in self._skipped:
            return
        before = self.olds.get(urn)
        if resource is before:
            # The recorded object stays as it was read: what it was is still shown as the old state.
            before = dataclasses.replace(resource)
        if not same(resource.outputs, outputs):
            carry_ciphertexts(outputs, resource.outputs)
            resource.outputs = outputs
            if not self.options.preview:
                self.manager.change(resource)
        self.events(OutputsEvent(resource, before))

    # -- the end --------------------------------------------------------------------------------

    def finish(self) -> None:
        """Delete what the program no longer has, in reverse dependency order."""
        remaining = [item for item in self.base if id(item) not in self._handled or item.delete]
        remaining = [item for item in remaining if item.delete or item.urn not in self._seen]
        remaining = [item for item in remaining if self.targeted(item)]
        self.delete_all(remaining)

    def delete_all(self, condemned: list[Resource]) -> None:
        """Delete resources, each after all that depend on it; protected ones fail the operation."""
        protected = [item for item in condemned if item.protect and not item.delete]
        for item in protected:
            self.steps.say(
                "error",
                f"resource {item.urn} cannot be deleted\nbecause it is protected. To unprotect the resource, either "
                "remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`, or use "
                f"the command:\n`pulumi state unprotect '{item.urn}'`",
                item.urn,
            )
        if protected:
            self.control.stop.set()
            return
        self._in_order(condemned, self._delete_one(condemned))

    def _delete_one(self, condemned: list[Resource]) -> Any:
        urns = {item.urn for item in condemned if not item.delete}

        def act(item: Resource) -> None:
            if item.pending_replacement and not item.delete:
                self.manager.drop(item)
                return
            self.steps.delete(
                item,
                operation="delete-replaced" if item.delete else "delete",
                with_another=bool(item.deleted_with) and item.deleted_with in urns,
            )

        return act

    def _in_order(self, items: list[Resource], act: Any) -> None:
        """Run an action for each item, dependents before what they depend on, in parallel."""
        waiting: dict[int, int] = {}
        depends: dict[int, list[Resource]] = {}
        by_urn: dict[str, list[Resource]] = {}
        for item in items:
            by_urn.setdefault(item.urn, []).append(item)
            waiting[id(item)] = 0
        position = {id(item): number for number, item in enumerate(items)}
        for item in items:
            targets = [
                other
                for urn in item.depends_on()
                for other in by_urn.get(urn, [])
                if other is not item and position[id(other)] < position[id(item)]
            ]
            depends[id(item)] = targets
            for other in targets:
                waiting[id(other)] += 1
        ready = [item for item in reversed(items) if waiting[id(item)] == 0]
        with ThreadPoolExecutor(max_workers=max(1, self.options.parallel)) as pool:
            running: dict[Future[None], Resource] = {}
            while ready or running:
                while ready:
                    item = ready.pop(0)
                    running[pool.submit(act, item)] = item
                finished = _first(running)
                item = running.pop(finished)
                error = finished.exception()
                if error is not None:
                    if not isinstance(error, Aborted):
                        self.steps.give_up(error, item)
                    continue  # what it depends on stays
                for other in depends[id(item)]:
                    waiting[id(other)] -= 1
                    if waiting[id(other)] == 0:
                        ready.append(other)

    # -- refresh --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring the recorded state to what providers find; state entries are changed in place."""
        items = [item for item in self.base if not item.delete and self.targeted(item)]
        with ThreadPoolExecutor(max_workers=max(1, self.options.parallel)) as pool:
            futures = [pool.submit(self._refresh_one, item) for item in items]
            gone = {id(item) for item, future in zip(items, futures, strict=True) if _result(future)}
        if not gone:
            return
        lost = {item.urn for item in self.base if id(item) in gone}
        for item in self.base:
            if id(item) in gone:
                self.manager.drop(item)
                self.olds.pop(item.urn, None)
            elif item.depends_on() & lost:
                item.dependencies = [urn for urn in item.dependencies if urn not in lost]
                item.property_dependencies = {
                    key: [urn for urn in urns if urn not in lost] for key, urns in item.property_dependencies.items()
                }
                if item.deleted_with in lost:
                    item.deleted_with = ""
                self.manager.change(item)
        self.base = [item for item in self.base if id(item) not in gone]

    def _refresh_one(self, item: Resource) -> bool:
        """Refresh one resource; tell whether it is gone."""
        old = dataclasses.replace(item)
        event = StepEvent("pre", "refresh", item.urn, old, item)
        if self.control.stop.is_set():
            return False
        self.events(event)
        operation = "same"
        if item.custom and not item.is_provider and not item.external and item.id:
            try:
                found = self.steps.read(item)
            except Aborted:
                return False
            except Exception as error:  # noqa: BLE001 - a provider may raise anything
                if not isinstance(error, EngineError):
                    error = ProviderError(f"{type(error).__name__}: {error}")
                self.steps.give_up(error, item)
                self.events(dataclasses.replace(event, phase="failed"))
                return False
            if not found.id:
                self.steps.count("delete", item)
                self.events(dataclasses.replace(event, phase="done", operation="delete", new=None))
                return True
            if found.inputs is not None:
                carry_ciphertexts(found.inputs, item.inputs)
            carry_ciphertexts(found.outputs, item.outputs)
            inputs = found.inputs if found.inputs is not None else item.inputs
            if inputs_differ(item.outputs, found.outputs) or inputs_differ(item.inputs, inputs):
                operation = "update"
                item.outputs, item.inputs, item.modified = found.outputs, inputs, now()
                item.id = found.id
                self.manager.change(item)
        self.steps.count(operation, item)
        self.events(dataclasses.replace(event, phase="done", operation=operation))
        return False

    # -- targets --------------------------------------------------------------------------------

    def targeted(self, resource: Resource) -> bool:
        """Tell whether ``--target`` lets a resource be worked on."""
        if not self.options.targets or resource.is_provider or resource.type == STACK_TYPE:
            return True
        return any(_glob(pattern, resource.urn) for pattern in self.options.targets)

    def pending_unknown(self, resource: Resource) -> bool:
        """Tell whether a resource's outputs hold unknowns."""
        return contains_unknown(resource.outputs)


def _glob(pattern: str, urn: str) -> bool:
    return pattern == urn or ("*" in pattern and fnmatch.fnmatchcase(urn, pattern.replace("[", "[[]")))


def _first(running: dict[Future[None], Resource]) -> Future[None]:
    from concurrent.futures import FIRST_COMPLETED, wait

    done, _ = wait(running, return_when=FIRST_COMPLETED)
    return next(iter(done))


def _result(future: Future[bool]) -> bool:
    return future.result()
