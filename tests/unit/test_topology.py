"""The picture of an installation: what is in it, drawn as text, Mermaid and SVG, whatever the guests are called."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from installations import PROJECT, SOURCE, Texts, inventory_of, lxc, primary, texts, vm

from phoenix.configuration import configure
from phoenix.inventory import parse
from phoenix.settings import parse as parse_settings
from phoenix.settings_files import stack_settings
from phoenix.topology import Topology, as_mermaid, as_svg, as_text, topology

SVG = "{http://www.w3.org/2000/svg}"
DRAWERS: dict[str, Callable[[Topology], str]] = {"text": as_text, "mermaid": as_mermaid, "svg": as_svg}


def _picture(files: Texts, settings: dict[str, Any] | None = None) -> Topology:
    inventory, chosen = parse(files), parse_settings(settings or {}, SOURCE)
    return topology(inventory, chosen, configure(inventory, chosen))


TWO = texts(
    {
        "101": lxc("Gateway", "10.0.0.153/24"),
        "102": lxc("Traefik", "10.0.0.12/24"),
        "801": lxc("app", "10.0.0.5/24", ports=["80"]),
    },
    [primary(traefik_service={"name": "dash", "port": 9000}), vm(portainer_role="agent", docker_stacks=["db"])],
    stacks={"db": {"compose_file_path": "db.yml"}},
)
TEXT = """\
clients
└─ TLS → NGINX gateway at 10.0.0.153:443 (LXC 101 (Gateway))
   └─ Traefik 3.7.15 at 10.0.0.12 (LXC 102 (Traefik), revision REVISION)
      ├─ entry point traefik    127.0.0.1:8080  API and ping
      ├─ entry point web        :80             redirects to websecure
      ├─ entry point websecure  :443            HTTPS
      ├─ external-resolver: certificates of the public CA, Let's Encrypt (http-01)
      │  └─ portainer.example.test      →  https://10.0.0.101:9000  VM 1001 (Portainer)
      └─ internal-resolver: certificates of the internal CA, DIRECTORY (tls-alpn-01)
         ├─ app.internal.example.test   →  http://10.0.0.5:80       LXC 801 (app)  through zip
         └─ dash.internal.example.test  →  https://10.0.0.101:9000  VM 1001 (Portainer)

