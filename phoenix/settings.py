"""The typed settings of a stack: what ``pulumi config`` holds under ``phoenix:``, each with its default.

This module is the reference of every key; ``Pulumi.yaml`` repeats the descriptions for ``pulumi config``. Keys are
written in camelCase there and in snake_case here. :func:`parse` is pure; :mod:`phoenix.settings_files` reads files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from phoenix import names
from phoenix.errors import InputError
from phoenix.inventory.load import sentences
from phoenix.inventory.models import Hostname, Port, Scheme
from phoenix.remote.connection import Connection

AbsolutePath = Annotated[str, AfterValidator(names.absolute_path)]
Account = Annotated[str, AfterValidator(names.account)]
IpAddress = Annotated[str, AfterValidator(names.address)]
RouterName = Annotated[str, AfterValidator(names.router_part)]
Environment = Literal["development", "testing", "production"]
ENVIRONMENTS: tuple[Environment, ...] = ("development", "testing", "production")

_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9.]*):(?P<port>[0-9]{1,5})")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+|0")
_CIDR_LIMIT = "must be an IP address or a network such as 10.0.0.0/24"


def _listen_address(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if not match:
        raise ValueError('must be a listen address such as ":443" or "127.0.0.1:8080"')
    names.port(match["port"])
    if match["host"]:
        names.address(match["host"].strip("[]"))
    return value


def _network(value: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_network(value)) if "/" in value else str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(_CIDR_LIMIT) from None


def _https_url(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?", value):
        raise ValueError('must be a URL such as "https://ca.internal.example.test:9000"')
    return value.rstrip("/")


def _duration(value: str) -> str:
    if not _DURATION.fullmatch(value):
        raise ValueError('must be a duration such as "500ms", "10s" or "1m"')
    return value


ListenAddress = Annotated[str, AfterValidator(_listen_address)]
Network = Annotated[str, AfterValidator(_network)]
Url = Annotated[str, AfterValidator(_https_url)]
Duration = Annotated[str, AfterValidator(_duration)]


class SettingsModel(BaseModel):
    """Base of the settings: camelCase keys; unknown ones are refused, since a misspelt one would have no effect."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


class TraefikSettings(SettingsModel):
    """Traefik and where its parts lie in the container.

    Attributes:
        connection: how its container is reached; needed to preview and deploy, not to render.
        version: Traefik's version, for the record and for checks against the installed binary.
        binary: the installed program.
        config_directory: holds ``traefik.yml`` and ``dynamic/dynamic_conf.yml``.
        state_directory: holds the ACME storage; never read, shown or overwritten.
        unit_directory: where systemd looks for units.
        user: account Traefik runs as; made where it is missing, if we may.
        group: its group.
        web_address: entry point ``web``: redirects to websecure, answers HTTP challenges.
        websecure_address: entry point ``websecure``.
        api_address: entry point ``traefik``: API, dashboard and ping; loopback, since it asks for no password.
        log_level: of Traefik's log.
        throttle: least time between two reloads of the dynamic file (``providers.providersThrottleDuration``). The
            file is always replaced whole, so a short one is safe and lets a change be served at once.
        harden: sandboxing directives in the unit; set to false where the container forbids mount namespaces.
    """

    connection: Connection | None = None
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")] = "3.7.15"
    binary: AbsolutePath = "/usr/local/bin/traefik"
    config_directory: AbsolutePath = "/etc/traefik"
    state_directory: AbsolutePath = "/var/lib/traefik"
    log_directory: AbsolutePath = "/var/log/traefik"
    unit_directory: AbsolutePath = "/etc/systemd/system"
    user: Account = "traefik"
    group: Account = "traefik"
    web_address: ListenAddress = ":80"
    websecure_address: ListenAddress = ":443"
    api_address: ListenAddress = "127.0.0.1:8080"
    log_level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"] = "INFO"
    throttle: Duration = "100ms"
    harden: bool = True

    @property
    def static_path(self) -> str:
        """Path of the static configuration."""
        return f"{self.config_directory}/traefik.yml"

    @property
    def dynamic_path(self) -> str:
        """Path of the dynamic configuration."""
        return f"{self.config_directory}/dynamic/dynamic_conf.yml"

    @property
    def unit_path(self) -> str:
        """Path of the systemd unit."""
        return f"{self.unit_directory}/traefik.service"


