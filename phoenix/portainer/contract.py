"""The contract between the program and the portainer manager: the outputs of a Pulumi stack, version 1.

The program exports them, ``pulumi stack output --json --show-secrets`` prints them, and :func:`parse` reads
them.
Keys that a reader does not know are ignored, so that an output can be added; a key that is removed or means
something else raises ``schemaVersion``. ``docs/outputs.schema.json`` is generated from here::

    python -m phoenix.portainer.contract > docs/outputs.schema.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from phoenix.errors import InputError

SCHEMA_VERSION = 1
MAXIMUM_BYTES = 16 * 1024 * 1024

#: What either engine prints in place of a secret unless ``--show-secrets`` is given.
MASKED = "[secret]"

Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Hostname = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]
GuestId = Annotated[int, Field(ge=1, le=999_999_999)]


class Model(BaseModel):
    """Base of the contract's models: camelCase on the wire, strict types, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        strict=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )


class Traefik(Model):
    """The Traefik that serves the routes.

    Attributes:
        revision: 12 hexadecimal digits that change with what Traefik serves.
        address: the address of its container, where it is known.
        version: Traefik's version.
    """

    revision: str
    address: Name | None = None
    version: str


class Gateway(Model):
    """Where clients enter: the TLS side of the NGINX gateway, or Traefik itself where there is none."""

    address: Name
    port: Port


class Route(Model):
    """One router of Traefik.

    Attributes:
        hostnames: the names it answers to.
        rule: the router's rule in Traefik's syntax.
        url: the address users type.
        service: the name of the Traefik service.
        backend: the URL behind it.
        cert_resolver: the resolver that gets its certificate; none where Traefik's default certificate
            serves.
        guest: the guest behind it.
    """

    hostnames: tuple[Hostname, ...] = Field(strict=False)
    rule: str
    url: str
    service: str
    backend: str
    cert_resolver: str | None = None
    guest: str


class Server(Model):
    """The virtual machine of the Portainer server; its address, where it is static."""

    vmid: GuestId
    name: Name
    address: Name | None = None
    port: Port


class Agent(Model):
    """A virtual machine with a Portainer agent.

    Attributes:
        environment: the name of its environment in Portainer.
        address: its address, where it is static.
        url: where the server reaches the agent, ``tcp://host:port``.
    """

    vmid: GuestId
    name: Name
    environment: Name
    address: Name | None = None
    port: Port
    url: Annotated[str, Field(pattern=r"^tcp://[^\s/]+:[0-9]{1,5}$")]


class Portainer(Model):
    """Portainer's public address, its first account and its machines."""

    url: Annotated[str, Field(pattern=r"^https://")]
    hostname: Hostname
    admin_user: Name
    server: Server
    agents: tuple[Agent, ...] = Field(strict=False)


