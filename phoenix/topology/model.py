"""What is in the picture: gateway, Traefik, routes by certificate resolver, certificate authorities, Portainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phoenix.configuration import Configuration
from phoenix.inventory.models import Inventory, Vm
from phoenix.outputs import docker_stack_outputs, portainer_output, traefik_address
from phoenix.routes import EXTERNAL_RESOLVER, INTERNAL_RESOLVER
from phoenix.settings import Settings

PUBLIC_DIRECTORY = "Let's Encrypt"
_CHALLENGES = {"tlsChallenge": "tls-alpn-01", "httpChallenge": "http-01", "dnsChallenge": "dns-01"}
_CALLED = {INTERNAL_RESOLVER: "internal CA", EXTERNAL_RESOLVER: "public CA"}


@dataclass(frozen=True, slots=True)
class Machine:
    """A guest, or something with an address.

    Attributes:
        title: what it is, for example ``NGINX gateway``.
        label: the guest's label, empty where it is none of the inventory's.
        address: address and port, as far as they are known.
    """

    title: str
    label: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """Where Traefik listens, and what for."""

    name: str
    address: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Way:
    """One host name's way to its backend.

    Attributes:
        hostname: what clients ask for.
        router: the router that answers.
        backend: URL of the backend, or the name of a service of Traefik's own.
        guest: the guest's label.
        middlewares: in order.
    """

    hostname: str
    router: str
    backend: str
    guest: str
    middlewares: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Horizon:
    """A certificate resolver with the host names it serves.

    Attributes:
        resolver: its name.
        authority: what kind of certificate authority it asks.
        directory: the authority's ACME directory.
        challenge: how it proves that the names are ours.
        ways: sorted by host name; may be empty.
    """

    resolver: str
    authority: str
    directory: str
    challenge: str
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Agent:
    """A machine with a Portainer agent, and the Docker stacks it runs."""

    machine: Machine
    environment: str
    stacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Portainer:
    """Portainer's server and agents."""

    url: str
    server: Machine
    agents: tuple[Agent, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything in the picture.

    Attributes:
        title: the internal domain, which names the installation.
        gateway: None where clients reach Traefik directly.
        traefik: its container.
        version: Traefik's version.
        revision: what Traefik's API shows once these routes are live.
        entry_points: sorted by name.
        horizons: one for each certificate resolver, sorted by name.
        portainer: None without a server.
    """

    title: str
    gateway: Machine | None
    traefik: Machine
    version: str
    revision: str
    entry_points: tuple[EntryPoint, ...]
    horizons: tuple[Horizon, ...]
    portainer: Portainer | None

    @property
    def ways(self) -> int:
        """How many host names there are."""
        return sum(len(horizon.ways) for horizon in self.horizons)


def topology(inventory: Inventory, settings: Settings, configuration: Configuration) -> Topology:
    """The picture of a configured installation."""
    address = traefik_address(inventory, settings) or ""
    gateway = None
    if configuration.gateway:
        label = _guest_at(inventory, configuration.gateway)
        gateway = Machine("NGINX gateway", label, f"{configuration.gateway}:{settings.gateway.port}")
    return Topology(
        title=configuration.internal_domain,
        gateway=gateway,
        traefik=Machine("Traefik", _guest_at(inventory, address), address),
        version=settings.traefik.version,
        revision=configuration.dynamic_revision,
        entry_points=tuple(_entry_points(configuration.static)),
        horizons=tuple(_horizons(configuration)),
        portainer=_portainer(inventory, settings, configuration),
    )


def _guest_at(inventory: Inventory, address: str) -> str:
    for guest in inventory.guests:
        ip = guest.network_config.ip or ""
        if address and ip.partition("/")[0] == address:
            return guest.label
    return ""


def _entry_points(static: Mapping[str, Any]) -> Iterator[EntryPoint]:
    ping = (static.get("ping") or {}).get("entryPoint")
    for name, value in sorted((static.get("entryPoints") or {}).items()):
        redirect = ((value.get("http") or {}).get("redirections") or {}).get("entryPoint") or {}
        purpose = "API and ping" if name == ping else "HTTPS"
        if redirect.get("to"):
            purpose = f"redirects to {redirect['to']}"
        yield EntryPoint(name, str(value.get("address", "")), purpose)


def _horizons(configuration: Configuration) -> Iterator[Horizon]:
    ways: dict[str, list[Way]] = {}
    shown = set()
    for route in configuration.routes:
        for hostname, resolver in zip(route.hostnames, route.resolvers, strict=True):
            way = Way(hostname, route.router, route.backend, route.guest, route.middlewares)
            ways.setdefault(resolver, []).append(way)
        shown |= {route.router, *route.extra_routers}
    for name, router in configuration.dynamic["http"].get("routers", {}).items():
        if name not in shown:
            hostname = router["rule"].removeprefix("Host(`").removesuffix("`)")
            way = Way(hostname, name, router["service"], "Traefik itself", tuple(router.get("middlewares", ())))
            ways.setdefault(str((router.get("tls") or {}).get("certResolver")), []).append(way)
    for resolver, value in sorted((configuration.static.get("certificatesResolvers") or {}).items()):
        acme = value["acme"]
        yield Horizon(
            resolver=resolver,
            authority=_CALLED.get(resolver, "certificate authority"),
            directory=str(acme.get("caServer") or PUBLIC_DIRECTORY),
            challenge=next((text for key, text in _CHALLENGES.items() if key in acme), ""),
            ways=tuple(sorted(ways.get(resolver, ()), key=lambda way: way.hostname)),
        )


def _portainer(inventory: Inventory, settings: Settings, configuration: Configuration) -> Portainer | None:
    data = portainer_output(inventory, settings, configuration)
    if data is None:
        return None
    stacks: dict[int, list[str]] = {}
    for stack in docker_stack_outputs(inventory, settings):
        stacks.setdefault(stack["vmid"], []).append(stack["deploymentName"])
    labels = {guest.id: guest.label for guest in inventory.guests if isinstance(guest, Vm)}
    server = data["server"]
    return Portainer(
        url=data["url"],
        server=Machine("Portainer server", labels[server["vmid"]], f"{server['address']}:{server['port']}"),
        agents=tuple(
            Agent(
                machine=Machine("Portainer agent", labels[agent["vmid"]], agent["url"]),
                environment=agent["environment"],
                stacks=tuple(stacks.get(agent["vmid"], ())),
            )
            for agent in data["agents"]
        ),
    )
