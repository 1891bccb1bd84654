"""Traefik's systemd units and service, its standby's, and the sockets of its ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.actions import action
from components.gateway import GatewaySite
from components.routers_gate import api_url
from components.told import ToldProvider
from components.traefik_hardening import Hardening
from components.traefik_static import file_group, file_owner
from phoenix.configuration import Configuration
from phoenix.errors import PhoenixError, RemoteError, TraefikError
from phoenix.gateway.scripts import Place
from phoenix.remote import Connection, Transport, open_transport
from phoenix.remote.properties import say
from phoenix.remote.remote_file import RemoteFile
from phoenix.settings import Settings
from phoenix.traefik import continuity, document, service, unit
from phoenix.traefik.restart import Gateway, Restart
from phoenix.traefik.service import Service, State

WAIT_SECONDS = 20.0


class UnitStateProvider(ToldProvider):
    """Sees a stopped or disabled unit, and a restart that is due, at every preview, and mends them."""

    what = "service"
    # Which revision a standby must show is of no account until a restart is due.
    no_change = ToldProvider.no_change | {"revision"}

    def problems(self, transport: Transport, props: Mapping[str, Any]) -> list[str]:
        """A phrase for each way in which the services are not as they shall be."""
        wanted = Service.parse(props["service"])
        found = list(service.problems(wanted, State.parse(transport.run(service.inspect_script(wanted)).text)))
        gateway = _gateway(props)
        if gateway is not None:
            try:
                if gateway.switched():
                    found.append("the gateway sends requests to the standby, though no restart is going on")
            except RemoteError as error:
                say(f"{self.what}: whether the gateway uses the standby is not known: {error}")
        return found

    def mend(self, transport: Transport, props: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Start, or restart with what lies on disk, at no cost to the clients."""
        Restart(
            target=transport,
            gateway=_gateway(props),
            service=Service.parse(props["service"]),
            api_url=props["apiUrl"],
            standby_api_url=props["standbyApiUrl"],
            revision=props["revision"],
            say=say,
        ).run()

    def failure(self, props: Mapping[str, Any], problems: list[str]) -> PhoenixError:
        """Says what is not as it shall be."""
        target = Connection.parse(props["connection"]).description
        return TraefikError(f"{target}: {'; '.join(problems)}; waited {props['timeout']:g} s.")

    def removed(self, transport: Transport, props: Mapping[str, Any]) -> None:
        """Stop everything, and start nothing at boot any more."""
        transport.run(service.disable_script())


def _gateway(props: Mapping[str, Any]) -> Gateway | None:
    if not props.get("gateway"):
        return None
    connection = Connection.parse(props["gateway"], "gateway")
    address, port, standby_port = props["upstream"]
    return Gateway(open_transport(connection), Place.parse(props["place"]), address, int(port), int(standby_port))


def _switching(site: GatewaySite) -> dict[str, Any]:
    """What :func:`_gateway` reads."""
    upstream = site.upstream
    return {
        "gateway": pulumi.Output.secret(site.connection.to_props()),
        "place": site.place.to_props(),
        "upstream": [upstream.address, upstream.websecure, upstream.standby],
    }


class UnitState(Resource, module="systemd", name="UnitState"):
    """The live state behind :class:`TraefikService`."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(UnitStateProvider(), name, dict(props), opts)


class TraefikService(pulumi.ComponentResource):
    """The unit files; then enable, start or restart at no cost to the clients; then proof that systemd sees it so.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        settings: paths, account and means of continuity.
        configuration: what it shall run with.
        gateway: the gateway's site, where the stack manages it.
        changes_with: what else restarts Traefik when it changes, beside its files: the program's digest.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        settings: Settings,
        configuration: Configuration,
        gateway: GatewaySite | None = None,
        changes_with: Sequence[pulumi.Input[str]] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:Service", name, {}, opts)
        traefik, mode = settings.traefik, continuity.mode(settings)
        self._connection, self._settings, self._child = connection, settings, pulumi.ResourceOptions(parent=self)
        without: pulumi.Input[Sequence[str]] = ()
        if traefik.harden:
            without = Hardening(f"{name}-hardening", connection, traefik.user, self._child).without
        texts = pulumi.Output.from_input(without).apply(lambda names: _texts(settings, configuration, names or ()))
        units = {
            unit_name: self._unit(f"{name}-{_short(unit_name)}", unit_name, texts[unit_name])
            for unit_name in _texts(settings, configuration, ())
        }
        self.unit = units[service.UNIT]
        files = [*units.values()]
        if mode.second:
            static = continuity.standby_static(configuration.static, traefik, shared=mode.shared)
            files.append(
                RemoteFile(
                    f"{name}-standby-static",
                    connection=connection,
                    path=continuity.standby_static_path(traefik),
                    content=document.dump(static),
                    mode="0644",
                    owner=file_owner(connection),
                    group=file_group(connection, traefik),
                    opts=self._child,
                )
            )
        enabled = action(
            f"{name}-enable",
            connection,
            run=f"systemctl daemon-reload && {service.enable_script()}",
            delete=service.disable_script(),
            changes_with=self.unit.sha256,
            opts=pulumi.ResourceOptions(parent=self, depends_on=files),
        )
        self.state = UnitState(
            f"{name}-state",
            {
                "connection": pulumi.Output.secret(connection.to_props()),
                **(_switching(gateway) if gateway and mode.standby else {}),
                "service": continuity.service(settings).to_props(),
                "apiUrl": api_url(traefik),
                "standbyApiUrl": f"http://{traefik.standby_api_address}",
                "revision": configuration.dynamic_revision,
                "changesWith": [traefik.version, *(file.sha256 for file in files), *changes_with],
                "timeout": WAIT_SECONDS,
            },
            pulumi.ResourceOptions(parent=self, depends_on=[enabled]),
        )
        self.register_outputs({})

    def _unit(self, name: str, unit_name: str, text: pulumi.Output[str]) -> RemoteFile:
        connection, traefik = self._connection, self._settings.traefik
        return RemoteFile(
            name,
            connection=connection,
            path=f"{traefik.unit_directory}/{unit_name}",
            content=text,
            mode="0644",
            owner=file_owner(connection),
            group=file_owner(connection) if traefik.user != connection.user else traefik.group,
            opts=self._child,
        )


def _texts(settings: Settings, configuration: Configuration, without: Sequence[str]) -> dict[str, str]:
    """Every unit's text, by name."""
    return {
        service.UNIT: unit.render(settings, without),
        **unit.render_others(settings, configuration.static, without),
    }


def _short(unit_name: str) -> str:
    """A unit's part of its resource's name: ``unit``, ``standby-unit``, ``web-socket``."""
    base, _, kind = unit_name.rpartition(".")
    part = base.removeprefix("traefik").strip("-")
    return "-".join(filter(None, (part, "unit" if kind == "service" else kind)))
