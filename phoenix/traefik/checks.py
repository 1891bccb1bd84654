"""What can be known of a candidate without Traefik: references, duplicates, template marks, misspelt sections.

Traefik itself is silent about much of it: an unknown top-level key of the static file, an unknown certificate
resolver and a duplicate rule are all accepted without a word. Each function takes plain data and returns phrases,
which :func:`mistakes` puts behind the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from phoenix.traefik import document

STATIC_SECTIONS = frozenset(
    {
        "accessLog", "api", "certificatesResolvers", "core", "entryPoints", "experimental", "global", "hostResolver",
        "hub", "log", "metrics", "ocsp", "ping", "providers", "serversTransport", "spiffe", "tcpServersTransport",
        "tracing",
    }
)  # fmt: skip
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


def _mapping(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}


def _has(known: Any, value: Any) -> bool:
    return isinstance(value, str) and value in known


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _listed(known: Any) -> str:
    return ", ".join(sorted(map(str, known))) or "none"


def _none(value: Any, kind: str, known: Any) -> str:
    return f"{value!r}, which is no {kind} (there are: {_listed(known)})"


def _undefined(value: Any, known: Any) -> str:
    return f"{value!r}, which the static configuration does not define (it defines: {_listed(known)})"


def static_mistakes(static: Any) -> Iterator[str]:
    """Phrases for a static configuration."""
    if not isinstance(static, Mapping) or not static:
        yield "holds no settings: Traefik would start with its defaults only"
        return
    for key in static:
        if key not in STATIC_SECTIONS:
            known = _listed(STATIC_SECTIONS)
            yield f"{key} is no section Traefik knows, and Traefik would ignore it silently (sections: {known})"
    entry_points = _mapping(static.get("entryPoints"))
    if not entry_points:
        yield "entryPoints defines none: Traefik would listen on port 80 only"
    taken: dict[str, str] = {}
    for name, value in entry_points.items():
        address = str(_mapping(value).get("address") or "")
        other = next((known for known, listens in taken.items() if _same_socket(address, listens)), None)
        if not address:
            yield f'entryPoints.{name}.address is missing: add one such as ":443"'
        elif other:
            yield f"entryPoints.{name}.address is {address!r}, as that of {other}: give one of them another"
        taken[name] = address
        redirect = _mapping(_mapping(_mapping(value).get("http")).get("redirections")).get("entryPoint")
        target = _mapping(redirect).get("to")
        if target is not None and not str(target).startswith(":") and not _has(entry_points, target):
            yield f"entryPoints.{name} redirects to {_none(target, 'entry point', entry_points)}"
    for name, value in _mapping(static.get("certificatesResolvers")).items():
        yield from _resolver_mistakes(name, _mapping(_mapping(value).get("acme")), entry_points)
    ping = _mapping(static.get("ping")).get("entryPoint")
    if ping is not None and not _has(entry_points, ping):
        yield f"ping.entryPoint is {_none(ping, 'entry point', entry_points)}"
    provider = _mapping(_mapping(static.get("providers")).get("file"))
    if "filename" in provider and "directory" in provider:
        yield "providers.file has both filename and directory: Traefik would use the directory silently, so keep one"


def _same_socket(first: str, second: str) -> bool:
    """Whether two listen addresses cannot be bound at once; port 0 takes any free one."""
    (first_host, _, first_port), (second_host, _, second_port) = (text.rpartition(":") for text in (first, second))
    hosts = {first_host.strip("[]"), second_host.strip("[]")}
    return first_port == second_port != "0" and (len(hosts) == 1 or not hosts.isdisjoint({"", "0.0.0.0", "::"}))  # noqa: S104 - compared, not bound


def _resolver_mistakes(name: str, acme: Mapping[str, Any], entry_points: Mapping[str, Any]) -> Iterator[str]:
    where = f"certificatesResolvers.{name}.acme"
    if not acme:
        yield f"certificatesResolvers.{name} has no acme settings: Traefik would skip the resolver"
        return
    if not acme.get("storage"):
        yield f"{where}.storage is missing: name a file only Traefik may read"
    if not any(kind in acme for kind in ("tlsChallenge", "httpChallenge", "dnsChallenge")):
        yield f"{where} names no challenge: add tlsChallenge, httpChallenge or dnsChallenge"
    challenge = _mapping(acme.get("httpChallenge")).get("entryPoint")
    if challenge is not None and not _has(entry_points, challenge):
        yield f"{where}.httpChallenge.entryPoint is {_none(challenge, 'entry point', entry_points)}"


def dynamic_mistakes(dynamic: Any, static: Mapping[str, Any]) -> Iterator[str]:
    """Phrases for a dynamic configuration, read against the static one it shall run under."""
    if not isinstance(dynamic, Mapping) or not dynamic:
        yield "holds no configuration: Traefik would drop every route"
        return
    for key in dynamic:
        if key not in DYNAMIC_SECTIONS:
            yield f"{key} is no section Traefik knows (sections: {_listed(DYNAMIC_SECTIONS)})"
    http = dynamic.get("http")
    if "http" in dynamic and not isinstance(http, Mapping):
        yield "http is empty: Traefik would drop every route"
        return
    for key, value in _mapping(http).items():
        if key not in HTTP_SECTIONS:
            yield f"http.{key} is no section Traefik knows (sections: {_listed(HTTP_SECTIONS)})"
        elif not isinstance(value, Mapping) or not value:
            yield f"http.{key} is empty: Traefik would refuse the file or drop what stood there, so leave it out"
    for name, phrase in _http_mistakes(_mapping(http), static):
        yield f"{name} {phrase}"
    yield from document.template_mistakes(dynamic)


def _http_mistakes(http: Mapping[str, Any], static: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    entry_points = _mapping(static.get("entryPoints"))
    resolvers = _mapping(static.get("certificatesResolvers"))
    services, middlewares = _mapping(http.get("services")), _mapping(http.get("middlewares"))
    transports = _mapping(http.get("serversTransports"))
    rules: dict[tuple[str, str], str] = {}
    for name, router in sorted(_mapping(http.get("routers")).items(), key=lambda item: str(item[0])):
        where = f"http.routers.{name}"
        if not isinstance(router, Mapping):
            yield where, "is no mapping: give it a rule and a service"
            continue
        for key in router:
            if key not in ROUTER_KEYS:
                yield (
                    where,
                    f"has the key {key!r}, for which Traefik refuses the whole file (keys: {_listed(ROUTER_KEYS)})",
                )
        text = router.get("rule")
        if not isinstance(text, str) or not text:
            yield where, "has no rule: add one such as Host(`name.example.test`)"
            continue
        yield from ((where, phrase) for phrase in rule_mistakes(text))
        for entry_point in _list(router.get("entryPoints")) or sorted(map(str, entry_points)):
            if not _has(entry_points, entry_point):
                yield where, f"names the entry point {_undefined(entry_point, entry_points)}"
            other = rules.setdefault((text, str(entry_point)), name)
            if other != name:
                yield (
                    where,
                    f"has the same rule as {other}: Traefik would take the first in the alphabet and say nothing",
                )
        yield from ((where, phrase) for phrase in _references(router, services, middlewares, resolvers))
    for name, service in services.items():
        yield from ((f"http.services.{name}", phrase) for phrase in _service_mistakes(service, transports))


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
        yield f"names the service {service!r}, which is not there (services: {_listed(services)})"
    for middleware in _list(router.get("middlewares")):
        if "@" not in str(middleware) and not _has(middlewares, middleware):
            yield f"names the middleware {middleware!r}, which is not there (middlewares: {_listed(middlewares)})"
    resolver = _mapping(router.get("tls")).get("certResolver")
    if resolver is not None and not _has(resolvers, resolver):
        yield (
            f"names the certificate resolver {_undefined(resolver, resolvers)}: "
            "Traefik would serve its default certificate and say nothing"
        )


_TOKENS = re.compile(r"`[^`]*`|\"(?:[^\"\\]|\\.)*\"|[A-Za-z]+(?=\s*\()|[()`\",]")
_ONE_NAME = frozenset({"Host", "HostRegexp", "HostSNI"})


def rule_mistakes(text: str) -> Iterator[str]:
    """Phrases for a rule: balanced, and each Host matcher with one name, as Traefik 3 has it."""
    matcher = ""
    within: list[str] = []
    for part in _TOKENS.findall(text):
        if part == "(":
            within.append(matcher)
        elif part in ("`", '"') or (part == ")" and not within):
            within.append(part)
            break
        elif part == ")":
            within.pop()
        elif part == "," and within and within[-1] in _ONE_NAME:
            name = within[-1]
            yield f"has the rule {text!r}: {name} takes one name in Traefik 3, so write {name}(`a`) || {name}(`b`)"
            return
        matcher = part if part.isalpha() else ""
    if within:
        yield f"has the rule {text!r}, whose parentheses or quotes do not match"


def _service_mistakes(service: Any, transports: Mapping[str, Any]) -> Iterator[str]:
    balancer = _mapping(_mapping(service).get("loadBalancer"))
    if not balancer:
        if not any(key in _mapping(service) for key in ("weighted", "mirroring", "failover", "highestRandomWeight")):
            yield "has no loadBalancer"
        return
    servers = balancer.get("servers")
    if not isinstance(servers, list) or not servers:
        yield "has no servers: every request would be answered 503"
        servers = []
    for server in servers:
        url = str(_mapping(server).get("url", ""))
        if not url.startswith(("http://", "https://", "h2c://")) or len(url.partition("://")[2]) == 0 or " " in url:
            yield f"has the server URL {url!r}: it must be such as http://10.0.0.141:8000"
    transport = balancer.get("serversTransport")
    if transport is not None and "@" not in str(transport) and not _has(transports, transport):
        yield f"names the serversTransport {transport!r}, which is not there (there are: {_listed(transports)})"


def mistakes(static_file: str, static: Any, dynamic_file: str, dynamic: Any) -> list[str]:
    """One sentence for each mistake in a candidate pair."""
    found = [f"{static_file}: {phrase}." for phrase in static_mistakes(static)]
    return found + [f"{dynamic_file}: {phrase}." for phrase in dynamic_mistakes(dynamic, _mapping(static))]
