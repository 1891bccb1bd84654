"""Wrong and hostile values in the inventory: each a sentence that names file, guest, field, value and remedy."""

from __future__ import annotations

from typing import Any

import pytest
from installations import HYPERVISOR, lxc, mistakes, primary, routed, texts, vm

LXC = "phoenix_lxc_configs.json"
VM = "phoenix_vm_configs.json"
HYP = "phoenix_hypervisor_config.json"
STACKS = "phoenix_stacks_config.json"
ROUTER_LIMIT = (
    "it must begin and end with a letter or digit and hold only letters, digits, dots, hyphens and underscores, "
    "128 characters at most; correct it there."
)
LABELS = (
    "which must be a host name whose labels hold only letters a to z, digits and inner hyphens, 63 characters at most"
)
STATIC = 'it must be a static IP address such as "10.0.0.12/24", since the guest is routed; correct it there.'
ONE = 'it must be the address of one machine, such as "10.0.0.12/24", since the guest is routed; correct it there.'

HOSTILE_NAMES: list[tuple[str, str, str]] = [
    ("a`b", "a`b", '"a`b"'),
    ("a`) || Host(`evil.test", "a`) || Host(`evil.test", '"a`) || Host(`evil.test"'),
    ("a)b", "a)b", '"a)b"'),
    ("a\nb", "a\\nb", '"a\\nb"'),
    ("ab\n", "ab\\n", '"ab\\n"'),
    ("a{{b}}", "a{{b}}", '"a{{b}}"'),
    ('{{ env "HOME" }}', '{{ env "HOME" }}', '"{{ env \\"HOME\\" }}"'),
    ("a: b", "a: b", '"a: b"'),
    ("# a", "# a", '"# a"'),
    ("*a", "*a", '"*a"'),
    ("!!python/name:os", "!!python/name:os", '"!!python/name:os"'),
    ("$(reboot)", "$(reboot)", '"$(reboot)"'),
    ("a;reboot", "a;reboot", '"a;reboot"'),
    ("a'b", "a'b", '"a\'b"'),
    ("../../etc/passwd", "../../etc/passwd", '"../../etc/passwd"'),
    ("a@docker", "a@docker", '"a@docker"'),
    ("ümlaut", "ümlaut", '"ümlaut"'),
    ("\u212aelvin", "\u212aelvin", '"\u212aelvin"'),
    ("\x1b[2Jcleared", "\\x1b[2Jcleared", '"\\u001b[2Jcleared"'),
    ("a\x00b", "a\\x00b", '"a\\u0000b"'),
    ("\u202egnp.exe", "\\u202egnp.exe", '"\\u202egnp.exe"'),
    (" app", " app", '" app"'),
]


@pytest.mark.parametrize(("name", "label", "value"), HOSTILE_NAMES, ids=ascii)
def test_a_hostile_name_is_refused_on_one_line(name: str, label: str, value: str) -> None:
    assert mistakes(texts({"801": lxc(name, ports=["80"])})) == [
        f"{LXC}: LXC 801 ({label}): name is {value}: {ROUTER_LIMIT}"
    ]


@pytest.mark.parametrize(("name", "label", "value"), HOSTILE_NAMES, ids=ascii)
def test_the_same_in_traefik_service(name: str, label: str, value: str) -> None:
    del label
    guest = lxc(traefik_service={"name": name, "port": 80})
    assert mistakes(texts({"801": guest})) == [f"{LXC}: LXC 801 (app): traefik_service.name is {value}: {ROUTER_LIMIT}"]


@pytest.mark.parametrize(("name", "label", "value"), HOSTILE_NAMES, ids=ascii)
def test_a_guest_that_is_not_routed_may_be_called_anything(name: str, label: str, value: str) -> None:
    del label, value
    assert routed(texts({"801": lxc(name)})) == {}


LABEL_NAMES: list[tuple[str, str, str]] = [
    ("my_app", "my_app.internal.example.test", "my_app"),
    ("a..b", "a..b.internal.example.test", ""),
    ("a-.b", "a-.b.internal.example.test", "a-"),
    ("a" * 64, f"{'a' * 64}.internal.example.test", "a" * 64),
]


@pytest.mark.parametrize(("name", "made", "label"), LABEL_NAMES)
def test_a_name_that_makes_no_host_name(name: str, made: str, label: str) -> None:
    said = f'"{name}": it makes {made}, {LABELS} (the label {label!r} is not); correct it there.'
    assert mistakes(texts({"801": lxc(name, ports=["80"])})) == [f"{LXC}: LXC 801 ({name}): name is {said}"]
    service = lxc(traefik_service={"name": name, "port": 80})
    assert mistakes(texts({"801": service})) == [f"{LXC}: LXC 801 (app): traefik_service.name is {said}"]


