"""An in-memory (or on-disk) world, a provider for it, and programs as lists of goals."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import deletion, journal, pending, refresh
from engine.backend import Backend, StackStore
from engine.checkpoint import Resource, Snapshot, verify
from engine.deployment import Deployment
from engine.diff import DiffResult, compare, format_path
from engine.errors import ProviderError
from engine.events import StepEvent
from engine.goal import Goal, make_urn
from engine.journal import SnapshotManager
from engine.providers.base import Context, Failure, Provider, ReadResult
from engine.providers.ssh import Pool
from engine.secrets import SecretsManager
from engine.steps import Aborted, Control, Options
from engine.values import UNKNOWN, Properties, reveal

STACK = "urn:pulumi:dev::proj::pulumi:pulumi:Stack::proj-dev"


def urn(name: str, kind: str = "test:index:Thing") -> str:
    return f"urn:pulumi:dev::proj::{kind}::{name}"


def thing_id(resource_urn: str, inputs: Properties) -> str:
    """Name a thing: its name and key, and where it is in a group, that too."""
    _, _, chain, name = resource_urn.split("::", 3)
    return f"{'in-group-' if '$' in chain else ''}{name}.{inputs.get('key', '')}"


class World:
    """The things that exist, a file each, and a log of what was done to them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    @property
    def things(self) -> dict[str, Any]:
        return {file.stem: json.loads(file.read_text())["inputs"] for file in self.directory.glob("*.thing")}

    @property
    def calls(self) -> list[str]:
        log = self.directory / "calls.log"
        return log.read_text().splitlines() if log.exists() else []

    def note(self, text: str) -> None:
        with self._lock, (self.directory / "calls.log").open("a") as log:
            log.write(text + "\n")

    def forget_calls(self) -> None:
        (self.directory / "calls.log").unlink(missing_ok=True)

    def put(self, identifier: str, inputs: Properties, mark: str = "") -> None:
        (self.directory / f"{identifier}.thing").write_text(json.dumps({"inputs": inputs, "mark": mark}))

    def drop(self, identifier: str, mark: str = "") -> None:
        """Remove a thing, but not one that another has put in its place since."""
        file = self.directory / f"{identifier}.thing"
        if file.exists() and mark in ("", json.loads(file.read_text())["mark"]):
            file.unlink()


class WorldProvider(Provider):
    """Things with inputs; ``key`` replaces, ``fail`` and ``refuse`` go wrong on purpose."""

    def __init__(self, world: World, before: Callable[[str, str], None] = lambda _op, _name: None) -> None:
        self.world = world
        self.before = before
        self.counter = len(world.things)

    def check(self, context: Context, old: Properties | None, new: Properties) -> tuple[Properties, list[Failure]]:
        self.world.note(f"check {context.name}")
        failures = [Failure("refuse", "said no")] if new.get("refuse") else []
        return new, failures

    def diff(
        self, context: Context, identifier: str, old_inputs: Properties, old_outputs: Properties, new: Properties
    ) -> DiffResult:
        paths = compare(old_inputs, new)
        keys = ["key"] if any(path[0] == "key" for path in paths) else []
        return DiffResult(
            bool(paths),
            keys,
            sorted({str(path[0]) for path in paths}),
            {format_path(path): kind for path, kind in paths.items()},
            bool(reveal(new.get("before"))) or None,
        )

    def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        if context.preview:
            return "", {**inputs, "made": UNKNOWN}
        self.before("create", context.name)
        self.world.note(f"create {context.name}")
        plain = reveal(inputs)
        if plain.get("fail"):
            raise ProviderError("create failed on purpose")
        identifier = thing_id(context.urn, plain)
        mark = secrets.token_hex(8)
        self.world.put(identifier, plain, mark)
        self.before("created", context.name)
        return identifier, {**inputs, "made": f"made {context.name} {plain.get('key', '')}", "mark": mark}

    def update(
        self, context: Context, identifier: str, old_inputs: Properties, old_outputs: Properties, new: Properties
    ) -> Properties:
        if context.preview:
            return {**new, "made": UNKNOWN}
        self.before("update", context.name)
        self.world.note(f"update {identifier}")
        plain = reveal(new)
        if plain.get("fail"):
            raise ProviderError("update failed on purpose")
        mark = old_outputs.get("mark", "")
        self.world.put(identifier, plain, mark)
        self.before("updated", context.name)
        return {**new, "made": f"updated {context.name}", "mark": mark}

    def delete(self, context: Context, identifier: str, inputs: Properties, outputs: Properties) -> None:
        self.before("delete", context.name)
        self.world.note(f"delete {identifier}")
        if reveal(inputs).get("keeps"):
            raise ProviderError("delete failed on purpose")
        self.world.drop(identifier, outputs.get("mark", ""))
        self.before("deleted", context.name)

    def read(self, context: Context, identifier: str, inputs: Properties, outputs: Properties) -> ReadResult:
        self.world.note(f"read {identifier}")
        found = self.world.things.get(identifier)
        if found is None:
            return ReadResult("")
        return ReadResult(identifier, {**outputs, **found}, found)