class Variable(Model):
    """A variable of a Docker stack."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: SecretStr


class File(Model):
    """A file that a Docker stack's container gets.

    Attributes:
        source: relative to the directory of the compose files.
        destination: absolute path in the container.
        service: the compose service that gets it; by default see ``docs/portainer.md``.
    """

    source: Name
    destination: Annotated[str, Field(pattern=r"^/")]
    service: str | None = None


class DockerStack(Model):
    """A Docker stack that one machine runs.

    Attributes:
        name: its name in the catalogue.
        environment: ``development``, ``testing`` or ``production``: which variables and files it got.
        deployment_name: its name in Portainer, ``<name>-<environment>``.
        vmid: the machine.
        portainer_environment: the name of the machine's environment in Portainer.
        compose_file: relative to the directory of the compose files.
    """

    name: Name
    environment: Name
    deployment_name: Name
    vmid: GuestId
    portainer_environment: Name
    compose_file: Name
    variables: tuple[Variable, ...] = Field(strict=False)
    files: tuple[File, ...] = Field(strict=False)


class Outputs(Model):
    """Everything the program exports."""

    schema_version: Literal[1]
    environment: Name
    internal_domain: Hostname
    traefik: Traefik
    gateway: Gateway | None = None
    routes: dict[str, Route]
    portainer: Portainer | None = None
    docker_stacks: tuple[DockerStack, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _consistent(self) -> Outputs:
        environments = {agent.environment for agent in self.portainer.agents} if self.portainer else set()
        server = self.portainer.server.vmid if self.portainer else None
        for stack in self.docker_stacks:
            # The server's own machine needs no agent: Portainer reaches its Docker engine by the socket.
            if stack.portainer_environment not in environments and stack.vmid != server:
                raise ValueError(
                    f"dockerStacks names the Portainer environment {stack.portainer_environment!r} for "
                    f"{stack.deployment_name!r}, but portainer.agents has no agent of that environment"
                )
        return self


def _where(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _has_masked(value: object) -> bool:
    if isinstance(value, dict):
        return any(_has_masked(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_masked(item) for item in value)
    return bool(value == MASKED)


def parse(text: str | bytes, source: str) -> Outputs:
    """Outputs from the JSON that ``pulumi stack output --json --show-secrets`` prints.

    Args:
        text: the JSON.
        source: where it came from, for messages.

    Raises:
        InputError: it is no JSON, has another schema version, holds masked secrets or does not fit the
            schema.
    """
    if len(text) > MAXIMUM_BYTES:
        raise InputError(
            [f"{source}: the outputs are larger than {MAXIMUM_BYTES} bytes: this is not a stack of Phoenix."]
        )
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            [f"{source}: the outputs are not JSON ({error}): pass what 'pulumi stack output --json' prints."]
        ) from None
    if not isinstance(data, dict) or "schemaVersion" not in data:
        raise InputError(
            [
                f"{source}: the outputs hold no schemaVersion: run 'pulumi up' for this stack first, then "
                "read them again."
            ]
        )
    version = data["schemaVersion"]
    # Whole numbers may come back as 1.0: a Pulumi state knows only doubles.
    if isinstance(version, bool) or version != SCHEMA_VERSION:
        raise InputError(
            [
                f"{source}: schemaVersion is {json.dumps(version)[:40]}, this portainer manager reads "
                f"{SCHEMA_VERSION}: "
                "use the portainer manager of the same release as the program, or run 'pulumi up' with "
                "this release."
            ]
        )
    if _has_masked(data):
        raise InputError([f"{source}: some outputs are masked as {MASKED}: read them with --show-secrets."])
    try:
        return Outputs.model_validate(_whole(data))
    except ValidationError as error:
        mistakes = []
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            said = item["msg"].removeprefix("Value error, ")
            where = _where(item["loc"])
            mistakes.append(
                f"{source}: {where + ': ' if where else ''}{said[0].lower() + said[1:]} (schema version "
                f"{SCHEMA_VERSION}, docs/outputs.schema.json): run 'pulumi up' with this release."
            )
        raise InputError(mistakes) from None


def _whole(value: object) -> object:
    """``value`` with whole floats as integers, since engines store numbers as doubles."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def read_file(path: Path) -> Outputs:
    """Outputs from a file; ``-`` is standard input.

    Raises:
        InputError: the file cannot be read, or :func:`parse` refuses it.
    """
    if str(path) == "-":
        return parse(sys.stdin.read(MAXIMUM_BYTES + 1), "standard input")
    try:
        with path.open("rb") as file:
            return parse(file.read(MAXIMUM_BYTES + 1), str(path))
    except OSError as error:
        raise InputError([f"{path}: the outputs cannot be read ({error.strerror}): name a readable file."]) from None


def json_schema() -> str:
    """The JSON Schema of the outputs, as it stands in ``docs/outputs.schema.json``."""
    schema = Outputs.model_json_schema(by_alias=True, mode="validation")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Outputs of the Phoenix ingress program",
        **{key: value for key, value in schema.items() if key != "title"},
    }
    return json.dumps(schema, indent=2, sort_keys=False, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