class CertificateAuthoritySettings(SettingsModel):
    """Where certificates come from.

    Attributes:
        url: Step-CA; by default ``https://ca.<internal domain>:9000``.
        directory: path of its ACME directory.
        root_file: its root certificate in Traefik's container.
        certificates_duration: hours its certificates live; Traefik renews by it.
        external_directory: ACME directory of the public CA; by default Traefik's own, Let's Encrypt.
        external_root_file: root certificate of the public CA's own https, where it is not a well-known one.
        key_type: of Traefik's certificate keys.
    """

    url: Url | None = None
    directory: str = "/acme/acme/directory"
    root_file: AbsolutePath = "/etc/step-ca/ssl/phoenix_root_ca.crt"
    certificates_duration: Annotated[int, Field(ge=1, le=24 * 397)] = 24
    external_directory: Url | None = None
    external_root_file: AbsolutePath | None = None
    key_type: Literal["EC256", "EC384", "RSA2048", "RSA4096", "RSA8192"] = "EC384"


class GatewaySettings(SettingsModel):
    """The NGINX gateway in front of Traefik.

    Attributes:
        address: its address; by default that of the guest with CTID 101, where there is one.
        port: where it takes https in.
        trusted: further addresses or networks whose forwarded headers Traefik believes.
    """

    address: IpAddress | None = None
    port: Port = 443
    trusted: tuple[Network, ...] = ()


class RouteSettings(SettingsModel):
    """What a stack overrides of one route, under the router's name.

    Attributes:
        hostname: another (first) host name.
        domain: another domain below which the guest's name stands.
        cert_resolver: another certificate resolver; the static configuration must define it.
        scheme: how Traefik talks to the backend.
        port: another port of the backend.
        entry_points: entry points to listen on.
        middlewares: names from ``phoenix:middlewares``, in order.
        server_name: the name an https backend's certificate must carry; by default the host name.
        root_file: the CA of an https backend, a path in Traefik's container.
        insecure_skip_verify: do not verify the https backend at all.
    """

    hostname: Hostname | None = None
    domain: Hostname | None = None
    cert_resolver: str | None = None
    scheme: Scheme | None = None
    port: Port | None = None
    entry_points: tuple[str, ...] = ()
    middlewares: tuple[RouterName, ...] = ()
    server_name: Hostname | None = None
    root_file: AbsolutePath | None = None
    insecure_skip_verify: bool | None = None


class PortainerSettings(SettingsModel):
    """Portainer's server and agents.

    Attributes:
        connection: how the server's VM is reached.
        agents: how each agent's VM is reached, by VM name.
        deploy_command: what brings the server up on its VM; by default nothing is run there.
        server_name: the name on its own certificate; by default its host name.
        root_file: the CA of its own certificate, a path in Traefik's container; by default the internal CA.
        insecure_skip_verify: do not verify its certificate.
        compose_directory: where the Docker stacks' compose files lie on this machine.
    """

    connection: Connection | None = None
    agents: dict[str, Connection] = {}
    deploy_command: str | None = None
    server_name: Hostname | None = None
    root_file: AbsolutePath | None = None
    insecure_skip_verify: bool = False
    compose_directory: str | None = None


class Settings(SettingsModel):
    """All of a stack's settings.

    Attributes:
        source: file the settings came from, for messages; no key of its own.
        inventory: directory of the inventory, relative to the project.
        settings_file: further settings, below the stack's own; for machine-written ones such as the lab's.
        internal_domain: domain of internal names.
        environment: which environment of each Docker stack this stack deploys.
        docker_environments: all environments it deploys; by default just ``environment``.
        acme_email: contact given to the CAs.
        routes: overrides, by router name.
        ssh_private_key: key for connections that name no key file.
    """

    source: str = Field(default="phoenix settings", exclude=True)
    inventory: str | None = None
    settings_file: str | None = None
    internal_domain: Hostname | None = None
    environment: Environment = "production"
    docker_environments: tuple[Environment, ...] = ()
    acme_email: Annotated[str, Field(pattern=r"^[^@\s{}]+@[^@\s{}]+$")] | None = None
    traefik: TraefikSettings = TraefikSettings()
    certificate_authority: CertificateAuthoritySettings = CertificateAuthoritySettings()
    gateway: GatewaySettings = GatewaySettings()
    routes: dict[RouterName, RouteSettings] = {}
    portainer: PortainerSettings = PortainerSettings()
    ssh_private_key: SecretStr | None = None


def deep_merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``: objects key by key, everything else whole."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = deep_merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def parse(values: Mapping[str, Any], source: str) -> Settings:
    """Settings from plain data.

    Args:
        values: camelCase keys without the ``phoenix:`` in front.
        source: file they came from, for messages.

    Raises:
        InputError: with one sentence for each unknown key and each wrong value.
    """
    present = {key: value for key, value in values.items() if value is not None}
    try:
        return Settings.model_validate({**present, "source": source})
    except ValidationError as error:
        raise InputError([_with_known_keys(text) for text in sentences(f"{source}: phoenix", present, error)]) from None


def _with_known_keys(sentence: str) -> str:
    return sentence.replace(
        "it extra inputs are not permitted; correct it there.",
        "there is no such setting; see phoenix/settings.py or docs/configuration.md for the right name, or remove it.",
    )
