"""Each semantic of the engine by name, against a real store and a world of files."""

from __future__ import annotations

import threading

import pytest

from engine.checkpoint import PendingOperation, Resource
from engine.steps import Control
from engine.values import UNKNOWN, Secret
from tests.engine.engine_memory import STACK, Laboratory, WorldProvider, group, thing, urn


def test_create_then_same(lab: Laboratory) -> None:
    program = [thing("a", x=1), thing("b", "a")]
    first = lab.run(program)
    assert first.changes == {"create": 3}
    assert set(lab.world.things) == {"a.", "b."}
    lab.world.forget_calls()
    second = lab.run(program)
    assert second.changes == {"same": 3}
    assert lab.world.calls == ["check a", "check b"]
    assert second.resources["b"].inputs["from_a"] == "made a "


def test_update_in_place(lab: Laboratory) -> None:
    lab.run([thing("a", x=1)])
    result = lab.run([thing("a", x=2)])
    assert result.changes == {"update": 1, "same": 1}
    assert lab.world.things == {"a.": {"x": 2}}
    assert result.resources["a"].modified > result.resources["a"].created


def test_replace_creates_before_it_deletes(lab: Laboratory) -> None:
    lab.run([thing("a", key="1")])
    lab.world.forget_calls()
    result = lab.run([thing("a", key="2")])
    assert result.changes == {"replace": 1, "same": 1}
    assert [call for call in lab.world.calls if not call.startswith("check")] == ["create a", "delete a.1"]
    assert set(lab.world.things) == {"a.2"}


def test_delete_before_replace_takes_its_dependents_first(lab: Laboratory) -> None:
    before = {"delete_before_replace": True}
    lab.run([thing("a", key="1"), thing("b", key_from="a"), thing("c", "a"), thing("d", key="1")])
    lab.world.forget_calls()
    program = [thing("a", key="2", options=before), thing("b", key_from="a"), thing("c", "a"), thing("d", key="1")]
    result = lab.run(program)
    done = [call for call in lab.world.calls if not call.startswith("check")]
    assert done[0].startswith("delete b.")
    assert done[1:3] == ["delete a.1", "create a"]
    assert result.changes["replace"] == 2
    assert not [item for item in result.snapshot.resources if item.pending_replacement or item.delete]


def test_delete_in_reverse_dependency_order(lab: Laboratory) -> None:
    lab.run([thing("a"), thing("b", "a"), thing("c", "b"), group("g"), thing("k", parent="g")])
    lab.world.forget_calls()
    result = lab.run([thing("a")])
    order = [call for call in lab.world.calls if call.startswith("delete")]
    assert order.index("delete c.") < order.index("delete b.")
    assert [name for op, name in result.steps() if op == "delete"].index("k") < [
        name for op, name in result.steps() if op == "delete"
    ].index("g")
    assert set(lab.world.things) == {"a."}


def test_destroy_leaves_nothing(lab: Laboratory) -> None:
    lab.run([thing("a"), thing("b", "a"), group("g"), thing("k", parent="g")])
    result = lab.run(kind="destroy")
    assert result.snapshot.resources == []
    assert lab.world.things == {}


def test_protect_refuses_deletion_and_the_rest_goes(lab: Laboratory) -> None:
    lab.run([thing("a", options={"protect": True}), thing("b")])
    result = lab.run([])
    assert result.failed
    assert "it is protected" in result.errors[0]
    assert set(lab.world.things) == {"a."}


def test_protect_is_inherited_and_refuses_replacement(lab: Laboratory) -> None:
    lab.run([group("g", protect=True), thing("a", parent="g", key="1")])
    result = lab.run([group("g", protect=True), thing("a", parent="g", key="2")])
    assert result.failed
    assert "marked for protection" in result.errors[0]
    assert set(lab.world.things) == {"in-group-a.1"}


def test_ignore_changes(lab: Laboratory) -> None:
    lab.run([thing("a", x={"y": [1, 2], "z": 3})])
    options = {"ignore_changes": ["x.y[*]", "w"]}
    result = lab.run([thing("a", x={"y": [8, 9], "z": 3}, w=1, options=options)])
    assert result.changes == {"same": 2}
    assert result.resources["a"].inputs == {"x": {"y": [1, 2], "z": 3}}


