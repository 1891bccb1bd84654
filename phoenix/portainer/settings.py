"""Settings of the portainer manager: ``phoenix:portainer.api`` and ``phoenix:readiness`` of a stack. Pure.

They say how Portainer's API is reached and what has to answer before a run begins. No secret stands in them: a
password, key or token is in a file that only its owner can read, or comes on standard input.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from phoenix import names
from phoenix.inventory.models import Hostname
from phoenix.portainer.target import Timeouts
from phoenix.remote.connection import Connection

CheckName = Literal["hypervisor", "traefik", "certificate authority", "dns", "gateway", "docker"]

Seconds = Annotated[float, Field(gt=0, le=86400)]


def _address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not separator or host.endswith("]") != host.startswith("[") or (":" in host and not host.startswith("[")):
        host, port = value, ""
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        names.hostname(host)
    if separator and port:
        names.port(port)
    return value


def split_address(value: str) -> tuple[str, int | None]:
    """Host and port of ``HOST``, ``HOST:PORT`` or ``[IPv6]:PORT``."""
    if value.startswith("["):
        host, _, port = value[1:].partition("]")
        return host, int(port[1:]) if port else None
    if value.count(":") == 1:
        host, _, port = value.partition(":")
        return host, int(port)
    return value, None


class Model(BaseModel):
    """Base of the settings: camelCase keys; unknown ones are refused, since a misspelt one would have no effect."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class ApiSettings(Model):
    """How the portainer manager talks to Portainer (``phoenix:portainer.api``).

    Attributes:
        via: ``gateway`` as users do, or ``direct`` to the server's machine, whose firewall has to let this machine in.
        address: ``HOST`` or ``HOST:PORT`` to connect to, in place of what ``via`` gives; the host name stays in the
            TLS handshake and in the request.
        root_file: PEM file on this machine with the authority of Portainer's certificate, trusted beside the system's.
        server_name: the name in the certificate where it is not Portainer's host name.
        password_file: file with the password of Portainer's first user, who is made where there is none.
        key_file: file with an API key; then no login is made.
        setup_token_file: file with the token that servers from 2.43 on want for the first user.
        restart_command: what restarts the server on its machine, run when it closed its set-up because nobody made
            the first user within five minutes.
        start_timeout: seconds to wait until Portainer answers, after it was deployed.
        timeout: seconds to wait for an answer.
        deploy_timeout: seconds to wait for a stack; servers up to 2.39 pull images before they answer.
        settle_timeout: seconds in which a request whose answer got lost may still show its effect.
    """

    via: Literal["gateway", "direct"] = "gateway"
    address: Annotated[str, AfterValidator(_address)] | None = None
    root_file: str | None = None
    server_name: Hostname | None = None
    password_file: str | None = None
    key_file: str | None = None
    setup_token_file: str | None = None
    restart_command: str | None = None
    start_timeout: Seconds = 120.0
    timeout: Seconds = 30.0
    deploy_timeout: Seconds = 900.0
    settle_timeout: Seconds = 60.0

    def timeouts(self) -> Timeouts:
        """The client's time limits."""
        return Timeouts(read=self.timeout, deploy=self.deploy_timeout, settle=self.settle_timeout)


class ReadinessSettings(Model):
    """What has to answer before a run begins (``phoenix:readiness``).

    Attributes:
        tries: how often all checks are made before the run gives up.
        delay: seconds between two tries.
        timeout: seconds each check may take.
        skip: checks to leave out.
        hypervisor: how the hypervisor is reached; by default by the host of the ``pct`` and ``qm`` connections.
    """

    tries: Annotated[int, Field(ge=1, le=1000)] = 5
    delay: Annotated[float, Field(ge=0, le=3600)] = 3.0
    timeout: Seconds = 10.0
    skip: tuple[CheckName, ...] = ()
    hypervisor: Connection | None = None
