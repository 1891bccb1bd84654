"""Bad candidates: what is wrong with a static or dynamic configuration is said before Traefik sees it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from installations import configured, lxc, primary, texts

from phoenix.traefik import checks
from phoenix.traefik.rule_checks import normal

GOOD = configured(texts({"801": lxc(ports=["80"])}, [primary()]))
Change = Callable[[dict[str, Any]], object]


def _static(change: Change) -> list[str]:
    data = copy.deepcopy(GOOD.static)
    change(data)
    return list(checks.static_mistakes(data))


def _dynamic(change: Change) -> list[str]:
    data = copy.deepcopy(GOOD.dynamic)
    change(data)
    return list(checks.dynamic_mistakes(data, GOOD.static))


def _put(*path: Any) -> Change:
    """A change that sets ``path[:-1]`` to ``path[-1]``; a last part of ... removes it."""

    def change(data: dict[str, Any]) -> None:
        *parents, key, value = path
        for part in parents:
            data = data[part]
        if value is ...:
            del data[key]
        else:
            data[key] = value

    return change


SECTIONS = (
    "accessLog, api, certificatesResolvers, core, entryPoints, experimental, global, hostResolver, hub, log, metrics, "
    "ocsp, ping, providers, serversTransport, spiffe, tcpServersTransport, tracing"
)
POINTS = "(there are: traefik, web, websecure)"
STATIC: dict[str, tuple[Change, list[str]]] = {
    "misspelt section": (
        _put("entryPointz", {}),
        [f"entryPointz is no section Traefik knows, and Traefik would ignore it silently (sections: {SECTIONS})"],
    ),
    "a dynamic section": (
        _put("http", {}),
        [f"http is no section Traefik knows, and Traefik would ignore it silently (sections: {SECTIONS})"],
    ),
    "no entry points": (
        _put("entryPoints", {}),
        [
            "entryPoints defines none: Traefik would listen on port 80 only",
            "certificatesResolvers.external-resolver.acme.httpChallenge.entryPoint is 'web', which is no entry point "
            "(there are: none)",
            "ping.entryPoint is 'traefik', which is no entry point (there are: none)",
        ],
    ),
    "an entry point without an address": (
        _put("entryPoints", "web", "address", ...),
        ['entryPoints.web.address is missing: add one such as ":443"'],
    ),
    "an entry point that is null": (
        _put("entryPoints", "web", None),
        ['entryPoints.web.address is missing: add one such as ":443"'],
    ),
    "two on one address": (
        _put("entryPoints", "websecure", "address", ":80"),
        ["entryPoints.websecure.address is ':80', as that of web: give one of them another"],
    ),
    "two on one port, one of them on every address": (
        _put("entryPoints", "traefik", "address", "127.0.0.1:443"),
        ["entryPoints.traefik.address is '127.0.0.1:443', as that of websecure: give one of them another"],
    ),
    "a redirect into nowhere": (
        _put("entryPoints", "web", "http", "redirections", "entryPoint", "to", "websecur"),
        [f"entryPoints.web redirects to 'websecur', which is no entry point {POINTS}"],
    ),
    "a redirect to a list": (
        _put("entryPoints", "web", "http", "redirections", "entryPoint", "to", ["websecure"]),
        [f"entryPoints.web redirects to ['websecure'], which is no entry point {POINTS}"],
    ),
    "a redirect to a port": (_put("entryPoints", "web", "http", "redirections", "entryPoint", "to", ":8443"), []),
    "ping on an unknown entry point": (
        _put("ping", "entryPoint", "api"),
        [f"ping.entryPoint is 'api', which is no entry point {POINTS}"],
    ),
    "ping without an entry point": (_put("ping", {}), []),
    "a challenge on an unknown entry point": (
        _put("certificatesResolvers", "external-resolver", "acme", "httpChallenge", "entryPoint", "http"),
        [
            "certificatesResolvers.external-resolver.acme.httpChallenge.entryPoint is 'http', which is no entry point "
            + POINTS
        ],
    ),
    "a resolver without ACME": (
        _put("certificatesResolvers", "external-resolver", {}),
        ["certificatesResolvers.external-resolver has no acme settings: Traefik would skip the resolver"],
    ),
    "a resolver without a storage": (
        _put("certificatesResolvers", "internal-resolver", "acme", "storage", ...),
        ["certificatesResolvers.internal-resolver.acme.storage is missing: name a file only Traefik may read"],
    ),
    "a resolver without a challenge": (
        _put("certificatesResolvers", "internal-resolver", "acme", "tlsChallenge", ...),
        [
            "certificatesResolvers.internal-resolver.acme names no challenge: add tlsChallenge, httpChallenge or "
            "dnsChallenge"
        ],
    ),
    "file and directory": (
        _put("providers", "file", "directory", "/etc/traefik/dynamic"),
        ["providers.file has both filename and directory: Traefik would use the directory silently, so keep one"],
    ),
    "a section of the wrong type": (
        _put("providers", ["file"]),
        ["providers.file.filename is missing: Traefik would serve no route, and SIGHUP would end it"],
    ),
}


def test_the_good_pair_passes() -> None:
    assert checks.mistakes("traefik.yml", GOOD.static, "dynamic_conf.yml", GOOD.dynamic) == []


@pytest.mark.parametrize("case", STATIC)
def test_a_bad_static_configuration(case: str) -> None:
    change, said = STATIC[case]
    assert _static(change) == said


@pytest.mark.parametrize("data", [None, {}, [], "", 5])
def test_no_static_configuration_at_all(data: Any) -> None:
    assert list(checks.static_mistakes(data)) == ["holds no settings: Traefik would start with its defaults only"]


ROUTER = ("http", "routers", "app-router")
SERVICES = "(services: app-service, portainer-service)"
MARKER = f"phoenix-revision-{GOOD.dynamic_revision}"
KEYS = "entryPoints, middlewares, observability, parentRefs, priority, rule, ruleSyntax, service, tls"
DYNAMIC: dict[str, tuple[Change, list[str]]] = {
    "an unknown section": (
        _put("htttp", {}),
        ["htttp is no section Traefik knows (sections: http, tcp, tls, udp)"],
    ),
    "a bare http:": (_put("http", None), ["http is empty: Traefik would drop every route"]),
    "http as text": (_put("http", "x"), ["http is empty: Traefik would drop every route"]),
    "an unknown section of http": (
        _put("http", "router", {}),
        [
            "http.router is no section Traefik knows (sections: middlewares, routers, serversTransports, services)",
        ],
    ),
    "empty routers": (
        _put("http", "routers", {}),
        ["http.routers is empty: Traefik would refuse the file or drop what stood there, so leave it out"],
    ),
    "null routers": (
        _put("http", "routers", None),
        ["http.routers is empty: Traefik would refuse the file or drop what stood there, so leave it out"],
    ),
    "a router that is null": (
        _put(*ROUTER, None),
        ["http.routers.app-router is no mapping: give it a rule and a service"],
    ),
    "an unknown key in a router": (
        _put(*ROUTER, "services", "app-service"),
        [f"http.routers.app-router has the key 'services', for which Traefik refuses the whole file (keys: {KEYS})"],
    ),
    "no rule": (
        _put(*ROUTER, "rule", ...),
        ["http.routers.app-router has no rule: add one such as Host(`name.example.test`)"],
    ),
    "a rule that is a list": (
        _put(*ROUTER, "rule", ["Host(`a`)"]),
        ["http.routers.app-router has no rule: add one such as Host(`name.example.test`)"],
    ),
    "an open rule": (
        _put(*ROUTER, "rule", "Host(`a.test`"),
        ["http.routers.app-router has the rule 'Host(`a.test`', whose parentheses or quotes do not match"],
    ),
    "an open back-quote": (
        _put(*ROUTER, "rule", "Host(`a.test)"),
        ["http.routers.app-router has the rule 'Host(`a.test)', whose parentheses or quotes do not match"],
    ),
    "closed before it is opened": (
        _put(*ROUTER, "rule", ")Host(`a.test`)("),
        ["http.routers.app-router has the rule ')Host(`a.test`)(', whose parentheses or quotes do not match"],
    ),
    "Traefik 2's Host of several names": (
        _put(*ROUTER, "rule", "Host(`a.test`, `b.test`)"),
        [
            "http.routers.app-router has the rule 'Host(`a.test`, `b.test`)': Host takes one name in Traefik 3, so "
            "write Host(`a`) || Host(`b`)"
        ],
    ),
    "the same in the rule's second half": (
        _put(*ROUTER, "rule", "PathPrefix(`/x`) && Host(`a.test`,`b.test`)"),
        [
            "http.routers.app-router has the rule 'PathPrefix(`/x`) && Host(`a.test`,`b.test`)': Host takes one name "
            "in Traefik 3, so write Host(`a`) || Host(`b`)"
        ],
    ),
    "double quotes": (
        _put(*ROUTER, "rule", 'Host("a.test") && (Path("/(") || Path("/\\")"))'),
        [],
    ),
    "a stray double quote": (
        _put(*ROUTER, "rule", 'Host("a.test)'),
        ["http.routers.app-router has the rule 'Host(\"a.test)', whose parentheses or quotes do not match"],
    ),
    "a comma of another matcher is fine": (
        _put(*ROUTER, "rule", "Host(`a.test`) && Header(`X-A`, `b,c`)"),
        [],
    ),
    "a duplicate rule": (
        _put(*ROUTER, "rule", "Host(`portainer.example.test`)"),
        [
            "http.routers.portainer-router has the same rule as app-router: Traefik would take the first in the "
            "alphabet and say nothing"
        ],
    ),
    "a duplicate rule on another entry point is fine": (
        lambda data: data["http"]["routers"].update(
            x={"rule": "Host(`portainer.example.test`)", "service": "app-service", "entryPoints": ["web"]}
        ),
        [],
    ),
    "a duplicate rule on all entry points": (
        lambda data: data["http"]["routers"].update(
            x={"rule": "Host(`portainer.example.test`)", "service": "app-service"}
        ),
        [
            "http.routers.x has the same rule as portainer-router: Traefik would take the first in the alphabet and "
            "say nothing"
        ],
    ),
    "an unknown entry point": (
        _put(*ROUTER, "entryPoints", ["websecure", "https"]),
        [
            "http.routers.app-router names the entry point 'https', which the static configuration does not define "
            "(it defines: traefik, web, websecure)"
        ],
    ),
    "an entry point that is no name": (
        _put(*ROUTER, "entryPoints", [["websecure"]]),
        [
            "http.routers.app-router names the entry point ['websecure'], which the static configuration does not "
            "define (it defines: traefik, web, websecure)"
        ],
    ),
    "no service": (_put(*ROUTER, "service", ...), ["http.routers.app-router names no service"]),
    "an unknown service": (
        _put(*ROUTER, "service", "ap-service"),
        [f"http.routers.app-router names the service 'ap-service', which is not there {SERVICES}"],
    ),
    "a service of another provider": (_put(*ROUTER, "service", "api@internal"), []),
    "an unknown middleware": (
        _put(*ROUTER, "middlewares", ["headers"]),
        [f"http.routers.app-router names the middleware 'headers', which is not there (middlewares: {MARKER})"],
    ),
    "middlewares as text": (
        _put(*ROUTER, "middlewares", "headers"),
        [f"http.routers.app-router names the middleware 'headers', which is not there (middlewares: {MARKER})"],
    ),
    "a middleware that is no name": (
        _put(*ROUTER, "middlewares", [{"a": 1}]),
        [f"http.routers.app-router names the middleware {{'a': 1}}, which is not there (middlewares: {MARKER})"],
    ),
    "the resolver that never existed": (
        _put(*ROUTER, "tls", "certResolver", "myresolver"),
        [
            "http.routers.app-router names the certificate resolver 'myresolver', which the static configuration does "
            "not define (it defines: external-resolver, internal-resolver): Traefik would serve its default "
            "certificate and say nothing"
        ],
    ),
    "tls without a resolver": (_put(*ROUTER, "tls", {}), []),
    "a service without a balancer": (
        _put("http", "services", "app-service", {}),
        ["http.services.app-service has no loadBalancer"],
    ),
    "a weighted service": (
        _put("http", "services", "app-service", {"weighted": {"services": [{"name": "api@internal", "weight": 1}]}}),
        [],
    ),
    "no servers": (
        _put("http", "services", "app-service", "loadBalancer", "servers", []),
        ["http.services.app-service has no servers: every request would be answered 503"],
    ),
    "a server without a scheme": (
        _put("http", "services", "app-service", "loadBalancer", "servers", [{"url": "10.0.0.5:80"}]),
        ["http.services.app-service has the server URL '10.0.0.5:80': it must be such as http://10.0.0.141:8000"],
    ),
    "a server with a blank": (
        _put("http", "services", "app-service", "loadBalancer", "servers", [{"url": "http://a b"}]),
        ["http.services.app-service has the server URL 'http://a b': it must be such as http://10.0.0.141:8000"],
    ),
    "a server without an address": (
        _put("http", "services", "app-service", "loadBalancer", "servers", [{"url": "http://"}]),
        ["http.services.app-service has the server URL 'http://': it must be such as http://10.0.0.141:8000"],
    ),
    "an unknown transport": (
        _put("http", "services", "portainer-service", "loadBalancer", "serversTransport", "portainer"),
        [
            "http.services.portainer-service names the serversTransport 'portainer', which is not there "
            "(there are: portainer-transport)"
        ],
    ),
    "a transport that is gone": (
        _put("http", "serversTransports", ...),
        [
            "http.services.portainer-service names the serversTransport 'portainer-transport', which is not there "
            "(there are: none)"
        ],
    ),
    "a template mark": (
        _put("http", "services", "app-service", "loadBalancer", "servers", [{"url": "http://{{ env `X` }}"}]),
        [
            "http.services.app-service has the server URL 'http://{{ env `X` }}': it must be such as "
            "http://10.0.0.141:8000",
            "http.services.app-service.loadBalancer.servers[0].url is 'http://{{ env `X` }}': it must not hold '{{' or "
            "'}}': Traefik runs its dynamic file as a Go template",
        ],
    ),
}


@pytest.mark.parametrize("case", DYNAMIC)
def test_a_bad_dynamic_configuration(case: str) -> None:
    change, said = DYNAMIC[case]
    assert _dynamic(change) == said


@pytest.mark.parametrize("data", [None, {}, [], "", 5])
def test_no_dynamic_configuration_at_all(data: Any) -> None:
    assert list(checks.dynamic_mistakes(data, GOOD.static)) == [
        "holds no configuration: Traefik would drop every route"
    ]


def test_the_mistakes_of_both_files_are_named_in_one_run() -> None:
    static, dynamic = copy.deepcopy(GOOD.static), copy.deepcopy(GOOD.dynamic)
    static["ping"]["entryPoint"] = "api"
    dynamic["http"]["routers"]["app-router"]["service"] = "x"
    assert checks.mistakes("traefik.yml", static, "dynamic_conf.yml", dynamic) == [
        f"traefik.yml: ping.entryPoint is 'api', which is no entry point {POINTS}.",
        f"dynamic_conf.yml: http.routers.app-router names the service 'x', which is not there {SERVICES}.",
    ]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Host(`a.test`)", 'host( "A.test" )', True),
        ("(Host(`a.test`) && Path(`/a`))", "Host(`a.test`)&&Path(`/a`)", True),
        ("Host(`a.test`) && Path(`/a`)", "Host(`a.test`) && Path(`/A`)", False),
        ("Host(`a.test`) && Header(`X-Key`, `a`)", "Host(`a.test`) && Header(`X-Key`, `A`)", False),
        ("(Host(`a.test`)) || (Host(`b.test`))", "Host(`a.test`)) || (Host(`b.test`)", False),
    ],
)
def test_rules_that_mean_the_same(one: str, other: str, alike: bool) -> None:
    assert (normal(one) == normal(other)) is alike
