"""Traefik's own word on what it serves, compared with what was meant. Pure.

The source is ``GET /api/rawdata`` (https://doc.traefik.io/traefik/operations/api/), one call for everything. Names
there carry their provider: ``portainer-router@file``. Neither an active unit nor ``/ping`` nor a router's ``enabled``
alone proves that a route is right, so every intended router and service is compared field by field, and the
revision marker tells which file they come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from phoenix.traefik.dynamic import REVISION_PREFIX

PROVIDER = "file"
RAW_DATA_PATH = "/api/rawdata"
_ROUTER_FIELDS = ("rule", "service", "entryPoints", "middlewares")
_STREAM_FIELDS: Mapping[str, tuple[str, ...]] = {
    "routers": _ROUTER_FIELDS,
    "services": ("servers",),
    "middlewares": (),
}


def parse(body: bytes) -> dict[str, Any]:
    """The answer of ``/api/rawdata``.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        data = json.loads(body)
    except RecursionError:
        raise ValueError("the answer is nested too deep") from None
    if not isinstance(data, dict):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004 - one kind of error for the caller
    return data


def served(raw: Mapping[str, Any], section: str) -> dict[str, Mapping[str, Any]]:
    """The file provider's entries of a section (``routers``, ``services``, ``middlewares``) under their plain names."""
    entries = raw.get(section)
    suffix = f"@{PROVIDER}"
    return {
        name.removesuffix(suffix): value
        for name, value in (entries.items() if isinstance(entries, Mapping) else ())
        if name.endswith(suffix) and isinstance(value, Mapping)
    }


def live_revision(raw: Mapping[str, Any]) -> str | None:
    """The revision that is live, or None where the configuration is not ours."""
    for name in served(raw, "middlewares"):
        if name.startswith(REVISION_PREFIX):
            return name.removeprefix(REVISION_PREFIX)
    return None


def differences(intended: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[str]:
    """A phrase for each way in which Traefik does not serve what was meant; none where all is right.

    Args:
        intended: the data of ``dynamic_conf.yml``.
        raw: the answer of ``/api/rawdata``.
    """
    http = _section(intended, "http")
    for name in _section(http, "middlewares"):
        live = served(raw, "middlewares").get(name)
        if name.startswith(REVISION_PREFIX):
            if live is None:
                was = live_revision(raw) or "none of ours"
                yield f"revision {name.removeprefix(REVISION_PREFIX)} is not live (live: {was})"
        elif live is None:
            yield f"middleware {name} is missing"
        else:
            yield from _status(f"middleware {name}", live)
    yield from _routers(_section(http, "routers"), served(raw, "routers"))
    yield from _services(_section(http, "services"), served(raw, "services"))
    for protocol in ("tcp", "udp"):
        yield from _streams(protocol, _section(intended, protocol), raw)


def _section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def _status(what: str, live: Mapping[str, Any]) -> Iterator[str]:
    status = live.get("status")
    if status != "enabled":
        reasons = live.get("error") or live.get("err") or []
        said = "; ".join(map(str, reasons if isinstance(reasons, list) else [reasons]))
        yield f"{what} is {status}" + (f": Traefik says {said}" if said else "")


def _routers(intended: Mapping[str, Any], live: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, meant in sorted(intended.items()):
        is_live = live.get(name)
        if is_live is None:
            yield f"router {name} is missing"
            continue
        yield from _status(f"router {name}", is_live)
        for field in _ROUTER_FIELDS:
            wanted, has = meant.get(field), is_live.get(field)
            if _as_meant(field, wanted, has):
                continue
            yield f"router {name} has {field} {has!r} where {wanted!r} was meant"
        wanted, has = (_section(side, "tls").get("certResolver") for side in (meant, is_live))
        if wanted != has:
            yield f"router {name} has the certificate resolver {has!r} where {wanted!r} was meant"
    for name in sorted(set(live) - set(intended)):
        yield f"router {name} is served, but was not meant"


def _streams(protocol: str, intended: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[str]:
    """The routers, services and middlewares of a protocol other than HTTP, which the API keeps apart."""
    for section in ("routers", "services", "middlewares"):
        live = served(raw, f"{protocol}{section.capitalize()}")
        meant_there = _section(intended, section)
        for name, meant in sorted(meant_there.items()):
            what = f"{protocol.upper()} {section[:-1]} {name}"
            is_live = live.get(name)
            if is_live is None:
                yield f"{what} is missing"
                continue
            yield from _status(what, is_live)
            for field in _STREAM_FIELDS[section]:
                wanted, has = _field(meant, field), _field(is_live, field)
                if wanted != has and not _as_meant(field, wanted, has):
                    yield f"{what} has {field} {has!r} where {wanted!r} was meant"
        if section == "routers":
            for name in sorted(set(live) - set(meant_there)):
                yield f"{protocol.upper()} router {name} is served, but was not meant"


def _field(entry: Any, field: str) -> Any:
    """A field in the one spelling of API and file; of a service the addresses it leads to."""
    if not isinstance(entry, Mapping):
        return None
    return _servers(entry, "address") if field == "servers" else _plain(entry.get(field))


def _as_meant(field: str, wanted: Any, has: Any) -> bool:
    """Whether the API shows what the file says: one name may stand for a list of one, and no entry point for all."""
    if field == "entryPoints" and not wanted:
        return True
    if field in ("entryPoints", "middlewares") and isinstance(wanted, str):
        wanted = [wanted]
    return bool(_plain(wanted) == _plain(has))


def _plain(value: Any) -> Any:
    """A value without its provider suffix, and nothing for what is empty: how API and file spell the same thing."""
    if isinstance(value, str):
        return value.removesuffix(f"@{PROVIDER}")
    if isinstance(value, list):
        return [_plain(item) for item in value] or None
    return value or None


def _services(intended: Mapping[str, Any], live: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, meant in sorted(intended.items()):
        is_live = live.get(name)
        if is_live is None:
            yield f"service {name} is missing"
            continue
        yield from _status(f"service {name}", is_live)
        wanted, has = (_servers(side) for side in (meant, is_live))
        if wanted != has:
            yield f"service {name} has the servers {has} where {wanted} was meant"
        wanted_transport, has_transport = (
            _plain(_section(side, "loadBalancer").get("serversTransport")) for side in (meant, is_live)
        )
        if wanted_transport != has_transport:
            yield f"service {name} has the serversTransport {has_transport!r} where {wanted_transport!r} was meant"


def _servers(service: Mapping[str, Any], key: str = "url") -> list[str]:
    servers = _section(service, "loadBalancer").get("servers")
    listed = servers if isinstance(servers, list) else []
    return sorted(str(server.get(key)) for server in listed if isinstance(server, Mapping))
