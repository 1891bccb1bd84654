"""The gateway's site: which names it serves, which instance it reaches, and that its text names itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from phoenix.configuration import read
from phoenix.errors import InputError
from phoenix.gateway import site
from phoenix.gateway.plan import first_hostname, plan
from phoenix.gateway.settings import GatewaySettings
from phoenix.gateway.site import Domain, Site, Upstream, domains, render, revision_of, routed
from phoenix.settings import deep_merge, parse

PROJECT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5xDhDUGZ1tzJzZ0XDoWvUbyvMVoxbBzZSBeVKvLfVK"
CONNECTION = {"transport": "ssh", "host": "gateway.example.test", "hostKey": KEY}

INTERNAL, EXTERNAL = "internal-resolver", "external-resolver"
DOMAINS: dict[str, tuple[dict[str, str | None], tuple[str | None, str | None], dict[str | None, list[str]]]] = {
    "nothing routed": ({}, (None, None), {}),
    "one domain stands for its names": (
        {"a.internal.x.test": INTERNAL, "b.internal.x.test": INTERNAL},
        (None, None),
        {None: ["*.internal.x.test"]},
    ),
    "a domain covers those below it": (
        {"a.internal.x.test": INTERNAL, "portainer.x.test": EXTERNAL},
        (None, None),
        {None: ["*.x.test"]},
    ),
    "unless they are verified otherwise": (
        {"a.internal.x.test": INTERNAL, "portainer.x.test": EXTERNAL},
        ("/i", "/e"),
        {"/e": ["*.x.test"], "/i": ["*.internal.x.test"]},
    ),
    "or not verified at all": (
        {"a.internal.x.test": INTERNAL, "portainer.x.test": EXTERNAL},
        ("/i", None),
        {None: ["*.x.test"], "/i": ["*.internal.x.test"]},
    ),
    "a name of the other authority stands by itself": (
        {"a.internal.x.test": INTERNAL, "b.internal.x.test": EXTERNAL, "c.internal.x.test": None},
        ("/i", "/e"),
        {"/e": ["b.internal.x.test", "c.internal.x.test"], "/i": ["*.internal.x.test"]},
    ),
    "a domain itself is not below itself": (
        {"x.test": EXTERNAL, "www.x.test": EXTERNAL},
        (None, None),
        {None: ["*.x.test", "x.test"]},
    ),
    "a third level inside the second": (
        {"a.b.c.x.test": EXTERNAL, "b.c.x.test": EXTERNAL, "c.internal.x.test": INTERNAL},
        (None, None),
        {None: ["*.c.x.test", "*.internal.x.test"]},
    ),
}


@pytest.mark.parametrize("case", DOMAINS)
def test_the_fewest_server_names_cover_all(case: str) -> None:
    hostnames, roots, expected = DOMAINS[case]
    found = domains(hostnames, "internal.x.test", *roots)
    assert {domain.root_file: list(domain.server_names) for domain in found} == expected
    for hostname, resolver in hostnames.items():
        assert served_by(hostname, found) == (roots[0] if resolver == INTERNAL else roots[1]), hostname


def served_by(hostname: str, found: tuple[Domain, ...]) -> str | None:
    """The root of the server NGINX takes: the whole name first, else the longest domain."""
    names = {name: domain.root_file for domain in found for name in domain.server_names}
    if hostname in names:
        return names[hostname]
    return names[max((name for name in names if name[0] == "*" and hostname.endswith(name[1:])), key=len)]


def test_a_new_route_below_a_known_domain_changes_nothing() -> None:
    before = {"a.internal.x.test": INTERNAL, "portainer.x.test": EXTERNAL}
    after = {**before, "b.internal.x.test": INTERNAL, "c.x.test": EXTERNAL}
    assert domains(before, "internal.x.test", "/i", "/e") == domains(after, "internal.x.test", "/i", "/e")


def test_routed_names_come_from_the_rules() -> None:
    dynamic = {
        "http": {
            "routers": {
                "a": {"rule": "Host(`a.x.test`) || Host(`b.x.test`)", "tls": {"certResolver": EXTERNAL}},
                "b": {"rule": "Host(`c.x.test`)"},
            }
        }
    }
    assert routed(dynamic) == {"a.x.test": EXTERNAL, "b.x.test": EXTERNAL, "c.x.test": None}
    assert routed({"http": {}}) == routed({}) == {}


def rendered(stack: str = "local", **sections: Any) -> str:
    values = deep_merge({"gateway": {"connection": CONNECTION}}, sections)
    settings = parse(values, "stacks/Pulumi.test.yaml")
    inventory, configuration = read(PROJECT / "stacks/inventory" / stack, settings)
    return render(plan(inventory, settings, configuration))


CASES: dict[str, dict[str, Any]] = {
    "standby": {},
    "always": {"traefik": {"standbyRuns": "always"}},
    "sockets": {"traefik": {"continuity": "sockets"}},
    "verified": {
        "gateway": {
            "rootFile": "/etc/ssl/internal.crt",
            "externalRootFile": "/etc/ssl/certs/ca-certificates.crt",
            "listen": ["192.0.2.153", "2001:db8::153"],
            "port": 8443,
            "httpPort": 8080,
            "unknownHosts": "pass",
            "maxBodySize": "2g",
            "responseTimeout": "90s",
        }
    },
}


@pytest.mark.parametrize("case", CASES)
def test_the_site_is_as_its_golden_copy(case: str) -> None:
    """After a wanted change write the copies anew: ``PHOENIX_WRITE_GOLDEN=1 bin/test tests/gateway``."""
    text = rendered(**CASES[case])
    golden = GOLDEN / f"{case}.conf"
    if os.environ.get("PHOENIX_WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_the_revision_names_the_content() -> None:
    one, other = rendered(), rendered(gateway={"maxBodySize": "1g"})
    assert rendered() == one
    assert revision_of(one) != revision_of(other)
    with pytest.raises(ValueError, match="it names no revision"):
        revision_of("server {}")


def test_answers_of_traefik_are_never_tried_again() -> None:
    """A 404, 502 or 503 may be a backend's: repeated on a standby that does not run, each would become a 502."""
    for case in CASES.values():
        text = rendered(**case)
        assert text.count("proxy_next_upstream error;") == text.count("proxy_pass https://")
        assert "http_4" not in text
        assert "http_5" not in text


