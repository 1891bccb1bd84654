"""What Portainer's API answers, typed: only the fields in use, unknown ones ignored.

Field names are Portainer's own (https://docs.portainer.io/api/docs).
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

#: Environment types (``Type`` of an endpoint).
DOCKER_LOCAL, DOCKER_AGENT = 1, 2
#: Stack types (``Type`` of a stack).
SWARM, COMPOSE, KUBERNETES = 1, 2, 3
#: Stack states (``Status``); DEPLOYING and FAILED since 2.41.
ACTIVE, INACTIVE, DEPLOYING, FAILED = 1, 2, 3, 4
#: Environment states (``Status``).
UP, DOWN = 1, 2

#: Since this version a stack is deployed after the answer, not before it.
ASYNCHRONOUS_SINCE = (2, 41)


class Record(BaseModel):
    """Base of the records."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True)


class SystemStatus(Record):
    """``GET /api/system/status``."""

    version: str = Field(alias="Version")
    instance_id: str = Field(default="", alias="InstanceID")

    @property
    def number(self) -> tuple[int, ...]:
        """The version's leading numbers, ``(2, 39, 0)``; empty where it has none."""
        found = re.match(r"\d+(\.\d+)*", self.version)
        return tuple(int(part) for part in found.group().split(".")) if found else ()

    @property
    def asynchronous(self) -> bool:
        """Whether this server deploys stacks after the answer."""
        return self.number >= ASYNCHRONOUS_SINCE


class EnvironmentRecord(Record):
    """An environment (``endpoint``)."""

    id: int = Field(alias="Id")
    name: str = Field(alias="Name")
    type: int = Field(default=0, alias="Type")
    url: str = Field(default="", alias="URL")
    status: int = Field(default=UP, alias="Status")


class Pair(Record):
    """A variable of a stack. Portainer answers its value in clear text; here it masks itself."""

    name: str
    value: SecretStr = SecretStr("")


class StackRecord(Record):
    """A stack."""

    id: int = Field(alias="Id")
    name: str = Field(alias="Name")
    type: int = Field(default=COMPOSE, alias="Type")
    endpoint_id: int = Field(default=0, alias="EndpointId")
    status: int = Field(default=ACTIVE, alias="Status")
    env: tuple[Pair, ...] = Field(default=(), alias="Env")
    from_git: bool = Field(default=False, alias="GitConfig")
    messages: tuple[str, ...] = Field(default=(), alias="DeploymentStatus")

    @field_validator("env", mode="before")
    @classmethod
    def _no_variables(cls, value: object) -> object:
        return () if value is None else value

    @field_validator("from_git", mode="before")
    @classmethod
    def _has_git(cls, value: object) -> object:
        return value is not None

    @field_validator("messages", mode="before")
    @classmethod
    def _messages(cls, value: object) -> object:
        if not isinstance(value, list):
            return ()
        found = (item.get("Message") for item in value if isinstance(item, dict))
        return tuple(text for text in found if isinstance(text, str) and text)


class ContainerRecord(Record):
    """A container as Docker's ``GET /containers/json`` lists it, through Portainer's proxy.

    Attributes:
        state: ``created``, ``running``, ``paused``, ``restarting``, ``exited`` or ``dead``.
        status: for people, ``Exited (137) 5 minutes ago``.
    """

    id: str = Field(alias="Id")
    labels: dict[str, str] = Field(default={}, alias="Labels")
    state: str = Field(default="", alias="State")
    status: str = Field(default="", alias="Status")

    @field_validator("labels", mode="before")
    @classmethod
    def _no_labels(cls, value: object) -> object:
        return {} if value is None else value

    @property
    def project(self) -> str | None:
        """The compose project, which is the stack's name."""
        return self.labels.get("com.docker.compose.project")

    @property
    def service(self) -> str | None:
        """The compose service."""
        return self.labels.get("com.docker.compose.service")

    @property
    def one_off(self) -> bool:
        """Whether ``docker compose run`` made it, which is no part of the stack."""
        return self.labels.get("com.docker.compose.oneoff", "").lower() == "true"


def normal_stack_name(name: str) -> str:
    """A stack's name as Portainer keeps it: lower case, only letters, digits, hyphens and underscores."""
    return re.sub(r"[^-_a-z0-9]+", "", name.lower())
