"""The gateway's NGINX site: TLS and HTTP/2 towards the clients, Traefik behind, its standby while it restarts. Pure.

Three decisions (docs/adr/0007-changes-without-downtime.md has the measurements):

* Server names are the domains of the routed host names, not the names themselves, so that a new route neither changes
  the site nor reloads NGINX.
* Requests go to the standby exactly while a file exists, which NGINX looks for at each request. No answer of Traefik's
  is ever taken as a sign that it is not ready: a 404, 502 or 503 may just as well be a backend's own.
* Connections to Traefik are kept alive, since a TLS handshake costs ten times a request, but for :data:`IDLE_SECONDS`
  only: once none is left after a switch, no request is under way either, and the instance may end.

Directives: https://nginx.org/en/docs/http/ngx_http_proxy_module.html and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from phoenix import names
from phoenix.gateway.nginx import Comment, Condition, Directive, Node, Template, block, directive, serialize
from phoenix.gateway.settings import GatewaySettings
from phoenix.routes import INTERNAL_RESOLVER
from phoenix.traefik.document import digest

PROBE_HOST = "phoenix-gateway.invalid"
"""Host name under which the site tells its revision; no client's name can collide with it (RFC 6761)."""

REVISION_PATH = "/revision"
IDLE_SECONDS = 2
"""How long a connection to Traefik is kept while nothing is sent; Traefik itself would keep it for three minutes."""

CHALLENGE_PATH = "/.well-known/acme-challenge/"

