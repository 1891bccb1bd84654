"""Plan and carry out against stand-in servers of every version."""

from __future__ import annotations

from lab.portainer import StandIn
from phoenix.portainer.api import Portainer
from phoenix.portainer.carry_out import carry_out
from phoenix.portainer.contract import Outputs
from phoenix.portainer.declared import declare
from phoenix.portainer.observe import observe
from phoenix.portainer.plan import Plan, plan
from tests.portainer.declarations import Files, agent, outputs, stack
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
