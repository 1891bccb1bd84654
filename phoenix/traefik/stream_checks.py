"""Routers of TCP beside those of HTTP: Traefik lets the former take an entry point's connections first, silently. Pure.

https://doc.traefik.io/traefik/routing/routers/#configuring-tcp-routers: ``HostSNI`` of a TCP router with TLS wins over
every HTTP router of the same entry point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from phoenix.traefik.phrases import has, list_of, mapping_of, undefined
from phoenix.traefik.rule_checks import normal

_SERVER_NAME = re.compile(r"hostsni\(`([^`]+)`\)")
_HOST = re.compile(r"(?<!\w)host\(`([^`]+)`\)")


def stream_mistakes(dynamic: Mapping[str, Any], static: Mapping[str, Any]) -> Iterator[str]:
    """Phrases for ``tcp.routers`` that would take another router's connections, or get no certificate.

    Args:
        dynamic: data of ``dynamic_conf.yml``.
        static: data of ``traefik.yml``.
    """
    streams = mapping_of(mapping_of(dynamic.get("tcp")).get("routers"))
    if not streams:
        return
    every = sorted(map(str, mapping_of(static.get("entryPoints"))))
    resolvers = mapping_of(static.get("certificatesResolvers"))
    hosts = _hosts(mapping_of(mapping_of(dynamic.get("http")).get("routers")), every)
    rules: dict[tuple[str, str], str] = {}
    for name, value in sorted(streams.items(), key=lambda item: str(item[0])):
        router = mapping_of(value)
        where = f"TCP router {name}"
        resolver = mapping_of(router.get("tls")).get("certResolver")
        if resolver is not None and not has(resolvers, resolver):
            yield f"{where} names the certificate resolver {undefined(resolver, resolvers)}"
        rule = normal(str(router.get("rule") or ""))
        for point in list_of(router.get("entryPoints")) or every:
            other = rules.setdefault((rule, str(point)), str(name))
            if other != str(name):
                yield f"{where} has the same rule as {other}: Traefik would take one of them and say nothing"
            taken = hosts.get(str(point), {})
            for server_name in _SERVER_NAME.findall(rule) if "tls" in router else ():
                if server_name == "*" and taken:
                    yield f"{where} takes every TLS connection of {point} from http.routers.{min(taken.values())}"
                elif server_name in taken:
                    yield f"{where} takes the connections for {server_name} from http.routers.{taken[server_name]}"


def _hosts(routers: Mapping[str, Any], every: list[str]) -> dict[str, dict[str, str]]:
    """Host name → router, by entry point."""
    found: dict[str, dict[str, str]] = {}
    for name, value in routers.items():
        router = mapping_of(value)
        for point in list_of(router.get("entryPoints")) or every:
            for host in _HOST.findall(normal(str(router.get("rule") or ""))):
                found.setdefault(str(point), {}).setdefault(host, str(name))
    return found
