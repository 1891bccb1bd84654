"""The gate behind: Traefik serves every intended router, by its own API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.probe import LiveProvider
from phoenix.configuration import Configuration
from phoenix.errors import PhoenixError, TraefikError
from phoenix.remote import Connection, Transport
from phoenix.settings import TraefikSettings
from phoenix.traefik import service
from phoenix.traefik.middlewares import without_secrets
from phoenix.traefik.prove import differences

WAIT_SECONDS = 20.0


class RoutersProvider(LiveProvider):
    """Compares what Traefik's API says with what was meant."""

    what = "Traefik"

    def problems(self, transport: Transport, props: Mapping[str, Any]) -> list[str]:
        """A phrase for each difference."""
        return differences(transport, props["apiUrl"], {"http": props["http"]})

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
        traefik: where its API listens.
        configuration: what is meant. It is an input key by key, so that a preview shows which routes change.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        traefik: TraefikSettings,
        configuration: Configuration,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:RoutersGate", name, {}, opts)
        self.probe = ServedRouters(
            f"{name}-probe",
            {
                "connection": pulumi.Output.secret(connection.to_props()),
                "apiUrl": api_url(traefik),
                "http": without_secrets(configuration.dynamic["http"]),
                "timeout": WAIT_SECONDS,
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def api_url(traefik: TraefikSettings) -> str:
    """Traefik's API as seen from inside its container."""
    host, _, port = traefik.api_address.rpartition(":")
    return f"http://{host or '127.0.0.1'}:{port}"
