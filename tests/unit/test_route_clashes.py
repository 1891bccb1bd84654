"""Two routes of one name, and overrides that lead nowhere: refused, since Traefik would say nothing."""

from __future__ import annotations

from typing import Any

import pytest
from installations import SOURCE, lxc, mistakes, primary, routed, texts, vm

CLASHES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "two guests of one name": (
        {"lxcs": {"801": lxc(ports=["80"]), "802": lxc(ports=["80"])}},
        {},
        ["phoenix_lxc_configs.json: LXC 802 (app) gets the router app-router, as LXC 801 (app) does"],
    ),
    "three guests of one name": (
        {"lxcs": {"801": lxc(ports=["80"]), "802": lxc(ports=["80"]), "803": lxc(ports=["80"])}},
        {},
        [
            "phoenix_lxc_configs.json: LXC 802 (app) gets the router app-router, as LXC 801 (app) does",
            "phoenix_lxc_configs.json: LXC 803 (app) gets the router app-router, as LXC 801 (app) does",
        ],
    ),
    "names that differ in case only": (
        {"lxcs": {"801": lxc("APP", ports=["80"]), "802": lxc(ports=["80"])}},
        {},
        ["phoenix_lxc_configs.json: LXC 802 (app) gets the host name app.internal.example.test, as LXC 801 (APP) does"],
    ),
    "an LXC and a VM": (
        {
            "lxcs": {"801": lxc(ports=["80"])},
            "vms": [vm(traefik_service={"name": "app", "port": 1})],
        },
        {},
        ["phoenix_vm_configs.json: VM 1002 (apps) gets the router app-router, as LXC 801 (app) does"],
    ),
    "a guest that takes Portainer's router": (
        {"lxcs": {"801": lxc("portainer", ports=["80"])}, "vms": [primary()]},
        {},
        ["phoenix_vm_configs.json: VM 1001 (Portainer) gets the router portainer-router, as LXC 801 (portainer) does"],
    ),
    "a guest that takes the router of Portainer's second name": (
        {
            "lxcs": {"801": lxc("portainer-internal", ports=["80"])},
            "vms": [primary(traefik_service={"name": "dash", "port": 1})],
        },
        {},
        [
            "phoenix_vm_configs.json: VM 1001 (Portainer) gets the router portainer-internal-router, "
            "as LXC 801 (portainer-internal) does"
        ],
    ),
    "a host name made equal by the stack": (
        {"lxcs": {"801": lxc(ports=["80"]), "802": lxc("other", ports=["80"])}},
        {"routes": {"other-router": {"hostname": "app.internal.example.test"}}},
        [
            "phoenix_lxc_configs.json: LXC 802 (other) gets the host name app.internal.example.test, "
            "as LXC 801 (app) does"
        ],
    ),
    "Portainer's public name is a guest's internal one": (
        {
            "lxcs": {"801": lxc(ports=["80"])},
            "vms": [primary()],
            "hypervisor": {
                "domain_name": "example.test",
                "portainer_api": {"portainer_hostname": "app.internal.example.test"},
            },
        },
        {},
        [
            "phoenix_vm_configs.json: VM 1001 (Portainer) gets the host name app.internal.example.test, "
            "as LXC 801 (app) does"
        ],
    ),
}


@pytest.mark.parametrize("case", CLASHES)
def test_two_routes_of_one_name_are_refused(case: str) -> None:
    """Traefik would take the first router in the alphabet and say nothing."""
    parts, settings, said = CLASHES[case]
    remedy = ": rename one of them, or give one another host name in phoenix:routes."
    assert mistakes(texts(**parts), settings) == [f"{sentence}{remedy}" for sentence in said]


def test_a_clash_is_mended_by_another_host_name_and_name() -> None:
    files = texts({"801": lxc("APP", ports=["80"]), "802": lxc(ports=["80"])})
    assert set(routed(files, {"routes": {"APP-router": {"hostname": "old.example.test"}}})) == {
        "APP-router",
        "app-router",
    }


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        (
            {"ap-router": {}},
            "phoenix:routes names the router 'ap-router', which the inventory does not give (it gives: app-router): "
            "correct the name or remove the entry.",
        ),
        (
            {"app": {}},
            "phoenix:routes names the router 'app', which the inventory does not give (it gives: app-router): "
            "correct the name or remove the entry.",
        ),
        (
            {"app-router": {"certResolver": "myresolver"}},
            "dynamic_conf.yml: http.routers.app-router names the certificate resolver 'myresolver', which the static "
            "configuration does not define (it defines: external-resolver, internal-resolver): Traefik would serve its "
            "default certificate and say nothing.",
        ),
        (
            {"app-router": {"entryPoints": ["websecur"]}},
            "dynamic_conf.yml: http.routers.app-router names the entry point 'websecur', which the static "
            "configuration does not define (it defines: traefik, web, websecure).",
        ),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(routes: dict[str, Any], said: str) -> None:
    assert mistakes(texts({"801": lxc(ports=["80"])}), {"routes": routes}) == [f"{SOURCE}: {said}"]


def test_an_unknown_override_of_an_empty_installation() -> None:
    assert mistakes(texts(), {"routes": {"app-router": {}}}) == [
        f"{SOURCE}: phoenix:routes names the router 'app-router', which the inventory does not give (it gives: none): "
        "correct the name or remove the entry."
    ]
