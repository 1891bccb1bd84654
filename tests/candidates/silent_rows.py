"""Bad dynamic configurations that Traefik takes without a word in its API: every router is ``enabled``."""

from __future__ import annotations

from typing import Any

from candidate_rows import Data, Row, add, middleware, raw, route, set_at, spoilt
from live_traefik import LiveTraefik

SERVER = {"url": "http://127.0.0.1:9"}


def balancer(name: str, *says: str, **values: Any) -> Row:
    """A row whose service has a load balancer with odd values."""
    return route(name, *says, balancer={"servers": [SERVER], **values})


def server(name: str, *says: str, **values: Any) -> Row:
    return route(name, *says, balancer={"servers": [{**SERVER, **values}]})


def health(name: str, *says: str, **values: Any) -> Row:
    return balancer(name, "the health check's", *says, healthCheck={"path": "/", **values})


def service(name: str, definition: Data, *says: str) -> Row:
    def spoil(data: Data, live: LiveTraefik) -> None:
        add(data, live)
        data["http"]["services"]["new-service"] = definition

    return spoilt(name, spoil, *says)


def stream(name: str, *says: str, address: str = "127.0.0.1:9", **router: Any) -> Row:
    """A row with a TCP router beside the routers of HTTP."""
    one = {"rule": "HostSNI(`x.test`)", "service": "s", "entryPoints": ["websecure"], "tls": {}, **router}
    services = {"s": {"loadBalancer": {"servers": [{"address": address}]}}}
    return spoilt(name, set_at("tcp", to={"routers": {"t": one}, "services": services}), *says)


def _foreign_key(data: Data, live: LiveTraefik) -> None:
    (certificate, _), (_, key) = (live.authority.issue("pair", ("one.live.test",)) for _ in range(2))
    data["tls"] = {"certificates": [{"certFile": str(certificate), "keyFile": str(key)}]}


def _no_key(data: Data, live: LiveTraefik) -> None:
    data["tls"] = {"certificates": [{"certFile": str(live.authority.issue("pair", ("one.live.test",))[0])}]}


def _same_stream_rule(data: Data, live: LiveTraefik) -> None:
    one = {"rule": "HostSNI(`x.test`)", "service": "s", "entryPoints": ["websecure"], "tls": {}}
    services = {"s": {"loadBalancer": {"servers": [{"address": "127.0.0.1:9"}]}}}
    data["tcp"] = {"routers": {"a": one, "b": dict(one)}, "services": services}


REGEXP = "HostRegexp(`^.+[.]x[.]test$`)"
RESOLVER = "internal-resolver"