def test_replace_on_changes(lab: Laboratory) -> None:
    lab.run([thing("a", x={"y": [1]})])
    result = lab.run([thing("a", x={"y": [2]}, options={"replace_on_changes": ["x.y[*]"]})])
    assert result.changes["replace"] == 1


def test_retain_on_delete(lab: Laboratory) -> None:
    lab.run([thing("a", options={"retain_on_delete": True})])
    result = lab.run([])
    assert "a" not in result.resources
    assert set(lab.world.things) == {"a."}


def test_deleted_with(lab: Laboratory) -> None:
    lab.run([thing("a"), thing("b", options={"deleted_with": "a"})])
    lab.world.forget_calls()
    result = lab.run([])
    assert "delete a." in lab.world.calls
    assert "delete b." not in lab.world.calls
    assert set(result.resources) == {"proj-dev"}


def test_aliases_keep_the_thing_and_rename_what_refers_to_it(lab: Laboratory) -> None:
    lab.run([group("old"), thing("a", parent="old"), thing("b", "a", parent="old")])
    lab.world.forget_calls()
    old, child = urn("old", "test:index:Group"), "urn:pulumi:dev::proj::test:index:Group$test:index:Thing::"
    result = lab.run(
        [
            group("new", aliases=[old]),
            thing("a", parent="new", options={"aliases": [child + "a"]}),
            thing("c", "a", parent="new", options={"aliases": [child + "b"]}),
        ]
    )
    assert "create a" not in lab.world.calls
    assert "delete a." not in lab.world.calls
    assert result.resources["a"].parent == urn("new", "test:index:Group")


def test_rename_survives_a_failure_half_way(lab: Laboratory) -> None:
    lab.run([thing("a"), thing("b", "a"), thing("c", "b")])
    alias = {"aliases": [urn("a")]}
    result = lab.run([thing("a2", options=alias), thing("bad", fail=True)])
    assert result.failed
    kept = {item.urn: item for item in lab.state().resources}
    assert kept[urn("b")].dependencies == [urn("a2")]


def test_additional_secret_outputs(lab: Laboratory, secrets: object) -> None:
    result = lab.run([thing("a", x="open", options={"additional_secret_outputs": ["made"]})])
    assert result.resources["a"].outputs["made"] == Secret("made a ")
    text = lab.store.file.read_text()
    assert "made a " not in text
    assert '"x":"open"' in text


def test_secrets_stay_secret_and_keep_their_ciphertext(lab: Laboratory) -> None:
    lab.run([thing("a", x=Secret("hush"), y=1)])
    assert "hush" not in lab.store.file.read_text()
    before = _ciphertexts(lab)
    lab.run([thing("a", x=Secret("hush"), y=2)])
    assert _ciphertexts(lab) == before
    lab.run([thing("a", x=Secret("other"), y=2)])
    assert not set(_ciphertexts(lab)) & set(before)


def _ciphertexts(lab: Laboratory) -> list[str]:
    import re

    return sorted(set(re.findall(r'"ciphertext":"([^"]+)"', lab.store.file.read_text())))


