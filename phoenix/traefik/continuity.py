"""What a restart of Traefik costs its clients: the standby's configuration, and which means a stack uses. Pure.

* ``standby``: a second instance with the new configuration serves while Traefik restarts; the gateway sends it every
  request meanwhile. Nothing is lost behind the gateway.
* ``sockets``: systemd holds Traefik's ports, gateway or none, so that connections wait rather than being refused. The
  standby shares these very sockets: it goes on taking connections while Traefik restarts, or all that waited would meet
  a Traefik without routes.

The standby routes by the same dynamic file, and serves the certificates that Traefik has: it gets a copy of its ACME
storage at each start, and never talks to a certificate authority.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phoenix.settings import Settings, TraefikSettings
from phoenix.traefik.service import SOCKETS, STANDBY, STANDBY_NAME, Service
from phoenix.traefik.static import API, WEB, WEBSECURE

SOCKET_ENTRY_POINTS = (WEB, WEBSECURE)
"""The entry points whose ports systemd can hold; the API's is for this machine alone."""

REFRESH_HOURS = 1
"""A standby that always runs is started anew this often, for a fresh copy of the certificates."""

_NO_AUTHORITY = "http://127.0.0.1:1/directory"


@dataclass(frozen=True, slots=True)
class Mode:
    """The means a stack uses.

    Attributes:
        standby: a second instance takes over during restarts.
        always: and after a crash, since it always runs.
        sockets: systemd holds the ports.
    """

    standby: bool
    always: bool
    sockets: bool

    @property
    def shared(self) -> bool:
        """The second instance takes its connections from Traefik's own sockets, since no gateway sends it any."""
        return self.sockets and not self.standby

    @property
    def second(self) -> bool:
        """There is a second instance at all."""
        return self.standby or self.shared


def mode(settings: Settings) -> Mode:
    """What ``phoenix:traefik.continuity`` says, or its default."""
    traefik = settings.traefik
    chosen = traefik.continuity or ("standby" if settings.gateway.connection else "sockets")
    standby = chosen in ("standby", "both")
    return Mode(standby, standby and traefik.standby_runs == "always", chosen in ("sockets", "both"))


def mistakes(settings: Settings) -> Iterator[str]:
    """A sentence for each way in which the settings contradict each other."""
    traefik, chosen = settings.traefik, mode(settings)
    where = f"{settings.source}: phoenix:traefik"
    if chosen.standby and settings.gateway.connection is None:
        yield (
            f"{where}.continuity is {traefik.continuity!r}, but a standby needs the gateway, which sends requests "
            "to it: set phoenix:gateway.connection, or choose 'sockets' or 'none'."
        )
    if chosen.always and chosen.sockets:
        yield (
            f"{where}.standbyRuns is 'always' and continuity 'both': after a crash, connections would wait in "
            "systemd's socket and never reach the standby: choose continuity 'standby', or standbyRuns 'restarts'."
        )
    for name in ("state_directory", "log_directory"):
        place = getattr(traefik, name)
        for other, path in (
            ("configDirectory", traefik.config_directory),
            ("configDirectory", f"{traefik.config_directory}/dynamic"),
            ("unitDirectory", traefik.unit_directory),
            ("binary", traefik.binary),
        ):
            if f"{path}/".startswith(f"{place}/"):
                yield (
                    f"{where}: {_camel(name)} is {place!r}, which holds {path} of {other}: give it a directory of its "
                    "own, since it becomes the account's alone."
                )
                break
    own = ("standby_web_address", "standby_websecure_address") if chosen.standby else ()
    if not chosen.second:
        return
    taken: dict[str, str] = {}
    for name in ("web_address", "websecure_address", "api_address", *own, "standby_api_address"):
        address: str = getattr(traefik, name)
        other = taken.setdefault(_port(address), name)
        if other != name and _overlap(address, getattr(traefik, other)):
            yield (
                f"{where}: {_camel(name)} is {address!r}, where {_camel(other)} listens too: give one of them another "
                "port."
            )


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _overlap(one: str, other: str) -> bool:
    hosts = {one.rpartition(":")[0], other.rpartition(":")[0]}
    return len(hosts) == 1 or bool(hosts & {"", "0.0.0.0", "[::]"})  # noqa: S104 - compared, not bound


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def standby_static_path(traefik: TraefikSettings) -> str:
    """Path of the standby's static configuration."""
    return f"{traefik.config_directory}/traefik-standby.yml"


def standby_storage(traefik: TraefikSettings) -> str:
    """Directory of the standby's copies of the ACME storage."""
    return f"{traefik.state_directory}/{STANDBY_NAME}"


def standby_static(static: Mapping[str, Any], traefik: TraefikSettings, *, shared: bool = False) -> dict[str, Any]:
    """The standby's static configuration, from that of Traefik itself.

    Other ports and another storage; its certificate authorities lead to a closed loopback port, so that it neither
    orders nor renews anything. Redirects keep naming Traefik's own port.

    Args:
        static: Traefik's.
        traefik: the standby's ports.
        shared: it gets Traefik's sockets; only its API has a port of its own then.
    """
    result: dict[str, Any] = copy.deepcopy(dict(static))
    addresses = {API: traefik.standby_api_address}
    if not shared:
        addresses |= {WEB: traefik.standby_web_address, WEBSECURE: traefik.standby_websecure_address}
    for name, address in addresses.items():
        result["entryPoints"][name]["address"] = address
    redirect = result["entryPoints"][WEB].get("http", {}).get("redirections", {}).get("entryPoint")
    if redirect and not shared:
        redirect["to"] = f":{_port(traefik.websecure_address)}"
    for value in result.get("certificatesResolvers", {}).values():
        value["acme"]["caServer"] = _NO_AUTHORITY
        value["acme"]["storage"] = standby_storage(traefik) + "/" + value["acme"]["storage"].rpartition("/")[2]
    return result


def storages(static: Mapping[str, Any]) -> list[str]:
    """Paths of Traefik's ACME storage, sorted."""
    resolvers = static.get("certificatesResolvers") or {}
    return sorted({value["acme"]["storage"] for value in resolvers.values()})


def socket_unit(entry_point: str) -> str:
    """Name of the socket unit that holds an entry point's port."""
    return dict(zip(SOCKET_ENTRY_POINTS, SOCKETS, strict=True))[entry_point]


def service(settings: Settings) -> Service:
    """What the service scripts need to know of a stack."""
    traefik, chosen = settings.traefik, mode(settings)
    return Service(
        static_path=traefik.static_path,
        unit_path=traefik.unit_path,
        binary=traefik.binary,
        state_directory=traefik.state_directory,
        standby=chosen.second,
        standby_always=chosen.always,
        sockets=chosen.sockets,
        standby_static_path=standby_static_path(traefik),
        standby_unit_path=f"{traefik.unit_directory}/{STANDBY}",
        log_directory=traefik.log_directory,
        user=traefik.user,
        group=traefik.group,
    )
