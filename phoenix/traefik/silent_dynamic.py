"""Values in services and middlewares that Traefik takes without a word, and clients meet as an error. Pure.

Seen with Traefik 3.7: router, service and middleware are ``enabled`` with each of these, and every request is answered
with an error, or a backend is asked otherwise than written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from phoenix.remote.masking import mask
from phoenix.traefik.middleware_models import HEADER_NAME, is_user_line
from phoenix.traefik.phrases import has, list_of, listed, mapping_of, none_of

SERVICE_REFERENCES = {"weighted": "services", "mirroring": "mirrors"}
_METHOD = re.compile(r"[A-Za-z][A-Za-z-]*")
_NEGATIVE = re.compile(r"-\s*[0-9.]")
_SAME_SITE = ("lax", "none", "strict")
_HEALTH_MODES = ("grpc", "http")
_SCHEMES = ("http", "https")
_COUNTS = {
    "rateLimit": ("average", "burst"),
    "inFlightReq": ("amount",),
    "compress": ("minResponseBodyBytes",),
}


def service_values(service: Any, services: Mapping[str, Any]) -> Iterator[str]:
    """Phrases for one service.

    Args:
        service: its data, of any shape.
        services: all of them, by name.
    """
    data = mapping_of(service)
    balancer = mapping_of(data.get("loadBalancer"))
    servers = [mapping_of(server) for server in list_of(balancer.get("servers"))]
    yield from _weights("servers", servers)
    for server in servers:
        yield from _server(server)
    if "healthCheck" in balancer:
        yield from _health_check(mapping_of(balancer["healthCheck"]))
    for kind, key in SERVICE_REFERENCES.items():
        parts = [mapping_of(part) for part in list_of(mapping_of(data.get(kind)).get(key))]
        if kind in data and kind == "weighted":
            yield from _weights("services", parts)
            if data[kind] is not None and not parts:
                yield "is weighted and names no services: every request would be answered 503"
        yield from (
            f"names the service {phrase}" for phrase in _missing((part.get("name") for part in parts), services)
        )
    for kind, keys in (("mirroring", ("service",)), ("failover", ("service", "fallback"))):
        part = mapping_of(data.get(kind))
        yield from (f"names the service {phrase}" for phrase in _missing((part.get(key) for key in keys), services))
    for holder in (balancer, mapping_of(data.get("weighted"))):
        same_site = mapping_of(mapping_of(holder.get("sticky")).get("cookie")).get("sameSite")
        if same_site is not None and not has(_SAME_SITE, str(same_site).lower()):
            yield f"has the sticky cookie's sameSite {none_of(same_site, 'such value', _SAME_SITE)}"


def _missing(names: Any, known: Mapping[str, Any]) -> Iterator[str]:
    for name in names:
        if name is not None and "@" not in str(name) and not has(known, name):
            yield f"{name!r}, which is not there (services: {listed(known)})"


def _weights(what: str, parts: list[Mapping[str, Any]]) -> Iterator[str]:
    weights = [part.get("weight", 1) for part in parts]
    if any(_is_number(weight) and weight < 0 for weight in weights):
        yield f"has {what} of a negative weight, which would never be asked: give 0 or more"
    elif weights and all(_is_number(weight) and weight == 0 for weight in weights):
        yield f"has only {what} of weight 0: every request would be answered 503"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _server(server: Mapping[str, Any]) -> Iterator[str]:
    url = str(server.get("url") or "")
    if not url.partition("://")[2]:
        return  # told elsewhere
    try:
        parts = urlsplit(url)
        right = bool(parts.hostname) and url.isascii() and parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        right = False
    if not right:
        yield f"has the server URL {url!r}: it must be such as http://10.0.0.141:8000"
    elif parts.username is not None or parts.query or parts.fragment:
        yield f"has the server URL {mask(url)!r}, of which Traefik uses scheme, host and port only: leave out the rest"
    elif parts.path not in ("", "/") and server.get("preservePath") is not True:
        yield f"has the server URL {url!r}, whose path Traefik ignores: leave it out, or set preservePath: true"


def _health_check(check: Mapping[str, Any]) -> Iterator[str]:
    for key in ("interval", "unhealthyInterval", "timeout"):
        if _is_negative(check.get(key)):
            yield f"has the health check's {key} {check[key]!r}, in place of which Traefik would take its default"
    scheme, mode, method = (check.get(key) for key in ("scheme", "mode", "method"))
    if scheme and not has(_SCHEMES, scheme):
        yield f"has the health check's scheme {none_of(scheme, 'scheme of HTTP', _SCHEMES)}: no server would be healthy"
    if mode and not has(_HEALTH_MODES, mode):
        yield f"has the health check's mode {none_of(mode, 'mode', _HEALTH_MODES)}"
    if method and not _METHOD.fullmatch(str(method)):
        yield f"has the health check's method {method!r}, which is none of HTTP: no server would be healthy"
    for key, least, most in (("port", 1, 65535), ("status", 100, 599)):
        value = check.get(key)
        if value and _is_number(value) and not least <= value <= most:
            yield f"has the health check's {key} {value}: it must be from {least} to {most}"
    path = str(check.get("path") or "")
    if re.search(r"%(?![0-9A-Fa-f]{2})", path) or any(character.isspace() for character in path):
        yield f"has the health check's path {path!r}, which is none of a URL: no server would be healthy"


def _is_negative(value: Any) -> bool:
    return value < 0 if _is_number(value) else bool(_NEGATIVE.match(str(value or "").strip()))


def middleware_values(middleware: Any, services: Mapping[str, Any]) -> Iterator[str]:
    """Phrases for one middleware of HTTP. Lines of users are never repeated.

    Args:
        middleware: its data, of any shape.
        services: all services, by name.
    """
    data = mapping_of(middleware)
    for kind, keys in _COUNTS.items():
        for key in keys:
            value = mapping_of(data.get(kind)).get(key)
            if _is_number(value) and (value < 0 or (value == 0 and kind == "inFlightReq")):
                least = 1 if kind == "inFlightReq" else 0
                yield f"has the {kind}.{key} {value}: it must be {least} or more"
    for kind in ("rateLimit", "inFlightReq"):
        yield from _depth(kind, mapping_of(data.get(kind)).get("sourceCriterion"))
    yield from _depth("ipAllowList", data.get("ipAllowList"))
    yield from _header_names(mapping_of(data.get("headers")))
    code = mapping_of(data.get("circuitBreaker")).get("responseCode")
    if _is_number(code) and not 100 <= code <= 599:
        yield f"has the circuitBreaker.responseCode {code}: it must be from 100 to 599"
    yield from _redirect(mapping_of(data.get("redirectScheme")))
    if isinstance(data.get("redirectRegex"), Mapping) and not data["redirectRegex"].get("regex"):
        yield "has a redirectRegex without regex, which matches every URL"
    if "forwardAuth" in data:
        yield from _forward_auth(mapping_of(data["forwardAuth"]).get("address"))
    if "errors" in data:
        yield from _errors(mapping_of(data["errors"]), services)
    yield from _users(mapping_of(data.get("basicAuth")).get("users"))


def _header_names(headers: Mapping[str, Any]) -> Iterator[str]:
    for key in ("customRequestHeaders", "customResponseHeaders"):
        for name in mapping_of(headers.get(key)):
            if not HEADER_NAME.fullmatch(str(name)):
                yield f"has the headers.{key} {name!r}: it must be the name of an HTTP header, such as X-Robots-Tag"


def _users(users: Any) -> Iterator[str]:
    if any(isinstance(user, str) and ":" in user and not is_user_line(user) for user in list_of(users)):
        yield ("has a line in basicAuth.users that nobody can log in with: give one that `htpasswd -nB <name>` prints")


def _depth(where: str, data: Any) -> Iterator[str]:
    depth = mapping_of(mapping_of(data).get("ipStrategy")).get("depth")
    if _is_number(depth) and depth < 0:
        yield f"has the {where}'s ipStrategy.depth {depth}: it must be 0 or more"


def _redirect(redirect: Mapping[str, Any]) -> Iterator[str]:
    scheme, port = redirect.get("scheme"), redirect.get("port")
    if scheme and not has((*_SCHEMES, "ws", "wss"), scheme):
        yield f"has the redirectScheme.scheme {none_of(scheme, 'scheme of HTTP', _SCHEMES)}"
    if port and not (str(port).isascii() and str(port).isdigit() and 1 <= int(port) <= 65535):
        yield f"has the redirectScheme.port {port!r}: it must be a port from 1 to 65535"


def _forward_auth(address: Any) -> Iterator[str]:
    try:
        parts = urlsplit(str(address or ""))
        right = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        yield (
            f"has the forwardAuth.address {address!r}: it must be a URL such as http://10.0.0.9:9000/auth, or every "
            "request is answered 500"
        )


def _errors(errors: Mapping[str, Any], services: Mapping[str, Any]) -> Iterator[str]:
    for phrase in _missing((errors.get("service"),), services):
        yield f"names the service {phrase}"
    for status in list_of(errors.get("status")):
        bounds = [part for part in str(status).split("-") if part.isdigit()]
        if len(bounds) == 2 and int(bounds[0]) > int(bounds[1]):
            yield f"has the errors.status {status!r}, which is no range: write the lower code first"
