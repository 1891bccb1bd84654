"""Which guest is routed, under which host names, to which backend, over which certificate resolver."""

from __future__ import annotations

from typing import Any

import pytest
from installations import HYPERVISOR, inventory_of, lxc, primary, routed, texts, vm

from phoenix.routes import ServersTransport

ROOT = "/etc/step-ca/ssl/phoenix_root_ca.crt"
Expected = dict[str, tuple[tuple[str, ...], tuple[str, ...], str]]


def _seen(files: Any, settings: dict[str, Any] | None = None) -> Expected:
    return {
        name: (
            route.hostnames,
            tuple(resolver.removesuffix("-resolver") for resolver in route.resolvers),
            route.backend,
        )
        for name, route in routed(files, settings).items()
    }


SERVER = (("portainer.example.test",), ("external",), "https://10.0.0.101:9443")
RULES: dict[str, tuple[dict[str, Any], dict[str, Any], Expected]] = {
    "nothing at all": ({}, {}, {}),
    "the Portainer server": ({"vms": [primary()]}, {}, {"portainer-router": SERVER}),
    "the Portainer server's port from the network section": (
        {"vms": [primary()], "hypervisor": {**HYPERVISOR, "network": {"portainer_server_port": 9444}}},
        {},
        {"portainer-router": (SERVER[0], SERVER[1], "https://10.0.0.101:9444")},
    ),
    "the port as text": (
        {"vms": [primary()], "hypervisor": {**HYPERVISOR, "network": {"portainer_server_port": "9444"}}},
        {},
        {"portainer-router": (SERVER[0], SERVER[1], "https://10.0.0.101:9444")},
    ),
    "agents and roleless VMs are not routed": (
        {"vms": [vm(portainer_role="agent"), vm(1003, "other", ports=["80:80"])]},
        {},
        {},
    ),
    "a template is no guest, even with the server's role": (
        {"vms": [{**primary(), "is_template": True}, vm(traefik_service={"name": "x", "port": 1}, is_template=True)]},
        {},
        {},
    ),
    "an LXC with ports": (
        {"lxcs": {"801": lxc(ports=["8001:8000"])}},
        {},
        {"app-router": (("app.internal.example.test",), ("internal",), "http://10.0.0.5:8000")},
    ),
    "an upper-case name keeps its case in the router's name only": (
        {"lxcs": {"801": lxc("Search-UI", ports=["80"])}},
        {},
        {"Search-UI-router": (("search-ui.internal.example.test",), ("internal",), "http://10.0.0.5:80")},
    ),
    "a name with dots": (
        {"lxcs": {"801": lxc("granite-3.3-8b", ports=["80"])}},
        {},
        {"granite-3.3-8b-router": (("granite-3.3-8b.internal.example.test",), ("internal",), "http://10.0.0.5:80")},
    ),
    "the longest label": (
        {"lxcs": {"801": lxc("a" * 63, ports=["80"])}},
        {},
        {f"{'a' * 63}-router": ((f"{'a' * 63}.internal.example.test",), ("internal",), "http://10.0.0.5:80")},
    ),
    "an IPv6 guest": (
        {"lxcs": {"801": lxc(ip="FD00::0005/64", ports=["80"])}},
        {},
        {"app-router": (("app.internal.example.test",), ("internal",), "http://[fd00::5]:80")},
    ),
    "an address without a prefix length": (
        {"lxcs": {"801": lxc(ip="10.0.0.5", ports=["80"])}},
        {},
        {"app-router": (("app.internal.example.test",), ("internal",), "http://10.0.0.5:80")},
    ),
    "traefik_service on an LXC goes before its ports": (
        {"lxcs": {"801": lxc("Search-UI", ports=["80"], traefik_service={"name": "search", "port": 8090})}},
        {},
        {"search-router": (("search.internal.example.test",), ("internal",), "http://10.0.0.5:8090")},
    ),
    "traefik_service frees a guest from having a routable name": (
        {"lxcs": {"801": lxc("Search UI (old)", traefik_service={"name": "search", "port": "8090"})}},
        {},
        {"search-router": (("search.internal.example.test",), ("internal",), "http://10.0.0.5:8090")},
    ),
    "traefik_service on a VM is https": (
        {"vms": [vm(traefik_service={"name": "apps", "port": 8443})]},
        {},
        {"apps-router": (("apps.internal.example.test",), ("internal",), "https://10.0.0.102:8443")},
    ),
    "scheme decides otherwise": (
        {
            "lxcs": {"801": lxc(traefik_service={"name": "one", "port": 1, "scheme": "https"})},
            "vms": [vm(traefik_service={"name": "two", "port": 2, "scheme": "http"})],
        },
        {},
        {
            "one-router": (("one.internal.example.test",), ("internal",), "https://10.0.0.5:1"),
            "two-router": (("two.internal.example.test",), ("internal",), "http://10.0.0.102:2"),
        },
    ),
    "traefik_service on the Portainer VM gives the port and a second host name": (
        {"vms": [primary(traefik_service={"name": "dash", "port": 9000})]},
        {},
        {
            "portainer-router": (
                ("portainer.example.test", "dash.internal.example.test"),
                ("external", "internal"),
                "https://10.0.0.101:9000",
            )
        },
    ),
    "the second host name with the same resolver": (
        {
            "vms": [primary(traefik_service={"name": "dash", "port": 9000})],
            "hypervisor": {
                "domain_name": "example.test",
                "portainer_api": {"portainer_hostname": "p.internal.example.test"},
            },
        },
        {},
        {
            "portainer-router": (
                ("p.internal.example.test", "dash.internal.example.test"),
                ("internal", "internal"),
                "https://10.0.0.101:9000",
            )
        },
    ),
    "no second host name where it does not differ": (
        {
            "vms": [primary(traefik_service={"name": "Portainer", "port": 9000})],
            "hypervisor": {
                "domain_name": "example.test",
                "portainer_api": {"portainer_hostname": "PORTAINER.internal.example.test."},
            },
        },
        {},
        {
            "portainer-router": (
                ("portainer.internal.example.test",),
                ("internal",),
                "https://10.0.0.101:9000",
            )
        },
    ),
    "the Portainer VM over http where its service says so": (
        {"vms": [primary(traefik_service={"name": "portainer", "port": 9000, "scheme": "http"})]},
        {"internalDomain": "example.test"},
        {"portainer-router": (("portainer.example.test",), ("internal",), "http://10.0.0.101:9000")},
    ),
    "a server without a public name is reached by its service's": (
        {
            "vms": [primary(traefik_service={"name": "dash", "port": 9000})],
            "hypervisor": {"domain_name": "example.test"},
        },
        {},
        {"portainer-router": (("dash.internal.example.test",), ("internal",), "https://10.0.0.101:9000")},
    ),
    "no primary: no Portainer route": ({"vms": [vm(portainer_role="none")]}, {}, {}),
    "null is absent": (
        {
            "lxcs": {"801": lxc(ports=["80"], traefik_service=None, portainer_role=None)},
            "vms": [{**primary(), "traefik_service": None, "docker_stacks": None, "is_template": None}],
            "hypervisor": {
                "domain_name": "example.test",
                "network": {"portainer_server_port": None},
                "docker": None,
                "portainer_api": {"portainer_hostname": "portainer.example.test", "admin_user": None},
            },
        },
        {},
        {
            "app-router": (("app.internal.example.test",), ("internal",), "http://10.0.0.5:80"),
            "portainer-router": SERVER,
        },
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_the_rules(case: str) -> None:
    parts, settings, expected = RULES[case]
    assert _seen(texts(**parts), settings) == expected


DOMAINS: list[tuple[str, str | None, str]] = [
    ("example.test", None, "app.internal.example.test"),
    ("EXAMPLE.Test.", None, "app.internal.example.test"),
    ("internal.example.test", None, "app.internal.example.test"),
    ("internal", None, "app.internal.internal"),
    ("internals.example.test", None, "app.internal.internals.example.test"),
    ("example.test", "lan.example.test", "app.lan.example.test"),
    ("internal.example.test", "Lan.Example.Test.", "app.lan.example.test"),
    ("example.test", "internal.internal.example.test", "app.internal.internal.example.test"),
    ("example.test", "lan", "app.lan"),
    ("example.test", "", "app.internal.example.test"),
]


@pytest.mark.parametrize(("domain", "configured", "hostname"), DOMAINS)
def test_the_internal_domain(domain: str, configured: str | None, hostname: str) -> None:
    files = texts({"801": lxc(ports=["80"])}, hypervisor={"domain_name": domain})
    settings = {} if configured is None else {"internalDomain": configured}
    assert routed(files, settings)["app-router"].hostnames == (hostname,)


RESOLVERS: list[tuple[str, str, str]] = [
    ("portainer.example.test", "internal.example.test", "external"),
    ("portainer.internal.example.test", "internal.example.test", "internal"),
    ("internal.example.test", "internal.example.test", "internal"),
    ("notinternal.example.test", "internal.example.test", "external"),
    ("a.b.internal.example.test", "internal.example.test", "internal"),
    ("internal.example.test.evil.test", "internal.example.test", "external"),
]


@pytest.mark.parametrize(("hostname", "domain", "resolver"), RESOLVERS)
def test_the_resolver_follows_from_the_internal_domain(hostname: str, domain: str, resolver: str) -> None:
    files = texts(vms=[primary()], hypervisor={**HYPERVISOR, "portainer_api": {"portainer_hostname": hostname}})
    assert routed(files, {"internalDomain": domain})["portainer-router"].resolvers == (f"{resolver}-resolver",)


OVERRIDES: dict[str, tuple[dict[str, Any], Expected]] = {
    "certResolver": (
        {"app-router": {"certResolver": "external-resolver"}},
        {"app-router": (("app.internal.example.test",), ("external",), "http://10.0.0.5:80")},
    ),
    "hostname, whose resolver follows": (
        {"app-router": {"hostname": "App.example.test"}},
        {"app-router": (("app.example.test",), ("external",), "http://10.0.0.5:80")},
    ),
    "hostname and certResolver": (
        {"app-router": {"hostname": "app.example.test", "certResolver": "internal-resolver"}},
        {"app-router": (("app.example.test",), ("internal",), "http://10.0.0.5:80")},
    ),
    "domain": (
        {"app-router": {"domain": "lan.test"}},
        {"app-router": (("app.lan.test",), ("external",), "http://10.0.0.5:80")},
    ),
    "scheme and port": (
        {"app-router": {"scheme": "https", "port": 8443}},
        {"app-router": (("app.internal.example.test",), ("internal",), "https://10.0.0.5:8443")},
    ),
    "the first of Portainer's two names": (
        {"portainer-router": {"hostname": "docker.example.test"}},
        {
            "portainer-router": (
                ("docker.example.test", "dash.internal.example.test"),
                ("external", "internal"),
                "https://10.0.0.101:9000",
            )
        },
    ),
    "the domain of Portainer's second name": (
        {"portainer-router": {"domain": "lan.test"}},
        {
            "portainer-router": (
                ("portainer.example.test", "dash.lan.test"),
                ("external", "external"),
                "https://10.0.0.101:9000",
            )
        },
    ),
    "one resolver for both of Portainer's names": (
        {"portainer-router": {"certResolver": "internal-resolver"}},
        {
            "portainer-router": (
                ("portainer.example.test", "dash.internal.example.test"),
                ("internal", "internal"),
                "https://10.0.0.101:9000",
            )
        },
    ),
    "both names the same": (
        {"portainer-router": {"hostname": "dash.internal.example.test"}},
        {"portainer-router": (("dash.internal.example.test",), ("internal",), "https://10.0.0.101:9000")},
    ),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_stack_overrides_a_route(case: str) -> None:
    overrides, expected = OVERRIDES[case]
    files = texts({"801": lxc(ports=["80"])}, [primary(traefik_service={"name": "dash", "port": 9000})])
    seen = _seen(files, {"routes": overrides})
    assert {name: seen[name] for name in expected} == expected
    assert set(seen) == {"app-router", "portainer-router"}


def test_a_host_name_of_the_stack_mends_a_name_that_gives_none() -> None:
    files = texts({"801": lxc("my_app", ports=["80"])})
    settings = {"routes": {"my_app-router": {"hostname": "my-app.example.test"}}}
    assert _seen(files, settings) == {
        "my_app-router": (("my-app.example.test",), ("external",), "http://10.0.0.5:80"),
    }


def test_entry_points_and_middlewares_are_taken_over_in_order() -> None:
    files = texts({"801": lxc(ports=["80"])})
    settings = {
        "middlewares": {"b": {"compress": {}}, "a": {"compress": {}}},
        "routes": {"app-router": {"entryPoints": ["websecure", "web"], "middlewares": ["b", "a"]}},
    }
    route = routed(files, settings)["app-router"]
    assert (route.entry_points, route.middlewares) == (("websecure", "web"), ("b", "a"))


TRANSPORTS: dict[str, tuple[dict[str, Any], ServersTransport]] = {
    "verified against the internal CA by default": (
        {},
        ServersTransport("portainer-transport", "portainer.example.test", ROOT),
    ),
    "the stack's CA": (
        {"certificateAuthority": {"rootFile": "/ca.pem"}},
        ServersTransport("portainer-transport", "portainer.example.test", "/ca.pem"),
    ),
    "Portainer's own CA and name": (
        {"portainer": {"rootFile": "/own.pem", "serverName": "P.local"}},
        ServersTransport("portainer-transport", "p.local", "/own.pem"),
    ),
    "an address as the name in the certificate": (
        {"portainer": {"serverName": "10.0.0.101"}},
        ServersTransport("portainer-transport", "10.0.0.101", ROOT),
    ),
    "the route goes before Portainer's own": (
        {
            "portainer": {"rootFile": "/own.pem", "serverName": "p.local", "insecureSkipVerify": True},
            "routes": {
                "portainer-router": {"serverName": "q.local", "rootFile": "/q.pem", "insecureSkipVerify": False}
            },
        },
        ServersTransport("portainer-transport", "q.local", "/q.pem"),
    ),
    "unverified only where the stack asks": (
        {"portainer": {"insecureSkipVerify": True}},
        ServersTransport("portainer-transport", "portainer.example.test", ROOT, insecure_skip_verify=True),
    ),
    "unverified for the one route": (
        {"routes": {"portainer-router": {"insecureSkipVerify": True}}},
        ServersTransport("portainer-transport", "portainer.example.test", ROOT, insecure_skip_verify=True),
    ),
}


@pytest.mark.parametrize("case", TRANSPORTS)
def test_how_portainers_certificate_is_verified(case: str) -> None:
    settings, expected = TRANSPORTS[case]
    assert routed(texts(vms=[primary()]), settings)["portainer-router"].transport == expected


def test_a_vm_of_another_service_is_verified_by_its_own_name_not_by_portainers() -> None:
    files = texts(vms=[vm(traefik_service={"name": "portainer", "port": 8443})])
    settings = {"portainer": {"serverName": "p.local", "rootFile": "/own.pem", "insecureSkipVerify": True}}
    route = routed(files, settings)["portainer-router"]
    assert route.transport == ServersTransport("portainer-transport", "portainer.internal.example.test", ROOT)


def test_an_http_backend_has_no_transport() -> None:
    assert routed(texts({"801": lxc(ports=["80"])}))["app-router"].transport is None


@pytest.mark.parametrize(("stack", "domain"), [("local", "phoenix.test"), ("production", "example.com")])
def test_the_example_inventories(stack: str, domain: str) -> None:
    assert {name: route.hostnames for name, route in routed(inventory_of(stack)).items()} == {
        "embedding-router": (f"embedding.internal.{domain}",),
        "granite-3.3-8b-router": (f"granite-3.3-8b.internal.{domain}",),
        "llamacpp-router": (f"llamacpp.internal.{domain}",),
        "ollama-router": (f"ollama.internal.{domain}",),
        "portainer-router": (f"portainer.{domain}",),
        "search-router": (f"search.internal.{domain}",),
    }