@pytest.mark.parametrize("kind", ["create", "update", "delete"])
def test_custom_timeouts_are_enforced(lab: Laboratory, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.providers.base.GRACE", 0.1)
    slow = {"custom_timeouts": {kind: 0.2}}
    if kind != "create":
        lab.run([thing("slow", x=1, options=slow)])
    release = threading.Event()

    def hang(operation: str, _name: str) -> None:
        if operation == kind:
            release.wait(30)

    try:
        result = lab.run([] if kind == "delete" else [thing("slow", x=2, options=slow)], before=hang)
    finally:
        release.set()
    assert result.failed
    assert f"{kind} of slow timed out after 0.2 s" in result.errors[0]
    assert [item.type for item in lab.state().pending] == [kind.removesuffix("e") + "ing"]


def test_custom_timeout_of_a_read(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.run([thing("slow", options={"custom_timeouts": {"read": 0.2}})])
    release = threading.Event()
    monkeypatch.setattr("engine.providers.base.GRACE", 0.1)
    monkeypatch.setattr(WorldProvider, "read", lambda *_: release.wait(30))
    result = lab.run(kind="refresh")
    release.set()
    assert result.failed
    assert "read of slow timed out after 0.2 s" in result.errors[0]
    assert "slow" in result.resources


def test_unknowns_in_a_preview(lab: Laboratory) -> None:
    preview = lab.run([thing("a"), thing("b", "a")], preview=True)
    assert preview.responses["b"].inputs["from_a"] is UNKNOWN
    assert preview.responses["b"].id == ""
    assert preview.changes == {"create": 3}
    assert lab.world.things == {}
    assert lab.store.read_deployment() is None


def test_preview_of_an_update_runs_nothing(lab: Laboratory) -> None:
    lab.run([thing("a", x=1), thing("gone")])
    before = lab.store.file.read_bytes()
    lab.world.forget_calls()
    result = lab.run([thing("a", x=2)], preview=True)
    assert result.changes == {"update": 1, "same": 1, "delete": 1}
    assert lab.store.file.read_bytes() == before
    assert all(call.startswith("check") for call in lab.world.calls)


def test_failed_create_records_nothing_and_stops(lab: Laboratory) -> None:
    result = lab.run([thing("a"), thing("bad", fail=True), thing("after")])
    assert result.failed
    assert set(result.resources) == {"proj-dev", "a"}
    assert lab.state().pending == []
    assert lab.run([thing("a"), thing("bad"), thing("after")]).changes == {"create": 2, "same": 2}


def test_half_made_resource_of_a_state_is_updated(lab: Laboratory) -> None:
    lab.run([thing("a")])
    snapshot = lab.state()
    snapshot.resources[-1].init_errors = ["only half made"]
    lab.store.write_checkpoint(snapshot)
    assert lab.run([thing("a")]).changes["update"] == 1
    assert lab.state().resources[-1].init_errors == []


def test_failed_update_keeps_the_old_inputs(lab: Laboratory) -> None:
    lab.run([thing("a", x=1)])
    result = lab.run([thing("a", x=2, fail=True)])
    assert result.failed
    assert result.resources["a"].inputs == {"x": 1}
    assert lab.run([thing("a", x=2)]).changes["update"] == 1


def test_failed_deletion_of_the_replaced_is_tried_again(lab: Laboratory) -> None:
    lab.run([thing("a", key="1", keeps=True)])
    result = lab.run([thing("a", key="2")])
    assert result.failed
    assert [item.delete for item in result.snapshot.resources if item.name == "a"] == [False, True]
    again = lab.run([thing("a", key="2")])
    assert "delete a.1" in lab.world.calls
    assert again.failed


def test_check_failure_names_property_and_reason(lab: Laboratory) -> None:
    result = lab.run([thing("a", refuse=True)])
    assert result.failed
    assert result.errors == ["test:index:Thing resource 'a': property refuse value {True} has a problem: said no\n"]
    assert lab.world.things == {}


def test_duplicate_urn_is_refused(lab: Laboratory) -> None:
    result = lab.run([thing("a"), thing("a")])
    assert result.failed
    assert result.errors[0].startswith("Duplicate resource URN")


@pytest.mark.parametrize("preview", [True, False])
def test_refresh_sees_drift_and_loss(lab: Laboratory, preview: bool) -> None:
    lab.run([thing("a", x=1), thing("b", x=1), thing("c", "b")])
    lab.world.put("a.", {"x": 7})
    lab.world.drop("b.")
    result = lab.run(kind="refresh", preview=preview)
    assert result.changes == {"update": 1, "delete": 1, "same": 2}
    recorded = {item.name: item for item in lab.state().resources}
    assert recorded["a"].inputs == {"x": 1 if preview else 7}
    assert ("b" in recorded) is preview
    if not preview:
        assert recorded["c"].dependencies == []
        assert lab.run([thing("a", x=1), thing("b", x=1), thing("c", "b")]).changes["create"] == 1
        assert lab.world.things["a."] == {"x": 1}


def test_update_that_refreshes_first(lab: Laboratory) -> None:
    lab.run([thing("a", x=1)])
    lab.world.drop("a.")
    result = lab.run([thing("a", x=1)], refresh=True)
    assert result.changes == {"create": 1, "same": 1}
    assert lab.world.things == {"a.": {"x": 1}}


def test_target_updates_only_what_is_named(lab: Laboratory) -> None:
    lab.run([thing("a", x=1), thing("b", x=1), thing("gone")])
    result = lab.run([thing("a", x=2), thing("b", x=2), thing("new")], targets=[urn("a")])
    assert result.changes == {"update": 1, "same": 4}
    assert lab.world.things["b."] == {"x": 1}
    assert "gone." in lab.world.things
    assert "new." not in lab.world.things


def test_target_dependents(lab: Laboratory) -> None:
    lab.run([thing("a", x=1), thing("b", "a"), thing("c", x=1)])
    result = lab.run([thing("a", x=2), thing("b", "a"), thing("c", x=2)], targets=["**::a"], target_dependents=True)
    assert result.changes == {"update": 2, "same": 2}


def test_target_refuses_to_build_on_what_it_leaves_out(lab: Laboratory) -> None:
    result = lab.run([thing("a"), thing("b", "a")], targets=[urn("b")])
    assert result.failed
    assert "which was was not specified in --target list" in result.errors[0]


def test_target_destroy_refuses_dependents_it_was_not_given(lab: Laboratory) -> None:
    lab.run([thing("a"), thing("b", "a")])
    refused = lab.run(kind="destroy", targets=[urn("a")])
    assert refused.failed
    assert set(lab.world.things) == {"a.", "b."}
    assert not lab.run(kind="destroy", targets=[urn("a")], target_dependents=True).failed
    assert lab.world.things == {}


def test_components_change_counts_as_an_update(lab: Laboratory) -> None:
    program = [group("g"), thing("a", parent="g")]
    lab.run(program)
    changed = group("g")
    changed.inputs = {"size": 2}
    assert lab.run([changed, thing("a", parent="g")]).changes == {"update": 1, "same": 2}


def test_interrupt_finishes_what_runs_and_begins_nothing(lab: Laboratory) -> None:
    control = Control()

    def stop(operation: str, _name: str) -> None:
        if operation == "create":
            control.interrupted = True
            control.stop.set()

    result = lab.run([thing("a"), thing("b"), thing("c")], before=stop, control=control)
    assert result.failed
    assert set(lab.world.things) == {"a."}
    assert "a" in result.resources
    assert lab.state().pending == []
    assert lab.run([thing("a"), thing("b"), thing("c")]).changes == {"create": 2, "same": 2}


def test_pending_creation_is_resolved_by_creating(lab: Laboratory) -> None:
    snapshot = lab.state()
    snapshot.pending = [PendingOperation(Resource(urn("a"), "test:index:Thing", custom=True), "creating")]
    lab.store.write_checkpoint(snapshot)
    result = lab.run([thing("a")])
    assert not result.failed
    assert lab.state().pending == []


def test_pending_creation_with_other_inputs_stays_listed(lab: Laboratory) -> None:
    snapshot = lab.state()
    other = Resource(urn("a"), "test:index:Thing", custom=True, inputs={"key": "other"})
    snapshot.pending = [PendingOperation(other, "creating")]
    lab.store.write_checkpoint(snapshot)
    assert not lab.run([thing("a")]).failed
    assert [item.resource.inputs for item in lab.state().pending] == [{"key": "other"}]


@pytest.mark.parametrize("lost", [True, False])
def test_pending_deletion_is_looked_for(lab: Laboratory, lost: bool) -> None:
    lab.run([thing("a")])
    snapshot = lab.state()
    snapshot.pending = [PendingOperation(snapshot.resources[-1], "deleting")]
    lab.store.write_checkpoint(snapshot)
    if lost:
        lab.world.drop("a.")
    assert lab.run([thing("a")]).changes == ({"create": 1, "same": 1} if lost else {"update": 1, "same": 1})
    assert set(lab.world.things) == {"a."}


def test_pending_update_is_done_again(lab: Laboratory) -> None:
    lab.run([thing("a", x=1)])
    snapshot = lab.state()
    snapshot.pending = [PendingOperation(snapshot.resources[-1], "updating")]
    lab.store.write_checkpoint(snapshot)
    lab.world.put("a.", {"x": "half written"})
    assert lab.run([thing("a", x=1)]).changes == {"update": 1, "same": 1}
    assert lab.world.things == {"a.": {"x": 1}}
    assert lab.state().pending == []


def test_stack_outputs_are_recorded(lab: Laboratory) -> None:
    lab.run([thing("a")])
    stack = next(item for item in lab.state().resources if item.urn == STACK)
    assert stack.outputs == {"things": ["a"]}
