"""What the lab reads from an inventory, and how it moves one into its network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.local import inventory
from lab.local.inventory import Backend, container_port

INVENTORY = Path(__file__).parent / "fixtures/inventory"
SHARED = Path(__file__).resolve().parents[3] / "shared/inventory"


def test_backends_of_an_inventory() -> None:
    found = inventory.read(INVENTORY)
    portainer = ("portainer.phoenix.test", "portainer.internal.phoenix.test")
    assert found.backends == (
        Backend("embedding", 801, "service", "http", "10.0.0.141", 8000, ("embedding.internal.phoenix.test",)),
        Backend("ollama", 914, "service", "http", "10.0.0.155", 11434, ("ollama.internal.phoenix.test",)),
        Backend("Search-UI", 920, "service", "http", "10.0.0.160", 8090, ("search.internal.phoenix.test",)),
        Backend("vault", 921, "service", "https", "10.0.0.161", 8200, ("vault.internal.phoenix.test",)),
        Backend("Portainer", 1001, "portainer", "https", "10.0.0.101", 9443, portainer),
        Backend("drphoenix", 1002, "agent", "https", "10.0.0.102", 9001, ("drphoenix.internal.phoenix.test",)),
    )
    assert found.portainer_names == portainer
    assert (found.portainer_address, found.traefik_address, found.authority_address) == (
        "10.0.0.101",
        "10.0.0.12",
        "10.0.0.10",
    )


@pytest.mark.parametrize(
    ("mapping", "port"),
    [
        ("8001:8000", 8000), ("8000", 8000), (8000, 8000), ("127.0.0.1:8001:8000", 8000), ("8000/tcp", 8000),
        ("53:53/udp", None), ("", None), ("x", None), ("70000", None), ("0", None), (None, None),
    ],
)  # fmt: skip
def test_the_container_side_of_a_port(mapping: object, port: int | None) -> None:
    assert container_port(mapping) == port


def test_translation_moves_the_guests_network_and_nothing_else(tmp_path: Path) -> None:
    inventory.translate(INVENTORY, tmp_path / "copy", "127.99")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {path.name for path in INVENTORY.glob("*.json")}
    moved = json.loads((tmp_path / "copy/phoenix_lxc_configs.json").read_text())["lxc_configs"]["801"]
    assert moved["network_config"]["ip"] == "127.99.0.141/24"
    assert moved["ports"] == ["8001:8000"]
    text = (tmp_path / "copy/phoenix_hypervisor_config.json").read_text()
    assert "127.99.0.101" in text
    assert "8.8.8.8" in text
    assert '"1.0.0"' in text
    firewall = (tmp_path / "copy/phoenix_vm_configs.json").read_text()
    assert '"source": "127.99.0.12"' in firewall
    assert inventory.in_network(tmp_path / "copy", "127.99")
    assert not inventory.in_network(INVENTORY, "127.99")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (inventory.LXC, None, "is missing"),
        (inventory.LXC, "{", "cannot be read as JSON"),
        (inventory.LXC, "[]", "holds no JSON object"),
        (inventory.VM, "\xff\xfe", "cannot be read as JSON"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    for path in INVENTORY.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(LabError, match=words) as caught:
        inventory.read(tmp_path)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, "x", [], {"801": None}, {"801": {"ports": "8000", "network_config": []}}])
def test_odd_shapes_are_passed_over(tmp_path: Path, value: object) -> None:
    (tmp_path / inventory.LXC).write_text(json.dumps({"lxc_configs": value}))
    (tmp_path / inventory.VM).write_text(json.dumps({"vms": value}))
    (tmp_path / inventory.HYPERVISOR).write_text(json.dumps({"network": value, "portainer_api": value}))
    assert inventory.read(tmp_path).backends == ()


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real inventory beside the repository")
def test_a_real_inventory() -> None:
    found = inventory.read(SHARED)
    assert [(each.guest, each.address, each.port) for each in found.backends] == [
        (801, "10.0.0.141", 8000),
        (802, "10.0.0.142", 8000),
        (914, "10.0.0.155", 11434),
        (917, "10.0.0.157", 8081),
        (1001, "10.0.0.101", 9443),
        (1002, "10.0.0.102", 9001),
    ]
