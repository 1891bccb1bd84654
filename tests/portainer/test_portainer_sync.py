"""The workflow: order, exit codes, dry runs; against a stand-in server over real connections."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr

from lab.portainer import StandIn
from phoenix.errors import InputError, PortainerError
from phoenix.portainer.contract import Outputs
from phoenix.portainer.errors import StepError
from phoenix.portainer.plan import Plan
from phoenix.portainer.readiness import Check, Result
from phoenix.portainer.report import Report, Silent
from phoenix.portainer.session import Session
from phoenix.portainer.status import show_status
from phoenix.portainer.sync import EXIT_CODES, Access, Options, sync_all, sync_stack
from phoenix.portainer.target import Clock, Target, Timeouts
from tests.portainer.declarations import COMPOSE, Files, agent, outputs, stack
from tests.portainer.support import HOSTNAME, PASSWORD, Certificates, FakeTime, Start

GATEWAY = Check("gateway", "127.0.0.1:443", "connect", "start NGINX there")


@dataclass
class Stage:
    """A world in which only ``pulumi`` and the checks of readiness are played."""

    server: StandIn
    certificates: Certificates
    time: FakeTime
    wanted: Outputs
    files: Files = field(default_factory=Files)
    entered: list[str] = field(default_factory=list)
    given: Access = field(default_factory=lambda: Access(password=SecretStr(PASSWORD)))
    not_ready: str = ""
    pulumi_fails: bool = False
    gateway_port: int | None = None
    restarts: bool = False
    exported: Outputs | None = None
    start_timeout: float = 20.0
    stack: str = "test"

    @property
    def clock(self) -> Clock:
        return self.time.clock()

    def intended(self) -> Outputs:
        return self.wanted

    def ready(self, report: Callable[[int, list[Result]], None]) -> list[Result]:
        self.entered.append("ready")
        report(1, self.probe())
        return self.probe()

    def probe(self) -> list[Result]:
        return [Result(GATEWAY, 0.01, self.not_ready)]

    def pulumi(self, *, preview: bool) -> None:
        self.entered.append("preview" if preview else "up")
        if self.pulumi_fails:
            raise PortainerError("'pulumi up --stack test' ended with exit code 1.")

    def outputs(self) -> Outputs:
        self.entered.append("outputs")
        return self.exported or self.wanted

    def read(self, path: str) -> bytes:
        return self.files(path)

    def access(self) -> Access:
        return self.given

    def _target(self, port: int) -> Target:
        return Target(HOSTNAME, "127.0.0.1", port, self.certificates.root)

    def session(self, outputs: Outputs) -> Session:
        assert outputs.portainer is not None
        self.entered.append("session")
        timeouts = Timeouts(connect=5, read=10, deploy=60, poll=0.5, settle=2)
        return Session(self._target(self.server.port), timeouts=timeouts, clock=self.clock)

    def gateway_session(self, outputs: Outputs, session: Session) -> Session:
        assert outputs.gateway is not None
        return session.at(self._target(self.gateway_port or self.server.port))

    def restart_server(self) -> bool:
        if self.restarts:
            self.server.restart()
        return self.restarts

    @contextmanager
    def lock(self, hostname: str) -> Iterator[None]:
        self.entered.append(f"lock {hostname}")
        yield
        self.entered.append("unlock")


MakeStage = Callable[..., Stage]


@pytest.fixture
def stage(start: Start, certificates: Certificates, time: FakeTime) -> MakeStage:
    def make(mode: str = "2.39", **fields: object) -> Stage:
        server = start(mode)
        wanted = fields.pop("wanted", None) or outputs(
            [agent(1), agent(2)], [stack("app", 1, variables={"GREETING": "one"}), stack("app", 2)]
        )
        given = Access(SecretStr(PASSWORD), setup_token=SecretStr(server.api.setup_token))
        return Stage(server, certificates, time, wanted, **({"given": given} | fields))  # type: ignore[arg-type]

    return make


def run(world: Stage, **options: bool) -> Report:
    report = Report("test", dry_run=options.get("dry_run", False))
    sync_all(world, Options(**options), Silent(), report)
    return report


def failing(world: Stage, step: str, **options: bool) -> str:
    report = Report("test")
    with pytest.raises(StepError) as raised:
        sync_all(world, Options(**options), Silent(), report)
    assert raised.value.step == step == report.failed
    assert raised.value.exit_code == EXIT_CODES[step]  # type: ignore[index]
    assert report.as_json()["failedStep"] == step
    assert json.loads(json.dumps(report.as_json()))["message"] == str(raised.value)
    return str(raised.value)


def test_from_nothing_to_healthy_and_then_nothing_to_do(any_mode: str, stage: MakeStage) -> None:
    world = stage(any_mode)
    report = run(world)
    assert world.entered == ["ready", "up", "outputs", f"lock {HOSTNAME}", "session", "unlock"]
    assert [name for name, _ in report.steps] == [
        "inventory",
        "readiness",
        "pulumi",
        "outputs",
        "lock",
        "portainer",
        "first user",
        "login",
        "plan",
        "environments",
        "stacks",
        "verify",
        "health",
    ]
    assert report.server.startswith(any_mode)
    assert len(world.server.log.calls("POST", "/api/auth")) == 1

    world.server.log.clear()
    again = run(world)
    assert again.plan is not None
    assert again.plan.changes == ()
    assert world.server.log.writes() == []
    assert "verify" not in [name for name, _ in again.steps]


def test_exit_codes_are_all_different_and_none_is_the_products() -> None:
    codes = [code for step, code in EXIT_CODES.items() if step != "inventory"]
    assert len(set(codes)) == len(codes)
    assert min(codes) >= 10


def test_a_system_that_is_not_ready_is_not_touched(stage: MakeStage) -> None:
    world = stage(not_ready="no connection (Connection refused)")
    said = failing(world, "readiness")
    assert said == (
        "The system is not ready: gateway (127.0.0.1:443): no connection (Connection refused) (start NGINX there)."
    )
    assert world.entered == ["ready"]
    assert world.server.log.entries == []


def test_where_traefik_is_not_right_portainer_is_not_touched(stage: MakeStage) -> None:
    world = stage(pulumi_fails=True)
    failing(world, "pulumi")
    assert world.entered == ["ready", "up"]
    assert world.server.log.entries == []


def test_a_wrong_compose_file_stops_the_run_before_anything_is_touched(stage: MakeStage) -> None:
    world = stage(files=Files({"app/docker-compose.yml": "services: {}"}))
    report = Report("test")
    with pytest.raises(InputError, match="has no services"):
        sync_all(world, Options(), Silent(), report)
    assert report.failed == "inventory"
    assert world.entered == []
    assert world.server.log.entries == []


def test_an_installation_without_portainer_is_said(stage: MakeStage) -> None:
    world = stage()
    world.wanted = world.wanted.model_copy(update={"portainer": None, "docker_stacks": ()})
    with pytest.raises(InputError, match="no VM has portainer_role 'primary'"):
        run(world)


def test_portainer_is_waited_for_and_given_up_in_the_end(stage: MakeStage) -> None:
    world = stage()
    world.server.stop()
    said = failing(world, "portainer")
    assert "no connection" in said
    assert sum(world.time.slept) >= 18
    world.server.start()
    run(world)


def test_a_proxy_that_has_no_backend_yet_is_waited_for(stage: MakeStage) -> None:
    world = stage()
    for _ in range(6):
        world.server.faults.add("GET", "/api/system/status", "502-before")
    run(world)


def test_the_five_minutes_are_over_and_the_server_is_restarted(stage: MakeStage) -> None:
    world = stage(restarts=True)
    world.time.sleep(301)
    report = run(world)
    assert report.notes == ["Portainer had closed its set-up and was restarted."]


def test_the_five_minutes_are_over_and_nobody_may_restart(stage: MakeStage) -> None:
    world = stage()
    world.time.sleep(301)
    assert "restart its container" in failing(world, "first user")


def test_no_password_for_the_first_user(stage: MakeStage) -> None:
    world = stage(given=Access())
    assert "no password is given" in failing(world, "first user")


def test_a_missing_setup_token(stage: MakeStage) -> None:
    world = stage("2.43", given=Access(SecretStr(PASSWORD)))
    assert "set-up token" in failing(world, "first user")


def test_a_wrong_password_is_one_login(stage: MakeStage) -> None:
    world = stage()
    run(world)
    world.server.log.clear()
    world.given = Access(SecretStr("another-password"))
    assert "refused the login of 'admin'" in failing(world, "login")
    assert len(world.server.log.calls("POST", "/api/auth")) == 1


def test_a_conflict_ends_at_the_plan(stage: MakeStage) -> None:
    world = stage()
    run(world)
    next(iter(world.server.state.environments.values())).type = 4
    world.server.log.clear()
    assert "is no Docker agent (type 4)" in failing(world, "plan")
    assert world.server.log.writes() == []


def test_an_agent_that_is_down_ends_at_the_environments(stage: MakeStage) -> None:
    world = stage()
    world.server.api.agents["tcp://vm2.internal.example.test:9001"] = "refused"
    said = failing(world, "environments")
    assert said.startswith("Environment 'agent-2': ")
    # The other one is served all the same.
    assert [item.name for item in world.server.state.stacks.values()] == ["app-production"]


def test_a_stack_that_cannot_be_deployed_ends_at_the_stacks(both_modes: str, stage: MakeStage) -> None:
    world = stage(both_modes)
    world.server.api.missing_images.add("nginx:1.27")
    assert "pull access denied for nginx:1.27" in failing(world, "stacks")


def test_a_change_by_somebody_else_meanwhile_is_found(stage: MakeStage) -> None:
    world = stage()
    server = world.server
    handle = server.api.handle

    def meddling(request: object) -> object:
        reply = handle(request)  # type: ignore[arg-type]
        if getattr(request, "method", "") == "POST" and "stacks" in getattr(request, "path", ""):
            for record in server.state.stacks.values():
                record.env = [{"name": "GREETING", "value": "meddled"}]
        return reply

    server.api.handle = meddling  # type: ignore[assignment, method-assign]
    said = failing(world, "verify")
    assert "variable GREETING" in said
    assert "not as declared" in said


def test_a_broken_gateway_ends_at_the_health_check(stage: MakeStage, start: Start, certificates: Certificates) -> None:
    world = stage()
    elsewhere = start("2.39")
    world.gateway_port = elsewhere.port
    elsewhere.stop()
    assert "no connection" in failing(world, "health")


def test_a_dry_run_writes_nothing_and_plans_what_the_run_then_does(any_mode: str, stage: MakeStage) -> None:
    world = stage(any_mode)
    run(world)
    changed = outputs([agent(1), agent(3)], [stack("app", 1, variables={"GREETING": "two"}), stack("new", 3)])
    # The state still holds the outputs of the last run; the dry run has to see the inventory's.
    world.exported, world.wanted = world.wanted, changed
    world.server.log.clear()
    world.entered.clear()
    dry = run(world, dry_run=True, prune=True)
    assert world.entered == ["ready", "preview", "session"]
    assert world.server.log.writes() == []
    assert dry.plan is not None
    assert dry.plan.count() == {"create": 2, "update": 1, "adopt": 0, "unchanged": 1, "delete": 2}

    world.exported = changed
    real = run(world, prune=True)
    assert real.plan is not None
    assert real.plan.as_json() == dry.plan.as_json()
    done = [(item.step.action, item.step.name) for item in real.outcomes]
    assert done == [(step.action, step.name) for step in dry.plan.steps]


def test_a_dry_run_before_the_first_run_plans_everything(stage: MakeStage) -> None:
    world = stage()
    dry = run(world, dry_run=True)
    assert "no first user yet" in dry.notes[0]
    assert dry.plan is not None
    assert dry.plan.count()["create"] == 4
    world.server.stop()
    dry = run(world, dry_run=True)
    assert "does not answer yet" in dry.notes[0]
    assert dry.failed == ""


def test_without_pulumi_the_outputs_are_taken_as_they_are(stage: MakeStage) -> None:
    world = stage()
    run(world, skip_pulumi=True)
    assert "up" not in world.entered


def test_an_api_key_serves_without_a_login(stage: MakeStage) -> None:
    world = stage()
    run(world)
    key = "ptr_test"
    world.server.state.keys[key] = 1
    world.given = Access(api_key=SecretStr(key))
    world.server.log.clear()
    run(world)
    assert world.server.log.calls("POST", "/api/auth") == []


def test_one_stack_is_synced_alone(both_modes: str, stage: MakeStage) -> None:
    world = stage(both_modes)
    run(world)
    world.files = Files({"app/docker-compose.yml": COMPOSE.replace("1.27", "1.28")})
    world.entered.clear()
    report = Report("test")
    sync_stack(world, "app", 1002, Options(), Silent(), report)
    assert "up" not in world.entered
    assert isinstance(report.plan, Plan)
    assert [(step.action, step.environment) for step in report.plan.steps] == [
        ("unchanged", "agent-2"),
        ("update", "agent-2"),
    ]
    texts = {item.endpoint: "1.28" in item.text for item in world.server.state.stacks.values()}
    assert texts == {1: False, 2: True}


def test_a_stack_that_is_not_declared_there_is_said(stage: MakeStage) -> None:
    world = stage()
    for name, vmid in (("other", 1001), ("app", 999)):
        with pytest.raises(InputError, match=rf"VM {vmid}: the stack '{name}' is not declared"):
            sync_stack(world, name, vmid, Options(), Silent(), Report("test"))


def test_status_says_what_is_not_well_and_changes_nothing(stage: MakeStage) -> None:
    world = stage()
    report = Report("test", dry_run=True)
    with pytest.raises(StepError) as raised:
        show_status(world, Silent(), report)
    assert raised.value.step == "first user"
    run(world)

    world.server.log.clear()
    report = Report("test", dry_run=True)
    show_status(world, Silent(), report)
    assert [name for name, _ in report.steps] == [
        "outputs",
        "readiness",
        "portainer",
        "first user",
        "login",
        "plan",
        "health",
    ]
    assert world.server.log.writes() == []

    world.server.api.engine("tcp://vm1.internal.example.test:9001").down("app-production")
    world.not_ready = "no connection"
    report = Report("test", dry_run=True)
    with pytest.raises(StepError) as raised:
        show_status(world, Silent(), report)
    assert (raised.value.step, raised.value.exit_code) == ("readiness", EXIT_CODES["readiness"])
    assert "differs from what is declared in 1 places" in str(raised.value)
    assert "health" in [name for name, _ in report.steps]
    assert world.server.log.writes() == []


def test_a_restart_in_the_middle_of_a_run_is_survived(both_modes: str, stage: MakeStage) -> None:
    before = threading.active_count()
    world = stage(both_modes)
    world.server.faults.add("POST", "/api/stacks", "restart-before")
    report = run(world)
    assert report.plan is not None
    assert len(world.server.state.stacks) == 2
    assert len(world.server.log.calls("POST", "/api/auth")) == 2
    assert threading.active_count() < before + 50
