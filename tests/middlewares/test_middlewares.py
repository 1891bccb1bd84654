"""Middlewares: from the stack's configuration to Traefik's, and every mistake in one sentence without a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phoenix import configuration
from phoenix.configuration import Configuration
from phoenix.errors import InputError
from phoenix.remote import Connection, open_transport
from phoenix.settings import parse
from phoenix.traefik import document
from phoenix.traefik.middleware_models import KINDS, Middleware
from phoenix.traefik.middlewares import definition, logins_in, protects, without_secrets
from phoenix.traefik.prove import prove

INVENTORY = Path(__file__).resolve().parents[2] / "stacks" / "inventory" / "local"
ROUTER = "portainer-router"
HASH = "$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"
LINE = f"admin:{HASH}"
BCRYPT = "$2y$05$" + "a" * 53

EVERY_KIND: dict[str, dict[str, Any]] = {
    "secure": {"securityHeaders": {}},
    "strict": {
        "securityHeaders": {
            "stsIncludeSubdomains": True,
            "stsPreload": True,
            "contentSecurityPolicy": "default-src 'self'",
            "permissionsPolicy": "camera=()",
            "customFrameOptionsValue": "DENY",
            "customResponseHeaders": {"Server": ""},
        }
    },
    "own": {"headers": {"customRequestHeaders": {"X-Forwarded-Prefix": "/x"}, "customResponseHeaders": {"Server": ""}}},
    "limit": {"rateLimit": {"average": 100}},
    "burst": {"rateLimit": {"average": 10, "burst": 50, "period": "1m", "ipStrategy": {"depth": 2}}},
    "few": {"inFlightReq": {"amount": 10}},
    "office": {"ipAllowList": {"sourceRange": ["10.0.0.0/24", "192.0.2.7"], "rejectStatusCode": 404}},
    "proxied": {"ipAllowList": {"sourceRange": ["10.0.0.0/24"], "ipStrategy": {"excludedIPs": ["10.0.0.153"]}}},
    "login": {"basicAuth": {"users": [LINE, f"guest:{BCRYPT}"], "realm": "Phoenix"}},
    "small": {"compress": {}},
    "smaller": {"compress": {"excludedContentTypes": ["text/event-stream"], "minResponseBodyBytes": 0}},
    "moved": {"redirectRegex": {"regex": "^https://old/(.*)", "replacement": "https://new/${1}", "permanent": True}},
    "stripped": {"stripPrefix": {"prefixes": ["/api", "/v1"]}},
    "prefixed": {"addPrefix": {"prefix": "/app"}},
    "rewritten": {"replacePathRegex": {"regex": "^/a/(.*)", "replacement": "/b/$1"}},
    "bounded": {"buffering": {"maxRequestBodyBytes": 1048576}},
    "again": {"retry": {"attempts": 3, "initialInterval": "100ms"}},
    "all": {"chain": {"middlewares": ["office", "secure"]}},
}


def configured(**values: Any) -> Configuration:
    return configuration.read(INVENTORY, parse(values, "stacks/Pulumi.test.yaml"))[1]


def mistakes(**values: Any) -> str:
    with pytest.raises(InputError) as wrong:
        configured(**values)
    return str(wrong.value)


def rendered(kind: dict[str, Any], *, behind_gateway: bool = False) -> dict[str, Any]:
    return definition(Middleware.model_validate(kind), behind_gateway=behind_gateway)


def test_every_kind_is_in_the_table() -> None:
    assert {next(iter(kind)) for kind in EVERY_KIND.values()} == set(KINDS)


@pytest.mark.parametrize("behind_gateway", [False, True])
def test_traefik_takes_every_kind(behind_gateway: bool, traefik_program: str) -> None:
    names = sorted(EVERY_KIND)
    static = {
        "entryPoints": {"websecure": {"address": ":443"}, "traefik": {"address": "127.0.0.1:8080"}},
        "providers": {"file": {"filename": "/nowhere/dynamic_conf.yml", "watch": True}},
    }
    dynamic = {
        "http": {
            "middlewares": {name: rendered(kind, behind_gateway=behind_gateway) for name, kind in EVERY_KIND.items()},
            "routers": {
                "a-router": {
                    "entryPoints": ["websecure"],
                    "middlewares": names,
                    "rule": "Host(`a.test`)",
                    "service": "a-service",
                    "tls": {},
                }
            },
            "services": {"a-service": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}}},
        }
    }
    assert prove(open_transport(Connection(transport="local")), traefik_program, static, dynamic) == []


def test_defaults_that_suit() -> None:
    assert rendered({"securityHeaders": {}}) == {
        "headers": {
            "contentTypeNosniff": True,
            "customFrameOptionsValue": "SAMEORIGIN",
            "referrerPolicy": "strict-origin-when-cross-origin",
            "stsSeconds": 31536000,
        }
    }
    off = {"stsSeconds": 0, "stsPreload": True, "contentTypeNosniff": False, "customFrameOptionsValue": ""}
    assert rendered({"securityHeaders": {**off, "referrerPolicy": ""}}) == {"headers": {}}
    assert rendered({"rateLimit": {"average": 7}})["rateLimit"] == {"average": 7, "burst": 7, "period": "1s"}
    assert rendered({"basicAuth": {"users": [LINE]}})["basicAuth"] == {"removeHeader": True, "users": [LINE]}
    assert rendered({"basicAuth": {"usersFile": "/etc/traefik/users", "removeHeader": False}})["basicAuth"] == {
        "removeHeader": False,
        "usersFile": "/etc/traefik/users",
    }
    assert rendered({"compress": {"minResponseBodyBytes": 0}}) == {"compress": {"minResponseBodyBytes": 0}}


def test_behind_the_gateway_the_forwarded_address_counts() -> None:
    """The gateway's own address is every client's there: a list would admit all or none, a limit hit all at once."""
    office = {"ipAllowList": {"sourceRange": ["10.0.0.0/24"]}}
    assert rendered(office)["ipAllowList"] == {"sourceRange": ["10.0.0.0/24"]}
    assert rendered(office, behind_gateway=True)["ipAllowList"]["ipStrategy"] == {"depth": 1}
    limit = rendered({"rateLimit": {"average": 1}}, behind_gateway=True)["rateLimit"]
    assert limit["sourceCriterion"] == {"ipStrategy": {"depth": 1}}
    flight = rendered({"inFlightReq": {"amount": 1}}, behind_gateway=True)["inFlightReq"]
    assert flight["sourceCriterion"] == {"ipStrategy": {"depth": 1}}
    direct = {"ipAllowList": {"sourceRange": ["10.0.0.0/24"], "ipStrategy": {"depth": 0}}}
    assert "ipStrategy" not in rendered(direct, behind_gateway=True)["ipAllowList"]
    proxied = rendered(EVERY_KIND["proxied"], behind_gateway=True)["ipAllowList"]
    assert proxied["ipStrategy"] == {"excludedIPs": ["10.0.0.153"]}


def test_routes_name_them_in_order() -> None:
    names = ["office", "login", "secure"]
    result = configured(middlewares=EVERY_KIND, routes={ROUTER: {"middlewares": names}})
    http = document.load(result.dynamic_text)["http"]
    assert http["routers"][ROUTER]["middlewares"] == names
    assert set(EVERY_KIND) < set(http["middlewares"])
    assert result.dynamic_revision != configured(middlewares=EVERY_KIND).dynamic_revision


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("no kind", {}, "must have exactly one of"),
    ("two kinds", {"compress": {}, "retry": {"attempts": 2}}, "must have exactly one of"),
    ("an unknown kind", {"forwardeAuth": {}}, "forwardeAuth is no setting"),
    ("an unknown key", {"compress": {"minBytes": 1}}, "minBytes is no setting"),
    ("a limit of nothing", {"rateLimit": {"average": 0}}, "greater than or equal to 1"),
    ("a period of nothing", {"rateLimit": {"average": 1, "period": "0s"}}, "longer than nothing"),
    ("a period in words", {"rateLimit": {"average": 1, "period": "often"}}, "must be a duration"),
    ("no network", {"ipAllowList": {"sourceRange": []}}, "at least one entry"),
    ("a wrong network", {"ipAllowList": {"sourceRange": ["10.0.0.0/33"]}}, "must be an IP address or a network"),
    (
        "depth and proxies",
        {"ipAllowList": {"sourceRange": ["::1"], "ipStrategy": {"depth": 1, "excludedIPs": ["::1"]}}},
        "depth or excludedIPs, not both",
    ),
    ("nobody", {"basicAuth": {}}, "must have users or usersFile"),
    ("a relative file", {"basicAuth": {"usersFile": "users"}}, "absolute path"),
    ("a path without slash", {"stripPrefix": {"prefixes": ["api"]}}, "must begin with a slash"),
    ("a broken expression", {"redirectRegex": {"regex": "(", "replacement": "x"}}, "must be a regular expression"),
    ("a template", {"redirectRegex": {"regex": "a", "replacement": "{{ x }}"}}, "must not hold '{{'"),
    ("a header that is none", {"headers": {"customResponseHeaders": {"X Y": "1"}}}, "name of an HTTP header"),
    ("headers without any", {"headers": {}}, "must have customRequestHeaders or customResponseHeaders"),
    ("a line break in a header", {"headers": {"customResponseHeaders": {"X": "a\nb"}}}, "control characters"),
    ("framing by whom it likes", {"securityHeaders": {"customFrameOptionsValue": "ALLOW"}}, "customFrameOptionsValue"),
    ("too many attempts", {"retry": {"attempts": 1000}}, "attempts"),
]


@pytest.mark.parametrize(("kind", "says"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_definition(kind: dict[str, Any], says: str) -> None:
    said = mistakes(middlewares={"bad": kind})
    assert says in said
    assert "stacks/Pulumi.test.yaml: phoenix: middlewares.bad" in said


@pytest.mark.parametrize(
    "users",
    [
        ["admin:Tr0ub4dor-and-3"],
        ["Tr0ub4dor-and-3"],
        [LINE, f"admin:{BCRYPT}", "Tr0ub4dor-and-3"],
        ["admin:$6$saltsalt$Tr0ub4dor-and-3"],
        [LINE + "\nTr0ub4dor-and-3"],
        "Tr0ub4dor-and-3",
        {"admin": "Tr0ub4dor-and-3"},
    ],
)
def test_no_message_repeats_a_password(users: Any) -> None:
    said = mistakes(middlewares={"login": {"basicAuth": {"users": users}}})
    assert "Tr0ub4dor" not in said
    assert HASH not in said
    assert "middlewares.login.basicAuth" in said


def test_users_are_named_once() -> None:
    said = mistakes(middlewares={"login": {"basicAuth": {"users": [LINE, f"admin:{BCRYPT}"]}}})
    assert "must name each user once (admin stands there twice)" in said
    assert HASH not in said
    assert "aaaa" not in said


def test_unknown_names_are_told_once() -> None:
    said = mistakes(
        middlewares={"secure": {"securityHeaders": {}}, "all": {"chain": {"middlewares": ["secure", "offise"]}}},
        routes={ROUTER: {"middlewares": ["sekure"]}},
    )
    assert said.splitlines() == [
        f"stacks/Pulumi.test.yaml: phoenix:routes.{ROUTER}.middlewares names 'sekure', which phoenix:middlewares does "
        "not define (it defines: all, secure): define it there, or correct the name.",
        "stacks/Pulumi.test.yaml: phoenix:middlewares.all.chain.middlewares names 'offise', which phoenix:middlewares "
        "does not define (it defines: all, secure): define it there, or correct the name.",
    ]


def test_a_chain_must_end() -> None:
    said = mistakes(
        middlewares={
            "a": {"chain": {"middlewares": ["b"]}},
            "b": {"chain": {"middlewares": ["c"]}},
            "c": {"chain": {"middlewares": ["a"]}},
        }
    )
    assert said.count("the chain leads back to itself") == 3
    assert "mark revisions" in mistakes(middlewares={"phoenix-revision-1": {"compress": {}}})


OFFICE = {"ipAllowList": {"sourceRange": ["10.0.0.0/24"]}}
HOSTNAME = "traefik.internal.phoenix.test"


def test_the_dashboard_behind_a_login() -> None:
    result = configured(
        middlewares={"login": {"basicAuth": {"users": [LINE]}}},
        dashboard={"hostname": HOSTNAME, "middlewares": ["login"]},
    )
    assert result.dynamic["http"]["routers"]["phoenix-dashboard"] == {
        "entryPoints": ["websecure"],
        "middlewares": ["login"],
        "rule": f"Host(`{HOSTNAME}`)",
        "service": "api@internal",
        "tls": {"certResolver": "internal-resolver"},
    }
    assert configured(dashboard={}).dynamic == configured().dynamic


@pytest.mark.parametrize(
    ("middlewares", "named", "says"),
    [
        ({}, [], "neither a basicAuth nor an ipAllowList"),
        ({"secure": {"securityHeaders": {}}}, ["secure"], "neither a basicAuth nor an ipAllowList"),
        ({"all": {"ipAllowList": {"sourceRange": ["10.0.0.0/8", "0.0.0.0/0"]}}}, ["all"], "neither a basicAuth"),
        ({"all": {"ipAllowList": {"sourceRange": ["::/0"]}}}, ["all"], "neither a basicAuth"),
        ({"office": OFFICE}, ["offise"], "names 'offise'"),
    ],
)
def test_an_open_dashboard_is_refused(middlewares: Any, named: list[str], says: str) -> None:
    assert says in mistakes(middlewares=middlewares, dashboard={"hostname": HOSTNAME, "middlewares": named})


def test_a_dashboard_of_a_guests_name_is_refused() -> None:
    said = mistakes(
        middlewares={"office": OFFICE}, dashboard={"hostname": "portainer.phoenix.test", "middlewares": ["office"]}
    )
    assert "phoenix:dashboard.hostname is 'portainer.phoenix.test'" in said


def test_protection_counts_through_chains() -> None:
    parsed = {name: Middleware.model_validate(kind) for name, kind in EVERY_KIND.items()}
    assert protects("all", parsed)
    assert protects("login", parsed)
    assert not protects("secure", parsed)
    assert not protects("nowhere", parsed)


@pytest.mark.parametrize("address", [":8080", "0.0.0.0:8080", "10.0.0.12:8080", "[::]:8080"])
def test_an_api_for_everybody_is_refused(address: str) -> None:
    assert "must be on a loopback address" in mistakes(traefik={"apiAddress": address})


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "127.10.0.12:8082", "[::1]:8080"])
def test_an_api_on_loopback(address: str) -> None:
    assert configured(traefik={"apiAddress": address}).static["entryPoints"]["traefik"]["address"] == address


def test_secrets_are_known_and_masked() -> None:
    result = configured(middlewares={"login": {"basicAuth": {"users": [LINE]}}})
    assert HASH in result.dynamic_text
    assert set(result.secrets) == {LINE, HASH}
    shown = document.dump({"http": without_secrets(result.dynamic["http"])})
    assert HASH not in shown
    assert "admin:[secret]" in shown
    assert result.dynamic["http"]["middlewares"]["login"]["basicAuth"]["users"] == [LINE]
    assert logins_in(result.dynamic) == [LINE, HASH]
    assert logins_in({"http": {"middlewares": {"a": {"basicAuth": {"users": "x"}}, "b": 1}}}) == []
    assert logins_in(None) == []


def test_a_user_that_cannot_be_decrypted_here_lets_nobody_in() -> None:
    """`bin/phoenix render` reads a stack's file without its secrets."""
    result = configured(middlewares={"login": {"basicAuth": {"users": [None]}}})
    (line,) = result.dynamic["http"]["middlewares"]["login"]["basicAuth"]["users"]
    assert line.startswith("withheld:{SHA}AAAA")