Case = tuple[dict[str, Any], list[str]]
WRONG: dict[str, Case] = {
    "dhcp on a routed guest": (
        {"lxcs": {"801": lxc(ip="dhcp", ports=["80"])}},
        [f'{LXC}: LXC 801 (app): network_config.ip is "dhcp": {STATIC}'],
    ),
    "dhcp on the Portainer VM": (
        {"vms": [{**primary(), "network_config": {"ip": "dhcp"}}]},
        [f'{VM}: VM 1001 (Portainer): network_config.ip is "dhcp": {STATIC}'],
    ),
    "no address": (
        {"lxcs": {"801": lxc(ip=None, ports=["80"])}},
        [f"{LXC}: LXC 801 (app): network_config.ip is null: {STATIC}"],
    ),
    "no network": (
        {"lxcs": {"801": {"name": "app", "ports": ["80"]}}},
        [f"{LXC}: LXC 801 (app): network_config.ip is null: {STATIC}"],
    ),
    "an address out of range": (
        {"lxcs": {"801": lxc(ip="10.0.0.256/24", ports=["80"])}},
        [f'{LXC}: LXC 801 (app): network_config.ip is "10.0.0.256/24": {STATIC}'],
    ),
    "an address that is everywhere": (
        {"lxcs": {"801": lxc(ip="0.0.0.0/0", ports=["80"])}},
        [f'{LXC}: LXC 801 (app): network_config.ip is "0.0.0.0/0": {ONE}'],
    ),
    "a link-local address": (
        {"lxcs": {"801": lxc(ip="fe80::1%eth0", ports=["80"])}},
        [f'{LXC}: LXC 801 (app): network_config.ip is "fe80::1%eth0": {ONE}'],
    ),
    "an address that is a number": (
        {"lxcs": {"801": lxc(ip=5)}},
        [f"{LXC}: LXC 801 (app): network_config.ip is 5: it must be text; correct it there."],
    ),
    "a network that is text": (
        {"lxcs": {"801": {"name": "app", "network_config": "10.0.0.5"}}},
        [f'{LXC}: LXC 801 (app): network_config is "10.0.0.5": it must be an object; correct it there.'],
    ),
    "no name": ({"lxcs": {"801": {"ports": ["80"]}}}, [f"{LXC}: LXC 801: name is missing: add it."]),
    "a null name": ({"lxcs": {"801": lxc(None)}}, [f"{LXC}: LXC 801: name is missing: add it."]),
    "an empty name": (
        {"lxcs": {"801": lxc("")}},
        [f'{LXC}: LXC 801: name is "": it must not be empty; correct it there.'],
    ),
    "a name that is a number": (
        {"lxcs": {"801": lxc(5)}},
        [f"{LXC}: LXC 801: name is 5: it must be text; correct it there."],
    ),
    "a guest that is null": ({"lxcs": {"801": None}}, [f"{LXC}: LXC 801: it is null: it must be a JSON object."]),
    "a guest that is a list": ({"lxcs": {"801": [1]}}, [f"{LXC}: LXC 801: it is [1]: it must be a JSON object."]),
    "a key that is no CTID": (
        {"lxcs": {"web": lxc()}},
        [f'{LXC}: LXC web (app): its key is "web": it must be a CTID such as 801.'],
    ),
    "a CTID with a leading zero": (
        {"lxcs": {"801": lxc(), "0801": lxc()}},
        [f'{LXC}: LXC 0801 (app): its key is "0801": it must be a CTID such as 801.'],
    ),
    "a CTID beyond measure": (
        {"lxcs": {"9" * 5000: lxc()}},
        [f'{LXC}: LXC {"9" * 73}...: its key is "{"9" * 76}...: it must be a CTID such as 801.'],
    ),
    "a port out of range": (
        {"lxcs": {"801": lxc(traefik_service={"name": "web", "port": 65536})}},
        [f"{LXC}: LXC 801 (app): traefik_service.port is 65536: it must be a port from 1 to 65535; correct it there."],
    ),
    "an empty service": (
        {"lxcs": {"801": lxc(traefik_service={})}},
        [
            f"{LXC}: LXC 801 (app): traefik_service.name is missing: add it.",
            f"{LXC}: LXC 801 (app): traefik_service.port is missing: add it.",
        ],
    ),
    "a service with nulls": (
        {"lxcs": {"801": lxc(traefik_service={"name": None, "port": 1})}},
        [f"{LXC}: LXC 801 (app): traefik_service.name is missing: add it."],
    ),
    "a service that is text": (
        {"lxcs": {"801": lxc(traefik_service="web:80")}},
        [f'{LXC}: LXC 801 (app): traefik_service is "web:80": it must be an object; correct it there.'],
    ),
    "an unknown scheme": (
        {"lxcs": {"801": lxc(traefik_service={"name": "web", "port": 1, "scheme": "h2c"})}},
        [f"{LXC}: LXC 801 (app): traefik_service.scheme is \"h2c\": it must be 'http' or 'https'; correct it there."],
    ),
    "two Portainer servers": (
        {"vms": [primary(), vm(portainer_role="primary")]},
        [
            f'{VM}: portainer_role is "primary" on VM 1001 (Portainer) and VM 1002 (apps): one VM at most runs the '
            'Portainer server, so make the others "agent" or "none".'
        ],
    ),
    "a role in another spelling": (
        {"vms": [vm(portainer_role="Primary")]},
        [
            f'{VM}: VM 1002 (apps): portainer_role is "Primary": it must be written "primary", in lower case and '
            "without blanks, to have an effect; correct it there."
        ],
    ),
    "a server nobody can call": (
        {"vms": [primary()], "hypervisor": {"domain_name": "example.test"}},
        [
            f"{HYP}: portainer_api.portainer_hostname is missing, yet VM 1001 (Portainer) runs the Portainer server: "
            "add the host name users reach it by."
        ],
    ),
    "a VM without an id": ({"vms": [{"name": "apps"}]}, [f"{VM}: vms[0] (apps): vmid is missing: add it."]),
    "a VM with a fractional id": (
        {"vms": [vm(1001.5)]},
        [f"{VM}: vms[0] (apps): vmid is 1001.5: it must be a whole number such as 1001; correct it there."],
    ),
    "a VM with a truth value for an id": (
        {"vms": [vm(True)]},
        [f"{VM}: vms[0] (apps): vmid is true: it must be a whole number such as 1001; correct it there."],
    ),
    "two VMs of one id": (
        {"vms": [vm(), vm(name="other")]},
        [f"{VM}: VM 1002 (other): vmid is 1002, as VM 1002 (apps)'s is: give one of them another."],
    ),
    "an LXC and a VM of one id": (
        {"lxcs": {"1002": lxc()}, "vms": [vm()]},
        [
            f"{LXC}: LXC 1002 (app): its CTID is also the VMID of VM 1002 (apps): Proxmox numbers containers and VMs "
            "together, so give one of them another."
        ],
    ),
    "a VM that is no object": ({"vms": ["apps"]}, [f'{VM}: vms[0] is "apps": it must be a JSON object.']),
    "a template by text": (
        {"vms": [vm(is_template="false")]},
        [f'{VM}: VM 1002 (apps): is_template is "false": it must be true or false; correct it there.'],
    ),
    "no domain": ({"hypervisor": {}}, [f"{HYP}: domain_name is missing: add it."]),
    "a wildcard domain": (
        {"hypervisor": {"domain_name": "*.example.test"}},
        [
            f'{HYP}: domain_name is "*.example.test": it must be a host name whose labels hold only letters a to z, '
            "digits and inner hyphens, 63 characters at most (the label '*' is not); correct it there."
        ],
    ),
    "an address for a public name": (
        {"hypervisor": {"domain_name": "example.test", "portainer_api": {"portainer_hostname": "10.0.0.1"}}},
        [
            f'{HYP}: portainer_api.portainer_hostname is "10.0.0.1": it must be a host name, not an address: its last '
            "label must hold a letter; correct it there."
        ],
    ),
    "a password of the wrong type is not shown": (
        {"hypervisor": {**HYPERVISOR, "portainer_api": {"admin_password": ["hunter2"]}}},
        [f"{HYP}: portainer_api.admin_password is [secret]: it must be text; correct it there."],
    ),
    "a section of the wrong type shows no password": (
        {"hypervisor": {**HYPERVISOR, "portainer_api": [{"admin_password": "hunter2"}]}},
        [f'{HYP}: portainer_api is [{{"admin_password": "[secret]"}}]: it must be an object; correct it there.'],
    ),
    "an agent whose name is no part of a host name": (
        {"vms": [vm(name="my apps", portainer_role="agent")]},
        [
            f'{VM}: VM 1002 (my apps): name is "my apps": it makes my apps.internal.example.test, where Portainer '
            f"reaches its agent, {LABELS} (the label 'my apps' is not); correct it there."
        ],
    ),
    "a Docker stack nobody knows": (
        {"vms": [vm(docker_stacks=["web"])], "stacks": {"db": {"compose_file_path": "db.yml"}}},
        [
            f'{VM}: VM 1002 (apps): docker_stacks names "web", which {STACKS} does not hold (it holds: db): '
            "add it or correct the name."
        ],
    ),
    "an environment nobody knows": (
        {
            "vms": [vm(docker_stacks=[{"name": "db", "environment": "prod"}])],
            "stacks": {"db": {"compose_file_path": "db.yml", "environments": {"production": {}}}},
        },
        [
            f'{VM}: VM 1002 (apps): docker_stacks asks for the environment "prod" of "db", which {STACKS} does not '
            "define (it defines: production): add it or correct the name."
        ],
    ),
    "a reference to a faulty Docker stack is not reported as unknown": (
        {"vms": [vm(docker_stacks=["db"])], "stacks": {"db": {}}},
        [f"{STACKS}: Docker stack db: compose_file_path is missing: add it."],
    ),
    "a Docker stack that is no object": (
        {"stacks": {"db": "db.yml"}},
        [f'{STACKS}: Docker stack db is "db.yml": it must be an object; correct it there.'],
    ),
    "a variable's value is not shown": (
        {
            "stacks": {
                "db": {
                    "compose_file_path": "db.yml",
                    "environments": {"production": {"variables": [{"name": "A", "value": ["hunter2"]}]}},
                }
            }
        },
        [
            f"{STACKS}: Docker stack db: environments.production.variables[0].value is [secret]: it must be text; "
            "correct it there."
        ],
    ),
    "a variable's name": (
        {
            "stacks": {
                "db": {
                    "compose_file_path": "db.yml",
                    "environments": {"production": {"variables": [{"name": "A B", "value": "x"}]}},
                }
            }
        },
        [
            f'{STACKS}: Docker stack db: environments.production.variables[0].name is "A B": it must be a variable\'s '
            "name: letters, digits and underscores, no digit first; correct it there."
        ],
    ),
    "a file without an absolute place": (
        {
            "stacks": {
                "db": {
                    "compose_file_path": "db.yml",
                    "environments": {"testing": {"files": [{"source": "a", "destination_in_container": "app/.env"}]}},
                }
            }
        },
        [
            f'{STACKS}: Docker stack db: environments.testing.files[0].destination_in_container is "app/.env": it must '
            "be an absolute path in the container, such as /app/.env; correct it there."
        ],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_named(case: str) -> None:
    parts, said = WRONG[case]
    assert mistakes(texts(**parts)) == said


def test_every_mistake_is_named_in_one_run() -> None:
    """Over all files, of values and of routes, guests in the order of their files."""
    files = texts(
        lxcs={
            "801": lxc(ports=["0"]),
            "802": lxc("b`ad", ports=["80"]),
            "803": lxc("other", ip="dhcp", ports=["80"]),
            "804": lxc(None),
            "805": lxc("twin", ports=["80"]),
            "806": lxc("twin", ports=["80"]),
            "x": lxc(),
        },
        vms=[vm(portainer_role="AGENT"), vm(1003, "third", docker_stacks=["web"])],
        hypervisor={"domain_name": "example.test", "portainer_api": {"portainer_hostname": "a b"}},
        stacks={"db": 5},
    )
    settings = {"routes": {"twin-router": {"certResolver": "myresolver"}, "gone-router": {}}}
    found = mistakes(files, settings)
    assert [sentence.partition(": it ")[0].partition(", which")[0] for sentence in found] == [
        f'{HYP}: portainer_api.portainer_hostname is "a b"',
        f"{LXC}: LXC 804: name is missing: add it.",
        f'{LXC}: LXC x (app): its key is "x"',
        f'{VM}: VM 1002 (apps): portainer_role is "AGENT"',
        f"{STACKS}: Docker stack db is 5",
        f'{VM}: VM 1003 (third): docker_stacks names "web"',
        f'{LXC}: LXC 801 (app): ports[0] is "0"',
        f'{LXC}: LXC 802 (b`ad): name is "b`ad"',
        f'{LXC}: LXC 803 (other): network_config.ip is "dhcp"',
        f"{LXC}: LXC 806 (twin) gets the router twin-router, as LXC 805 (twin) does: rename one of them, or give one "
        "another host name in phoenix:routes.",
        "stacks/Pulumi.test.yaml: dynamic_conf.yml: http.routers.twin-router names the certificate resolver "
        "'myresolver'",
    ]


def test_each_sentence_is_one_line_that_ends_with_a_stop() -> None:
    for parts, _ in WRONG.values():
        for sentence in mistakes(texts(**parts)):
            assert sentence.endswith(".")
            assert sentence.isprintable()