SILENT: list[Row] = [
    # Rules that no request matches, or that take another router's requests
    route("a wildcard in Host", "no request has the host '*.new.test'", "HostRegexp", rule="Host(`*.new.test`)"),
    route("a port in Host", "no request has the host 'new.test:443'", rule="Host(`new.test:443`)"),
    route("a URL in Host", "no request has the host", rule="Host(`https://new.test`)"),
    route("a path in Host", "no request has the host 'new.test/'", rule="Host(`new.test/`)"),
    route("a blank in Host", "no request has the host 'new test'", rule='Host("new test")'),
    route("Traefik 2's names in HostRegexp", "matches no host", rule="HostRegexp(`{sub:[a-z]+}.new.test`)"),
    route("Traefik 2's names in a path", "PathRegexp", rule="Path(`/x/{id}`)"),
    route("a rule that another has in capitals", "same rule as new-router", rule="Host(`ONE.live.test`)"),
    route("a rule that another has with blanks", "same rule as new-router", rule="Host( `one.live.test` )"),
    route("a rule that another has in parentheses", "same rule as new-router", rule="(Host(`one.live.test`))"),
    route("a rule that another has in quotes", "same rule as new-router", rule='Host("one.live.test")'),
    route(
        "a host name that another has",
        "answers for one.live.test, as new-router does",
        rule="Host(`one.live.test`) || Host(`new.live.test`)",
    ),
    route("a rule's syntax that is none", "ruleSyntax 'v9'", ruleSyntax="v9"),
    # Certificates that nobody would order, or that do not load
    route("tls as a list", "has tls ['a']", tls=["a"]),
    route("a domain without main", "without main", tls={"certResolver": RESOLVER, "domains": [{"sans": ["a.test"]}]}),
    route(
        "a domain that is none", "'a b' in tls.domains", tls={"certResolver": RESOLVER, "domains": [{"main": "a b"}]}
    ),
    route(
        "a wildcard by the TLS challenge",
        "'*.a.test' in tls.domains",
        "dnsChallenge",
        tls={"certResolver": RESOLVER, "domains": [{"main": "*.a.test"}]},
    ),
    route("domains as a text", "tls.domains 'a.test'", tls={"domains": "a.test"}),
    route("a resolver without a name", "neither Host in its rule", rule=REGEXP, tls={"certResolver": RESOLVER}),
    spoilt("a certificate with another's key", _foreign_key, "private key does not match public key"),
    spoilt("a certificate without a key", _no_key, "certificate", "key"),
    spoilt(
        "a certificate for another store",
        set_at("tls", to={"certificates": [{"certFile": "/a", "keyFile": "/b", "stores": ["mine"]}]}),
        "the store 'mine'",
    ),
    spoilt("a store of another name", set_at("tls", to={"stores": {"mine": {}}}), "tls.stores.mine would be ignored"),
    # TCP routers, which go before HTTP's
    stream("a TCP router for all of TLS", "takes every TLS connection of websecure", rule="HostSNI(`*`)"),
    stream(
        "a TCP router for a live host",
        "for one.live.test from http.routers.one-router",
        rule="HostSNI(`One.live.test`)",
    ),
    stream("a TCP router with an unknown resolver", "TCP router t names", "'step'", tls={"certResolver": "step"}),
    stream("a TCP server without a port", "missing port", address="127.0.0.1"),
    spoilt("two TCP routers of one rule", _same_stream_rule, "TCP router b has the same rule as a"),
    # Servers
    server("a server's path", "whose path Traefik ignores", url="http://127.0.0.1:9/base"),
    server("a server's query", "scheme, host and port only", url="http://127.0.0.1:9?a=b"),
    Row(
        "a server's login",
        server("", url="http://admin:Tr0ub4dor@127.0.0.1:9").make,
        ("scheme, host and port only",),
        ("Tr0ub4dor",),
    ),
    server("a server on port 0", "server URL", url="http://127.0.0.1:0"),
    server("a server on a port beyond all", "server URL", url="http://127.0.0.1:99999"),
    server("a server with a colon and no port", "server URL", url="http://127.0.0.1:"),
    server("a server with a port alone", "server URL", url="http://:80"),
    server("a server with a name in Unicode", "server URL", url="http://bücher.test"),
    server("a negative weight", "negative weight", weight=-1),
    server("no weight at all", "weight 0", weight=0),
    service("a weighted service of none", {"weighted": {"services": []}}, "names no services", "503"),
    service(
        "a weighted service of weight 0", {"weighted": {"services": [{"name": "one-service", "weight": 0}]}}, "503"
    ),
    service(
        "a mirror that is missing",
        {"mirroring": {"service": "one-service", "mirrors": [{"name": "nowhere", "percent": 1}]}},
        "'nowhere'",
    ),
    service("a fallback that is missing", {"failover": {"service": "one-service", "fallback": "nowhere"}}, "'nowhere'"),
    spoilt(
        "a weighted service that no router uses, of a missing one",
        set_at("http", "services", "spare", to={"weighted": {"services": [{"name": "nowhere", "weight": 1}]}}),
        "http.services.spare names the service 'nowhere'",
    ),
    # Health checks and sticky cookies
    health("a health check before it begins", "interval '-5s'", interval="-5s"),
    health("a health check over FTP", "scheme 'ftp'", scheme="ftp"),
    health("a health check in no mode", "mode 'tcp'", mode="tcp"),
    health("a health check on no port", "port 99999", port=99999),
    health("a health check for no status", "status 42", status=42),
    health("a health check by no method", "method 'G E T'", method="G E T"),
    health("a health check on no path", "path '%zz'", path="%zz"),
    balancer("a sticky cookie for some sites", "sameSite 'loose'", sticky={"cookie": {"sameSite": "loose"}}),
    # Middlewares
    middleware(
        "a breaker's code that is none",
        {"circuitBreaker": {"expression": "NetworkErrorRatio() > 0.3", "responseCode": 42}},
        "responseCode 42",
    ),
    middleware("a negative rate", {"rateLimit": {"average": -5}}, "rateLimit.average -5"),
    middleware("a negative burst", {"rateLimit": {"average": 5, "burst": -1}}, "rateLimit.burst -1"),
    middleware(
        "a negative depth",
        {"rateLimit": {"average": 5, "sourceCriterion": {"ipStrategy": {"depth": -1}}}},
        "ipStrategy.depth -1",
    ),
    middleware("no request at a time", {"inFlightReq": {"amount": 0}}, "inFlightReq.amount 0"),
    middleware("a negative size", {"compress": {"minResponseBodyBytes": -5}}, "minResponseBodyBytes -5"),
    middleware("a redirection to no scheme", {"redirectScheme": {"scheme": "gopher"}}, "'gopher'"),
    middleware("a redirection to no port", {"redirectScheme": {"scheme": "https", "port": "abc"}}, "port 'abc'"),
    middleware("an expression for everything", {"redirectRegex": {"regex": "", "replacement": ""}}, "without regex"),
    middleware("a header's name with a blank", {"headers": {"customResponseHeaders": {"a b": "x"}}}, "'a b'"),
    middleware("an authority without scheme", {"forwardAuth": {"address": "auth.test/x"}}, "forwardAuth.address"),
    middleware("an authority that is nowhere", {"forwardAuth": {"trustForwardHeader": True}}, "forwardAuth.address"),
    middleware("an error page's service that is missing", {"errors": {"status": ["500"], "service": "gone"}}, "'gone'"),
    middleware(
        "a range backwards", {"errors": {"status": ["599-500"], "service": "one-service"}}, "599-500", "no range"
    ),
    middleware(
        "a password in clear",
        {"basicAuth": {"users": ["admin:Tr0ub4dor-and-3"]}},
        "nobody can log in with",
        hides=("Tr0ub4dor-and-3",),
    ),
    # YAML 1.1
    raw("yes for true", lambda own: own.replace("passHostHeader: true", "passHostHeader: yes"), "yes is no boolean"),
]
