"""Random sequences of declared changes, with faults: the end is exactly what is declared, however bumpy the way."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr

from lab.portainer import StandIn
from lab.portainer.faults import KINDS, FaultKind
from phoenix.errors import PortainerError
from phoenix.portainer.api import Portainer
from phoenix.portainer.carry_out import carry_out
from phoenix.portainer.contract import Outputs
from phoenix.portainer.declared import Declared, declare
from phoenix.portainer.observe import observe
from phoenix.portainer.plan import plan
from phoenix.portainer.target import Timeouts
from tests.portainer.declarations import Files, agent, outputs, stack
from tests.portainer.support import PASSWORD, FakeTime, Open, Start

SEQUENCES = 200
CHUNK = 10
#: Short, since an injected time-out is really waited for; so a busy machine may add time-outs of its own.
TIMEOUTS = Timeouts(connect=5, read=0.15, environment=0.15, deploy=0.3, poll=0.25, settle=1.0)

TEXTS = {
    "one": "services:\n  web:\n    image: nginx:1.27\n    environment:\n      COLOUR: ${COLOUR:-red}\n",
    "two": "services:\n  web:\n    x-phoenix-files: true\n    image: nginx:1.28\n  cache:\n    image: redis:7\n",
    "files": "services:\n  web:\n    image: nginx:1.27\n",
}

#: Those that are waited for come up less often.
FAULTS: tuple[FaultKind, ...] = tuple(kind for kind in KINDS for _ in range(1 if kind.startswith("timeout") else 3))

CALLS = (
    ("POST", "/api/endpoints"),
    ("PUT", "/api/endpoints"),
    ("DELETE", "/api/endpoints"),
    ("POST", "/api/stacks"),
    ("PUT", "/api/stacks"),
    ("DELETE", "/api/stacks"),
    ("GET", "/api/stacks"),
    ("GET", "/api/endpoints"),
    ("POST", "/api/auth"),
    ("*", "/api/"),
)


@dataclass
class Wish:
    """What is declared at the moment: agents, and stacks by agent and name."""

    agents: set[int] = field(default_factory=lambda: {1})
    stacks: dict[tuple[int, str], tuple[str, dict[str, str], str | None]] = field(default_factory=dict)

    def change(self, dice: random.Random) -> None:
        for _ in range(dice.randint(1, 3)):
            kind = dice.choice(("agent", "stack", "stack", "variable", "text", "file", "drop"))
            if kind == "agent":
                self.agents ^= {dice.randint(1, 3)}
                self.agents |= {1}
            elif kind == "stack" or not self.stacks:
                place = dice.choice(sorted(self.agents))
                self.stacks[place, dice.choice("abc")] = (dice.choice(("one", "two")), {"COLOUR": "blue"}, None)
            else:
                key = dice.choice(sorted(self.stacks))
                text, variables, file = self.stacks[key]
                if kind == "variable":
                    name = dice.choice(("COLOUR", "SIZE", "TOKEN"))
                    variables = {**variables, name: f"value {dice.randint(0, 9)} $x"}
                    if dice.random() < 0.3:
                        del variables[name]
                elif kind == "text":
                    text = dice.choice(("one", "two"))
                elif kind == "file":
                    text, file = "files", f"KEY={dice.randint(0, 9)} $HOME\n"
                else:
                    del self.stacks[key]
                    continue
                self.stacks[key] = (text, variables, file)
        self.stacks = {key: value for key, value in self.stacks.items() if key[0] in self.agents}

    def outputs(self) -> tuple[Outputs, Files]:
        files = Files({f"{name}.yml": text for name, text in TEXTS.items()})
        stacks = []
        for (place, name), (text, variables, file) in sorted(self.stacks.items()):
            listed = []
            if file is not None:
                files.files[f"{place}-{name}.env"] = file
                listed = [{"source": f"{place}-{name}.env", "destination": "/app/.env"}]
            stacks.append(stack(name, place, variables=variables, compose=f"{text}.yml", files=listed))
        return outputs([agent(number) for number in sorted(self.agents)], stacks), files


def attempt(api: Portainer, declared: Declared, *, prune: bool) -> bool:
    try:
        planned = plan(declared, observe(api, declared), prune=prune)
        outcomes = carry_out(planned, api)
    except PortainerError:
        return False
    return all(outcome.result == "done" for outcome in outcomes)


def assert_exact(server: StandIn, declared: Declared, *, pruned: bool) -> None:
    """The server holds every declared record once, with its text and every variable; pruned, nothing else."""
    names = {item.id: item.name for item in server.state.environments.values()}
    urls = {item.name: item.url for item in server.state.environments.values()}
    assert len(names) == len(urls), f"environment twice: {sorted(names.values())}"
    for environment in declared.environments:
        assert urls[environment.name] == environment.url
    keys = Counter((names.get(item.endpoint), item.name) for item in server.state.stacks.values())
    assert max(keys.values(), default=1) == 1, f"stack twice: {keys}"
    records = {(names.get(item.endpoint), item.name): item for item in server.state.stacks.values()}
    for wanted in declared.stacks:
        record = records[wanted.environment, wanted.name]
        assert record.text == wanted.text
        assert record.status == 1
        assert {pair["name"]: pair["value"] for pair in record.env} == {
            name: value.get_secret_value() for name, value in wanted.variables.items()
        }
        containers = server.api.engine(urls[wanted.environment]).list(wanted.name)
        assert {item.service for item in containers} == set(wanted.services)
        for container in containers:
            assert container.environment == {name: value.get_secret_value() for name, value in wanted.variables.items()}
    if pruned:
        assert set(urls) == {item.name for item in declared.environments}
        assert set(records) == {(item.environment, item.name) for item in declared.stacks}


@pytest.mark.parametrize("mode", ["2.39", "2.41"])
@pytest.mark.parametrize("first", range(0, SEQUENCES // 2, CHUNK))
def test_any_sequence_ends_as_declared(first: int, mode: str, start: Start, connect: Open) -> None:
    met: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        dice = random.Random(f"{mode}/{seed}")  # noqa: S311 - not for secrets
        time = FakeTime()
        server = start(mode, clock=time.now)
        time.meanwhile.append(server.wait_for_restart)
        server.timeout_seconds = 5.0
        wish = Wish()
        for _ in range(dice.randint(2, 4)):
            wish.change(dice)
            wanted, files = wish.outputs()
            declared = declare(wanted, files)
            for _ in range(dice.randint(1, 4)):
                method, prefix = dice.choice(CALLS)
                kind: FaultKind = dice.choice(FAULTS)
                server.faults.add(method, prefix, kind, skip=dice.randint(0, 2))
            prune = dice.random() < 0.5
            for _ in range(12):
                # A new process for each attempt, as a person who runs the command again.
                time.sleep(30)
                api = connect(server, timeouts=TIMEOUTS, clock=time.clock(), initialised=False)
                try:
                    api.initialise("admin", SecretStr(PASSWORD))
                except PortainerError:
                    continue
                if attempt(api, declared, prune=prune):
                    break
            else:
                pytest.fail(f"{mode}, seed {seed}: not done after 12 attempts")
            assert_exact(server, declared, pruned=False)
        server.faults.clear()
        time.sleep(30)
        api = connect(server, clock=time.clock(), initialised=False)
        assert attempt(api, declared, prune=True)
        assert_exact(server, declared, pruned=True)
        server.log.clear()
        assert attempt(api, declared, prune=True)
        assert server.log.writes() == [], f"{mode}, seed {seed}: a run that had nothing to do wrote"
        met.update(fault.kind for fault in server.faults.hits)
        server.stop()
    assert sum(met.values()) >= CHUNK, "the sequences met hardly a fault"
