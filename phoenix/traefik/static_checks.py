"""What can be known of a static configuration without Traefik. Pure; :mod:`phoenix.traefik.checks` puts it to use."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from phoenix.traefik.phrases import has, listed, mapping_of, none_of
from phoenix.traefik.silent_static import silent_mistakes

STATIC_SECTIONS = frozenset(
    {
        "accessLog", "api", "certificatesResolvers", "core", "entryPoints", "experimental", "global", "hostResolver",
        "hub", "log", "metrics", "ocsp", "ping", "providers", "serversTransport", "spiffe", "tcpServersTransport",
        "tracing",
    }
)  # fmt: skip
LOG_LEVELS = frozenset({"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "PANIC"})


def static_mistakes(static: Any) -> Iterator[str]:
    """Phrases for a static configuration."""
    if not isinstance(static, Mapping) or not static:
        yield "holds no settings: Traefik would start with its defaults only"
        return
    for key in static:
        if key not in STATIC_SECTIONS:
            known = listed(STATIC_SECTIONS)
            yield f"{key} is no section Traefik knows, and Traefik would ignore it silently (sections: {known})"
    entry_points = mapping_of(static.get("entryPoints"))
    if not entry_points:
        yield "entryPoints defines none: Traefik would listen on port 80 only"
    yield from _entry_point_mistakes(entry_points)
    yield from _resolvers_mistakes(mapping_of(static.get("certificatesResolvers")), entry_points)
    metrics = mapping_of(static.get("metrics"))
    for where, section in (("ping", static.get("ping")), ("metrics.prometheus", metrics.get("prometheus"))):
        point = mapping_of(section).get("entryPoint")
        if point is not None and not has(entry_points, point):
            yield f"{where}.entryPoint is {none_of(point, 'entry point', entry_points)}"
    yield from silent_mistakes(static)
    yield from _provider_mistakes(static)
    yield from _api_mistakes(static, entry_points)
    level = mapping_of(static.get("log")).get("level")
    if level is not None and str(level).upper() not in LOG_LEVELS:
        yield f"log.level is {level!r}, in place of which Traefik would take ERROR (levels: {listed(LOG_LEVELS)})"


def _entry_point_mistakes(entry_points: Mapping[str, Any]) -> Iterator[str]:
    taken: dict[str, list[_Socket]] = {}
    for name, value in entry_points.items():
        address = str(mapping_of(value).get("address") or "")
        sockets = _sockets(address, http3=isinstance(mapping_of(value).get("http3"), Mapping))
        other = next((known for known, listens in taken.items() if _conflict(sockets, listens)), None)
        if not address:
            yield f'entryPoints.{name}.address is missing: add one such as ":443"'
        elif not _is_listen_address(address):
            yield f'entryPoints.{name}.address is {address!r}: it must be a listen address such as ":443"'
        elif other:
            yield f"entryPoints.{name}.address is {address!r}, as that of {other}: give one of them another"
        taken[name] = sockets
        redirect = mapping_of(mapping_of(mapping_of(value).get("http")).get("redirections")).get("entryPoint")
        target = mapping_of(redirect).get("to")
        if isinstance(redirect, Mapping) and not target:
            yield f"entryPoints.{name}.http.redirections.entryPoint.to is missing: Traefik would redirect nothing"
        elif target is not None:
            yield from _redirection_mistakes(name, mapping_of(redirect), entry_points)


def _redirection_mistakes(name: str, redirect: Mapping[str, Any], entry_points: Mapping[str, Any]) -> Iterator[str]:
    target, scheme = redirect["to"], redirect.get("scheme")
    if isinstance(target, str) and target.startswith(":"):
        if not (target[1:].isascii() and target[1:].isdigit() and 1 <= int(target[1:]) <= 65535):
            yield f'entryPoints.{name} redirects to {target!r}: it must be a port such as ":443", or an entry point'
    elif not has(entry_points, target):
        yield f"entryPoints.{name} redirects to {none_of(target, 'entry point', entry_points)}"
    elif target == name:
        yield f"entryPoints.{name} redirects to itself, without end: name another entry point"
    if scheme is not None and not has(("http", "https"), scheme):
        yield f"entryPoints.{name} redirects to {none_of(scheme, 'scheme of HTTP', ('http', 'https'))}"


def _is_listen_address(address: str) -> bool:
    host, separator, port = address.removesuffix("/tcp").removesuffix("/udp").rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return False
    try:
        plain = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")) if host else None
    except ValueError:
        return False
    return not isinstance(plain, ipaddress.IPv6Address) or (host.startswith("[") and host.endswith("]"))


def _is_url(value: Any) -> bool:
    try:
        parts = urlsplit(str(value))
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in str(value)
    except ValueError:
        return False


def _provider_mistakes(static: Mapping[str, Any]) -> Iterator[str]:
    """What keeps the dynamic file from being read, or from being read again."""
    provider = mapping_of(mapping_of(static.get("providers")).get("file"))
    if "filename" in provider and "directory" in provider:
        yield "providers.file has both filename and directory: Traefik would use the directory silently, so keep one"
    elif "directory" in provider:
        yield (
            "providers.file.directory would load every .yml, .yaml and .toml file there, hidden ones too, and one "
            "broken file would block all: use filename"
        )
    elif not provider.get("filename"):
        yield "providers.file.filename is missing: Traefik would serve no route, and SIGHUP would end it"
    elif not re.fullmatch(r"/.*\.ya?ml", str(provider["filename"])):
        yield (
            f"providers.file.filename is {provider['filename']!r}: it must be an absolute path that ends in .yml or "
            ".yaml, or Traefik would serve no route"
        )
    if provider.get("watch") is False:
        yield "providers.file.watch is false: Traefik would not notice a changed route"


def _api_mistakes(static: Mapping[str, Any], entry_points: Mapping[str, Any]) -> Iterator[str]:
    """An API without a password belongs on loopback (https://doc.traefik.io/traefik/operations/api/#insecure)."""
    if not entry_points or not mapping_of(static.get("api")).get("insecure"):
        return
    host = str(mapping_of(entry_points.get("traefik")).get("address") or ":8080").rpartition(":")[0].strip("[]")
    try:
        loopback = bool(host) and ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        yield (
            "api.insecure is true, and entryPoints.traefik is not on a loopback address: anybody could read every "
            'route, so give it one such as "127.0.0.1:8080"'
        )


_Socket = tuple[str, str, int]
"""Protocol, canonical host or nothing for every one, and port."""


def _sockets(address: str, *, http3: bool) -> list[_Socket]:
    """What an entry point binds; nothing where its address is none. HTTP/3 takes the same port of UDP besides."""
    if not _is_listen_address(address):
        return []
    plain, _, protocol = address.partition("/")
    host, _, port = plain.rpartition(":")
    every = not host or ipaddress.ip_address(host.strip("[]")).is_unspecified
    canonical = "" if every else str(ipaddress.ip_address(host.strip("[]")))
    protocols = {protocol or "tcp", *(("udp",) if http3 else ())}
    return [(each, canonical, int(port)) for each in sorted(protocols)]


def _conflict(first: list[_Socket], second: list[_Socket]) -> bool:
    """Whether two entry points cannot be bound at once; port 0 takes any free one."""
    return any(
        one[0] == other[0] and one[2] == other[2] != 0 and (one[1] == other[1] or not one[1] or not other[1])
        for one in first
        for other in second
    )


def _resolvers_mistakes(resolvers: Mapping[str, Any], entry_points: Mapping[str, Any]) -> Iterator[str]:
    storages: dict[str, str] = {}
    for name, value in resolvers.items():
        acme = mapping_of(mapping_of(value).get("acme"))
        yield from _resolver_mistakes(name, acme, entry_points)
        other = storages.setdefault(str(acme.get("storage") or f"none of {name}"), name)
        if other != name:
            yield f"certificatesResolvers.{name}.acme.storage is that of {other}: give each resolver a file of its own"


def _resolver_mistakes(name: str, acme: Mapping[str, Any], entry_points: Mapping[str, Any]) -> Iterator[str]:
    where = f"certificatesResolvers.{name}.acme"
    if not acme:
        yield f"certificatesResolvers.{name} has no acme settings: Traefik would skip the resolver"
        return
    if not acme.get("storage"):
        yield f"{where}.storage is missing: name a file only Traefik may read"
    elif not str(acme["storage"]).startswith("/"):
        yield f"{where}.storage is {acme['storage']!r}: it must be an absolute path, since Traefik starts anywhere"
    if not any(acme.get(kind) not in (None, False) for kind in ("tlsChallenge", "httpChallenge", "dnsChallenge")):
        yield f"{where} names no challenge: add tlsChallenge, httpChallenge or dnsChallenge"
    server = acme.get("caServer")
    if server is not None and not _is_url(server):
        yield f"{where}.caServer is {server!r}: it must be the URL of an ACME directory"
    for kind, key in (("httpChallenge", "entryPoint"), ("dnsChallenge", "provider")):
        if acme.get(kind) not in (None, False) and not mapping_of(acme[kind]).get(key):
            yield f"{where}.{kind}.{key} is missing: Traefik could answer no challenge"
    account = acme.get("eab")
    if account is not None and not (mapping_of(account).get("kid") and mapping_of(account).get("hmacEncoded")):
        yield f"{where}.eab needs both kid and hmacEncoded, as the authority gives them"
    challenge = mapping_of(acme.get("httpChallenge")).get("entryPoint")
    if challenge is not None and not has(entry_points, challenge):
        yield f"{where}.httpChallenge.entryPoint is {none_of(challenge, 'entry point', entry_points)}"