@dataclass
class Wish:
    """One resource of a test's program; ``uses`` maps inputs to the resources whose ``made`` output they take."""

    name: str
    inputs: Properties = field(default_factory=dict)
    uses: dict[str, str] = field(default_factory=dict)
    component: bool = False
    parent: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Result:
    """What came of a run."""

    snapshot: Snapshot
    changes: dict[str, int]
    failed: bool
    events: list[Any]
    responses: dict[str, Resource]

    @property
    def resources(self) -> dict[str, Resource]:
        return {item.name: item for item in self.snapshot.resources if not item.is_provider and not item.delete}

    def steps(self, phase: str = "pre") -> list[tuple[str, str]]:
        return [
            (event.operation, event.resource.name)
            for event in self.events
            if isinstance(event, StepEvent) and event.phase == phase and not event.resource.is_provider
        ]

    @property
    def errors(self) -> list[str]:
        return [e.message for e in self.events if getattr(e, "severity", "") == "error"]


class Laboratory:
    """A stack in a directory of its own, run without the SDK."""

    def __init__(self, directory: Path, manager: SecretsManager) -> None:
        self.backend = Backend(directory, f"file://{directory}")
        self.secrets = manager
        self.world = World(directory / "world")
        name = "dev"
        exists = StackStore(self.backend, "proj", name).file.exists()
        self.store = self.backend.stack("proj", name) if exists else self.backend.create("proj", name)
        self.store.manager = manager

    def state(self, *, settle: bool = False) -> Snapshot:
        snapshot = self.store.read(self.secrets)
        recovered = journal.recover(self.store, snapshot, self.secrets)
        snapshot = recovered or snapshot
        snapshot.salt = self.secrets.salt
        if settle and recovered is not None:
            journal.settle(self.store, snapshot)
        return snapshot

    def run(
        self,
        program: list[Wish] | None = None,
        *,
        kind: str = "update",
        before: Callable[[str, str], None] = lambda _op, _name: None,
        control: Control | None = None,
        **options: Any,
    ) -> Result:
        chosen = Options(**{"parallel": 4, **options})
        control = control or Control()
        events: list[Any] = []
        snapshot = self.state(settle=not chosen.preview)
        interrupted = pending.set_aside(snapshot)
        manager = SnapshotManager(None if chosen.preview else self.store, snapshot, self.secrets)
        deployment = Deployment(
            project="proj",
            stack="dev",
            config={},
            snapshot=snapshot,
            manager=manager,
            events=events.append,
            options=chosen,
            control=control,
            pool=Pool(),
            providers={"test": WorldProvider(self.world, before)},
        )
        responses: dict[str, Resource] = {}
        pending.resolve(deployment, interrupted)
        if chosen.refresh or kind == "refresh":
            refresh.refresh(deployment, alone=kind == "refresh")
        if kind == "destroy":
            deletion.delete(deployment, everything=True)
        elif kind == "update":
            with suppress(Aborted):
                _register_all(deployment, program or [], responses)
            if not deployment.steps.failed and not control.stop.is_set():
                deletion.delete(deployment, everything=False)
        final = manager.close()
        verify(final.resources)
        failed = deployment.steps.failed or control.stop.is_set()
        return Result(final, dict(deployment.steps.changes), failed, events, responses)


def _register_all(deployment: Deployment, program: list[Wish], responses: dict[str, Resource]) -> None:
    deployment.register(Goal(STACK, "pulumi:pulumi:Stack"))
    urns: dict[str, str] = {}
    for wish in program:
        kind = "test:index:Group" if wish.component else "test:index:Thing"
        parent = urns.get(wish.parent, STACK)
        inputs = dict(wish.inputs)
        dependencies: dict[str, list[str]] = {key: [] for key in inputs}
        for key, used in wish.uses.items():
            source = responses[used]
            inputs[key] = source.outputs.get("made", UNKNOWN)
            dependencies[key] = [source.urn]
        options = dict(wish.options)
        extra = [urns[name] for name in options.pop("depends_on", [])]
        if "deleted_with" in options:
            options["deleted_with"] = urns[options["deleted_with"]]
        urns[wish.name] = make_urn("dev", "proj", parent, kind, wish.name)
        goal = Goal(
            urns[wish.name],
            kind,
            custom=not wish.component,
            inputs=inputs,
            parent=parent,
            dependencies=sorted({urns[used] for used in wish.uses.values()} | set(extra)),
            property_dependencies=dependencies,
            former=options.pop("aliases", []),
            inherits=tuple({"protect", "retain_on_delete"} - options.keys()),
            **options,
        )
        responses[wish.name] = deployment.register(goal)
    deployment.register_outputs(STACK, {"things": [wish.name for wish in program]})


def thing(name: str, *uses: str, parent: str = "", options: dict[str, Any] | None = None, **inputs: Any) -> Wish:
    """Wish for a thing; an input ``key_from="a"`` makes the replacing property depend on a."""
    taken = {f"from_{used}": used for used in uses}
    if "key_from" in inputs:
        taken["key"] = inputs.pop("key_from")
    return Wish(name, inputs, taken, parent=parent, options=options or {})


def group(name: str, **options: Any) -> Wish:
    """Wish for a component."""
    return Wish(name, component=True, options=options)