def test_only_where_the_standby_always_runs_is_traefik_ever_set_aside() -> None:
    assert "max_fails=1" not in rendered()
    assert rendered(**CASES["always"]).count("max_fails=1 fail_timeout=5s") == 1


def test_nothing_routed_still_tells_the_revision() -> None:
    text = render(Site(GatewaySettings(), Upstream("192.0.2.12", 80, 443)))
    assert site.PROBE_HOST in text
    assert "proxy_pass" not in text


def test_the_first_hostname_is_asked_for() -> None:
    settings = parse({"gateway": {"connection": CONNECTION}}, "x")
    _, configuration = read(PROJECT / "stacks/inventory/local", settings)
    assert first_hostname(configuration) in routed(configuration.dynamic)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one port twice": ({"gateway": {"httpPort": 443}}, "httpPort and port are both 443"),
    "a standby without the gateway": (
        {"gateway": {"connection": None}, "traefik": {"continuity": "standby"}},
        "a standby needs the gateway",
    ),
    "a standby on Traefik's port": (
        {"traefik": {"standbyWebsecureAddress": ":443"}},
        "standbyWebsecureAddress is ':443', where websecureAddress listens too",
    ),
    "a standby behind a socket": (
        {"traefik": {"continuity": "both", "standbyRuns": "always"}},
        "never reach the standby",
    ),
    "a path with a line break": ({"gateway": {"certificateFile": "/etc/a\nb"}}, "certificateFile"),
    "a path with a variable": ({"gateway": {"keyFile": "/etc/$host"}}, "keyFile"),
    "a size NGINX does not know": ({"gateway": {"maxBodySize": "1t"}}, "maxBodySize"),
    "a time without unit": ({"gateway": {"responseTimeout": "60"}}, "responseTimeout"),
    "a site outside the directory": ({"gateway": {"replaces": ["../nginx.conf"]}}, "replaces"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_setting_is_one_sentence(case: str) -> None:
    sections, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        rendered(**sections)
    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    assert words in caught.value.mistakes[0]
    assert caught.value.mistakes[0].startswith("stacks/Pulumi.test.yaml: phoenix")


def test_a_name_for_traefik_is_no_address_for_a_standby() -> None:
    settings = parse(
        {
            "gateway": {"connection": CONNECTION},
            "traefik": {"connection": {**CONNECTION, "host": "traefik.example.test"}},
        },
        "x",
    )
    inventory, configuration = read(PROJECT / "stacks/inventory/local", settings)
    without = inventory.model_copy(update={"lxcs": ()})
    with pytest.raises(InputError, match=r"by the name 'traefik\.example\.test', but a standby needs an IP address"):
        plan(without, settings, configuration)
