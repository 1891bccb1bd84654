"""Any inventory, however hostile, gives a configuration whose checks pass, or sentences; never anything else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from installations import SOURCE

from phoenix.configuration import configure
from phoenix.errors import InputError
from phoenix.inventory import FILES, parse
from phoenix.inventory.load import HYPERVISOR_FILE, LXC_FILE, STACKS_FILE, VM_FILE, examine
from phoenix.names import hostname
from phoenix.outputs import program_outputs
from phoenix.portainer.contract import parse as read_outputs
from phoenix.routes import mapped_port
from phoenix.settings import parse as parse_settings
from phoenix.topology import as_mermaid, as_svg, as_text, topology
from phoenix.traefik import checks, document

RELAXED = settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking an inventory takes minutes and helps little
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


NAMES = st.from_regex(r"[A-Za-z]([A-Za-z0-9-]{0,10}[A-Za-z0-9])?", fullmatch=True) | st.sampled_from(
    ["granite-3.3-8b", "APP", "app", "portainer", "x" * 63]
)
HOSTILE = [
    "a`b",
    "a) || Host(`x`",
    "a\nb",
    "{{ env `X` }}",
    "a_b",
    "ü",
    "x" * 64,
    "dhcp",
    "0",
    "*",
    "~",
    "\x1b[31m",
    "\ud800",
]
PORTS = st.integers(1, 65535)
MAPPINGS = st.builds("{}:{}".format, PORTS, PORTS) | st.sampled_from(["80/tcp", "53/udp", "127.0.0.1:80:81"])
ADDRESSES = st.builds("10.{}.{}.{}/24".format, *[st.integers(1, 254)] * 3) | st.just("fd00::1")
SERVICES = st.fixed_dictionaries(
    {"name": NAMES, "port": PORTS}, optional={"scheme": st.sampled_from(["http", "https", None])}
)
STACK_NAMES = st.sampled_from(["db", "web"])
REFERENCES = STACK_NAMES | st.fixed_dictionaries({"name": STACK_NAMES, "environment": st.just("testing")})
GUEST: dict[str, Any] = {
    "traefik_service": SERVICES,
    "ports": st.lists(MAPPINGS, max_size=3),
    "features": st.lists(st.sampled_from(["traefik", "docker"]), max_size=2),
    "docker_stacks": st.lists(REFERENCES, max_size=2),
    "other": JSON_VALUES,
}
NETWORK = st.fixed_dictionaries({"ip": ADDRESSES})
LXC_GUEST = st.fixed_dictionaries({"name": NAMES, "network_config": NETWORK}, optional=GUEST)
VM_GUEST = st.fixed_dictionaries(
    {"vmid": st.integers(900, 1010), "name": NAMES, "network_config": NETWORK},
    optional={
        **GUEST,
        "portainer_role": st.sampled_from(["primary", "agent", "agent", "none", "infrastructure"]),
        "is_template": st.booleans(),
    },
)
DOMAINS = st.sampled_from(["example.test", "internal.example.test", "Example.Test.", "portainer.example.test", "a"])
HYPERVISOR = st.fixed_dictionaries(
    {"domain_name": DOMAINS, "portainer_api": st.fixed_dictionaries({"portainer_hostname": DOMAINS})},
    optional={
        "network": st.fixed_dictionaries({}, optional={"portainer_server_port": PORTS, "portainer_agent_port": PORTS})
    },
)
VARIABLES = st.lists(st.fixed_dictionaries({"name": st.just("A"), "value": st.text(max_size=5)}), max_size=1)
STACK = st.fixed_dictionaries(
    {
        "compose_file_path": st.just("a.yml"),
        "environments": st.fixed_dictionaries(
            {"testing": st.fixed_dictionaries({}, optional={"variables": VARIABLES})},
            optional={"production": st.just({})},
        ),
    },
)
INVENTORIES = st.fixed_dictionaries(
    {
        LXC_FILE: st.fixed_dictionaries(
            {"lxc_configs": st.dictionaries(st.integers(100, 120).map(str), LXC_GUEST, max_size=4)}
        ),
        VM_FILE: st.fixed_dictionaries({"vms": st.lists(VM_GUEST, max_size=3)}),
        HYPERVISOR_FILE: HYPERVISOR,
        STACKS_FILE: st.fixed_dictionaries({"docker_stacks": st.fixed_dictionaries({"db": STACK, "web": STACK})}),
    }
)
ROUTE = st.fixed_dictionaries(
    {},
    optional={
        "hostname": DOMAINS,
        "domain": DOMAINS,
        "certResolver": st.sampled_from(["internal-resolver", "external-resolver", "myresolver"]),
        "scheme": st.sampled_from(["http", "https"]),
        "port": PORTS,
        "entryPoints": st.lists(st.sampled_from(["web", "websecure"]), max_size=2),
        "serverName": DOMAINS,
    },
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "internalDomain": DOMAINS,
        "routes": st.fixed_dictionaries({}, optional={"app-router": ROUTE, "portainer-router": ROUTE}),
        "environment": st.sampled_from(["production", "testing"]),
        "acmeEmail": st.just("a@example.test"),
        "gateway": st.fixed_dictionaries({"address": ADDRESSES}),
    },
)


@st.composite
def _spoilt(draw: st.DrawFn, good: st.SearchStrategy[Any], most: int = 2) -> Any:
    """Right data in which up to ``most`` places hold something else, or are gone."""
    data = draw(good)
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(data))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        if isinstance(holder, dict) and draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(st.sampled_from(HOSTILE) | JSON_VALUES)
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield data, key
        yield from _places(value)


def _sentences(error: InputError) -> None:
    assert error.mistakes
    for sentence in error.mistakes:
        assert sentence.endswith("."), sentence
        assert sentence.isprintable(), ascii(sentence)
        assert len(sentence) < 2000


@RELAXED
@given(_spoilt(INVENTORIES), _spoilt(SETTINGS, 1))
def test_any_inventory_gives_a_right_configuration_or_sentences(data: Any, values: Any) -> None:
    _right_or_sentences(data, values)


def test_the_generated_inventories_are_often_right_and_often_wrong() -> None:
    """A property over inventories that are all refused would prove nothing."""
    counted: Counter[str] = Counter()

    @settings(RELAXED, max_examples=200, database=None, derandomize=True)
    @given(_spoilt(INVENTORIES), _spoilt(SETTINGS, 1))
    def count(data: Any, values: Any) -> None:
        counted[_right_or_sentences(data, values)] += 1

    count()
    assert min(counted["routes"], counted["refused"]) >= 20, counted


def _right_or_sentences(data: Any, values: Any) -> str:
    try:
        inventory = parse({name: json.dumps(data[name]) if name in data else None for name in FILES})
        chosen = parse_settings(values, SOURCE)
        configuration = configure(inventory, chosen)
    except InputError as error:
        _sentences(error)
        return "refused"
    assert checks.mistakes("a", configuration.static, "b", configuration.dynamic) == []
    for text, meant in (
        (configuration.static_text, configuration.static),
        (configuration.dynamic_text, configuration.dynamic),
    ):
        assert yaml.safe_load(text) == meant
        assert document.load(text) == meant
        assert "{{" not in text
    names = [name for route in configuration.routes for name in route.hostnames]
    assert len(names) == len(set(names))
    assert all(hostname(name) == name for name in names)
    routers = configuration.dynamic["http"].get("routers", {})
    assert len({router["rule"] for router in routers.values()}) == len(routers)
    picture = topology(inventory, chosen, configuration)
    assert picture.ways == len(names)
    assert all(draw(picture).strip() for draw in (as_text, as_mermaid, as_svg))
    outputs = json.dumps(program_outputs(inventory, chosen, configuration))
    assert read_outputs(outputs, "outputs").internal_domain == configuration.internal_domain
    return "routes" if names else "empty"


@RELAXED
@given(st.dictionaries(st.sampled_from(FILES), JSON_VALUES.map(json.dumps) | st.text() | st.none()))
def test_any_texts_give_an_inventory_or_sentences(texts: dict[str, str | None]) -> None:
    _, mistakes = examine(texts)
    if mistakes:
        _sentences(InputError(mistakes))


@RELAXED
@given(
    st.dictionaries(st.text(max_size=20) | st.sampled_from(["routes", "traefik", "gateway", "portainer"]), JSON_VALUES)
)
def test_any_settings_are_settings_or_sentences(values: dict[str, Any]) -> None:
    try:
        parse_settings(values, SOURCE)
    except InputError as error:
        _sentences(error)


@RELAXED
@given(st.dictionaries(st.text(min_size=1), JSON_VALUES))
def test_any_data_comes_back_from_yaml(data: dict[str, Any]) -> None:
    assert document.load(document.dump(data)) == data


@RELAXED
@given(st.text())
def test_any_text_is_yaml_or_a_value_error(text: str) -> None:
    try:
        document.load(text)
    except ValueError as error:
        said = str(error)
        assert said


@RELAXED
@given(st.text() | st.integers())
def test_any_port_mapping_is_a_port_or_a_value_error(mapping: str | int) -> None:
    try:
        port = mapped_port(mapping)
    except ValueError as error:
        assert str(error).startswith("must")  # noqa: PT017 - either outcome is right
    else:
        assert port is None or 1 <= port <= 65535


@RELAXED
@given(JSON_VALUES, JSON_VALUES)
def test_the_checks_take_anything(static: Any, dynamic: Any) -> None:
    checks.mistakes("a", static, "b", dynamic)


@RELAXED
@given(
    st.fixed_dictionaries(
        {"http": st.fixed_dictionaries({}, optional={
            "routers": st.dictionaries(st.text(max_size=5), st.dictionaries(
                st.sampled_from(["rule", "service", "entryPoints", "middlewares", "tls"]), JSON_VALUES), max_size=2),
            "services": st.dictionaries(st.text(max_size=5), st.dictionaries(
                st.just("loadBalancer"), st.dictionaries(st.sampled_from(["servers", "serversTransport"]), JSON_VALUES),
            ), max_size=2),
        })}
    )
)  # fmt: skip
def test_the_checks_take_any_routers_and_services(dynamic: dict[str, Any]) -> None:
    for phrase in checks.dynamic_mistakes(dynamic, {"entryPoints": {"web": {"address": ":80"}}}):
        assert phrase