_HOST = re.compile(r"Host\(`([^`]+)`\)")
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)  # the intermediate profile of https://wiki.mozilla.org/Security/Server_Side_TLS, without DHE
_FORWARDED = (
    ("X-Real-IP", "$remote_addr"),
    # Set, not appended to: what a client claims about itself is worth nothing at the edge.
    ("X-Forwarded-For", "$remote_addr"),
    ("X-Forwarded-Proto", "$scheme"),
    ("X-Forwarded-Port", "$server_port"),
)
_UNFORWARDED = (
    # Traefik believes these of a trusted gateway, or backends do, and none of them is ours to say: NGINX leaves a
    # header out whose value is empty.
    "Forwarded",
    "X-Forwarded-Method",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-Forwarded-Uri",
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Traefik as the gateway reaches it.

    Attributes:
        address: of its container, an IP address or a host name.
        web: port of the entry point ``web``.
        websecure: port of ``websecure``.
        standby: port of the standby's ``websecure``; None: there is no standby.
        standby_always_runs: it takes over after a crash too, so one failed connection is reason enough to use it for
            some seconds: Traefik accepts connections shortly before it routes them.
    """

    address: str
    web: int
    websecure: int
    standby: int | None = None
    standby_always_runs: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """Host names that are served alike.

    Attributes:
        server_names: as NGINX takes them, ``*.example.test`` or whole names.
        root_file: what Traefik's certificates for them must come from; None: they are not verified.
    """

    server_names: tuple[str, ...]
    root_file: str | None = None


@dataclass(frozen=True)
class Site:
    """All that the site is made of."""

    settings: GatewaySettings
    upstream: Upstream
    domains: tuple[Domain, ...] = field(default=())


def routed(dynamic: Mapping[str, Any]) -> dict[str, str | None]:
    """Host name → certificate resolver, of every router in Traefik's dynamic configuration."""
    found: dict[str, str | None] = {}
    for router in ((dynamic.get("http") or {}).get("routers") or {}).values():
        resolver = (router.get("tls") or {}).get("certResolver")
        for hostname in _HOST.findall(router.get("rule") or ""):
            found.setdefault(names.hostname(hostname), resolver)
    return found


def domains(
    hostnames: Mapping[str, str | None], internal_domain: str, internal_root: str | None, external_root: str | None
) -> tuple[Domain, ...]:
    """The fewest server names that cover all host names, grouped by the CA their certificates come from.

    A domain stands for every name below it; a name of another CA below such a domain is listed by itself, which NGINX
    prefers (https://nginx.org/en/docs/http/server_names.html). A name directly below a top-level domain too, since
    nobody owns that.
    """
    roots = {
        hostname: internal_root if resolver == INTERNAL_RESOLVER else external_root
        for hostname, resolver in hostnames.items()
    }
    parents = {hostname.partition(".")[2] for hostname in roots}
    wild = {
        parent: internal_root if _is_below(f"x.{parent}", internal_domain) else external_root
        for parent in sorted(parents)
        if "." in parent
    }
    kept = {domain: root for domain, root in wild.items() if _nearest(domain, wild, _UNCOVERED) != root}
    groups: dict[str | None, set[str]] = {}
    for domain, root in kept.items():
        groups.setdefault(root, set()).add(f"*.{domain}")
    for hostname, root in roots.items():
        if _nearest(hostname, kept, _UNCOVERED) != root:
            groups.setdefault(root, set()).add(hostname)
    ordered = sorted(groups.items(), key=lambda item: item[0] or "")
    return tuple(Domain(tuple(sorted(server_names)), root) for root, server_names in ordered)


_UNCOVERED = ""


def _is_below(hostname: str, domain: str) -> bool:
    return hostname.endswith(f".{domain}")


def _nearest(hostname: str, domains: Mapping[str, str | None], otherwise: str | None) -> str | None:
    """The root of the longest of the domains that a name lies below; that is the one NGINX takes."""
    above = [domain for domain in domains if _is_below(hostname, domain)]
    return domains[max(above, key=len)] if above else otherwise


def render(site: Site) -> str:
    """The site's text, which names its own revision."""
    revision = digest(serialize(_nodes(site, "")))
    return serialize(_nodes(site, revision))


def revision_of(text: str) -> str:
    """The revision a rendered site names.

    Raises:
        ValueError: the text is no site of ours.
    """
    match = re.search(r"^\s*return 200 ([0-9a-f]{12});$", text, re.MULTILINE)
    if match is None:
        raise ValueError("it is no site of Phoenix ingress: it names no revision")
    return match[1]


def _nodes(site: Site, revision: str) -> Iterator[Node]:
    gateway = site.settings
    yield Comment("Generated by Phoenix ingress: do not edit.")
    yield Comment("The next `pulumi up` replaces this file; change phoenix:gateway in the stack configuration instead.")
    yield block(
        "map",
        Template("$http_upgrade"),
        Template("$phoenix_connection"),
        children=[directive("default", "upgrade"), directive("", "")],
    )
    yield block(
        "map",
        Template("$http2"),
        Template("$phoenix_http1_close"),
        children=[directive("default", ""), directive("", "close")],
    )
    yield from _upstreams(site)
    yield block("server", children=list(_revision_server(gateway, revision)))
    yield from _unknown_hosts(gateway)
    server_names = sorted({name for domain in site.domains for name in domain.server_names})
    if server_names:
        yield block("server", children=list(_plain_server(site, server_names)))
    for index in range(len(site.domains)):
        yield block("server", children=list(_tls_server(site, index)))


def _upstreams(site: Site) -> Iterator[Node]:
    """Traefik, and Traefik's standby with Traefik behind it for the moment in which one of them goes.

    Each domain has its own: connections are kept per group, and one that was verified otherwise, or not at all, must
    not be taken.
    """
    upstream = site.upstream
    host = names.url_host(upstream.address)
    web, main, standby = (f"{host}:{port}" for port in (upstream.web, upstream.websecure, upstream.standby))
    kept = (directive("keepalive", 64), directive("keepalive_timeout", f"{IDLE_SECONDS}s"))
    yield _group("phoenix_web", [directive("server", web, "max_fails=0")])
    trust = ("max_fails=1", "fail_timeout=5s") if upstream.standby_always_runs else ("max_fails=0",)
    for index in range(len(site.domains)):
        name = f"phoenix_websecure_{index}"
        if upstream.standby is None:
            yield _group(name, [directive("server", main, "max_fails=0"), *kept])
            continue
        first, second = directive("server", main, *trust), directive("server", standby, "backup", "max_fails=0")
        yield _group(name, [first, second, *kept])
        first, second = directive("server", standby, "max_fails=0"), directive("server", main, "backup", "max_fails=0")
        yield _group(f"{name}_standby", [first, second, *kept])


def _group(name: str, servers: Iterable[Directive]) -> Node:
    return block("upstream", name, children=[directive("zone", name, "64k"), *servers])


def _listen(gateway: GatewaySettings, port: int, *options: str) -> Iterator[Directive]:
    for address in gateway.listen or ("",):
        yield directive("listen", f"{names.url_host(address)}:{port}" if address else port, *options)


def _revision_server(gateway: GatewaySettings, revision: str) -> Iterator[Node]:
    """Tells which site NGINX really runs with: a reload that fails later than `nginx -t` leaves the old one."""
    yield from _listen(gateway, gateway.http_port)
    yield directive("server_name", PROBE_HOST)
    yield block(
        "location",
        "=",
        REVISION_PATH,
        children=[directive("default_type", "text/plain"), directive("return", 200, revision or "none")],
    )


def _unknown_hosts(gateway: GatewaySettings) -> Iterator[Node]:
    if gateway.unknown_hosts != "deny":
        return
    yield block(
        "server",
        children=[
            *_listen(gateway, gateway.http_port, "default_server"),
            directive("server_name", "_"),
            directive("return", 444),
        ],
    )
    yield block(
        "server",
        children=[
            *_listen(gateway, gateway.port, "ssl", "http2", "default_server"),
            directive("server_name", "_"),
            directive("ssl_reject_handshake", "on"),
            *_tls_options(),
        ],
    )


def _tls_options() -> Iterator[Node]:
    """The same in every server of one port, since NGINX takes some of them from the default server."""
    yield directive("ssl_protocols", "TLSv1.2", "TLSv1.3")
    yield directive("ssl_ciphers", _CIPHERS)
    yield directive("ssl_prefer_server_ciphers", "off")
    yield directive("ssl_session_cache", "shared:phoenix:10m")
    yield directive("ssl_session_tickets", "off")


def _plain_server(site: Site, server_names: Iterable[str]) -> Iterator[Node]:
    """Plain http: ACME's HTTP challenges to Traefik, everything else to https."""
    gateway = site.settings
    options = ("default_server",) if gateway.unknown_hosts == "pass" else ()
    port = "" if gateway.port == 443 else f":{gateway.port}"
    yield from _listen(gateway, gateway.http_port, *options)
    yield directive("server_name", *server_names)
    yield block(
        "location",
        "^~",
        CHALLENGE_PATH,
        children=[
            directive("proxy_pass", "http://phoenix_web"),
            directive("proxy_http_version", "1.1"),
            *_headers(default_port=gateway.http_port == 80),
        ],
    )
    yield block(
        "location",
        "/",
        children=[directive("return", 308, Template(f"https://$host{port}$request_uri"))],
    )


def _tls_server(site: Site, index: int) -> Iterator[Node]:
    """TLS for the clients of one domain, Traefik behind."""
    gateway, domain = site.settings, site.domains[index]
    options = ("default_server",) if index == 0 and gateway.unknown_hosts == "pass" else ()
    yield from _listen(gateway, gateway.port, "ssl", "http2", *options)
    yield directive("server_name", *domain.server_names)
    yield directive("ssl_certificate", gateway.certificate_file)
    yield directive("ssl_certificate_key", gateway.key_file)
    yield from _tls_options()
    yield directive("client_max_body_size", gateway.max_body_size)
    # A cached answer to "is the file there?" would come too late.
    yield directive("open_file_cache", "off")
    # A reload cuts idle connections, even with the next request on its way: so clients are asked to leave them before.
    yield directive("set", Template("$phoenix_close"), "")
    yield Condition(
        gateway.closing_path, (directive("set", Template("$phoenix_close"), Template("$phoenix_http1_close")),)
    )
    yield directive("add_header", "Connection", Template("$phoenix_close"), "always")
    upstream = f"phoenix_websecure_{index}"
    if site.upstream.standby is not None:
        yield directive("set", Template("$phoenix_websecure"), upstream)
        switched = directive("set", Template("$phoenix_websecure"), f"{upstream}_standby")
        upstream = "$phoenix_websecure"
        yield Condition(gateway.switch_path, (switched,))
    yield block("location", "/", children=list(_proxy(gateway, domain, upstream)))


def _proxy(gateway: GatewaySettings, domain: Domain, upstream: str) -> Iterator[Node]:
    yield directive("proxy_pass", Template(f"https://{upstream}"))
    yield directive("proxy_http_version", "1.1")
    yield from _headers(default_port=gateway.port == 443)
    yield directive("proxy_set_header", "Upgrade", Template("$http_upgrade"))
    yield directive("proxy_set_header", "Connection", Template("$phoenix_connection"))
    # Only what happens before Traefik has a request is tried again, GET or POST alike, and what idempotent requests
    # lose on the way. Traefik's answers are final; a timeout is the backend's, and would be the standby's too.
    yield directive("proxy_next_upstream", "error")
    yield directive("proxy_next_upstream_timeout", "10s")
    yield directive("proxy_connect_timeout", "5s")
    yield directive("proxy_send_timeout", gateway.response_timeout)
    yield directive("proxy_read_timeout", gateway.response_timeout)
    yield directive("proxy_buffering", "off")
    yield directive("proxy_request_buffering", "off")
    yield directive("proxy_ssl_server_name", "on")
    yield directive("proxy_ssl_name", Template("$host"))
    yield directive("proxy_ssl_protocols", "TLSv1.2", "TLSv1.3")
    if domain.root_file:
        yield directive("proxy_ssl_verify", "on")
        yield directive("proxy_ssl_verify_depth", 4)
        yield directive("proxy_ssl_trusted_certificate", domain.root_file)


def _headers(*, default_port: bool) -> Iterator[Node]:
    host = "$host" if default_port else "$host:$server_port"
    yield directive("proxy_set_header", "Host", Template(host))
    yield directive("proxy_set_header", "X-Forwarded-Host", Template(host))
    for header, value in _FORWARDED:
        yield directive("proxy_set_header", header, Template(value))
    for header in _UNFORWARDED:
        yield directive("proxy_set_header", header, "")
