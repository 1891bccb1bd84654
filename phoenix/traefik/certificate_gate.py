"""Asks a live Traefik whether its routes show the certificates that are demanded, through the transport interface."""

from __future__ import annotations

import datetime
import json
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from phoenix.errors import CommandError
from phoenix.remote import Transport
from phoenix.remote.http import fetch_http
from phoenix.settings_types import listen_host
from phoenix.traefik.asking import Question, ask
from phoenix.traefik.certificates import Demand, names_cover, problem

CERTIFICATES_PATH = "/api/certificates"
ENTRY_POINTS_PATH = "/api/entrypoints"

HANDSHAKE_LIMIT = 40
"""Most host names that are asked one by one where Traefik's API does not list certificates (before 3.6)."""

POLL_SECONDS = 0.5


def unmet(
    transport: Transport, api_url: str, demands: Sequence[Demand], routers: Mapping[str, Any], root_file: str
) -> list[str]:
    """A phrase for each host name that does not show what is demanded.

    The API lists what is loaded, in one call for all; a handshake with one host name of each issuer then proves the
    issuer itself.

    Args:
        transport: Traefik's container.
        api_url: its API, as seen from there.
        demands: what must hold.
        routers: ``http.routers``: the entry points of each.
        root_file: the internal CA's root certificate, a path in the container.
    """
    loaded = _loaded(transport, api_url)
    missing, asked = ([], list(demands)[:HANDSHAKE_LIMIT]) if loaded is None else _sift(demands, loaded)
    if missing:
        return missing
    addresses = live_addresses(transport, api_url)
    wanted = [(demand, question) for demand in asked if (question := _question(demand, routers, addresses))]
    replies = ask(transport, [question for _, question in wanted])
    if replies is None:
        return ["certificates cannot be seen: install curl or openssl in the container, or demand none"]
    root = transport.run(f"cat -- {shlex.quote(root_file)} 2>/dev/null", check=False).stdout or None
    now = datetime.datetime.now(datetime.UTC)
    found = (problem(demand, reply, root, now) for (demand, _), reply in zip(wanted, replies, strict=True))
    return [phrase for phrase in found if phrase]


def wait_for(
    check: Callable[[], list[str]], seconds: float, told: Callable[[str], None] | None = None
) -> tuple[list[str], float]:
    """Ask again until nothing is unmet or the time is over.

    Returns:
        What is still unmet, and how long it took, in seconds.
    """
    begun = time.monotonic()
    last = begun
    while found := check():
        now = time.monotonic()
        if now - begun >= seconds:
            break
        if told and now - last >= 5:
            last = now
            told(found[0])
        time.sleep(POLL_SECONDS)
    return found, time.monotonic() - begun


def _sift(demands: Sequence[Demand], loaded: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Demand]]:
    """Phrases for names without a certificate, and demands of which one stands for each issuer."""
    missing, chosen = [], dict[tuple[str, bool, str], Demand]()
    for demand in demands:
        fitting = [entry for entry in loaded if names_cover(entry.get("sans") or (), demand.hostname)]
        if not fitting:
            missing.append(
                f"router {demand.router}: {demand.hostname} has no certificate: Traefik shows its default one there"
            )
        for entry in fitting:
            issuer = f"{entry.get('issuerOrg') or ''} {entry.get('issuerCN') or ''}"
            chosen.setdefault((issuer, demand.internal, demand.issuer), demand)
    return missing, list(dict.fromkeys(chosen.values()))


def _loaded(transport: Transport, api_url: str) -> list[Mapping[str, Any]] | None:
    """The certificates Traefik has loaded; None where it does not say."""
    data = _json(transport, f"{api_url}{CERTIFICATES_PATH}")
    if not isinstance(data, list):
        return None
    return [entry for entry in data if isinstance(entry, Mapping)]


def live_addresses(transport: Transport, api_url: str) -> dict[str, str]:
    """Listen address of each entry point of a live instance; none where it does not say."""
    data = _json(transport, f"{api_url}{ENTRY_POINTS_PATH}")
    entries: Iterable[Any] = data if isinstance(data, list) else ()
    return {
        str(entry["name"]): str(entry["address"])
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("name") and str(entry.get("address") or "").rpartition(":")[2]
    }


def _json(transport: Transport, url: str) -> Any:
    try:
        answer = fetch_http(transport, url)
        return json.loads(answer.body) if answer.status == 200 else None
    except (CommandError, ValueError):
        return None


def _question(demand: Demand, routers: Mapping[str, Any], addresses: Mapping[str, str]) -> Question | None:
    router = routers.get(demand.router) or {}
    place = next((addresses[point] for point in router.get("entryPoints") or addresses if point in addresses), None)
    return Question(demand.router, demand.hostname, *listen_host(place)) if place else None
