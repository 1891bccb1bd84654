"""The typed description of a way to a guest. Pure: nothing is opened here.

A connection is data that a stack configures (keys in camelCase)::

    transport: ssh                      # ssh | pct | pct-over-ssh | qm | qm-over-ssh | local
    host: 10.0.0.12
    hostKey: ssh-ed25519 AAAA…          # or knownHostsFile: ~/.ssh/known_hosts
    privateKeyFile: ~/.ssh/id_ed25519   # or privateKey (a secret), or agent: true
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from phoenix.errors import InputError

TransportName = Literal["ssh", "pct", "pct-over-ssh", "qm", "qm-over-ssh", "local"]

OVER_SSH: frozenset[str] = frozenset({"ssh", "pct-over-ssh", "qm-over-ssh"})
"""The transports whose first hop is an SSH connection."""

IN_GUEST: frozenset[str] = frozenset({"pct", "pct-over-ssh", "qm", "qm-over-ssh"})
"""The transports that enter a guest through a command of the hypervisor."""

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?:(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\.?\Z")
_USER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?\Z")
_KEY_TYPE = re.compile(r"[a-z0-9@.-]{4,64}\Z")

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]


def _checked_host(value: str) -> str:
    """Return a host name or address that is safe to hand to any program."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if not _HOST_NAME.match(value):
        raise ValueError("must be a host name or an IP address, like pve.example.test or 10.0.0.13")
    return value


def _checked_user(value: str) -> str:
    if not _USER_NAME.match(value):
        raise ValueError("must be a user name of at most 32 letters, digits, dots, dashes and underscores")
    return value


def _checked_host_key(value: str) -> str:
    """Check the form of a public key line (https://man.openbsd.org/sshd#AUTHORIZED_KEYS_FILE_FORMAT)."""
    fields = value.strip().split()
    remedy = "must be a public key line like 'ssh-ed25519 AAAA…', as `ssh-keyscan HOST` prints after the host's name"
    if len(fields) < 2 or not _KEY_TYPE.match(fields[0]) or "\n" in value.strip():
        raise ValueError(remedy)
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(remedy) from None
    name = fields[0].encode()
    if blob[: 4 + len(name)] != len(name).to_bytes(4, "big") + name or len(blob) < 4 + len(name) + 16:
        raise ValueError(remedy)
    return " ".join(fields[:2])


class _Hop(BaseModel):
    """One SSH server and how to log in there."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    host: str | None = Field(default=None, description="Host name or address of the SSH server.")
    port: Port = Field(default=22, description="TCP port of the SSH server.")
    user: str = Field(default="root", description="User to log in as.")
    private_key_file: str | None = Field(default=None, description="Path of a private key on this machine.")
    private_key: SecretStr | None = Field(default=None, description="A private key's text; a secret.")
    host_key: str | None = Field(default=None, description="The server's public key line, 'ssh-ed25519 AAAA…'.")
    known_hosts_file: str | None = Field(default=None, description="An OpenSSH known_hosts file, hashed or not.")

    @field_validator("host")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        return None if value is None else _checked_host(value)

    @field_validator("user")
    @classmethod
    def _user(cls, value: str) -> str:
        return _checked_user(value)

    @field_validator("host_key")
    @classmethod
    def _host_key(cls, value: str | None) -> str | None:
        return None if value is None else _checked_host_key(value)

    @field_validator("private_key_file", "known_hosts_file")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        if value is not None and (not value or "\0" in value or "\n" in value):
            raise ValueError("must be a path without line breaks")
        return value

    def _check_ssh(self, what: str) -> None:
        if self.host is None:
            raise ValueError(f"{what} needs a host")
        if (self.host_key is None) == (self.known_hosts_file is None):
            raise ValueError(
                f"{what} to {self.host} needs exactly one of hostKey and knownHostsFile, "
                "because an unchecked host key lets anybody answer in the server's place"
            )
        if self.private_key is not None and self.private_key_file is not None:
            raise ValueError(f"{what} to {self.host} names both privateKey and privateKeyFile: leave one out")

    @property
    def address(self) -> str:
        """``user@host:port`` for messages; an IPv6 address in brackets."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


