"""Traefik's systemd unit and service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.actions import action
from components.probe import LiveProvider
from components.traefik_static import file_owner
from phoenix.configuration import Configuration
from phoenix.errors import PhoenixError, TraefikError
from phoenix.remote import Connection, Transport
from phoenix.remote.remote_file import RemoteFile
from phoenix.settings import TraefikSettings
from phoenix.traefik import service

WAIT_SECONDS = 20.0


class UnitStateProvider(LiveProvider):
    """Sees a stopped or disabled unit, and a restart that is due, at every preview, and mends them."""

    what = "service"

    def problems(self, transport: Transport, props: Mapping[str, Any]) -> list[str]:
        """A phrase for each way in which the service is not as it shall be."""
        return list(service.problems(transport.run(props["inspect"]).text))

    def mend(self, transport: Transport, props: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Enable, start, or restart with what lies on disk."""
        done = transport.run(props["settle"], check=False)
        if done.exit_code != 0:
            raise TraefikError(f"{service.UNIT} does not start: {_words(transport) or done.complaint}.")

    def failure(self, props: Mapping[str, Any], problems: list[str]) -> PhoenixError:
        """Says what is not as it shall be."""
        target = Connection.parse(props["connection"]).description
        return TraefikError(f"{target}: {'; '.join(problems)}; waited {props['timeout']:g} s.")


def _words(transport: Transport) -> str:
    log = transport.run(service.log_script(), check=False).text
    return "; ".join(service.errors_in_log(log))


class UnitState(Resource, module="systemd", name="UnitState"):
    """The live state behind :class:`TraefikService`."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(UnitStateProvider(), name, dict(props), opts)


class TraefikService(pulumi.ComponentResource):
    """The unit file; then daemon-reload, enable, start or restart; then proof that systemd sees it so.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        traefik: paths and account.
        configuration: the unit's text.
        static_digest: digest of ``traefik.yml``; Traefik is restarted when it changes.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        traefik: TraefikSettings,
        configuration: Configuration,
        static_digest: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:Service", name, {}, opts)
        self.unit = RemoteFile(
            f"{name}-unit",
            connection=connection,
            path=traefik.unit_path,
            content=configuration.unit_text,
            mode="0644",
            owner=file_owner(connection),
            group=file_owner(connection) if traefik.user != connection.user else traefik.group,
            opts=pulumi.ResourceOptions(parent=self),
        )
        reloaded = action(
            f"{name}-daemon-reload",
            connection,
            run="systemctl daemon-reload",
            changes_with=self.unit.sha256,
            opts=pulumi.ResourceOptions(parent=self),
        )
        enabled = action(
            f"{name}-enable",
            connection,
            run=service.enable_script(),
            delete=service.disable_script(),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[reloaded]),
        )
        started = action(
            f"{name}-start",
            connection,
            run=service.settle_script(traefik),
            changes_with=pulumi.Output.concat(self.unit.sha256, " ", static_digest),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[enabled]),
        )
        self.state = UnitState(
            f"{name}-state",
            {
                "connection": pulumi.Output.secret(connection.to_props()),
                "inspect": service.inspect_script(traefik),
                "settle": service.settle_script(traefik),
                "timeout": WAIT_SECONDS,
            },
            pulumi.ResourceOptions(parent=self, depends_on=[started]),
        )
        self.register_outputs({})
