"""Bad dynamic configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from candidate_rows import Data, Row, add, key_file, middleware, raw, root, route, set_at, spoilt, text
from live_traefik import LiveTraefik

from phoenix.traefik import document


def _weighted(data: Data, live: LiveTraefik) -> None:
    add(data, live, service="weighted-service")
    data["http"]["services"]["weighted-service"] = {"weighted": {"services": [{"name": "other-service", "weight": 1}]}}


def _tcp(**spoilt_by: Any) -> Callable[[Data, LiveTraefik], None]:
    router = {"rule": "HostSNI(`*`)", "service": "s", "entryPoints": ["websecure"], **spoilt_by}
    services = {"s": {"loadBalancer": {"servers": [{"address": "127.0.0.1:9"}]}}}
    return set_at("tcp", to={"routers": {"t": router}, "services": services})


DYNAMIC: list[Row] = [
    # What drops every route without a word
    text("", "holds no configuration")("empty file"),
    text("# nothing but a comment\n", "holds no configuration")("comments only"),
    text("---\n", "holds no configuration")("three dashes"),
    text("http:\n", "http is empty")("bare http"),
    text("http: {}\n", "http", "empty")("http without anything"),
    spoilt("routers: null", set_at("http", "routers", to=None), "http.routers is empty"),
    spoilt("routers: {}", set_at("http", "routers", to={}), "http.routers is empty"),
    text("- http\n- tcp\n", "holds no configuration")("a list"),
    text("placeholder\n", "holds no configuration")("a word"),
    # What is no YAML, or another than meant
    raw("tabs", lambda own: own.replace("  routers:", "\trouters:"), "is no YAML", "line"),
    raw("a bracket left open", lambda own: own + "  tls: [\n", "is no YAML"),
    raw("two documents", lambda own: own + "---\nhttp: {}\n", "YAML"),
    raw("a section twice", lambda own: own + "http:\n  routers: {}\n", "'http'", "twice"),
    Row(
        "a router twice",
        lambda live: document.dump(live.dynamic()).replace("    two-router:", "    one-router:"),
        ("'one-router'", "twice"),
    ),
    raw("an alias to nothing", lambda own: own + "tls: *nowhere\n", "is no YAML"),
    raw("a control character", lambda own: own + 'tls: {options: {a: {cipherSuites: ["\\x01"]}}}\n', "control"),
    # Unknown keys and wrong types
    spoilt("an unknown section at the top", set_at("htttp", to={"routers": {}}), "htttp is no section"),
    spoilt("an unknown section of http", set_at("http", "router", to={"a": {}}), "http.router is no section"),
    route("an unknown key in a router", "entryPoint", "new-router", entryPoint=["websecure"]),
    route("an unknown key in a service", "serverz", balancer={"serverz": [{"url": "http://127.0.0.1:1"}]}),
    route("an unknown key in a server", "adress", balancer={"servers": [{"adress": "http://127.0.0.1:1"}]}),
    route("an unknown key in tls", "certresolverr", tls={"certresolverr": "internal-resolver"}),
    route("an unknown key in a transport", "rootCertificates", transport={"rootCertificates": ["x"]}),
    route("a priority in words", "priority 'high'", priority="high"),
    route("servers as a text", "has no servers", balancer={"servers": "http://127.0.0.1:1"}),
    route(
        "passHostHeader in words",
        "often",
        balancer={"passHostHeader": "often", "servers": [{"url": "http://127.0.0.1:1"}]},
    ),
    spoilt(
        "a router that is a text", set_at("http", "routers", "new-router", to="Host(`a`)"), "new-router is no mapping"
    ),
    spoilt("a service that is a list", set_at("http", "services", "new-service", to=["a"]), "new-service"),
    spoilt("routers as a list", set_at("http", "routers", to=[{"rule": "Host(`a`)"}]), "http.routers"),
    # Go's templates
    route("a template in a rule", "'{{'", rule="Host(`{{ hostname }}`)"),
    route("the environment in a rule", "'{{'", rule='Host(`{{ env "HOME" }}.test`)'),
    raw("a template in a comment", lambda own: "# for {{ host }}\n" + own, "template"),
    spoilt("a template in a name", set_at("http", "services", "{{ name }}", to={"loadBalancer": {}}), "'{{'"),
    # References to what is not there
    route("a missing service", "'nowhere-service'", "not there", service="nowhere-service"),
    route("no service", "names no service", service=None),
    route("a missing middleware", "'nowhere'", "not there", middlewares=["nowhere"]),
    route(
        "a missing transport",
        "'nowhere'",
        balancer={"serversTransport": "nowhere", "servers": [{"url": "http://127.0.0.1:1"}]},
    ),
    route("an unknown entry point", "entry point 'websekure'", "websecure", entryPoints=["websekure"]),
    route("an unknown resolver", "certificate resolver 'step'", "internal-resolver", tls={"certResolver": "step"}),
    route("unknown TLS options", "unknown TLS options: nowhere", tls={"options": "nowhere"}),
    route("a service of another provider", "service", service="new-service@docker"),
    route("a middleware of another provider", "middleware", middlewares=["secure@docker"]),
    spoilt("a weighted service without the other", _weighted, "other-service"),
    # Rules
    route("Traefik 2's Host with two names", "Host takes one name", rule="Host(`a.test`, `b.test`)"),
    route("Traefik 2's HostRegexp", "new-router", rule="HostRegexp(`{name:[a-z]+}.test`"),
    route("a parenthesis left open", "do not match", rule="Host(`a.test`"),
    route("a back-quote left open", "do not match", rule="Host(`a.test)"),
    route("an unknown matcher", "Hots", rule="Hots(`a.test`)"),
    route("no rule", "has no rule", rule=None),
    route("an empty rule", "has no rule", rule=""),
    route("two matchers without an operator", "new-router", rule="Host(`a.test`) Path(`/x`)"),
    route("a rule that another has", "same rule as new-router", rule="Host(`one.live.test`)"),
    # Servers
    route("a server without a scheme", "server URL '127.0.0.1:80'", url="127.0.0.1:80"),
    route("a server without a host", "server URL 'http://'", url="http://"),
    route("a server with a blank", "server URL", url="http://127.0.0.1 :80"),
    route("a server with another port than a number", "http://127.0.0.1:http8", url="http://127.0.0.1:http8"),
    route("no server", "has no servers", balancer={"servers": []}),
    route("no load balancer", "has no loadBalancer", balancer={}),
    # Middlewares
    middleware("an unknown kind of middleware", {"securityHeaders": {}}, "securityHeaders"),
    middleware("a middleware without a kind", {}, "new-middleware"),
    middleware("a limit in words", {"rateLimit": {"average": "many"}}, "many"),
    middleware("a period that is none", {"rateLimit": {"average": 1, "period": "often"}}, "often"),
    middleware("a network that is none", {"ipAllowList": {"sourceRange": ["10.0.0.0/240"]}}, "10.0.0.0/240"),
    middleware("an allow list for nobody", {"ipAllowList": {"sourceRange": []}}, "new-middleware"),
    middleware("a broken expression", {"redirectRegex": {"regex": "(", "replacement": "x"}}, "new-middleware"),
    middleware(
        "a user without a password",
        {"basicAuth": {"users": ["Tr0ub4dor-and-3"]}},
        "new-middleware",
        hides=("Tr0ub4dor-and-3",),
    ),
    middleware("a missing file of users", {"basicAuth": {"usersFile": "/nowhere/users"}}, "/nowhere/users"),
    middleware("a chain to itself", {"chain": {"middlewares": ["new-middleware"]}}, "new-middleware"),
    # Backends over TLS
    route(
        "a root certificate that is missing",
        "/nowhere/root.crt does not exist",
        backend="named",
        transport={"rootCAs": ["/nowhere/root.crt"], "serverName": "backend.test"},
    ),
    route(
        "a root certificate that is a key",
        "holds no PEM certificate",
        backend="named",
        transport=lambda live: {"rootCAs": [key_file(live)], "serverName": "backend.test"},
    ),
    route("a private certificate without a transport", "cannot verify", "x509", backend="addressed"),
    route(
        "another server name than the certificate's",
        "cannot verify",
        "other.test",
        backend="named",
        transport=lambda live: {"rootCAs": [root(live)], "serverName": "other.test"},
    ),
    route(
        "a certificate without the address, and no server name",
        "cannot verify",
        "IP SANs",
        backend="named",
        transport=lambda live: {"rootCAs": [root(live)]},
    ),
    route(
        "a certificate with a common name only",
        "cannot verify",
        "Common Name",
        backend="cn-only",
        transport=lambda live: {"rootCAs": [root(live)], "serverName": "backend.test"},
    ),
    spoilt(
        "a missing certificate file",
        set_at("tls", to={"certificates": [{"certFile": "/nowhere/a", "keyFile": "/nowhere/b"}]}),
        "/nowhere/a does not exist",
    ),
    # What Traefik's API tells apart from HTTP, and what it does not tell at all
    spoilt("a TCP router to nothing", _tcp(service="nowhere"), "TCP router t", 'the service "nowhere@file"'),
    spoilt("a TCP rule that is none", _tcp(rule="HostSNI(x)"), "TCP router t is disabled", "x is not defined"),
    spoilt("a TCP name without TLS", _tcp(rule="HostSNI(`a.test`)"), "TCP router t", "no TLS on router"),
    spoilt("a TCP router on no entry point", _tcp(entryPoints=["nowhere"]), "TCP router t", '"nowhere"'),
    spoilt("a TCP middleware that is missing", _tcp(middlewares=["nowhere"]), "TCP router t", '"nowhere@file"'),
    spoilt(
        "a UDP router on an entry point for TCP",
        set_at("udp", to={"routers": {"u": {"service": "nowhere", "entryPoints": ["websecure"]}}}),
        "UDP router u is disabled",
    ),
    spoilt(
        "a TLS version that is none",
        set_at("tls", to={"options": {"default": {"minVersion": "TLS1.2"}}}),
        "tls.options.default has the minVersion 'TLS1.2'",
        "VersionTLS12",
    ),
    spoilt(
        "no TLS version left",
        set_at("tls", to={"options": {"o": {"minVersion": "VersionTLS13", "maxVersion": "VersionTLS12"}}}),
        "nobody could connect",
    ),
    spoilt(
        "a certificate store with a resolver that is none",
        set_at("tls", to={"stores": {"default": {"defaultGeneratedCert": {"resolver": "myresolver"}}}}),
        "tls.stores.default names the certificate resolver 'myresolver'",
    ),
]
