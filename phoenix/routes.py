"""From guests to routes: which host name leads to which backend, over which certificate resolver.

The rules:

* the VM with ``portainer_role: primary`` → ``portainer-router`` for ``portainer_api.portainer_hostname``, to its
  port over https; a ``traefik_service`` on it gives the port, and a second host name where that differs;
* a guest with ``traefik_service`` → ``<name>-router`` for ``<name>.<internal domain>``, a VM over https, an LXC
  over http, unless ``scheme`` decides otherwise;
* an LXC with ``ports`` → ``<name>-router`` for ``<name>.<internal domain>``, to the container side of the first
  TCP mapping over http;
* names under the internal domain get ``internal-resolver``, all others ``external-resolver``.

A stack overrides any of it per router (:class:`phoenix.settings.RouteSettings`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from phoenix import names
from phoenix.errors import InputError
from phoenix.inventory.load import HYPERVISOR_FILE, LXC_FILE, VM_FILE
from phoenix.inventory.models import Guest, Inventory, Scheme
from phoenix.inventory.sentences import shown
from phoenix.settings import RouteSettings, Settings

INTERNAL_RESOLVER = "internal-resolver"
EXTERNAL_RESOLVER = "external-resolver"
PORTAINER = "portainer"


@dataclass(frozen=True, slots=True)
class ServersTransport:
    """How Traefik verifies an https backend (https://doc.traefik.io/traefik/routing/services/#serverstransport).

    Attributes:
        name: its name in the dynamic configuration.
        server_name: the name the backend's certificate must carry.
        root_file: path, on Traefik's machine, of the CA that signed it; empty for the system's own CAs.
        insecure_skip_verify: True only where the stack asks for it.
    """

    name: str
    server_name: str
    root_file: str
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One way in.

    Attributes:
        base: what router, service and transport names begin with.
        guest: the guest's label, for messages and tables.
        hostnames: first the one users know; lower case, at least one.
        resolvers: certificate resolver of each host name, in the order of ``hostnames``.
        backend: URL of the one server, for example ``http://10.0.0.141:8000``.
        transport: how an https backend is verified; None for http.
        entry_points: entry points the router listens on.
        middlewares: names of middlewares, in order.
    """

    base: str
    guest: str
    hostnames: tuple[str, ...]
    resolvers: tuple[str, ...]
    backend: str
    transport: ServersTransport | None = None
    entry_points: tuple[str, ...] = ("websecure",)
    middlewares: tuple[str, ...] = ()

    @property
    def router(self) -> str:
        """Name of the router."""
        return f"{self.base}-router"

    @property
    def service(self) -> str:
        """Name of the service."""
        return f"{self.base}-service"

    @property
    def rule(self) -> str:
        """The router's rule (https://doc.traefik.io/traefik/routing/routers/#rule)."""
        return rule(self.hostnames)

    @property
    def extra_routers(self) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Routers beside the main one, name → (resolver, host names): a router has one resolver only."""
        extra: dict[str, tuple[str, tuple[str, ...]]] = {}
        for resolver in dict.fromkeys(self.resolvers):
            if resolver != self.resolvers[0]:
                own = self.names_of(resolver)
                extra[f"{self.base}-{resolver.removesuffix('-resolver')}-router"] = (resolver, own)
        return extra

    def names_of(self, resolver: str) -> tuple[str, ...]:
        """The host names whose certificate comes from ``resolver``."""
        return tuple(name for name, own in zip(self.hostnames, self.resolvers, strict=True) if own == resolver)


def rule(hostnames: Iterable[str]) -> str:
    """A rule that matches any of ``hostnames``, which are validated names and so need no escaping."""
    return " || ".join(f"Host(`{name}`)" for name in hostnames)


def internal_domain(inventory: Inventory, settings: Settings) -> str:
    """The domain of internal names: the stack's, else ``internal.<domain_name>``, never ``internal.internal.…``."""
    if settings.internal_domain:
        return settings.internal_domain
    domain = inventory.hypervisor.domain_name
    return domain if domain.startswith("internal.") else f"internal.{domain}"


def resolver_for(hostname: str, domain: str) -> str:
    """The certificate resolver of a host name, seen from the internal domain."""
    return INTERNAL_RESOLVER if hostname == domain or hostname.endswith(f".{domain}") else EXTERNAL_RESOLVER


def mapped_port(mapping: str | int) -> int | None:
    """The container side of a port mapping in Docker's notation (https://docs.docker.com/reference/cli/docker/container/run/#publish).

    Args:
        mapping: ``"8001:8000"``, ``"8000"``, ``8000``, ``"127.0.0.1:8000:8000"``, ``"127.0.0.1::8000"``,
            ``"[::1]:8000:8000"``, ``"8000-8010:8000"``, each with ``/tcp``, ``/udp`` or ``/sctp`` behind it.

    Returns:
        The port, or None for a mapping of UDP or SCTP, which HTTP/1.1 and HTTP/2 cannot use.

    Raises:
        ValueError: it is no such mapping, or its container side is a range of ports.
    """
    text, slash, protocol = str(mapping).strip().partition("/")
    if slash and protocol.lower() not in ("tcp", "udp", "sctp"):
        raise ValueError('must end in nothing, "/tcp", "/udp" or "/sctp"')
    rest, _, guest_side = text.rpartition(":")
    interface, _, host_side = rest.rpartition(":")
    if re.fullmatch(r"[0-9]+-[0-9]+", guest_side):
        raise ValueError('must lead to one port, not a range; name the one to route in "traefik_service"')
    try:
        for port in host_side.split("-", 1) if host_side else ():
            names.port(port)
        if interface:
            ipaddress.ip_address(interface[1:-1] if interface[:1] + interface[-1:] == "[]" else interface)
        result = names.port(guest_side)
    except ValueError:
        raise ValueError('must be a port mapping such as "8001:8000", with ports from 1 to 65535') from None
    return None if protocol.lower() in ("udp", "sctp") else result


@dataclass(frozen=True, slots=True)
class _Draft:
    """A route before the stack's overrides."""

    guest: Guest
    base: str
    hostnames: tuple[str, ...]
    scheme: Scheme
    port: int


class _Builder:
    """Builds every route it can and collects a sentence for each it cannot."""

    def __init__(self, inventory: Inventory, settings: Settings) -> None:
        self.inventory = inventory
        self.settings = settings
        self.domain = internal_domain(inventory, settings)
        self.mistakes: list[str] = []

    def drafts(self) -> list[_Draft]:
        found = []
        server = self.inventory.portainer_server
        for guest in self.inventory.guests:
            draft = self._portainer(guest) if guest is server else self._guest(guest)
            if draft:
                found.append(draft)
        return found

    def _override(self, base: str) -> RouteSettings:
        return self.settings.routes.get(f"{base}-router", RouteSettings())

    def _portainer(self, server: Guest) -> _Draft | None:
        hostname = self.inventory.hypervisor.portainer_api.portainer_hostname
        service = server.traefik_service
        hostnames = [hostname] if hostname else []
        if service:
            second = self._hostname(server, "traefik_service.name", service.name, PORTAINER)
            if second and second not in hostnames:
                hostnames.append(second)
        if not hostnames and not service and not self._override(PORTAINER).hostname:
            self.mistakes.append(
                f"{HYPERVISOR_FILE}: portainer_api.portainer_hostname is missing, yet {server.label} runs the "
                "Portainer server: add the host name users reach it by."
            )
            return None
        port = service.port if service else self.inventory.hypervisor.network.portainer_server_port
        scheme = (service.scheme if service else None) or "https"
        return _Draft(server, PORTAINER, tuple(hostnames), scheme, port)

    def _guest(self, guest: Guest) -> _Draft | None:
        service = guest.traefik_service
        if service:
            default: Scheme = "https" if guest.kind == "vm" else "http"
            hostnames = self._hostnames(guest, "traefik_service.name", service.name)
            scheme = service.scheme or default
            return _Draft(guest, service.name, hostnames, scheme, service.port) if hostnames else None
        port = self._first_port(guest) if guest.kind == "lxc" else None
        if port is None:
            return None
        try:
            base = names.router_part(guest.name)
        except ValueError as error:
            self._mistake(guest, "name", guest.name, str(error))
            return None
        hostnames = self._hostnames(guest, "name", guest.name)
        return _Draft(guest, base, hostnames, "http", port) if hostnames else None

    def _first_port(self, guest: Guest) -> int | None:
        """The first port HTTP can use; every mapping up to it is checked."""
        for index, mapping in enumerate(guest.ports):
            try:
                port = mapped_port(mapping)
            except ValueError as error:
                self._mistake(guest, f"ports[{index}]", mapping, str(error))
                return None
            if port is not None:
                return port
        return None

    def _hostnames(self, guest: Guest, field: str, base: str) -> tuple[str, ...] | None:
        """A guest's one host name: the stack's, else the one its name makes."""
        own = self._override(base).hostname or self._hostname(guest, field, base, base)
        return (own,) if own else None

    def _hostname(self, guest: Guest, field: str, first_part: str, base: str) -> str | None:
        domain = self._override(base).domain or self.domain
        try:
            return names.hostname(f"{first_part}.{domain}")
        except ValueError as error:
            self._mistake(guest, field, first_part, f"makes {names.printable(first_part)}.{domain}, which {error}")
            return None

    def _mistake(self, guest: Guest, field: str, value: object, limit: str) -> None:
        self.mistakes.append(
            f"{_file(guest.kind)}: {guest.label}: {field} is {shown(field, value)}: it {limit}; correct it there."
        )

    def route(self, draft: _Draft) -> Route | None:
        override = self._override(draft.base)
        guest = draft.guest
        try:
            ip = names.guest_address(guest.network_config.ip or "")
        except ValueError as error:
            self._mistake(guest, "network_config.ip", guest.network_config.ip, f"{error}, since the guest is routed")
            return None
        hostnames = (override.hostname, *draft.hostnames[1:]) if override.hostname else draft.hostnames
        hostnames = tuple(dict.fromkeys(hostnames))
        if not hostnames:
            return None
        scheme = override.scheme or draft.scheme
        return Route(
            base=draft.base,
            guest=guest.label,
            hostnames=hostnames,
            resolvers=tuple(override.cert_resolver or resolver_for(name, self.domain) for name in hostnames),
            backend=f"{scheme}://{names.url_host(ip)}:{override.port or draft.port}",
            transport=self._transport(draft, override, hostnames[0]) if scheme == "https" else None,
            entry_points=override.entry_points or ("websecure",),
            middlewares=override.middlewares,
        )

    def _transport(self, draft: _Draft, override: RouteSettings, hostname: str) -> ServersTransport:
        portainer = self.settings.portainer if draft.guest is self.inventory.portainer_server else None
        root_file = override.root_file or (portainer.root_file if portainer else None)
        server_name = override.server_name or (portainer.server_name if portainer else None)
        insecure = override.insecure_skip_verify
        if insecure is None:
            insecure = portainer.insecure_skip_verify if portainer else False
        return ServersTransport(
            name=f"{draft.base}-transport",
            server_name=server_name or hostname,
            root_file=root_file or self.settings.certificate_authority.root_file,
            insecure_skip_verify=insecure,
        )

    def unique(self, routes: list[Route]) -> list[Route]:
        """The routes without those that take a name from one before: Traefik would use one and say nothing."""
        seen: dict[tuple[str, str], Route] = {}
        kept = []
        for route in routes:
            keys = [("router", name) for name in (route.router, *route.extra_routers)]
            keys += [("host name", name) for name in route.hostnames]
            taken = {seen[key].guest: key for key in reversed(keys) if key in seen}
            for other, (what, name) in taken.items():
                kind = "lxc" if route.guest.startswith("LXC") else "vm"
                self.mistakes.append(
                    f"{_file(kind)}: {route.guest} gets the {what} {name}, as {other} does: rename one of them, or "
                    "give one another host name in phoenix:routes."
                )
            for key in keys:
                seen.setdefault(key, route)
            if not taken:
                kept.append(route)
        return kept

    def check_agents(self) -> None:
        """Portainer's server reaches an agent by its VM's name below the internal domain."""
        for vm in self.inventory.portainer_agents:
            try:
                names.hostname(f"{vm.name}.{self.domain}")
            except ValueError as error:
                made = f"{names.printable(vm.name)}.{self.domain}"
                self._mistake(vm, "name", vm.name, f"makes {made}, where Portainer reaches its agent, which {error}")

    def check_overrides(self, known: set[str]) -> None:
        for name in self.settings.routes:
            if name not in known:
                self.mistakes.append(
                    f"{self.settings.source}: phoenix:routes names the router {name!r}, which the inventory does not "
                    f"give (it gives: {', '.join(sorted(known)) or 'none'}): correct the name or remove the entry."
                )


def _file(kind: str) -> str:
    return VM_FILE if kind == "vm" else LXC_FILE


def examine_routes(
    inventory: Inventory, settings: Settings, *, complete: bool = True
) -> tuple[tuple[Route, ...], list[str]]:
    """Every route that can be built, sorted by router name, and a sentence for each mistake.

    Args:
        inventory: the guests.
        settings: the stack's.
        complete: whether ``inventory`` holds every guest; if not, overrides of unknown routers are let pass.
    """
    builder = _Builder(inventory, settings)
    drafts = builder.drafts()
    complete = complete and not builder.mistakes
    built = [builder.route(draft) for draft in drafts]
    builder.check_agents()
    routes = builder.unique(sorted((route for route in built if route), key=lambda route: route.router))
    if complete:
        builder.check_overrides({f"{draft.base}-router" for draft in drafts})
    return tuple(routes), builder.mistakes


def build_routes(inventory: Inventory, settings: Settings) -> tuple[Route, ...]:
    """Every route of an installation, sorted by router name.

    Raises:
        InputError: with one sentence for each guest or override that gives no right route.
    """
    routes, mistakes = examine_routes(inventory, settings)
    if mistakes:
        raise InputError(mistakes)
    return routes