Portainer https://portainer.example.test
├─ server at 10.0.0.101:9000 (VM 1001 (Portainer))
└─ environment apps at tcp://apps.internal.example.test:9001 (VM 1002 (apps))
   └─ Docker stack db-production"""
ZIP = {"middlewares": {"zip": {"compress": {}}}, "routes": {"app-router": {"middlewares": ["zip"]}}}


def test_the_tree() -> None:
    picture = _picture(TWO, ZIP)
    expected = TEXT.replace("REVISION", picture.revision)
    expected = expected.replace("DIRECTORY", "https://ca.internal.example.test:9000/acme/acme/directory")
    assert as_text(picture) == expected


def test_the_tree_of_nothing() -> None:
    lines = as_text(_picture(texts())).splitlines()
    assert lines[0] == "clients"
    assert lines[-1] == "      └─ no host name"
    assert not any("Portainer" in line or "gateway" in line for line in lines)


def test_traefiks_own_dashboard_is_a_way_like_others() -> None:
    settings = {
        "middlewares": {"lan": {"ipAllowList": {"sourceRange": ["10.0.0.0/24"]}}},
        "dashboard": {"hostname": "traefik.internal.example.test", "middlewares": ["lan"]},
    }
    way = _picture(texts(), settings).horizons[1].ways[0]
    assert (way.hostname, way.guest, way.middlewares) == ("traefik.internal.example.test", "Traefik itself", ("lan",))


def _many(number: int) -> Texts:
    lxcs = {str(800 + n): lxc(f"service-{n}" * (1 + n % 3), f"10.0.1.{n + 1}", ports=["80"]) for n in range(number)}
    agents = [vm(2000 + n, f"vm-{n}", f"10.0.2.{n + 1}/24", portainer_role="agent") for n in range(3)]
    return texts({"101": lxc("gw", "10.0.0.153/24"), **lxcs}, [primary(), *agents])


def _boxes(root: Xml.Element) -> list[tuple[float, float, float, float]]:
    found = []
    for box in root.iter(f"{SVG}rect"):
        if box.get("class"):
            x, y, width, height = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
            found.append((x, y, x + width, y + height))
    return found


@pytest.mark.parametrize("number", [0, 1, 5, 40])
def test_no_two_boxes_of_the_svg_overlap_and_all_lie_on_the_page(number: int) -> None:
    root = Xml.fromstring(as_svg(_picture(_many(number))))  # noqa: S314 - our own text
    boxes = _boxes(root)
    assert (
        len(boxes) == 1 + 1 + 1 + 2 * (number + 1) + 2 + 1 + 3
    )  # clients, gateway, Traefik, ways, CAs, server, agents
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= float(root.attrib["width"])
        assert 0 <= top < bottom <= float(root.attrib["height"])
        for other_left, other_top, other_right, other_bottom in boxes[:index]:
            apart = right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
            assert apart, (index, number)


@pytest.mark.parametrize("number", [1, 40])
def test_every_text_of_the_svg_has_room_in_its_box(number: int) -> None:
    root = Xml.fromstring(as_svg(_picture(_many(number))))  # noqa: S314 - our own text
    boxes = _boxes(root)
    for text in root.iter(f"{SVG}text"):
        x, y, shown = float(text.attrib["x"]), float(text.attrib["y"]), text.text or ""
        around = [box for box in boxes if box[0] <= x <= box[2] and box[1] <= y <= box[3]]
        assert len(around) <= 1
        for left, _, right, _ in around:
            assert left < x
            assert x + len(shown) * 7.2 <= right, shown


HOSTILE = [
    "</text><script>alert(1)</script>", "a&b<c>\"d\"'e'", "]]>", "-->", "a\nb\x1b[31m", '"];x-->y', "#quot;", "ü漢🦊",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_only_ever_text(name: str) -> None:
    service = {"name": "web", "port": 80}
    plain, hostile = (
        _picture(texts({"801": lxc(guest, traefik_service=service)}, [primary()])) for guest in ("plain", name)
    )
    assert len(as_text(hostile).splitlines()) == len(as_text(plain).splitlines())
    assert len(as_mermaid(hostile).splitlines()) == len(as_mermaid(plain).splitlines())
    for line in as_mermaid(hostile).splitlines():
        for label in re.findall(r'"([^"]*)"', line):
            assert not re.search(r"[<>\\`{}\[\]()|]", label.replace("<br/>", "")), label
    was, now = (Xml.fromstring(as_svg(picture)) for picture in (plain, hostile))  # noqa: S314 - our own text
    assert [element.tag for element in now.iter()] == [element.tag for element in was.iter()]
    shown = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert f"LXC 801 ({shown})" in [text.text for text in now.iter(f"{SVG}text")]


@pytest.mark.parametrize("form", DRAWERS)
def test_a_picture_depends_on_its_input_alone(form: str) -> None:
    assert DRAWERS[form](_picture(TWO, ZIP)) == DRAWERS[form](_picture(TWO, ZIP))


def test_the_svg_holds_no_script_and_no_reference_to_elsewhere() -> None:
    text = as_svg(_picture(_many(5)))
    assert "<script" not in text
    assert re.findall(r"""(?:href|src|url)\s*[=(]\s*["']?([^"')]*)""", text).count("#tip") == text.count("url(")
    assert "href" not in text
    assert "@import" not in text


def test_the_picture_in_the_documentation_is_that_of_the_production_example() -> None:
    settings = stack_settings(PROJECT, "production")
    inventory = parse(inventory_of("production"))
    drawn = as_svg(topology(inventory, settings, configure(inventory, settings)))
    shown = (PROJECT / "docs" / "topology.svg").read_text(encoding="utf-8")
    assert shown == drawn, "draw it anew: bin/phoenix topology --stack production --output docs/topology.svg"
