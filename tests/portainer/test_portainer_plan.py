"""Plan and carry out against stand-in servers of every version."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from lab.portainer import StandIn
from lab.portainer.state import Environment, Stack
from phoenix.errors import InputError, PortainerError
from phoenix.portainer.api import Portainer
from phoenix.portainer.carry_out import carry_out
from phoenix.portainer.contract import Outputs, parse
from phoenix.portainer.declared import declare
from phoenix.portainer.observe import observe
from phoenix.portainer.plan import Plan, plan
from phoenix.portainer.target import Clock
from tests.portainer.declarations import COMPOSE, Files, agent, outputs, raw_outputs, stack
from tests.portainer.support import Open, Start


def sync(api: Portainer, wanted: Outputs, files: Files, *, prune: bool = False) -> Plan:
    declared = declare(wanted, files)
    planned = plan(declared, observe(api, declared), prune=prune)
    outcomes = carry_out(planned, api)
    assert [outcome.message for outcome in outcomes if outcome.result != "done"] == []
    return planned


def actions(planned: Plan) -> list[tuple[str, str]]:
    return [(step.action, step.name) for step in planned.steps]


def running(server: StandIn, number: int) -> dict[str, str]:
    engine = server.api.engine(f"tcp://vm{number}.internal.example.test:9001")
    return {f"{item.project}/{item.service}": item.environment.get("GREETING", "") for item in engine.list()}


def test_everything_is_made_once_and_then_left_alone(any_mode: str, start: Start, connect: Open) -> None:
    server = start(any_mode)
    api = connect(server)
    files = Files()
    wanted = outputs(
        [agent(1), agent(2)],
        [stack("app", 1, variables={"GREETING": "one"}), stack("app", 2, variables={"GREETING": "two"})],
    )

    first = sync(api, wanted, files)
    assert actions(first) == [
        ("create", "agent-1"),
        ("create", "agent-2"),
        ("create", "app-production"),
        ("create", "app-production"),
    ]
    assert running(server, 1) == {"app-production/web": "one"}
    assert running(server, 2) == {"app-production/web": "two"}

    server.log.clear()
    second = sync(api, wanted, files)
    assert {step.action for step in second.steps} == {"unchanged"}
    assert server.log.writes() == []
    assert len(server.log.calls("GET", "/api/endpoints")) == 1
    assert len(server.log.calls("GET", "/api/stacks")) == 1


def test_a_changed_variable_or_text_is_an_update_in_place(any_mode: str, start: Start, connect: Open) -> None:
    server = start(any_mode)
    api = connect(server)
    files = Files()
    sync(api, outputs([agent(1)], [stack("app", 1, variables={"GREETING": "one", "SPARE": "x"})]), files)
    number = next(iter(server.state.stacks))

    changed = sync(api, outputs([agent(1)], [stack("app", 1, variables={"GREETING": "uno", "SPARE": "x"})]), files)
    assert actions(changed) == [("unchanged", "agent-1"), ("update", "app-production")]
    assert changed.steps[1].reasons == ("variable GREETING changed",)
    assert server.state.stacks[number].env == [
        {"name": "GREETING", "value": "uno"},
        {"name": "SPARE", "value": "x"},
    ]

    files.files["app/docker-compose.yml"] += "  cache:\n    image: redis:7\n"
    changed = sync(api, outputs([agent(1)], [stack("app", 1, variables={"GREETING": "uno", "SPARE": "x"})]), files)
    assert changed.steps[1].reasons[0].startswith("its compose text changed (2 lines)")
    assert set(running(server, 1)) == {"app-production/web", "app-production/cache"}
    assert list(server.state.stacks) == [number]


def test_hand_made_records_are_adopted_in_place(both_modes: str, start: Start, connect: Open) -> None:
    server = start(both_modes)
    api = connect(server)
    place = api.create_environment(" Agent-1", "tcp://old-address.example.test:9001").id
    number = api.settled(api.create_stack(place, "app-production", COMPOSE, ())).id
    wanted = outputs([agent(1)], [stack("app", 1)])

    planned = sync(api, wanted, Files())
    assert actions(planned) == [("adopt", "agent-1"), ("adopt", "app-production")]
    assert planned.steps[0].reasons == (
        "is called ' Agent-1'",
        "its agent is tcp://old-address.example.test:9001, should be tcp://vm1.internal.example.test:9001",
    )
    assert planned.steps[1].reasons == ("was not made by the portainer manager",)
    assert set(running(server, 1)) == {"app-production/web"}
    assert [(item.id, item.name) for item in api.environments()] == [(place, "agent-1")]
    assert [item.id for item in api.stacks()] == [number]
    assert {step.action for step in sync(api, wanted, Files()).steps} == {"unchanged"}


def test_a_renamed_environment_is_found_by_its_agent(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    number = api.create_environment("old-name", "tcp://vm1.internal.example.test:9001").id
    planned = sync(api, outputs([agent(1)]), Files())
    assert actions(planned) == [("adopt", "agent-1")]
    assert [(item.id, item.name) for item in api.environments()] == [(number, "agent-1")]


def test_stacks_whose_environment_was_made_anew_are_taken_along(both_modes: str, start: Start, connect: Open) -> None:
    """What the old scripts left behind: environments deleted and made again at each sync."""
    server = start(both_modes)
    api = connect(server)
    wanted = outputs([agent(1)], [stack("app", 1, variables={"GREETING": "one"})])
    sync(api, wanted, Files())
    (number,) = server.state.stacks
    (place,) = server.state.environments
    api.delete_environment(place)

    planned = sync(api, wanted, Files())
    assert actions(planned) == [("create", "agent-1"), ("adopt", "app-production")]
    assert f"its environment (id {place}) was deleted" in planned.steps[1].reasons
    (again,) = server.state.environments
    assert (server.state.stacks[number].endpoint, again != place) == (again, True)
    assert {step.action for step in sync(api, wanted, Files()).steps} == {"unchanged"}


def test_drift_of_containers_is_seen_and_mended(any_mode: str, start: Start, connect: Open) -> None:
    server = start(any_mode)
    api = connect(server)
    wanted = outputs([agent(1)], [stack("app", 1)])
    sync(api, wanted, Files())
    engine = server.api.engine("tcp://vm1.internal.example.test:9001")

    engine.remove(engine.list()[0].id)
    planned = sync(api, wanted, Files())
    assert planned.steps[1].reasons == ("service 'web' has no container",)
    assert [finding.kind for finding in planned.findings] == ["drift"]
    assert len(engine.list()) == 1

    engine.list()[0].state = "exited"
    planned = sync(api, wanted, Files())
    assert planned.steps[1].reasons == ("service 'web' is not running (exited)",)
    assert [item.state for item in engine.list()] == ["running"]


def test_a_stopped_or_failed_stack_is_deployed_again(start: Start, connect: Open) -> None:
    server = start("2.41")
    api = connect(server)
    wanted = outputs([agent(1)], [stack("app", 1)])
    sync(api, wanted, Files())
    (record,) = server.state.stacks.values()
    for status, reason in ((2, "is stopped"), (4, "its last deployment failed")):
        record.status = status
        assert reason in sync(api, wanted, Files()).steps[1].reasons
        assert record.status == 1


def test_a_deployment_under_way_is_waited_for_before_comparing(start: Start, connect: Open) -> None:
    server = start("2.41")
    api = connect(server)
    wanted = outputs([agent(1)], [stack("app", 1)])
    sync(api, wanted, Files())
    (record,) = server.state.stacks.values()
    record.status = 3
    seen = 0

    def ends(_seconds: float) -> None:
        nonlocal seen
        seen += 1
        record.status = 1

    api.session.clock = Clock(api.session.clock.now, ends)
    server.log.clear()
    assert {step.action for step in sync(api, wanted, Files()).steps} == {"unchanged"}
    assert seen == 1
    assert server.log.writes() == []


def test_duplicates_are_reported_and_pruned_only_when_asked(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    wanted = outputs([agent(1)], [stack("app", 1)])
    sync(api, wanted, Files())
    (number,) = server.state.stacks
    original = server.state.stacks[number]
    copy = Stack(server.state.next_id("stack"), original.name, original.endpoint, original.text, [])
    server.state.stacks[copy.id] = copy
    (place,) = server.state.environments
    twin = Environment(server.state.next_id("environment"), "agent-1", "tcp://elsewhere.example.test:9001")
    server.state.environments[twin.id] = twin

    server.log.clear()
    planned = sync(api, wanted, Files())
    assert {step.action for step in planned.steps} == {"unchanged"}
    assert sorted(finding.kind for finding in planned.findings) == ["duplicate", "duplicate"]
    assert server.log.writes() == []

    planned = sync(api, wanted, Files(), prune=True)
    assert actions(planned) == [
        ("unchanged", "agent-1"),
        ("delete", "app-production"),
        ("update", "app-production"),
        ("delete", "agent-1"),
    ]
    assert list(server.state.stacks) == [number]
    assert list(server.state.environments) == [place]
    # Deleting the duplicate took the project's containers along; the update brought them back.
    assert set(running(server, 1)) == {"app-production/web"}


def test_what_is_no_longer_declared_is_pruned_only_when_asked(both_modes: str, start: Start, connect: Open) -> None:
    server = start(both_modes)
    api = connect(server)
    sync(api, outputs([agent(1), agent(2)], [stack("app", 1), stack("old", 1), stack("app", 2)]), Files())
    wanted = outputs([agent(1)], [stack("app", 1)])

    planned = sync(api, wanted, Files())
    assert {step.action for step in planned.steps} == {"unchanged"}
    assert [finding.kind for finding in planned.findings] == ["orphan", "orphan", "orphan"]
    assert len(server.state.stacks) == 3

    planned = sync(api, wanted, Files(), prune=True)
    assert actions(planned)[2:] == [
        ("delete", "old-production"),
        ("delete", "app-production"),
        ("delete", "agent-2"),
    ]
    assert [item.name for item in server.state.environments.values()] == ["agent-1"]
    assert set(running(server, 1)) == {"app-production/web"}
    assert running(server, 2) == {}


def test_what_others_made_is_never_pruned(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    sync(api, outputs([agent(1)], [stack("app", 1)]), Files())
    (place,) = server.state.environments
    by_hand = api.create_stack(place, "by-hand", COMPOSE, ())
    other = json.loads(json.dumps(raw_outputs([agent(1)], [stack("app", 1, environment="testing")])))
    other["environment"] = "testing"
    sync(api, parse(json.dumps(other), "testing"), Files())
    local = api.create_environment("local", "unix:///var/run/docker.sock", 1)
    foreign = api.create_environment("foreign", "tcp://docker.other.example.test:9001")

    planned = sync(api, outputs([agent(1)], []), Files(), prune=True)
    assert [(step.action, step.name) for step in planned.changes] == [("delete", "app-production")]
    assert {item.id for item in api.environments()} == {place, local.id, foreign.id}
    assert {item.name for item in api.stacks()} == {by_hand.name, "app-testing"}


def test_an_environment_with_stacks_of_others_is_kept(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    sync(api, outputs([agent(1), agent(2)], []), Files())
    place = next(item.id for item in api.environments() if item.name == "agent-2")
    api.create_stack(place, "by-hand", COMPOSE, ())
    planned = sync(api, outputs([agent(1)], []), Files(), prune=True)
    assert planned.changes == ()
    assert "holds stacks (by-hand)" in planned.findings[0].message


def test_a_conflict_keeps_everything_from_being_touched(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    api.create_environment("agent-1", "unix:///var/run/docker.sock", 1)
    declared = declare(outputs([agent(1), agent(2)], [stack("app", 2)]), Files())
    planned = plan(declared, observe(api, declared))
    server.log.clear()
    with pytest.raises(PortainerError, match=r"'agent-1' .*is no Docker agent \(type 1\): rename it"):
        carry_out(planned, api)
    assert server.log.writes() == []


def test_a_swarm_stack_of_the_name_is_a_conflict(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    wanted = outputs([agent(1)], [stack("app", 1)])
    sync(api, wanted, Files())
    next(iter(server.state.stacks.values())).type = 1
    declared = declare(wanted, Files())
    planned = plan(declared, observe(api, declared))
    assert ["is no compose stack (type 1)" in finding.message for finding in planned.conflicts] == [True]


def test_a_stack_from_git_is_taken_over(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    wanted = outputs([agent(1)], [stack("app", 1)])
    sync(api, wanted, Files())
    next(iter(server.state.stacks.values())).git = {"URL": "https://git.example.test/app"}
    planned = sync(api, wanted, Files())
    assert planned.steps[1].action == "adopt"
    assert planned.steps[1].reasons == ("was deployed from a Git repository",)


def test_an_agent_that_is_down_does_not_stop_the_others(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    wanted = outputs([agent(1), agent(2)], [stack("app", 1), stack("app", 2)])
    sync(api, wanted, Files())
    server.api.agents["tcp://vm1.internal.example.test:9001"] = "refused"
    files = Files({"app/docker-compose.yml": COMPOSE.replace("1.27", "1.28")})
    declared = declare(wanted, files)
    planned = plan(declared, observe(api, declared))
    assert [finding.kind for finding in planned.findings] == ["unreachable"]
    outcomes = carry_out(planned, api)
    assert [(item.step.environment, item.result) for item in outcomes if item.step.kind == "stack"] == [
        ("agent-1", "failed"),
        ("agent-2", "done"),
    ]
    assert "1.28" in next(item.text for item in server.state.stacks.values() if item.endpoint == 2)


def test_stacks_of_an_environment_that_failed_are_skipped(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    server.api.agents["tcp://vm1.internal.example.test:9001"] = "refused"
    declared = declare(outputs([agent(1), agent(2)], [stack("app", 1), stack("app", 2)]), Files())
    outcomes = carry_out(plan(declared, observe(api, declared)), api)
    assert [(item.step.name, item.result) for item in outcomes] == [
        ("agent-1", "failed"),
        ("agent-2", "done"),
        ("app-production", "skipped"),
        ("app-production", "done"),
    ]


def test_a_failed_update_puts_back_what_ran(both_modes: str, start: Start, connect: Open) -> None:
    server = start(both_modes)
    api = connect(server)
    wanted = outputs([agent(1)], [stack("app", 1, variables={"GREETING": "kept"})])
    sync(api, wanted, Files())
    server.api.missing_images.add("nginx:9.99")
    declared = declare(wanted, Files({"app/docker-compose.yml": COMPOSE.replace("1.27", "9.99")}))
    outcomes = carry_out(plan(declared, observe(api, declared)), api)
    assert outcomes[1].result == "failed"
    assert "pull access denied" in outcomes[1].message
    assert outcomes[1].message.endswith("What ran before was put back.")
    assert running(server, 1) == {"app-production/web": "kept"}
    (record,) = server.state.stacks.values()
    assert (record.status, "1.27" in record.text, record.env) == (
        1,
        True,
        [{"name": "GREETING", "value": "kept"}],
    )


def test_a_stack_that_cannot_be_deployed_is_tried_once(both_modes: str, start: Start, connect: Open) -> None:
    server = start(both_modes)
    api = connect(server)
    server.api.missing_images.add("nginx:1.27")
    declared = declare(outputs([agent(1)], [stack("app", 1)]), Files())
    outcomes = carry_out(plan(declared, observe(api, declared)), api)
    assert outcomes[1].result == "failed"
    assert len(server.log.calls("POST", "/api/stacks/create/standalone/string")) == 1
    server.api.missing_images.clear()
    assert actions(sync(api, outputs([agent(1)], [stack("app", 1)]), Files()))[1][0] == (
        "create" if both_modes == "2.39" else "update"
    )


def test_stacks_on_the_servers_own_machine_use_its_socket(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    raw = raw_outputs([], [stack("app", 0)])
    wanted = parse(json.dumps(raw), "outputs")
    planned = sync(api, wanted, Files())
    assert actions(planned) == [("create", "agent-0"), ("create", "app-production")]
    (record,) = api.environments()
    assert (record.type, record.url) == (1, "unix:///var/run/docker.sock")
    assert {step.action for step in sync(api, wanted, Files()).steps} == {"unchanged"}


def test_names_are_compared_as_portainer_keeps_them(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    wanted = outputs([agent(1)], [stack("Think Heads.AI", 1)])
    assert actions(sync(api, wanted, Files()))[1] == ("create", "thinkheadsai-production")
    assert {step.action for step in sync(api, wanted, Files()).steps} == {"unchanged"}


def test_what_cannot_be_declared_is_said_all_at_once() -> None:
    wanted = outputs(
        [agent(1), agent(2) | {"environment": "Agent-1 "}],
        [
            stack("a!", 1),
            stack("A", 1),
            stack("-x", 1),
            stack("gone", 1, compose="missing.yml"),
            stack("bad", 1, compose="bad.yml"),
            stack("file", 1, files=[{"source": "missing.env", "destination": "/a/../b"}]),
        ],
    )
    with pytest.raises(InputError) as raised:
        declare(wanted, Files({"app/docker-compose.yml": COMPOSE, "bad.yml": "services: {}"}))
    said = "\n".join(raised.value.mistakes)
    for part in (
        "'Agent-1 ' is that of VM 1001 too",
        "'a!' and 'A' are both 'a-production'",
        "'-x-production', which Compose refuses",
        "missing.yml (stack 'gone') cannot be read",
        "bad.yml (stack 'bad') has no services",
        "'/a/../b' must be an absolute path",
    ):
        assert part in said


def test_the_plan_for_machines_holds_no_secret(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    files = Files({"app/docker-compose.yml": COMPOSE, "app.env": "KEY=s3cr3t-file\n"})
    listed = [{"source": "app.env", "destination": "/app/.env"}]
    sync(api, outputs([agent(1)], [stack("app", 1, variables={"TOKEN": "s3cr3t-1"}, files=listed)]), files)
    files.files["app.env"] = "KEY=s3cr3t-changed\n"
    changed = outputs([agent(1)], [stack("app", 1, variables={"TOKEN": "s3cr3t-2"}, files=listed)])
    declared = declare(changed, files)
    planned = plan(declared, observe(api, declared))
    assert "s3cr3t" not in json.dumps(planned.as_json()) + repr(planned) + repr(declared)
    assert planned.steps[1].reasons[1:] == ("variable TOKEN changed",)


def test_a_changed_file_is_an_update(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    files = Files({"app/docker-compose.yml": COMPOSE, "app.env": "KEY=1\n"})
    wanted = outputs([agent(1)], [stack("app", 1, files=[{"source": "app.env", "destination": "/app/.env"}])])
    sync(api, wanted, files)
    assert {step.action for step in sync(api, wanted, files).steps} == {"unchanged"}
    files.files["app.env"] = "KEY=2\n"
    assert actions(sync(api, wanted, files))[1] == ("update", "app-production")


def test_a_large_installation_without_changes_takes_one_list_call_of_each_kind(
    both_modes: str, start: Start, connect: Open
) -> None:
    server = start(both_modes)
    api = connect(server)
    places = [agent(number) for number in range(50)]
    wanted = outputs(places, [stack(f"app{number}", number % 50) for number in range(200)])
    sync(api, wanted, Files())
    assert (len(server.state.environments), len(server.state.stacks)) == (50, 200)

    server.log.clear()
    again = sync(api, wanted, Files())
    assert {step.action for step in again.steps} == {"unchanged"}
    assert server.log.writes() == []
    counts = Counter(re.sub(r"\d+", "N", f"{entry.method} {entry.path}") for entry in server.log.entries)
    assert counts == {
        "GET /api/endpoints": 1,
        "GET /api/stacks": 1,
        "GET /api/stacks/N/file": 200,
        "GET /api/endpoints/N/docker/containers/json": 50,
    }
