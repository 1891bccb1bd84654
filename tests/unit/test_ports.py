"""Port mappings in Docker's notation, and which port of a guest is routed."""

from __future__ import annotations

from typing import Any

import pytest
from installations import lxc, mistakes, routed, texts

from phoenix.routes import mapped_port

GOOD: list[tuple[str | int, int | None]] = [
    ("8001:8000", 8000),
    ("8000", 8000),
    (8000, 8000),
    ("8000/tcp", 8000),
    ("8000/TCP", 8000),
    ("8001:8000/tcp", 8000),
    ("127.0.0.1:8001:8000", 8000),
    ("127.0.0.1:8001:8000/tcp", 8000),
    ("127.0.0.1::8000", 8000),
    ("0.0.0.0:80:8080", 8080),
    ("[::1]:8001:8000", 8000),
    ("[::]:8001:8000/tcp", 8000),
    ("::1:8001:8000", 8000),
    (":8000", 8000),
    ("8000-8010:8000", 8000),
    (" 8001:8000\n", 8000),
    ("9-8001:8000", 8000),
    ("1", 1),
    ("65535", 65535),
    ("08000", 8000),
    ("53:53/udp", None),
    ("5000:5000/sctp", None),
    ("443:443/UDP", None),
]
NO_MAPPING = 'must be a port mapping such as "8001:8000", with ports from 1 to 65535'
NO_RANGE = 'must lead to one port, not a range; name the one to route in "traefik_service"'
NO_PROTOCOL = 'must end in nothing, "/tcp", "/udp" or "/sctp"'
BAD: list[tuple[str | int, str]] = [
    ("", NO_MAPPING),
    ("0", NO_MAPPING),
    (0, NO_MAPPING),
    (-1, NO_MAPPING),
    ("65536", NO_MAPPING),
    ("8001:65536", NO_MAPPING),
    ("65536:8000", NO_MAPPING),
    ("0:8000", NO_MAPPING),
    ("8001:", NO_MAPPING),
    (":", NO_MAPPING),
    ("http", NO_MAPPING),
    ("8001:http", NO_MAPPING),
    ("http:8000", NO_MAPPING),
    ("8000:8000:", NO_MAPPING),
    ("gateway:8001:8000", NO_MAPPING),
    ("10.0.0.256:8001:8000", NO_MAPPING),
    ("a:b:8001:8000", NO_MAPPING),
    ("[::1:8001:8000", NO_MAPPING),
    ("8001:80 00", NO_MAPPING),
    ("8001:+8000", NO_MAPPING),
    ("8001:8_000", NO_MAPPING),
    ("8001:٨٠٨٠", NO_MAPPING),
    ("8001:`8000`", NO_MAPPING),
    ("8000-8001", NO_RANGE),
    ("8000-8010:8000-8010", NO_RANGE),
    ("8000/", NO_PROTOCOL),
    ("8000/http", NO_PROTOCOL),
    ("8000/tcp/udp", NO_PROTOCOL),
    ("8000-:8000", NO_MAPPING),
    ("1" * 5000, NO_MAPPING),
]


@pytest.mark.parametrize(("mapping", "port"), GOOD, ids=lambda value: str(value)[:40])
def test_the_container_side_of_a_mapping_is_routed(mapping: str | int, port: int | None) -> None:
    assert mapped_port(mapping) == port


@pytest.mark.parametrize(("mapping", "limit"), BAD, ids=lambda value: str(value)[:40])
def test_a_wrong_mapping_is_refused_with_its_limit(mapping: str | int, limit: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        mapped_port(mapping)
    assert str(caught.value) == limit


CHOSEN: list[tuple[Any, str | None]] = [
    (["8001:8000", "9000"], "http://10.0.0.5:8000"),
    (["53:53/udp", "8001:8000"], "http://10.0.0.5:8000"),
    (["53/udp"], None),
    ([], None),
    (None, None),
    ([8000], "http://10.0.0.5:8000"),
]


@pytest.mark.parametrize(("ports", "backend"), CHOSEN, ids=str)
def test_the_first_tcp_mapping_is_the_one(ports: Any, backend: str | None) -> None:
    found = routed(texts({"801": lxc(ports=ports)}))
    assert {name: route.backend for name, route in found.items()} == ({"app-router": backend} if backend else {})


def test_an_lxc_without_ports_is_not_routed() -> None:
    assert routed(texts({"801": lxc()})) == {}


SHAPES: list[tuple[Any, str]] = [
    ("8000", 'ports is "8000": it must be an array'),
    ({"http": 8000}, 'ports is {"http": 8000}: it must be an array'),
    ([None], 'ports[0] is null: it must be a port mapping such as "8001:8000"'),
    ([True], 'ports[0] is true: it must be a port mapping such as "8001:8000"'),
    ([80.5], 'ports[0] is 80.5: it must be a port mapping such as "8001:8000"'),
    (["80", {"a": 1}], 'ports[1] is {"a": 1}: it must be a port mapping such as "8001:8000"'),
    (["8001:0"], f'ports[0] is "8001:0": it {NO_MAPPING}'),
    (["53/udp", "80-90"], f'ports[1] is "80-90": it {NO_RANGE}'),
]


@pytest.mark.parametrize(("ports", "said"), SHAPES, ids=lambda value: str(value)[:40])
def test_a_wrong_shape_of_ports_names_the_place(ports: Any, said: str) -> None:
    assert mistakes(texts({"801": lxc(ports=ports)})) == [
        f"phoenix_lxc_configs.json: LXC 801 (app): {said}; correct it there."
    ]


def test_ports_that_are_not_routed_are_not_judged() -> None:
    """With a ``traefik_service`` the port is taken from there, and ranges are normal in ``ports``."""
    guest = lxc(ports=["8000-8010:8000-8010"], traefik_service={"name": "web", "port": 8000})
    assert routed(texts({"801": guest}))["web-router"].backend == "http://10.0.0.5:8000"
