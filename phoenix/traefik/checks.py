"""What can be known of a candidate without Traefik: references, duplicates, template marks, misspelt sections.

Traefik itself is silent about much of it: an unknown top-level key of the static file, an unknown certificate
resolver and a duplicate rule are all accepted without a word. Each function takes plain data and returns phrases,
which :func:`mistakes` puts behind the file's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phoenix.traefik import document
from phoenix.traefik.phrases import has, list_of, listed, mapping_of, none_of, undefined
from phoenix.traefik.router_tls import router_tls_mistakes
from phoenix.traefik.rule_checks import Taken, rule_mistakes
from phoenix.traefik.silent_dynamic import middleware_values, service_values
from phoenix.traefik.static_checks import static_mistakes
from phoenix.traefik.stream_checks import stream_mistakes
from phoenix.traefik.tls_checks import tls_mistakes

__all__ = ["dynamic_mistakes", "mistakes", "rule_mistakes", "static_mistakes"]

DYNAMIC_SECTIONS = frozenset({"http", "tcp", "udp", "tls"})
HTTP_SECTIONS = frozenset({"routers", "services", "middlewares", "serversTransports"})
ROUTER_KEYS = frozenset(
    {
        "entryPoints",
        "middlewares",
        "service",
        "rule",
        "parentRefs",
        "ruleSyntax",
        "priority",
        "tls",
        "observability",
    }
)
BALANCER_KEYS = frozenset(
    {
        "healthCheck",
        "passHostHeader",
        "passiveHealthCheck",
        "responseForwarding",
        "servers",
        "serversTransport",
        "sticky",
        "strategy",
    }
)
_SYNTAXES = ("v2", "v3")
SERVER_KEYS = frozenset({"fenced", "preservePath", "url", "weight"})


def dynamic_mistakes(dynamic: Any, static: Mapping[str, Any]) -> Iterator[str]:
    """Phrases for a dynamic configuration, read against the static one it shall run under."""
    if not isinstance(dynamic, Mapping) or not dynamic:
        yield "holds no configuration: Traefik would drop every route"
        return
    for key in dynamic:
        if key not in DYNAMIC_SECTIONS:
            yield f"{key} is no section Traefik knows (sections: {listed(DYNAMIC_SECTIONS)})"
    http = dynamic.get("http")
    if "http" in dynamic and (not isinstance(http, Mapping) or not http):
        yield "http is empty: Traefik would drop every route"
        return
    for key, value in mapping_of(http).items():
        if key not in HTTP_SECTIONS:
            yield f"http.{key} is no section Traefik knows (sections: {listed(HTTP_SECTIONS)})"
        elif not isinstance(value, Mapping) or not value:
            yield f"http.{key} is empty: Traefik would refuse the file or drop what stood there, so leave it out"
    for name, phrase in _http_mistakes(mapping_of(http), static):
        yield f"{name} {phrase}"
    yield from stream_mistakes(dynamic, static)
    yield from tls_mistakes(dynamic.get("tls"), static.get("certificatesResolvers"))
    yield from document.template_mistakes(dynamic)


def _http_mistakes(http: Mapping[str, Any], static: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    entry_points = mapping_of(static.get("entryPoints"))
    resolvers = mapping_of(static.get("certificatesResolvers"))
    services, middlewares = mapping_of(http.get("services")), mapping_of(http.get("middlewares"))
    transports = mapping_of(http.get("serversTransports"))
    taken = Taken()
    for name, router in sorted(mapping_of(http.get("routers")).items(), key=lambda item: str(item[0])):
        where = f"http.routers.{name}"
        if not isinstance(router, Mapping):
            yield where, "is no mapping: give it a rule and a service"
            continue
        yield from ((where, phrase) for phrase in _value_mistakes(router))
        text = router.get("rule")
        if not isinstance(text, str) or not text:
            yield where, "has no rule: add one such as Host(`name.example.test`)"
            continue
        wrong = list(rule_mistakes(text))
        yield from ((where, phrase) for phrase in wrong or router_tls_mistakes(router, resolvers))
        for entry_point in list_of(router.get("entryPoints")) or sorted(map(str, entry_points)):
            if not has(entry_points, entry_point):
                yield where, f"names the entry point {undefined(entry_point, entry_points)}"
            yield from ((where, phrase) for phrase in taken.by_others(str(name), router, str(entry_point)))
        yield from ((where, phrase) for phrase in _references(router, services, middlewares, resolvers))
    for name, service in services.items():
        where = f"http.services.{name}"
        yield from ((where, phrase) for phrase in _service_mistakes(service, transports))
        yield from ((where, phrase) for phrase in service_values(service, services))
    for name, middleware in middlewares.items():
        where = f"http.middlewares.{name}"
        yield from ((where, phrase) for phrase in middleware_values(middleware, services))


def _value_mistakes(router: Mapping[str, Any]) -> Iterator[str]:
    for key in router:
        if key not in ROUTER_KEYS:
            yield f"has the key {key!r}, for which Traefik refuses the whole file (keys: {listed(ROUTER_KEYS)})"
    priority, syntax = router.get("priority"), router.get("ruleSyntax")
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)):
        yield f"has the priority {priority!r}: it must be a whole number"
    if syntax is not None and not has(_SYNTAXES, syntax):
        yield f"has the ruleSyntax {none_of(syntax, 'syntax', _SYNTAXES)}"


def _references(
    router: Mapping[str, Any],
    services: Mapping[str, Any],
    middlewares: Mapping[str, Any],
    resolvers: Mapping[str, Any],
) -> Iterator[str]:
    service = router.get("service")
    if not isinstance(service, str) or not service:
        yield "names no service"
    elif "@" not in service and service not in services:
        yield f"names the service {service!r}, which is not there (services: {listed(services)})"
    for middleware in list_of(router.get("middlewares")):
        if "@" not in str(middleware) and not has(middlewares, middleware):
            yield f"names the middleware {middleware!r}, which is not there (middlewares: {listed(middlewares)})"
    resolver = mapping_of(router.get("tls")).get("certResolver")
    if resolver is not None and not has(resolvers, resolver):
        yield (
            f"names the certificate resolver {undefined(resolver, resolvers)}: "
            "Traefik would serve its default certificate and say nothing"
        )


def _service_mistakes(service: Any, transports: Mapping[str, Any]) -> Iterator[str]:
    balancer = mapping_of(mapping_of(service).get("loadBalancer"))
    if not balancer:
        if not any(key in mapping_of(service) for key in ("weighted", "mirroring", "failover", "highestRandomWeight")):
            yield "has no loadBalancer"
        return
    yield from _unknown_keys("loadBalancer", balancer, BALANCER_KEYS)
    servers = balancer.get("servers")
    if not isinstance(servers, list) or not servers:
        yield "has no servers: every request would be answered 503"
        servers = []
    for server in servers:
        yield from _unknown_keys("server", mapping_of(server), SERVER_KEYS)
        url = str(mapping_of(server).get("url", ""))
        if not url.startswith(("http://", "https://", "h2c://")) or len(url.partition("://")[2]) == 0 or " " in url:
            yield f"has the server URL {url!r}: it must be such as http://10.0.0.141:8000"
    transport = balancer.get("serversTransport")
    if transport is not None and "@" not in str(transport) and not has(transports, transport):
        yield f"names the serversTransport {transport!r}, which is not there (there are: {listed(transports)})"


def _unknown_keys(what: str, data: Mapping[str, Any], known: frozenset[str]) -> Iterator[str]:
    for key in data:
        if key not in known:
            yield f"has the {what} key {key!r}, for which Traefik refuses the whole file (keys: {listed(known)})"


def mistakes(static_file: str, static: Any, dynamic_file: str, dynamic: Any) -> list[str]:
    """One sentence for each mistake in a candidate pair."""
    found = [f"{static_file}: {phrase}." for phrase in static_mistakes(static)]
    return found + [f"{dynamic_file}: {phrase}." for phrase in dynamic_mistakes(dynamic, mapping_of(static))]
