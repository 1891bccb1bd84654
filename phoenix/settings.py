"""The typed settings of a stack: what ``pulumi config`` holds under ``phoenix:``, each with its default.

This module is the reference of every key; ``Pulumi.yaml`` repeats the descriptions for ``pulumi config``. Keys are
written in camelCase there and in snake_case here. :func:`parse` is pure; :mod:`phoenix.settings_files` reads files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError

from phoenix.errors import InputError
from phoenix.gateway.settings import GatewaySettings
from phoenix.inventory.models import Hostname, Port, Scheme
from phoenix.inventory.sentences import sentences
from phoenix.portainer.settings import ApiSettings, ReadinessSettings
from phoenix.remote.connection import Connection
from phoenix.settings_types import (
    AbsolutePath,
    Account,
    Duration,
    EMail,
    Environment,
    ListenAddress,
    LoopbackAddress,
    PrivateDirectory,
    RouterName,
    ServerName,
    SettingsModel,
    Url,
    UrlPath,
    Version,
)
from phoenix.traefik.install_settings import InstallSettings
from phoenix.traefik.middleware_models import Middleware


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
        watchdog: seconds without a sign of life after which systemd restarts Traefik. It gives a sign at half of them,
            if its own ``/ping`` answers within 5 s, and a first start that asks for hundreds of certificates at once
            leaves no processor time for that: raise it there.
        continuity: what a restart costs the clients. ``standby``: nothing behind the gateway, which sends requests to a
            second instance meanwhile; ``sockets``: no connection is refused, since systemd holds the ports, and a
            second instance takes them meanwhile; ``both``; ``none``. By default ``standby`` where
            ``phoenix:gateway.connection`` is set, else ``sockets``.
        standby_web_address: the standby's entry point ``web``; it takes no ACME challenges.
        standby_websecure_address: its entry point ``websecure``, which the gateway must reach.
        standby_api_address: its API.
        standby_runs: only during ``restarts``, or ``always``: then it also takes over when Traefik crashes.
        install: where the program comes from; by default it is expected to be in the container.
        probe: send a request through each new or changed route before and after it goes live.
    """

    connection: Connection | None = None
    version: Version = "3.7.15"
    binary: AbsolutePath = "/usr/local/bin/traefik"
    config_directory: AbsolutePath = "/etc/traefik"
    state_directory: PrivateDirectory = "/var/lib/traefik"
    log_directory: PrivateDirectory = "/var/log/traefik"
    unit_directory: AbsolutePath = "/etc/systemd/system"
    user: Account = "traefik"
    group: Account = "traefik"
    web_address: ListenAddress = ":80"
    websecure_address: ListenAddress = ":443"
    api_address: LoopbackAddress = "127.0.0.1:8080"
    log_level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"] = "INFO"
    throttle: Duration = "100ms"
    harden: bool = True
    watchdog: Annotated[int, Field(ge=10, le=3600)] = 120
    continuity: Literal["none", "sockets", "standby", "both"] | None = None
    standby_web_address: ListenAddress = "127.0.0.1:8000"
    standby_websecure_address: ListenAddress = ":8443"
    standby_api_address: LoopbackAddress = "127.0.0.1:8081"
    standby_runs: Literal["restarts", "always"] = "restarts"
    install: InstallSettings | None = None
    probe: bool = True

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
        demand_certificates: ``up`` succeeds only once every route serves a certificate of the right issuer; Traefik's
            default certificate is a failure then.
        wait: how long it waits for certificates, in seconds.
    """

    url: Url | None = None
    directory: UrlPath = "/acme/acme/directory"
    root_file: AbsolutePath = "/etc/step-ca/ssl/phoenix_root_ca.crt"
    certificates_duration: Annotated[int, Field(ge=1, le=24 * 397)] = 24
    external_directory: Url | None = None
    external_root_file: AbsolutePath | None = None
    key_type: Literal["EC256", "EC384", "RSA2048", "RSA4096", "RSA8192"] = "EC384"
    demand_certificates: bool = False
    wait: Annotated[int, Field(ge=1, le=3600)] = 90


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
        server_name: the name, or address, an https backend's certificate must carry; by default the host name.
        root_file: the CA of an https backend, a path in Traefik's container.
        insecure_skip_verify: do not verify the https backend at all.
        certificate_issuer: part of the name of who must have issued the certificate this route serves, such as
            ``Let's Encrypt``; demanded even where ``demandCertificates`` is off.
    """

    hostname: Hostname | None = None
    domain: Hostname | None = None
    cert_resolver: str | None = None
    scheme: Scheme | None = None
    port: Port | None = None
    entry_points: tuple[str, ...] = ()
    middlewares: tuple[RouterName, ...] = ()
    server_name: ServerName | None = None
    root_file: AbsolutePath | None = None
    insecure_skip_verify: bool | None = None
    certificate_issuer: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class PortainerSettings(SettingsModel):
    """Portainer's server and agents.

    Attributes:
        connection: how the server's VM is reached.
        agents: how each agent's VM is reached, by VM name.
        deploy_command: a script of your own that brings the server up on its VM, in place of the Compose projects
            that the program makes.
        server_image: the server's image, pinned; by default the inventory's where it is pinned.
        agent_image: the agents' image, likewise.
        directory: where the Compose project lies on each VM.
        certificate_file: the server's own certificate, a PEM file on this machine; it is pushed to the VM.
        key_file: its key, likewise.
        admin_password: the first password of the admin account.
        agent_secret: what server and agents share, so that an agent answers to its own server only.
        remove_data_on_destroy: remove Portainer's data volume when the stack is destroyed.
        server_name: the name, or address, on its own certificate; by default its host name.
        root_file: the CA of its own certificate, a path in Traefik's container; by default the internal CA.
        insecure_skip_verify: do not verify its certificate.
        compose_directory: where the Docker stacks' compose files lie on this machine.
        api: how the portainer manager talks to Portainer.
    """

    connection: Connection | None = None
    agents: dict[str, Connection] = Field(default_factory=dict)
    deploy_command: str | None = None
    server_image: str | None = None
    agent_image: str | None = None
    directory: AbsolutePath = "/opt/phoenix/portainer"
    certificate_file: str | None = None
    key_file: str | None = None
    admin_password: SecretStr | None = None
    agent_secret: SecretStr | None = None
    remove_data_on_destroy: bool = False
    server_name: ServerName | None = None
    root_file: AbsolutePath | None = None
    insecure_skip_verify: bool = False
    compose_directory: str | None = None
    api: ApiSettings = ApiSettings()


