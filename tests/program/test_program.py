"""The program under Pulumi's mocks: what it registers, in which order, with which secrets and outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from phoenix.configuration import read
from phoenix.outputs import program_outputs
from phoenix.portainer.contract import parse as read_outputs
from phoenix.settings import parse

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
INVENTORY = "stacks/inventory/production"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"
SECRET = "hunter2-the-private-key"
SIGNATURE = "4dabf18193072939515e22adb298388d"
CONNECTION: dict[str, Any] = {
    "transport": "ssh", "host": "192.0.2.12", "hostKey": HOST_KEY, "privateKey": SECRET,
}  # fmt: skip
PORTAINER: dict[str, Any] = {
    "connection": {**CONNECTION, "host": "192.0.2.101"},
    "deployCommand": "docker compose up -d",
}
BASE: dict[str, Any] = {
    "inventory": INVENTORY,
    "traefik": {"connection": CONNECTION, "harden": False},
    "portainer": PORTAINER,
}


def _config(values: dict[str, Any]) -> dict[str, str]:
    return {
        f"phoenix:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }


@cache
def _run(values: str, mode: str = "up", stack: str = "production") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "recording.py"), json.dumps(_config(json.loads(values))), stack, mode],
        cwd=PROJECT,
        env={key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "PHOENIX_"))}
        | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def _record(**changes: Any) -> dict[str, Any]:
    return _run(json.dumps({**BASE, **changes}))


def _resources(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [resource for resource in record["resources"] if resource["type"] != "pulumi:pulumi:Stack"]


STEPS = [
    {"ready"},
    {"traefik-host"},
    {"traefik-static", "traefik-dynamic"},
    {"traefik-service"},
    {"traefik-routers"},
    {"portainer"},
]
TYPES = {
    "ready": "phoenix:readiness:Gate",
    "traefik-host": "phoenix:traefik:Host",
    "traefik-static": "phoenix:traefik:StaticConfig",
    "traefik-dynamic": "phoenix:traefik:DynamicConfig",
    "traefik-service": "phoenix:traefik:Service",
    "traefik-routers": "phoenix:traefik:RoutersGate",
    "portainer": "phoenix:portainer:Deployment",
}


def _components(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {resource["name"]: resource for resource in _resources(record) if not resource["custom"]}


def _children(record: dict[str, Any], component: str) -> list[dict[str, Any]]:
    """Custom resources at any depth below a component."""
    by_urn = {resource["urn"]: resource for resource in _resources(record)}

    def owner(resource: dict[str, Any]) -> Iterator[str]:
        while resource["parent"] in by_urn:
            resource = by_urn[resource["parent"]]
            yield resource["name"]

    return [resource for resource in _resources(record) if resource["custom"] and component in owner(resource)]


def _before(record: dict[str, Any], urn: str) -> set[str]:
    """Everything a resource waits for, directly or not; a child is registered only once its component is."""
    by_urn = {resource["urn"]: resource for resource in _resources(record)}
    found: set[str] = set()
    waiting = [urn]
    while waiting:
        resource = by_urn[waiting.pop()]
        for other in (*resource["dependencies"], resource["parent"]):
            if other not in found and other in by_urn:
                found.add(other)
                waiting.append(other)
    return found


def test_the_components_and_their_types() -> None:
    assert {name: resource["type"] for name, resource in _components(_record()).items()} == TYPES


def test_every_child_is_named_from_its_component() -> None:
    record = _record()
    for name in TYPES:
        children = _children(record, name)
        assert children, name
        assert all(child["name"].startswith(f"{name}-") for child in children)


@pytest.mark.parametrize("index", range(1, len(STEPS)))
def test_each_step_waits_for_all_of_the_one_before(index: int) -> None:
    record = _record()
    before = {child["urn"] for name in STEPS[index - 1] for child in _children(record, name)}
    for name in STEPS[index]:
        for child in _children(record, name):
            missing = before - _before(record, child["urn"])
            assert not missing, f"{child['name']} does not wait for {missing}"


def test_nothing_of_portainer_comes_before_the_gate() -> None:
    record = _record()
    gate = {child["urn"] for child in _children(record, "traefik-routers")}
    for resource in _resources(record):
        if "portainer" in resource["name"] and resource["custom"]:
            assert gate <= _before(record, resource["urn"])
        elif resource["custom"]:
            portainer = {child["urn"] for child in _children(record, "portainer")}
            assert not portainer & _before(record, resource["urn"])


def test_without_a_connection_there_is_no_portainer() -> None:
    assert "portainer" not in _components(_record(portainer={}))


def test_portainers_own_compose_projects_wait_for_the_gate_too() -> None:
    agents = {"apps": {**CONNECTION, "host": "192.0.2.102"}}
    record = _record(portainer={"connection": PORTAINER["connection"], "agents": agents, "adminPassword": SECRET})
    assert record["error"] is None
    gate = {child["urn"] for child in _children(record, "traefik-routers")}
    found = [child for name in ("portainer-server", "portainer-agent-apps") for child in _children(record, name)]
    assert len(found) >= 6
    for resource in found:
        assert gate <= _before(record, resource["urn"])
        assert SECRET not in json.dumps(_without_secrets(resource["inputs"])), resource["name"]


def test_the_managed_files() -> None:
    files = {child["inputs"]["path"]: child["inputs"] for child in _resources(_record()) if "path" in child["inputs"]}
    inventory, configuration = read(PROJECT / INVENTORY, parse(BASE, "x"))
    assert inventory.lxcs
    assert files["/etc/traefik/traefik.yml"]["content"] == configuration.static_text
    assert files["/etc/traefik/dynamic/dynamic_conf.yml"]["content"] == configuration.dynamic_text
    assert files["/etc/systemd/system/traefik.service"]["content"] == configuration.unit_text
    assert all(inputs["mode"] in ("0640", "0644", "640", "644") for inputs in files.values())


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        if SIGNATURE in value:
            return "[secret]"
        return {key: _without_secrets(item) for key, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


def _revealed(value: Any) -> Any:
    if isinstance(value, dict):
        if SIGNATURE in value:
            return _revealed(value["value"])
        return {key: _revealed(item) for key, item in value.items()}
    return [_revealed(item) for item in value] if isinstance(value, list) else value


def test_private_keys_are_secrets_in_every_resource() -> None:
    record = _record()
    holders = [child for child in _resources(record) if SECRET in json.dumps(child["inputs"])]
    assert len(holders) >= 8
    for resource in record["resources"]:
        assert SECRET not in json.dumps(_without_secrets(resource["inputs"])), resource["name"]
    assert SECRET not in json.dumps(record["outputs"])


def test_the_stacks_own_key_serves_connections_that_name_none() -> None:
    bare = {key: value for key, value in CONNECTION.items() if key != "privateKey"}
    record = _record(sshPrivateKey=SECRET, traefik={"connection": bare, "harden": False}, portainer={})
    commands = [child for child in _resources(record) if child["type"] == "command:remote:Command"]
    assert commands
    for command in commands:
        assert _revealed(command["inputs"]["connection"])["privateKey"] == SECRET
        assert SECRET not in json.dumps(_without_secrets(command["inputs"]))


def test_every_command_checks_the_host_key_and_holds_no_triggers() -> None:
    """Unset, the provider would not check it; a changed trigger replaces: the old delete runs after the new create."""
    commands = [child for child in _resources(_record()) if child["type"] == "command:remote:Command"]
    assert commands
    for command in commands:
        assert _revealed(command["inputs"]["connection"])["hostKey"] == HOST_KEY
        assert "triggers" not in command["inputs"]
        assert command["inputs"]["addPreviousOutputInEnv"] is False


def test_the_outputs_are_those_of_the_contract() -> None:
    record = _record()
    inventory, configuration = read(PROJECT / INVENTORY, parse(BASE, "x"))
    outputs = _revealed(record["outputs"])
    assert outputs == json.loads(json.dumps(program_outputs(inventory, parse(BASE, "x"), configuration)))
    read_back = read_outputs(json.dumps(outputs), "outputs")
    assert read_back.environment == "production"
    assert len(read_back.routes) == 6
    assert read_back.portainer is not None


def test_docker_stacks_are_a_secret_because_they_hold_variables() -> None:
    outputs = _record()["outputs"]
    assert outputs["dockerStacks"][SIGNATURE]
    assert SIGNATURE not in json.dumps({key: value for key, value in outputs.items() if key != "dockerStacks"})


def test_a_preview_registers_the_same() -> None:
    up, preview = _record(), _run(json.dumps(BASE), "preview")
    seen = [sorted(resource["urn"] for resource in record["resources"]) for record in (up, preview)]
    assert seen[0] == seen[1]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    for path in (PROJECT / INVENTORY).glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lxcs = json.loads((tmp_path / "phoenix_lxc_configs.json").read_text(encoding="utf-8"))
    lxcs["lxc_configs"]["801"]["ports"] = ["0"]
    lxcs["lxc_configs"]["914"]["network_config"]["ip"] = "dhcp"
    (tmp_path / "phoenix_lxc_configs.json").write_text(json.dumps(lxcs), encoding="utf-8")
    return tmp_path


def test_a_wrong_inventory_ends_the_run_with_its_sentences_before_any_resource(broken: Path) -> None:
    record = _record(inventory=str(broken))
    assert _resources(record) == []
    assert record["error"].splitlines() == [
        'phoenix_lxc_configs.json: LXC 801 (embedding): ports[0] is "0": it must be a port mapping such as '
        '"8001:8000", '
        "with ports from 1 to 65535; correct it there.",
        'phoenix_lxc_configs.json: LXC 914 (ollama): network_config.ip is "dhcp": it must be a static IP address such '
        'as "10.0.0.12/24", since the guest is routed; correct it there.',
    ]


SOURCE = "stacks/Pulumi.production.yaml"
WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"traefik": {}},
        f"{SOURCE}: phoenix:traefik.connection is missing: say how Traefik's container is reached.",
    ),
    (
        {"environment": "prod"},
        f"{SOURCE}: phoenix: environment is \"prod\": it must be 'development', 'testing' or 'production'; "
        "correct it there.",
    ),
    (
        {"traefik": {"connection": {**CONNECTION, "hostKey": None}}},
        f"{SOURCE}: phoenix: traefik.connection is {{",
    ),
    (
        {"routes": {"embedding-router": {"certResolver": "myresolver"}}},
        f"{SOURCE}: dynamic_conf.yml: http.routers.embedding-router names the certificate resolver 'myresolver'",
    ),
    ({"inventory": "nowhere"}, f"{PROJECT}/nowhere: the inventory is no directory"),
    ({"settingsFile": "nowhere.yaml"}, f"{PROJECT}/nowhere.yaml: there is no such file"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_setting_ends_the_run_before_any_resource(changes: dict[str, Any], said: str) -> None:
    record = _record(**changes)
    assert _resources(record) == []
    assert record["error"].startswith(said)
    assert SECRET not in record["error"]
