"""Random programs, edits, failures and kills: the state equals the world, or says what is pending."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine import journal
from engine.checkpoint import verify
from engine.secrets import SecretsManager
from tests.engine.engine_memory import Laboratory, Wish, group, thing, thing_id

KILLED = 137
CHANGES = ("create", "update", "delete")


class Killer:
    """Ends the process, as kill -9 would, at the n-th thing that happens."""

    def __init__(self, at: int, torn: bool) -> None:
        self.left = at
        self.torn = torn

    def count(self) -> bool:
        self.left -= 1
        return self.left == 0

    def hook(self, _operation: str, _name: str) -> None:
        if self.count():
            os._exit(KILLED)

    def install(self) -> None:
        """Also count the journal's lines, before each is written and half-way through, and files put in place."""
        write = journal.SnapshotManager._line
        killer = self

        def line(manager: Any, entry: dict[str, Any]) -> None:
            if killer.count():
                if killer.torn and manager._file is not None:
                    manager._file.write(b'{"o":"add","h":3,"r":{"urn"')
                os._exit(KILLED)
            write(manager, entry)

        journal.SnapshotManager._line = line  # type: ignore[method-assign]
        for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "link")):
            self._count_around(owner, name)

    def _count_around(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.hook(name, "before")
            done = original(*arguments, **options)
            self.hook(name, "after")
            return done

        setattr(owner, name, counted)


def run_in_child(lab: Laboratory, program: list[Wish] | None, *, kill_at: int, torn: bool, **options: Any) -> int:
    """Run an operation in a child and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            killer = Killer(kill_at, torn)
            killer.install()
            code = 1 if lab.run(program, before=killer.hook, **options).failed else 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def check(lab: Laboratory) -> None:
    """The state equals the world, but for what it says is pending."""
    snapshot = lab.state()
    verify(snapshot.resources)
    world = lab.world.things
    recorded = {item.id: item for item in snapshot.resources if item.custom and not item.is_provider}
    creating = {_id(item.resource) for item in snapshot.pending if item.type == "creating"}
    deleting = {item.resource.id for item in snapshot.pending if item.type == "deleting"}
    updating = {item.resource.urn for item in snapshot.pending if item.type == "updating"}
    lost = {i for i, item in recorded.items() if i not in world and not item.pending_replacement}
    told = f"{[(i.type, i.resource.urn, i.resource.id) for i in snapshot.pending]} {lab.world.calls}"
    assert lost <= deleting, f"in the state, not in the world, and not pending: {lost - deleting}: {told}"
    unknown = set(world) - set(recorded)
    assert unknown <= creating, f"in the world, not in the state, and not pending: {unknown - creating}: {told}"
    for identifier, item in recorded.items():
        if identifier in world and item.urn not in updating and identifier not in creating:
            assert world[identifier] == item.inputs, identifier


def _id(resource: Any) -> str:
    return thing_id(resource.urn, resource.inputs)


NAMES = ["a", "b", "c", "d", "e"]


@st.composite
def programs(draw: st.DrawFn) -> list[Wish]:
    chosen = [name for name in NAMES if draw(st.booleans())]
    program: list[Wish] = []
    if draw(st.booleans()):
        program.append(group("g"))
    for number, name in enumerate(chosen):
        used = [chosen[index] for index in range(number) if draw(st.integers(0, 3)) == 0]
        inputs: dict[str, Any] = {"x": draw(st.integers(0, 2))}
        if draw(st.integers(0, 2)) == 0:
            inputs["key"] = draw(st.sampled_from(["1", "2"]))
        if draw(st.integers(0, 9)) == 0:
            inputs["fail"] = True
        parent = "g" if program and program[0].name == "g" and draw(st.booleans()) else ""
        options: dict[str, Any] = {}
        if draw(st.integers(0, 3)) == 0:
            options["delete_before_replace"] = True
        if draw(st.integers(0, 4)) == 0 and number:
            options["depends_on"] = [chosen[number - 1]]
        program.append(thing(name, *used, parent=parent, options=options, **inputs))
    return program


STEPS = st.lists(
    st.tuples(
        programs(),
        st.one_of(st.just(0), st.integers(1, 40)),
        st.booleans(),
        st.sampled_from(["update", "update", "destroy", "refresh"]),
    ),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=int(os.environ.get("ENGINE_RANDOM_EXAMPLES", "25")),
    deadline=None,
    database=None,
    derandomize="ENGINE_RANDOM_EXAMPLES" not in os.environ,
    phases=(Phase.explicit, Phase.generate),  # shrinking forks thousands of processes
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS, last=programs())
def test_state_equals_the_world_or_says_what_is_pending(secrets: SecretsManager, steps: Any, last: Any) -> None:
    directory = Path(tempfile.mkdtemp(prefix="engine-random-"))
    try:
        lab = Laboratory(directory, secrets)
        for program, kill_at, torn, kind in steps:
            code = run_in_child(lab, program, kill_at=kill_at, torn=torn, kind=kind)
            assert code in (0, 1, KILLED)
            check(lab)
        for wish in last:
            wish.inputs.pop("fail", None)
        assert run_in_child(lab, last, kill_at=0, torn=False) == 0
        check(lab)
        wanted = {item.name for item in last if not item.component}
        state = lab.state()
        assert {item.name for item in state.resources if item.custom and not item.is_provider} == wanted
        lab.world.forget_calls()
        assert run_in_child(lab, last, kill_at=0, torn=False) == 0
        assert [call for call in lab.world.calls if not call.startswith(("check", "read"))] == []
    finally:
        shutil.rmtree(directory)


PROGRAM = [
    thing("a", x=1),
    thing("b", "a"),
    group("g"),
    thing("c", parent="g", key="1"),
    thing("d", "c"),
    thing("e", key="1"),
]
CHANGED = [
    thing("a", x=2),
    thing("e", key="2"),
    group("g"),
    thing("c", parent="g", key="2", options={"delete_before_replace": True}),
    thing("d", key_from="c"),
    thing("new"),
]


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("kind", ["first", "changed", "destroy"])
def test_killed_at_every_step_then_converges(lab: Laboratory, secrets: SecretsManager, kind: str, torn: bool) -> None:
    """Kill at each step in turn, run again: nothing is lost, and a third run has nothing to do.

    A step is anything a provider does, before and after, each line of the journal, and each file put in place.
    """
    kill_at = 0
    while True:
        kill_at += 1
        directory = lab.store.backend.root.parent / f"kill-{kill_at}"
        mine = Laboratory(directory, secrets)
        if kind != "first":
            mine.run(PROGRAM)
        wanted = {"first": PROGRAM, "changed": CHANGED, "destroy": []}[kind]
        options: dict[str, Any] = {"kind": "destroy" if kind == "destroy" else "update", "parallel": 1}
        mine.world.forget_calls()
        if run_in_child(mine, wanted, kill_at=kill_at, torn=torn, **options) != KILLED:
            break
        check(mine)
        assert run_in_child(mine, wanted, kill_at=0, torn=False, **options) == 0
        check(mine)
        assert mine.state().pending == []
        # Only what ran when the kill came may be done again: one creation, one update, or one deletion.
        again = [call for call, times in Counter(mine.world.calls).items() if times > 1 and call.split()[0] in CHANGES]
        assert len(again) <= 1, again
        names = {name.split(".")[0].removeprefix("in-group-") for name in mine.world.things}
        assert names == {wish.name for wish in wanted if not wish.component}
        mine.world.forget_calls()
        assert run_in_child(mine, wanted, kill_at=0, torn=False, **options) == 0
        assert [call for call in mine.world.calls if not call.startswith("check")] == []
        shutil.rmtree(directory)
    assert kill_at > 40, "the run has fewer steps than it should"