class DashboardSettings(SettingsModel):
    """Traefik's dashboard as a route; only behind a login or an allow list.

    Attributes:
        hostname: where it is reached.
        middlewares: names from ``phoenix:middlewares``, in order; at least one must keep strangers out.
        cert_resolver: certificate resolver; by default the one of the host name's domain.
        entry_points: entry points to listen on.
    """

    hostname: Hostname
    middlewares: tuple[RouterName, ...]
    cert_resolver: str | None = None
    entry_points: tuple[str, ...] = ("websecure",)


def _none_if_empty(value: Any) -> Any:
    return None if value == {} else value  # the default that Pulumi.yaml can give


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
        middlewares: what routes may name, by name (docs/middlewares.md lists the kinds).
        readiness: what has to answer before ``phoenix sync`` begins.
        dashboard: Traefik's dashboard; by default it is reached from inside its container only.
        ssh_private_key: key for connections that name no key file.
    """

    source: str = Field(default="phoenix settings", exclude=True)
    inventory: str | None = None
    settings_file: str | None = None
    internal_domain: Hostname | None = None
    environment: Environment = "production"
    docker_environments: tuple[Environment, ...] = ()
    acme_email: EMail | None = None
    traefik: TraefikSettings = TraefikSettings()
    certificate_authority: CertificateAuthoritySettings = CertificateAuthoritySettings()
    gateway: GatewaySettings = GatewaySettings()
    routes: dict[RouterName, RouteSettings] = Field(default_factory=dict)
    middlewares: dict[RouterName, Middleware] = Field(default_factory=dict)
    dashboard: Annotated[DashboardSettings | None, BeforeValidator(_none_if_empty)] = None
    portainer: PortainerSettings = PortainerSettings()
    readiness: ReadinessSettings = ReadinessSettings()
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
        values: camelCase keys without the ``phoenix:`` in front; null, and at the top empty text, is as if absent.
        source: file they came from, for messages.

    Raises:
        InputError: with one sentence for each unknown key and each wrong value.
    """
    present = {key: _without_nulls(value) for key, value in values.items() if value is not None and value != ""}
    mistakes = []
    settings = Settings(source=source)
    try:
        settings = Settings.model_validate({**present, "source": source})
    except ValidationError as error:
        mistakes = sentences(f"{source}: phoenix", present, error)
    if "source" in present:
        mistakes.append(f"{source}: phoenix: source is no setting: see docs/configuration.md for the right name.")
    if mistakes:
        raise InputError(mistakes)
    return settings


def _without_nulls(value: Any) -> Any:
    """``value`` without the nulls of its mappings: a key without a value leaves the default."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
