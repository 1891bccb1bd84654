"""What Traefik's API says, compared with what was meant."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from installations import configured, lxc, primary, texts

from phoenix.traefik import live

MEANT = configured(
    texts({"801": lxc(ports=["80"])}, [primary()]),
    {"middlewares": {"zip": {"compress": {}}}, "routes": {"app-router": {"middlewares": ["zip"]}}},
)
REVISION = MEANT.dynamic_revision


def _raw() -> dict[str, Any]:
    """``/api/rawdata`` as Traefik 3.7.15 answers where all is right, cut to the fields that count."""
    return {
        "routers": {
            "app-router@file": {
                "entryPoints": ["websecure"],
                "middlewares": ["zip@file"],
                "service": "app-service",
                "rule": "Host(`app.internal.example.test`)",
                "priority": 33,
                "tls": {"certResolver": "internal-resolver"},
                "observability": {"accessLogs": True},
                "status": "enabled",
                "using": ["websecure"],
            },
            "portainer-router@file": {
                "entryPoints": ["websecure"],
                "service": "portainer-service",
                "rule": "Host(`portainer.example.test`)",
                "tls": {"certResolver": "external-resolver"},
                "status": "enabled",
            },
            "api@internal": {"entryPoints": ["traefik"], "service": "api@internal", "status": "enabled"},
        },
        "middlewares": {
            f"phoenix-revision-{REVISION}@file": {"headers": {}, "status": "enabled"},
            "zip@file": {"compress": {}, "status": "enabled", "usedBy": ["app-router@file"]},
        },
        "services": {
            "app-service@file": {
                "loadBalancer": {"servers": [{"url": "http://10.0.0.5:80"}], "passHostHeader": True},
                "status": "enabled",
                "serverStatus": {"http://10.0.0.5:80": "UP"},
            },
            "portainer-service@file": {
                "loadBalancer": {
                    "servers": [{"url": "https://10.0.0.101:9443"}],
                    "serversTransport": "portainer-transport",
                },
                "status": "enabled",
            },
            "noop@internal": {"status": "enabled"},
        },
    }


Change = Callable[[dict[str, Any]], object]
ROWS: dict[str, tuple[Change, list[str]]] = {
    "all is right": (lambda raw: None, []),
    "names with their provider": (
        lambda raw: raw["routers"]["app-router@file"].update(service="app-service@file"),
        [],
    ),
    "another revision": (
        lambda raw: raw["middlewares"].update(
            {"phoenix-revision-000000000000@file": raw["middlewares"].pop(f"phoenix-revision-{REVISION}@file")}
        ),
        [f"revision {REVISION} is not live (live: 000000000000)"],
    ),
    "a configuration that is not ours": (
        lambda raw: raw["middlewares"].pop(f"phoenix-revision-{REVISION}@file"),
        [f"revision {REVISION} is not live (live: none of ours)"],
    ),
    "a middleware is missing": (lambda raw: raw["middlewares"].pop("zip@file"), ["middleware zip is missing"]),
    "a middleware is disabled": (
        lambda raw: raw["middlewares"]["zip@file"].update(status="disabled", error=["no such plugin"]),
        ["middleware zip is disabled: Traefik says no such plugin"],
    ),
    "a router is missing": (lambda raw: raw["routers"].pop("app-router@file"), ["router app-router is missing"]),
    "a router of another provider does not count": (
        lambda raw: raw["routers"].update({"app-router@docker": raw["routers"].pop("app-router@file")}),
        ["router app-router is missing"],
    ),
    "a router too many": (
        lambda raw: raw["routers"].update({"old-router@file": {"status": "enabled"}}),
        ["router old-router is served, but was not meant"],
    ),
    "a router is disabled": (
        lambda raw: raw["routers"]["app-router@file"].update(
            status="disabled", error=['the service "app-service@file" does not exist', "second"]
        ),
        ['router app-router is disabled: Traefik says the service "app-service@file" does not exist; second'],
    ),
    "a router warns": (
        lambda raw: raw["routers"]["app-router@file"].update(status="warning", error="one text"),
        ["router app-router is warning: Traefik says one text"],
    ),
    "a router without a status": (
        lambda raw: raw["routers"]["app-router@file"].pop("status"),
        ["router app-router is None"],
    ),
    "another rule": (
        lambda raw: raw["routers"]["app-router@file"].update(rule="Host(`x`)"),
        ["router app-router has rule 'Host(`x`)' where 'Host(`app.internal.example.test`)' was meant"],
    ),
    "another service": (
        lambda raw: raw["routers"]["app-router@file"].update(service="x"),
        ["router app-router has service 'x' where 'app-service' was meant"],
    ),
    "other entry points": (
        lambda raw: raw["routers"]["app-router@file"].update(entryPoints=["web", "websecure"]),
        ["router app-router has entryPoints ['web', 'websecure'] where ['websecure'] was meant"],
    ),
    "no middlewares": (
        lambda raw: raw["routers"]["app-router@file"].pop("middlewares"),
        ["router app-router has middlewares None where ['zip'] was meant"],
    ),
    "another resolver": (
        lambda raw: raw["routers"]["app-router@file"]["tls"].update(certResolver="myresolver"),
        ["router app-router has the certificate resolver 'myresolver' where 'internal-resolver' was meant"],
    ),
    "no TLS": (
        lambda raw: raw["routers"]["app-router@file"].pop("tls"),
        ["router app-router has the certificate resolver None where 'internal-resolver' was meant"],
    ),
    "a service is missing": (lambda raw: raw["services"].pop("app-service@file"), ["service app-service is missing"]),
    "a service is disabled": (
        lambda raw: raw["services"]["app-service@file"].update(status="disabled", err="bad URL"),
        ["service app-service is disabled: Traefik says bad URL"],
    ),
    "another server": (
        lambda raw: raw["services"]["app-service@file"]["loadBalancer"].update(servers=[{"url": "http://x"}]),
        ["service app-service has the servers ['http://x'] where ['http://10.0.0.5:80'] was meant"],
    ),
    "no servers": (
        lambda raw: raw["services"]["app-service@file"].pop("loadBalancer"),
        ["service app-service has the servers [] where ['http://10.0.0.5:80'] was meant"],
    ),
    "no transport": (
        lambda raw: raw["services"]["portainer-service@file"]["loadBalancer"].pop("serversTransport"),
        ["service portainer-service has the serversTransport None where 'portainer-transport' was meant"],
    ),
    "an empty answer": (
        lambda raw: raw.clear(),
        [
            f"revision {REVISION} is not live (live: none of ours)",
            "middleware zip is missing",
            "router app-router is missing",
            "router portainer-router is missing",
            "service app-service is missing",
            "service portainer-service is missing",
        ],
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_the_differences(case: str) -> None:
    change, said = ROWS[case]
    raw = _raw()
    change(raw)
    assert sorted(live.differences(MEANT.dynamic, raw)) == sorted(said)


def _spoilt(value: Any) -> list[Any]:
    """``value`` with each of its parts replaced by something of another type, one at a time."""
    found: list[Any] = []
    if isinstance(value, dict):
        for key in value:
            for other in (None, [], "x", 5, {"x": 1}, [[1]]):
                found.append({**value, key: other})
            found += [{**value, key: part} for part in _spoilt(value[key])]
    return found


def test_an_answer_of_any_shape_is_a_difference_never_a_crash() -> None:
    harmless = 0
    for raw in _spoilt(_raw()):
        harmless += not list(live.differences(MEANT.dynamic, raw))
    assert 0 < harmless < len(_spoilt(_raw())) / 2


def test_the_live_revision() -> None:
    assert live.live_revision(_raw()) == REVISION
    assert live.live_revision({}) is None


def test_only_the_file_providers_entries_count() -> None:
    assert set(live.served(_raw(), "routers")) == {"app-router", "portainer-router"}
    assert live.served({"routers": ["x"]}, "routers") == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b"\xff", b"[" * 100_000])
def test_what_is_no_answer_of_the_api(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        live.parse(body)


def test_an_answer_is_read() -> None:
    assert live.parse(json.dumps(_raw()).encode()) == copy.deepcopy(_raw())


STREAMS = {
    "tcp": {
        "routers": {"t": {"rule": "HostSNI(`*`)", "service": "s", "entryPoints": ["web"]}},
        "services": {"s": {"loadBalancer": {"servers": [{"address": "10.0.0.5:22"}]}}},
    },
    "udp": {"routers": {"u": {"service": "s", "entryPoints": ["dns"]}}},
}


def _streams() -> dict[str, Any]:
    return {
        "tcpRouters": {
            "t@file": {"rule": "HostSNI(`*`)", "service": "s@file", "entryPoints": ["web"], "status": "enabled"}
        },
        "tcpServices": {
            "s@file": {"loadBalancer": {"servers": [{"address": "10.0.0.5:22"}]}, "status": "enabled", "usedBy": []}
        },
        "udpRouters": {"u@file": {"service": "s@file", "entryPoints": ["dns"], "status": "enabled"}},
    }


STREAM_CASES: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    "right": (lambda _: None, []),
    "another address": (
        lambda raw: raw["tcpServices"]["s@file"]["loadBalancer"].update(servers=[{"address": "10.0.0.6:22"}]),
        ["TCP service s has servers ['10.0.0.6:22'] where ['10.0.0.5:22'] was meant"],
    ),
    "disabled": (
        lambda raw: raw["udpRouters"]["u@file"].update(status="disabled", error=["no valid entryPoint"]),
        ["UDP router u is disabled: Traefik says no valid entryPoint"],
    ),
    "missing": (lambda raw: raw.pop("tcpRouters"), ["TCP router t is missing"]),
    "one too many": (
        lambda raw: raw["tcpRouters"].update({"x@file": {"status": "enabled"}, "y@docker": {"status": "enabled"}}),
        ["TCP router x is served, but was not meant"],
    ),
}


@pytest.mark.parametrize("case", STREAM_CASES)
def test_tcp_and_udp_are_compared_too(case: str) -> None:
    change, says = STREAM_CASES[case]
    raw = _streams()
    change(raw)
    assert list(live.differences(STREAMS, raw)) == says
