"""Traefik's dashboard as a route: reached by a host name over https, and only through a login or an allow list. Pure.

The route leads to ``api@internal`` (https://doc.traefik.io/traefik/operations/dashboard/), which shows every router,
service and middleware, password hashes of basic auth included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from phoenix.routes import Route, resolver_for, rule
from phoenix.settings import Settings
from phoenix.traefik import middlewares

ROUTER = "phoenix-dashboard"


def routers(settings: Settings, internal_domain: str) -> dict[str, dict[str, Any]]:
    """The dashboard's router, or none where the stack asks for no dashboard."""
    dashboard = settings.dashboard
    if dashboard is None:
        return {}
    return {
        ROUTER: {
            "entryPoints": list(dashboard.entry_points),
            "middlewares": [name for name in dashboard.middlewares if name in settings.middlewares],
            "rule": rule((dashboard.hostname,)),
            "service": "api@internal",
            "tls": {"certResolver": dashboard.cert_resolver or resolver_for(dashboard.hostname, internal_domain)},
        }
    }


def mistakes(settings: Settings, routes: Iterable[Route]) -> Iterator[str]:
    """A sentence for each way in which the dashboard may not be given as the stack asks."""
    dashboard = settings.dashboard
    if dashboard is None:
        return
    where = f"{settings.source}: phoenix:dashboard"
    for name in dashboard.middlewares:
        if name not in settings.middlewares:
            yield middlewares.unknown(f"{where}.middlewares", name, settings.middlewares)
    if not any(middlewares.protects(name, settings.middlewares) for name in dashboard.middlewares):
        yield (
            f"{where}.middlewares names neither a basicAuth nor an ipAllowList that keeps somebody out, so anybody "
            "could see every route: define one in phoenix:middlewares and name it there."
        )
    for route in routes:
        if dashboard.hostname in route.hostnames:
            yield f"{where}.hostname is {dashboard.hostname!r}, which {route.guest} has: choose another."
        if ROUTER in (route.router, *route.extra_routers):
            yield f"{where}: {route.guest} makes a router named {ROUTER}, as the dashboard has: rename that guest."
