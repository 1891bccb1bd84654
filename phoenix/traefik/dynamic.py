"""The dynamic configuration, ``dynamic_conf.yml``: routers, services, transports and the revision marker.

Keys: https://doc.traefik.io/traefik/reference/dynamic-configuration/file/. Traefik watches the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from phoenix.routes import Route, rule
from phoenix.traefik import document

REVISION_PREFIX = "phoenix-revision-"


def router(route: Route, hostnames: tuple[str, ...], resolver: str, certificates: tuple[str, ...]) -> dict[str, Any]:
    """One router.

    Args:
        route: what it leads to.
        hostnames: what it matches.
        resolver: its certificate resolver.
        certificates: the names a certificate is ordered for; where they are all of ``hostnames``, Traefik finds
            them in the rule itself (https://doc.traefik.io/traefik/routing/routers/#certresolver).
    """
    tls: dict[str, Any] = {"certResolver": resolver}
    if certificates != hostnames:
        main, *others = certificates
        tls["domains"] = [{"main": main, **({"sans": others} if others else {})}]
    return {
        "entryPoints": list(route.entry_points),
        "rule": rule(hostnames),
        "service": route.service,
        "tls": tls,
        **({"middlewares": list(route.middlewares)} if route.middlewares else {}),
    }


def service(route: Route) -> dict[str, Any]:
    """One service with one server; the client's Host header is passed on."""
    balancer: dict[str, Any] = {"passHostHeader": True, "servers": [{"url": route.backend}]}
    if route.transport:
        balancer["serversTransport"] = route.transport.name
    return {"loadBalancer": balancer}


def servers_transport(route: Route) -> dict[str, Any]:
    """How an https backend is verified."""
    transport = route.transport
    if transport is None:
        raise ValueError(f"{route.router} has no https backend")
    if transport.insecure_skip_verify:
        return {"insecureSkipVerify": True, "serverName": transport.server_name}
    roots = {"rootCAs": [transport.root_file]} if transport.root_file else {}
    return {**roots, "serverName": transport.server_name}


def dynamic_config(
    routes: Iterable[Route],
    middlewares: Mapping[str, Any] | None = None,
    routers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The dynamic configuration as data.

    It always holds one middleware that no router uses, named after the revision: Traefik's API shows it as soon as
    this very content is live, and it keeps a configuration without routes from being empty, which Traefik would
    either refuse or obey by dropping every route.

    Args:
        routes: in any order.
        middlewares: name → definition, as Traefik's reference has it.
        routers: further routers that lead to services of Traefik's own, such as the dashboard's.
    """
    http: dict[str, Any] = {"routers": dict(routers or {}), "services": {}, "serversTransports": {}}
    for route in routes:
        first = route.resolvers[0]
        http["routers"][route.router] = router(route, route.hostnames, first, route.names_of(first))
        for name, (resolver, hostnames) in route.extra_routers.items():
            http["routers"][name] = router(route, hostnames, resolver, hostnames)
        http["services"][route.service] = service(route)
        if route.transport:
            http["serversTransports"][route.transport.name] = servers_transport(route)
    http["middlewares"] = dict(middlewares or {})
    content: dict[str, Any] = {"http": {key: value for key, value in http.items() if value}}
    # JSON, since writing YAML takes ten times as long, and here only the content counts.
    marker = document.digest(json.dumps(content, sort_keys=True, ensure_ascii=False))
    http["middlewares"][f"{REVISION_PREFIX}{marker}"] = {
        "headers": {"customResponseHeaders": {"X-Phoenix-Revision": marker}}
    }
    return {"http": {key: value for key, value in http.items() if value}}


def revision(dynamic: Mapping[str, Any]) -> str | None:
    """The revision a dynamic configuration carries, or None for one we did not write."""
    http = dynamic.get("http")
    middlewares = http.get("middlewares") if isinstance(http, Mapping) else None
    for name in middlewares if isinstance(middlewares, Mapping) else ():
        if isinstance(name, str) and name.startswith(REVISION_PREFIX):
            return name.removeprefix(REVISION_PREFIX)
    return None
