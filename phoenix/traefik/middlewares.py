"""Middlewares as Traefik reads them, and what is wrong between those a stack defines and names. Pure.

The kinds stand in :mod:`phoenix.traefik.middleware_models`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from phoenix.remote.masking import MASK
from phoenix.routes import Route
from phoenix.settings import Settings
from phoenix.settings_types import SettingsModel
from phoenix.traefik.dynamic import REVISION_PREFIX
from phoenix.traefik.middleware_models import IpStrategy, Middleware, SecurityHeaders


def definition(middleware: Middleware, *, behind_gateway: bool) -> dict[str, Any]:
    """A middleware as Traefik's dynamic configuration has it.

    Args:
        middleware: what is meant.
        behind_gateway: requests come through a trusted gateway: its own address is then no client's, so the one it
            puts last in ``X-Forwarded-For`` counts where the stack does not say otherwise.
    """
    default = IpStrategy(depth=1) if behind_gateway else None
    if middleware.security_headers is not None:
        return {"headers": _security_headers(middleware.security_headers)}
    if middleware.rate_limit is not None:
        limit = middleware.rate_limit
        found = {"average": limit.average, "period": limit.period, "burst": limit.burst or limit.average}
        return {"rateLimit": {**found, **_criterion(limit.ip_strategy or default)}}
    if middleware.in_flight_req is not None:
        flight = middleware.in_flight_req
        return {"inFlightReq": {"amount": flight.amount, **_criterion(flight.ip_strategy or default)}}
    if middleware.ip_allow_list is not None:
        allowed = middleware.ip_allow_list
        return {"ipAllowList": {**_plain(allowed), **_strategy(allowed.ip_strategy or default)}}
    if middleware.basic_auth is not None:
        login = middleware.basic_auth
        users = {"users": login.lines()} if login.users else {}
        return {
            "basicAuth": {
                **_plain(login.model_copy(update={"users": ()})),
                "removeHeader": login.remove_header,
                **users,
            }
        }
    (field,) = middleware.model_fields_set
    return {middleware.kind: _plain(getattr(middleware, field))}


def _plain(model: SettingsModel) -> dict[str, Any]:
    """A model's own keys without what is empty."""
    data = model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"ip_strategy"})
    return {key: value for key, value in data.items() if value is not False and value not in ([], {})}


def _strategy(strategy: IpStrategy | None) -> dict[str, Any]:
    found = _plain(strategy) if strategy else {}
    return {"ipStrategy": found} if found.get("depth") or found.get("excludedIPs") else {}


def _criterion(strategy: IpStrategy | None) -> dict[str, Any]:
    found = _strategy(strategy)
    return {"sourceCriterion": found} if found else {}


def _security_headers(headers: SecurityHeaders) -> dict[str, Any]:
    data = _plain(headers)
    if not headers.sts_seconds:
        for key in ("stsSeconds", "stsIncludeSubdomains", "stsPreload"):
            data.pop(key, None)
    return {key: value for key, value in data.items() if value != ""}


def definitions(middlewares: Mapping[str, Middleware], *, behind_gateway: bool) -> dict[str, dict[str, Any]]:
    """Every middleware of a stack, as ``http.middlewares``."""
    return {name: definition(item, behind_gateway=behind_gateway) for name, item in sorted(middlewares.items())}


def mistakes(settings: Settings, routes: Iterable[Route]) -> Iterator[str]:
    """A sentence for each name that leads nowhere, in a route or in a chain, and for each that is not to be given."""
    middlewares, source = settings.middlewares, settings.source
    for route in routes:
        for name in route.middlewares:
            if name not in middlewares:
                yield unknown(f"{source}: phoenix:routes.{route.router}.middlewares", name, middlewares)
    for name, item in sorted(middlewares.items()):
        where = f"{source}: phoenix:middlewares.{name}"
        if name.startswith(REVISION_PREFIX):
            yield f"{where}: names that begin with {REVISION_PREFIX} mark revisions: give it another name."
        for other in item.chain.middlewares if item.chain else ():
            if other not in middlewares:
                yield unknown(f"{where}.chain.middlewares", other, middlewares)
        if item.chain and name in set(_reached(name, middlewares)):
            yield f"{where}: the chain leads back to itself: take one of the names out."


def with_known(routes: Iterable[Route], middlewares: Iterable[str]) -> list[Route]:
    """Routes without the names that :func:`mistakes` tells of, so that no later check tells of them again."""
    known = frozenset(middlewares)
    return [replace(route, middlewares=tuple(name for name in route.middlewares if name in known)) for route in routes]


def unknown(where: str, name: str, middlewares: Iterable[str]) -> str:
    """The sentence for a name that no middleware has."""
    known = ", ".join(sorted(middlewares)) or "none"
    return (
        f"{where} names {name!r}, which phoenix:middlewares does not define (it defines: {known}): "
        "define it there, or correct the name."
    )


def _reached(name: str, middlewares: Mapping[str, Middleware]) -> Iterator[str]:
    """Every name that a middleware leads to through chains; its own among them where it leads back."""
    waiting, seen = [name], set[str]()
    while waiting:
        item = middlewares.get(waiting.pop())
        for other in item.chain.middlewares if item and item.chain else ():
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    yield from seen


def protects(name: str, middlewares: Mapping[str, Middleware]) -> bool:
    """Whether a middleware lets only some people through: a login, or an allow list that keeps somebody out."""
    for reached in (name, *_reached(name, middlewares)):
        item = middlewares.get(reached)
        if item and (item.basic_auth or (item.ip_allow_list and item.ip_allow_list.excludes_somebody)):
            return True
    return False


def secret_values(middlewares: Mapping[str, Middleware]) -> tuple[str, ...]:
    """What must not be shown: each user line of a login, and the hash within it."""
    found: list[str] = []
    for item in middlewares.values():
        for line in item.basic_auth.lines() if item.basic_auth else ():
            found += _parts(line)
    return tuple(dict.fromkeys(found))


def logins_in(dynamic: Any) -> list[str]:
    """Every user line in a dynamic configuration, whoever wrote it."""
    http = dynamic.get("http") if isinstance(dynamic, Mapping) else None
    found: list[str] = []
    middlewares = http.get("middlewares") if isinstance(http, Mapping) else None
    for item in middlewares.values() if isinstance(middlewares, Mapping) else ():
        for kind in ("basicAuth", "digestAuth"):
            login = item.get(kind) if isinstance(item, Mapping) else None
            users = login.get("users") if isinstance(login, Mapping) else None
            found += [part for line in (users if isinstance(users, list) else ()) for part in _parts(str(line))]
    return found


def _parts(line: str) -> list[str]:
    return [line, line.partition(":")[2]] if ":" in line else [line]


def without_secrets(http: Mapping[str, Any]) -> dict[str, Any]:
    """The ``http`` section with the hashes of logins masked, for what is shown; the names of users stay."""
    result = copy.deepcopy(dict(http))
    for item in (result.get("middlewares") or {}).values():
        login = item.get("basicAuth") if isinstance(item, dict) else None
        if isinstance(login, dict) and "users" in login:
            login["users"] = [f"{str(line).partition(':')[0]}:{MASK}" for line in login["users"]]
    return result
