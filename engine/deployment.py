"""Decides what is to be done with each resource: from the program's wish and the recorded state to steps.

The rules are the official engine's (pulumi/pkg/resource/deploy/step_generator.go).
"""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Iterable
from typing import Any, Final

from engine.checkpoint import PROVIDER_PREFIX, STACK_TYPE, Resource, Snapshot, now
from engine.configuration import Setting
from engine.diff import DiffResult, apply_ignore_changes, apply_replace_on_changes, inputs_differ
from engine.errors import EngineError, UnsupportedError
from engine.events import Sink
from engine.goal import Goal, Targets, make_urn
from engine.journal import SnapshotManager
from engine.providers.base import Provider
from engine.providers.command import CommandProvider
from engine.providers.dynamic import DynamicProvider
from engine.providers.ssh import Pool
from engine.steps import Aborted, Control, Options, Steps
from engine.values import UNKNOWN, UNKNOWN_STRING, Properties, Secret, carry_ciphertexts, contains_secret, mask, same

GO_PROVIDER_VERSION: Final = "1.2.0"


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
        providers: dict[str, Provider] | None = None,
    ) -> None:
        self.project = project
        self.stack = stack
        self.config = config
        self.options = options
        self.control = control
        self.manager = manager
        self.base = list(snapshot.resources)
        self.olds = {item.urn: item for item in self.base if not item.delete}
        self.news: dict[str, Resource] = {}
        self.steps = Steps(manager, events, options, control, self.provider_of)
        self.targets = Targets(options.targets)
        self.registered: set[str] = set()  # URNs the program has registered
        self.unsure: set[str] = set()  # URNs whose last operation was interrupted
        self.handled: set[int] = set()  # identities of old resources a step stands for
        self.lock = threading.RLock()
        self._providers: dict[str, Provider] = {
            "pulumi": Provider(),  # stack references, which the monitor reads
            "command": CommandProvider(pool),
            "pulumi-python": DynamicProvider(project, {key: item.value for key, item in config.items()}),
            **(providers or {}),
        }
        self._aliased: dict[str, str] = {}  # URNs of the state that others were found under → theirs
        self._deleted: dict[str, Resource] = {}  # deleted before replacement, by URN
        self._replaced: set[str] = set()
        self._skipped: set[str] = set()

    def forget(self, item: Resource) -> None:
        """Leave a vanished resource out of the state this operation starts from."""
        self.base = [other for other in self.base if other is not item]
        if self.olds.get(item.urn) is item:
            del self.olds[item.urn]

    # -- providers ------------------------------------------------------------------------------

    def provider_of(self, resource: Resource) -> Provider:
        """Return the provider that manages a resource.

        Raises:
            UnsupportedError: it is none of those built in.
        """
        package = resource.type.split(":", 1)[0]
        if package not in self._providers:
            raise UnsupportedError(f"the provider plugin {package}")
        return self._providers[package]

    def _default_provider(self, package: str, version: str) -> str:
        """Return the reference of a package's default provider, registered at its first use."""
        name = "default" + (f"_{version.replace('.', '_')}" if version else "")
        urn = make_urn(self.stack, self.project, "", PROVIDER_PREFIX + package, name)
        with self.lock:
            if urn not in self.news:
                self._register_default(urn, package, version)
            return f"{urn}::{self.news[urn].id or UNKNOWN_STRING}"

    def _register_default(self, urn: str, package: str, version: str) -> None:
        self.provider_of(Resource("", package))  # refuses an unknown one
        old = self.olds.get(urn)
        mine = {key: Secret(item.value) if item.secret else item.value for key, item in self.config.items()}
        if package == "pulumi":
            mine = {}
        elif package != "pulumi-python":
            mine = {k.partition(":")[2]: v for k, v in mine.items() if k.startswith(package + ":")}
        inputs = _provider_inputs(package, version, mine, old)
        new = Resource(urn, PROVIDER_PREFIX + package, custom=True, inputs=inputs)
        self.registered.add(urn)
        if old is None:
            new.id = "" if self.options.preview else str(uuid.uuid4())
            self.news[urn] = self.steps.create(new)
            return
        self.handled.add(id(old))
        change = inputs_differ(old.inputs, inputs)
        self.news[urn] = self.steps.update(old, new, None) if change else self.steps.same(old, new)

    # -- registration ---------------------------------------------------------------------------

    def register(self, goal: Goal) -> Resource:
        """Bring one resource to the state the program wants, and return it.

        Raises:
            Aborted: the operation is being given up; the reason is told.
        """
        try:
            return self._register(goal)
        except EngineError as error:
            raise self.steps.give_up(error, goal.urn) from error

    def _register(self, new: Goal) -> Resource:
        if self.control.stop.is_set():
            raise Aborted
        with self.lock:
            if new.urn in self.registered:
                raise EngineError(f"Duplicate resource URN '{new.urn}'; try giving it a unique name")
            self.registered.add(new.urn)
            old = self._old(new.urn, new.former)
            if old is not None:
                self.handled.add(id(old))
            parent = self.news.get(new.parent) or Resource("", "")
        for option in new.inherits:
            setattr(new, option, getattr(parent, option))
        new.deleted_with = new.deleted_with or parent.deleted_with
        if new.is_provider:
            package = new.type.removeprefix(PROVIDER_PREFIX)
            self.provider_of(Resource("", package))  # refuses an unknown one
            new.inputs = _provider_inputs(package, new.version, new.inputs, old)
        elif new.custom:
            new.provider = new.provider or self._default_provider(new.type.split(":", 1)[0], new.version)
            self.provider_of(new)
        result = self._decide(new, old)
        with self.lock:
            self.news[new.urn] = result
        return result

    def _old(self, urn: str, aliases: Iterable[str]) -> Resource | None:
        if urn in self._aliased:
            raise EngineError(
                f"Duplicate resource URN '{urn}' conflicting with alias on resource with URN '{self._aliased[urn]}'"
            )
        for candidate in (urn, *aliases):
            old = self.olds.get(candidate)
            if old is None:
                continue
            if candidate != urn:
                other = self._aliased.get(candidate, candidate if candidate in self.registered else None)
                if other is not None:
                    raise EngineError(
                        f"Duplicate resource alias '{candidate}' applied to resource with URN '{urn}' conflicting "
                        f"with resource with URN '{other}'"
                    )
                self._aliased[candidate] = urn
            return old
        return None

    def _decide(self, new: Goal, old: Resource | None) -> Resource:
        if not self.targeted(new):
            return self._untargeted(new, old)
        self._refuse_skipped_dependencies(new)
        given = new.inputs
        if old is not None and new.ignore_changes:
            new.inputs, failed = apply_ignore_changes(new.inputs, old.inputs, new.ignore_changes)
            if failed:
                listed = ", ".join(f'"{text}"' for text in failed)
                said = f"cannot ignore changes in added or removed elements of the path: {listed}"
                self.steps.say("info", said, new.urn)
        recreating = new.urn in self._deleted or (old is not None and old.pending_replacement)
        self._check(new, None if recreating else old)
        if old is None:
            return self.steps.create(new)
        if recreating:
            return self._recreate(new, old)
        if old.external:
            raise UnsupportedError(f"taking over the external resource {old.urn}")
        diff = self._diff(new, old)
        apply_replace_on_changes(diff, new.replace_on_changes)
        if diff.changes and diff.replaces:
            return self._replace(new, given, old, diff)
        if diff.changes or old.init_errors or old.urn in self.unsure:
            return self.steps.update(old, new, diff)
        return self.steps.same(old, new)

    def _check(self, new: Resource, old: Resource | None) -> None:
        if not new.custom or new.is_provider:
            return
        inputs, failures = self.provider_of(new).check(
            self.steps.context(new), old.inputs if old is not None else None, new.inputs
        )
        for failure in failures:
            where = ""
            if failure.property:
                value = mask(new.inputs.get(failure.property))
                where = f": property {failure.property} value {{{value}}}"
            message = f"{new.type} resource '{new.name}'{where} has a problem: {failure.reason}"
            self.steps.say("error", message, new.urn)
        if failures:
            self.control.stop.set()
            raise Aborted
        new.inputs = inputs

    def _diff(self, new: Resource, old: Resource) -> DiffResult:
        for reason, urns in (("deletedWith", [new.deleted_with]), ("replaceWith", new.replace_with)):
            if any(urn in self._replaced for urn in urns):
                return DiffResult(changes=True, replace_keys=[reason])
        if old.taint:
            return DiffResult(changes=True, replace_keys=["id"])
        if bool(old.provider) != bool(new.provider):
            return DiffResult(changes=True, replace_keys=["provider"])
        if not new.custom:
            return DiffResult(changes=not same(old.inputs, new.inputs))  # what became a secret counts
        if new.is_provider:
            return DiffResult(changes=inputs_differ(old.inputs, new.inputs))
        return self.diff_with_provider(new, old.id, old.inputs, old.outputs, new.inputs)

    def diff_with_provider(
        self, resource: Resource, identifier: str, old_inputs: Properties, outputs: Properties, new: Properties
    ) -> DiffResult:
        """Ask the provider what differs; where it leaves that open, compare the inputs."""
        context = self.steps.context(resource)
        diff = self.provider_of(resource).diff(context, identifier, old_inputs, outputs, new)
        return diff.settle(old_inputs, new)

    # -- replacement ----------------------------------------------------------------------------

    def _replace(self, new: Goal, given: Properties, old: Resource, diff: DiffResult) -> Resource:
        if old.protect and new.protect:
            message = (
                f'unable to replace resource "{new.urn}"\nas it is currently marked for protection. To unprotect '
                "the resource, remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`"
            )
            if not self.options.preview:
                raise EngineError(message)
            self.steps.say("error", message, new.urn)
        with self.lock:
            self._replaced.add(new.urn)
        new.inputs = given
        self._check(new, None)
        before = new.delete_before_replace
        if diff.delete_before_replace if before is None else before:
            self._delete_dependents_first(old)
            self.steps.delete(old, operation="delete-replaced", keep_entry=True)
            self.steps.tell("replace", old, new, diff)
            return self.steps.create(new, operation="create-replacement", replaces=old, diff=diff)
        result = self.steps.create(new, operation="create-replacement", diff=diff, was=old)
        self.steps.tell("replace", old, new, diff)
        with self.lock:
            self.handled.discard(id(old))
        return result

    def _recreate(self, new: Resource, old: Resource) -> Resource:
        """Create again what was deleted because something it depends on was."""
        with self.lock:
            self._replaced.add(new.urn)
        self.steps.tell("replace", old, new, None)
        return self.steps.create(new, operation="create-replacement", replaces=old)

    def _delete_dependents_first(self, root: Resource) -> None:
        """Delete what would have to be replaced with a resource that is deleted before replacement."""
        replaced = {root.urn}
        condemned: list[Resource] = []
        with self.lock:
            candidates = [i for i in self.base if not i.delete and id(i) not in self.handled]
        for item in candidates:
            if item.urn not in self._deleted and self._must_go_with(item, replaced):
                replaced.add(item.urn)
                condemned.append(item)
                if item.protect:
                    raise EngineError(
                        f'unable to replace resource "{item.urn}" as part of replacing "{root.urn}" as it is '
                        "currently marked for protection. To unprotect the resource, remove the `protect` flag "
                        "from the resource in your Pulumi program and run `pulumi up`"
                    )
        for item in reversed(condemned):
            with self.lock:
                self._deleted[item.urn] = item
            if not item.pending_replacement:
                goes = item.deleted_with in replaced
                self.steps.delete(item, operation="delete-replaced", with_another=goes, keep_entry=True)

    def _must_go_with(self, item: Resource, replaced: set[str]) -> bool:
        if not item.custom or item.external:
            return False
        if item.provider.rsplit("::", 1)[0] in replaced or item.deleted_with in replaced:
            return True
        if any(urn in replaced for urn in item.replace_with):
            return True
        dependencies = item.property_dependencies
        touched = [key for key in item.inputs if replaced & set(dependencies.get(key, ()))]
        if not touched or item.is_provider:
            return False
        inputs = {**item.inputs, **dict.fromkeys(touched, UNKNOWN)}
        diff = self.diff_with_provider(item, item.id, item.inputs, item.outputs, inputs)
        apply_replace_on_changes(diff, item.replace_on_changes)
        return bool(diff.changes) and diff.replaces

    # -- targets --------------------------------------------------------------------------------

    def targeted(self, resource: Resource) -> bool:
        """Tell whether ``--target`` lets a resource be worked on."""
        if not self.targets or resource.is_provider or resource.type == STACK_TYPE:
            return True
        with self.lock:
            found = self.targets.match(resource.urn)
            if not found and self.options.target_dependents:
                found = any(self.targets.match(urn) for urn in resource.depends_on())
            if found:
                self.targets.actual.add(resource.urn)
            return found

    def _untargeted(self, new: Resource, old: Resource | None) -> Resource:
        if old is None:
            with self.lock:
                self._skipped.add(new.urn)
            self.steps.tell("same", None, new, None)
            return new
        if new.urn in self._deleted or old.pending_replacement:  # with what it depends on, before its replacement
            return self._recreate(dataclasses.replace(old, pending_replacement=False), old)
        self.keep_dependencies(old)
        return self.steps.same(old, dataclasses.replace(old, urn=new.urn))

    def keep_dependencies(self, old: Resource) -> None:
        """Keep what an untargeted resource needs before it, though nothing registers it any more."""
        for urn in sorted(old.depends_on()):
            with self.lock:
                needed = self.olds.get(urn)
                if needed is None or id(needed) in self.handled:
                    continue
                self.handled.add(id(needed))
            self.keep_dependencies(needed)
            self.steps.same(needed, needed)

    def _refuse_skipped_dependencies(self, new: Resource) -> None:
        for urn in sorted(new.depends_on() & self._skipped):
            message = f"Resource '{new.urn}' depends on '{urn}' which was was not specified in --target list."
            if not self.options.preview:
                raise EngineError(message)
            self.steps.say("error", message, new.urn)
            self._skipped.discard(urn)

    def is_skipped(self, urn: str) -> bool:
        """Tell whether a resource was left out by ``--target``: its outputs are unknown."""
        return urn in self._skipped

    # -- outputs and references -----------------------------------------------------------------

    def register_outputs(self, urn: str, outputs: Properties) -> None:
        """Record the outputs of a component or the stack.

        Raises:
            EngineError: the program has no such resource.
        """
        with self.lock:
            resource = self.news.get(urn)
        if resource is None:
            raise EngineError(f"outputs were registered for {urn}, which the program has not made")
        before = resource.outputs
        if not same(before, outputs) and not self.is_skipped(urn):
            carry_ciphertexts(outputs, before)
            resource.outputs = outputs
            self.manager.change(resource)
        self.steps.outputs(resource, before)

    def register_stack_outputs(self, urn: str, outputs: Properties | None, *, over_old: bool) -> None:
        """Record the stack's outputs, alone or over those it has; None where the program told none."""
        if urn in self.news:
            before = self.news[urn].outputs
            self.register_outputs(urn, before if outputs is None else {**before, **outputs} if over_old else outputs)

    def reference(self, urn: str, request: Any, inputs: Properties, outputs: Properties) -> Resource:
        """Record a stack reference with the outputs read."""
        names = sorted(name for name, value in outputs.items() if contains_secret(value))
        new = Resource(
            urn,
            request.type,
            custom=True,
            id=request.id,
            inputs=inputs,
            outputs={"name": request.id, "outputs": outputs, "secretOutputNames": names},
            parent=request.parent,
            external=True,
            dependencies=sorted(set(request.dependencies)),
            provider=self._default_provider("pulumi", ""),
        )
        with self.lock:
            if urn in self.registered:
                raise EngineError(f"Duplicate resource URN '{urn}'; try giving it a unique name")
            self.registered.add(urn)
            old = self.olds.get(urn)
            if old is not None:
                self.handled.add(id(old))
                new.created = old.created
        new.modified = now()
        new.created = new.created or new.modified
        carry_ciphertexts(new.outputs, old.outputs if old is not None else {})
        self.manager.add(new, old)
        self.steps.tell("read", old, new, None, count=old is not None)
        with self.lock:
            self.news[urn] = new
        return new


def _provider_inputs(package: str, version: str, inputs: Properties, old: Resource | None) -> Properties:
    """Add to a provider resource's inputs what the official engine and the provider itself record."""
    added: Properties = {"version": version} if version else {}
    if package == "command":
        known = old.inputs if old is not None else {}
        added["__internal"] = {}
        added["__pulumi-go-provider-version"] = known.get("__pulumi-go-provider-version", GO_PROVIDER_VERSION)
    return {**inputs, **added}
