"""What the gateway's site is made of, from a stack's settings and its configuration. Pure."""

from __future__ import annotations

from phoenix import names
from phoenix.configuration import Configuration
from phoenix.errors import InputError
from phoenix.gateway.site import Site, Upstream, domains, routed
from phoenix.inventory.models import Inventory
from phoenix.outputs import traefik_address
from phoenix.settings import Settings
from phoenix.traefik import continuity


def plan(inventory: Inventory, settings: Settings, configuration: Configuration) -> Site:
    """The site of a stack.

    Raises:
        InputError: nothing says by which address the gateway reaches Traefik, or the site would listen twice on one
            port.
    """
    gateway, traefik = settings.gateway, settings.traefik
    address = traefik_address(inventory, settings)
    if address is None:
        raise InputError(
            [
                f"{settings.source}: phoenix:gateway: nothing says where Traefik is reached: give its container a "
                "static network_config.ip, or set a host in phoenix:traefik.websecureAddress."
            ]
        )
    if gateway.http_port == gateway.port:
        raise InputError(
            [f"{settings.source}: phoenix:gateway: httpPort and port are both {gateway.port}: change one of them."]
        )
    mode = continuity.mode(settings)
    if mode.standby and not _is_address(address):
        raise InputError(
            [
                f"{settings.source}: phoenix:gateway: Traefik is reached by the name {address!r}, but a standby needs "
                "an IP address, to see which connections are still open: give its container a static network_config.ip."
            ]
        )
    upstream = Upstream(
        address=address,
        web=_port(traefik.web_address),
        websecure=_port(traefik.websecure_address),
        standby=_port(traefik.standby_websecure_address) if mode.standby else None,
        standby_always_runs=mode.always,
    )
    served = domains(
        routed(configuration.dynamic),
        configuration.internal_domain,
        gateway.root_file,
        gateway.external_root_file,
    )
    return Site(gateway, upstream, served)


def _is_address(text: str) -> bool:
    try:
        return bool(names.address(text))
    except ValueError:
        return False


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def first_hostname(configuration: Configuration) -> str | None:
    """A routed host name to ask the gateway for; None where nothing is routed."""
    return min(routed(configuration.dynamic), default=None)
