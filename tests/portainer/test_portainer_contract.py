"""The contract of the outputs: what is read, what is refused and how, and that program and schema agree with it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from phoenix.configuration import configure
from phoenix.errors import InputError
from phoenix.inventory import load
from phoenix.outputs import program_outputs
from phoenix.portainer import contract
from phoenix.settings import parse as parse_settings
from tests.portainer.declarations import agent, raw_outputs, stack

PROJECT = Path(__file__).resolve().parents[2]
INVENTORIES = sorted((PROJECT / "stacks" / "inventory").iterdir())


def example() -> dict[str, Any]:
    return raw_outputs([agent(1)], [stack("app", 1, variables={"TOKEN": "s3cr3t-value"})])


def read(data: object) -> contract.Outputs:
    return contract.parse(json.dumps(data), "outputs.json")


def refused(data: object) -> list[str]:
    with pytest.raises(InputError) as raised:
        read(data)
    assert "s3cr3t-value" not in str(raised.value)
    return list(raised.value.mistakes)


def without(path: str) -> dict[str, Any]:
    return changed(path, None, remove=True)


def changed(path: str, value: object, *, remove: bool = False) -> dict[str, Any]:
    data = copy.deepcopy(example())
    place: Any = data
    *way, last = path.split(".")
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if remove:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return data


def test_an_example_is_read_and_masks_its_secrets() -> None:
    outputs = read(example())
    assert outputs.docker_stacks[0].deployment_name == "app-production"
    assert outputs.docker_stacks[0].variables[0].value.get_secret_value() == "s3cr3t-value"
    assert "s3cr3t-value" not in repr(outputs)


@pytest.mark.parametrize("directory", INVENTORIES, ids=lambda path: path.name)
def test_what_the_program_exports_fits(directory: Path) -> None:
    inventory, settings = load(directory), parse_settings({}, "test")
    outputs = read(program_outputs(inventory, settings, configure(inventory, settings)))
    assert outputs.schema_version == contract.SCHEMA_VERSION
    assert outputs.portainer is not None


def test_the_schema_in_the_documentation_is_the_one_of_the_code() -> None:
    stored = (PROJECT / "docs" / "outputs.schema.json").read_text(encoding="utf-8")
    assert stored == contract.json_schema(), (
        "run: .venv/bin/python -m phoenix.portainer.contract > docs/outputs.schema.json"
    )
    schema = json.loads(stored)
    assert schema["properties"]["schemaVersion"]["const"] == 1
    assert {"schemaVersion", "environment", "routes", "dockerStacks"} <= set(schema["required"])


def test_keys_to_come_are_ignored_and_whole_doubles_are_numbers() -> None:
    data = changed("portainer.server.port", 9443.0) | {"later": {"anything": 1}, "schemaVersion": 1.0}
    outputs = read(data)
    assert outputs.portainer is not None
    assert outputs.portainer.server.port == 9443


def test_what_an_installation_may_lack() -> None:
    for path in ("gateway", "portainer", "traefik.address", "portainer.server.address", "portainer.agents.0.address"):
        data = changed(path, None)
        if path == "portainer":
            data["dockerStacks"] = []
        assert read(data).schema_version == 1


@pytest.mark.parametrize("version", [2, 0, "1", True, None, {}])
def test_another_version_is_one_sentence_with_both_numbers(version: object) -> None:
    (sentence,) = refused(example() | {"schemaVersion": version})
    assert sentence.startswith("outputs.json: schemaVersion is ")
    assert "reads 1" in sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "are not JSON"),
        ("{", "are not JSON"),
        ("[" * 100_000, "are not JSON"),
        ("[]", "hold no schemaVersion"),
        ("{}", "hold no schemaVersion"),
        (" " * (contract.MAXIMUM_BYTES + 1), "are larger than"),
    ],
)
def test_what_is_no_set_of_outputs_is_said(text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        contract.parse(text, "outputs.json")
    (sentence,) = raised.value.mistakes
    assert sentence.startswith("outputs.json: ")
    assert said in sentence


def test_masked_secrets_are_said() -> None:
    (sentence,) = refused(example() | {"dockerStacks": "[secret]"})
    assert "--show-secrets" in sentence


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (without("environment"), "environment: field required"),
        (without("portainer.agents.0.url"), "portainer.agents[0].url: field required"),
        (changed("portainer.agents.0.url", "http://x"), "portainer.agents[0].url: string should match"),
        (changed("portainer.agents.0.port", 70000), "portainer.agents[0].port: input should be less than"),
        (changed("portainer.agents.0.port", "9001"), "portainer.agents[0].port: input should be a valid integer"),
        (changed("portainer.hostname", "a b"), "portainer.hostname: string should match"),
        (changed("portainer.url", "http://plain"), "portainer.url: string should match"),
        (changed("routes", []), "routes: input should be a valid dictionary"),
        (changed("dockerStacks.0.vmid", 0), "dockerStacks[0].vmid: input should be greater than"),
        (changed("dockerStacks.0.variables.0.name", "A B"), "dockerStacks[0].variables[0].name: string should match"),
        (changed("dockerStacks.0.variables.0.value", 5), "dockerStacks[0].variables[0].value: input should be a valid"),
        (
            changed("dockerStacks.0.files", [{"source": "x", "destination": "relative"}]),
            "dockerStacks[0].files[0].destination: string should match",
        ),
        (changed("dockerStacks.0.portainerEnvironment", "elsewhere"), "no agent of that environment"),
    ],
)
def test_a_mismatch_names_field_and_remedy(data: dict[str, Any], where: str) -> None:
    (sentence,) = refused(data)
    assert where in sentence
    assert sentence.startswith("outputs.json: ")
    assert "run 'pulumi up' with this release" in sentence


def test_every_mismatch_is_named_at_once() -> None:
    data = changed("portainer.agents.0.port", -1) | {"environment": 5}
    assert len(refused(data)) == 2


def test_a_stack_on_the_servers_own_machine_needs_no_agent() -> None:
    data = changed("dockerStacks.0.portainerEnvironment", "Portainer")
    data["dockerStacks"][0]["vmid"] = 1000
    assert read(data).docker_stacks[0].vmid == 1000


def test_a_file_is_read_and_a_missing_one_is_said(tmp_path: Path) -> None:
    (tmp_path / "outputs.json").write_text(json.dumps(example()), encoding="utf-8")
    assert contract.read_file(tmp_path / "outputs.json").environment == "production"
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        contract.read_file(tmp_path / "missing.json")