class Jump(_Hop):
    """A jump host: an SSH server that the connection goes through."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._check_ssh("a jump host")
        return self


class Connection(_Hop):
    """A way to a guest, or to a machine; hashable, so that it can be the key of a pool.

    Raises:
        pydantic.ValidationError: a field is wrong; :meth:`parse` turns that into an :class:`InputError`.
    """

    transport: TransportName = Field(description="How commands reach the target.")
    agent: bool = Field(default=False, description="Use the SSH agent that SSH_AUTH_SOCK names.")
    jump: Jump | None = Field(default=None, description="An SSH server to go through.")
    guest: int | None = Field(
        default=None, ge=100, le=999_999_999, description="CTID or VMID, for the pct and qm transports."
    )
    sudo: bool = Field(default=False, description="Run commands through `sudo -n`.")
    connect_timeout: Seconds = Field(default=10.0, description="Limit for connecting and logging in, seconds.")
    command_timeout: Seconds = Field(default=60.0, description="Limit for one command, seconds.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.transport in OVER_SSH:
            self._check_ssh(f"transport {self.transport}")
        elif self.host is not None or self.jump is not None:
            field = "host" if self.host is not None else "jump"
            raise ValueError(
                f"transport {self.transport} runs on this machine and takes no {field}; "
                + (f"use {self.transport}-over-ssh" if self.transport != "local" else "use ssh")
            )
        if (self.transport in IN_GUEST) != (self.guest is not None):
            raise ValueError(
                f"transport {self.transport} needs guest, the CTID or VMID"
                if self.guest is None
                else f"transport {self.transport} takes no guest: use pct-over-ssh or qm-over-ssh to enter one"
            )
        return self

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str = "connection") -> Connection:
        """Read a connection from plain data with camelCase or snake_case keys.

        Args:
            data: what a stack's configuration or a resource's inputs hold; absent and null are the same.
            where: the name of the field or resource, put in front of every message.

        Raises:
            InputError: one sentence per mistake, none of which repeats a secret.
        """
        present = {key: value for key, value in data.items() if value is not None}
        try:
            return cls.model_validate(present)
        except ValidationError as error:
            raise InputError([_sentence(where, details) for details in error.errors()]) from None

    def to_props(self) -> dict[str, Any]:
        """Return plain data with camelCase keys that :meth:`parse` reads; holds the private key in clear."""
        props: dict[str, Any] = self.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
        for hop, holder in ((self, props), (self.jump, props.get("jump"))):
            if hop is not None and holder is not None and hop.private_key is not None:
                holder["privateKey"] = hop.private_key.get_secret_value()
        return props

    @property
    def target(self) -> str:
        """What the connection leads to, without how: the same for two ways of logging in to the same place."""
        place = "this machine" if self.transport not in OVER_SSH else f"{self.host}:{self.port}"
        kind = self.transport.removesuffix("-over-ssh")
        return f"{kind} {self.guest} on {place}" if self.transport in IN_GUEST else place

    @property
    def description(self) -> str:
        """The connection in a few words, for messages: ``ssh root@10.0.0.12:22``; never a secret."""
        carrier = f"ssh {self.address}" if self.transport in OVER_SSH else "this machine"
        if self.transport in IN_GUEST:
            noun = "container" if self.transport.startswith("pct") else "VM"
            return f"{noun} {self.guest} on {carrier}"
        return carrier


def _sentence(where: str, details: ErrorDetails) -> str:
    """Turn one pydantic error into a sentence; the input itself is left out, it may be a secret."""
    location = ".".join([where, *(str(part) for part in details["loc"])])
    message: str = details["msg"]
    message = message.removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        known = ", ".join(sorted(to_camel(name) for name in Connection.model_fields))
        return f"{location}: unknown field; a connection has {known}."
    if details["type"] == "missing":
        return f"{location}: missing; a connection names its transport, one of {', '.join(get_args(TransportName))}."
    return f"{location}: {message[:1].lower()}{message[1:]}."
