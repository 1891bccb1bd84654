"""The gate behind: Traefik serves every intended router, by its own API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.probe import LiveProvider
from phoenix.configuration import Configuration
from phoenix.errors import PhoenixError, TraefikError
from phoenix.remote import Connection, Transport, open_transport
from phoenix.remote.properties import say
from phoenix.settings import Settings, TraefikSettings
from phoenix.traefik import document, service
from phoenix.traefik.certificate_gate import live_addresses, unmet
from phoenix.traefik.certificates import Demand
from phoenix.traefik.middlewares import without_secrets
from phoenix.traefik.prove import differences
from phoenix.traefik.served import PATIENCE_SECONDS, examine

WAIT_SECONDS = 20.0


class RoutersProvider(LiveProvider):
    """Compares what Traefik's API says with what was meant."""

    what = "Traefik"

    def problems(self, transport: Transport, props: Mapping[str, Any]) -> list[str]:
        """A phrase for each difference, and for each certificate that is demanded and not shown."""
        found = differences(transport, props["apiUrl"], {"http": props["http"]})
        demands = [Demand.parse(item) for item in props.get("demands") or ()]
        if found or not demands:
            return found
        return unmet(transport, props["apiUrl"], demands, props["http"].get("routers") or {}, props["rootFile"])

    def _settle(self, props: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Wait; then, behind a first start or a restart, send a request through each route, since no push did."""
        super()._settle(props, old)
        if props.get("probe") and (old is None or old.get("staticRevision") != props.get("staticRevision")):
            self._ask(open_transport(Connection.parse(props["connection"])), props)

    def _ask(self, transport: Transport, props: Mapping[str, Any]) -> None:
        http = props["http"]
        findings = examine(transport, live_addresses(transport, props["apiUrl"]), http, http.get("routers") or {})
        if findings.asked is None:
            say("Traefik: no request was sent through the routes: install curl or openssl in the container")
        for phrase in findings.warnings:
            say(f"Traefik: {phrase}")
        if findings.failures:
            raise self.failure({**props, "timeout": PATIENCE_SECONDS}, list(findings.failures))

    def failure(self, props: Mapping[str, Any], problems: list[str]) -> PhoenixError:
        """The differences that remain, at most five of them spelt out."""
        target = Connection.parse(props["connection"]).description
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        return TraefikError(
            f"{target}: Traefik does not serve what was meant after {props['timeout']:g} s: "
            f"{'; '.join(problems[:5])}{more}; read `journalctl -u {service.UNIT}` there."
        )


class ServedRouters(Resource, module="traefik", name="ServedRouters"):
    """The probe behind :class:`RoutersGate`."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(RoutersProvider(), name, dict(props), opts)


class RoutersGate(pulumi.ComponentResource):
    """Holds back all that depends on it until Traefik serves every intended router.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        settings: where Traefik's API listens, and how long certificates may take.
        configuration: what is meant. It is an input key by key, so that a preview shows which routes change.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        settings: Settings,
        configuration: Configuration,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:RoutersGate", name, {}, opts)
        traefik, authority = settings.traefik, settings.certificate_authority
        self.probe = ServedRouters(
            f"{name}-probe",
            {
                "connection": pulumi.Output.secret(connection.to_props()),
                "apiUrl": api_url(traefik),
                "http": without_secrets(configuration.dynamic["http"]),
                "probe": traefik.probe,
                "staticRevision": document.digest(configuration.static_text),
                "demands": [demand.to_props() for demand in configuration.demands],
                "rootFile": authority.root_file,
                "timeout": float(authority.wait) if configuration.demands else WAIT_SECONDS,
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def api_url(traefik: TraefikSettings) -> str:
    """Traefik's API as seen from inside its container."""
    host, _, port = traefik.api_address.rpartition(":")
    return f"http://{host or '127.0.0.1'}:{port}"
