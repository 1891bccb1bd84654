"""Reads which guests the lab has to answer for from the installation's JSON files; tolerant on purpose.

The product's own reader is strict and typed. The lab must not share it: a mistake there would hide in both.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError

LXC, VM, HYPERVISOR = "phoenix_lxc_configs.json", "phoenix_vm_configs.json", "phoenix_hypervisor_config.json"
_DEFAULT_AGENT_PORT, _DEFAULT_SERVER_PORT = 9001, 9443


@dataclass(frozen=True)
class Backend:
    """Something that listens.

    Attributes:
        name: the guest's name, which it answers with.
        guest: the guest's CTID or VMID.
        kind: ``service``, ``portainer`` or ``agent``.
        scheme: ``http`` or ``https``.
        names: DNS names that the certificate of an https backend covers.
    """

    name: str
    guest: int
    kind: str
    scheme: str
    address: str
    port: int
    names: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the lab's record."""
        return {**asdict(self), "names": list(self.names)}


@dataclass(frozen=True)
class Guests:
    """What the lab takes from an inventory."""

    backends: tuple[Backend, ...]
    domain: str
    portainer_address: str | None
    portainer_names: tuple[str, ...]
    traefik_address: str | None
    authority_address: str | None


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.exists() and not required:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(
            f"{path} is missing: name a directory with the installation's JSON files (--inventory)."
        ) from None
    except (OSError, ValueError) as error:
        raise LabError(f"{path} cannot be read as JSON ({error}): mend the file.") from None
    if not isinstance(content, dict):
        raise LabError(f"{path} holds no JSON object: mend the file.")
    return content


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _address(guest: dict[str, Any]) -> str | None:
    text = str(_map(guest.get("network_config")).get("ip", "")).partition("/")[0]
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def container_port(mapping: object) -> int | None:
    """The container's side of a port mapping such as ``8001:8000`` or ``127.0.0.1:8001:8000/tcp``; None for UDP."""
    text, _, protocol = str(mapping).partition("/")
    last = text.rpartition(":")[2]
    if protocol == "udp" or not last.isdigit() or not 0 < int(last) < 65536:
        return None
    return int(last)


def _label(name: object) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", str(name).lower()).strip("-.")


def _service(guest: dict[str, Any], default_scheme: str) -> tuple[str, int, str] | None:
    service = _map(guest.get("traefik_service"))
    port = service.get("port")
    if not service or not str(port).isdigit():
        return None
    scheme = str(service.get("scheme", default_scheme)).lower()
    return str(service.get("name") or guest.get("name")), int(str(port)), scheme if scheme == "https" else "http"


def _guests(directory: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for key, guest in _map(_read(directory / LXC, required=True).get("lxc_configs")).items():
        yield "lxc", int(key) if str(key).isdigit() else 0, _map(guest)
    machines = _read(directory / VM, required=False).get("vms")
    for guest in machines if isinstance(machines, list) else []:
        vmid = _map(guest).get("vmid", 0)
        yield "vm", int(vmid) if str(vmid).isdigit() else 0, _map(guest)


def read(directory: Path) -> Guests:
    """Read an inventory.

    Args:
        directory: holds the JSON files; that of the VMs and that of the hypervisor may be missing.

    Raises:
        LabError: a file is missing or no JSON.
    """
    hypervisor = _read(directory / HYPERVISOR, required=False)
    network = _map(hypervisor.get("network"))
    domain_name = str(hypervisor.get("domain_name") or "example.test").lower()
    domain = domain_name if domain_name.startswith("internal.") else f"internal.{domain_name}"
    hostname = str(_map(hypervisor.get("portainer_api")).get("portainer_hostname") or f"portainer.{domain}").lower()
    backends: list[Backend] = []
    found: dict[str, str | None] = {"portainer": None, "traefik": None, "step_ca": None}
    portainer_names: tuple[str, ...] = (hostname,)
    for kind, number, guest in _guests(directory):
        address = _address(guest)
        if address is None or guest.get("is_template"):
            continue
        name = str(guest.get("name") or f"{kind}-{number}")
        service = _service(guest, "https" if kind == "vm" else "http")
        label = _label(service[0] if service else name)
        names = (f"{label}.{domain}",)
        features = guest.get("features") or []
        for feature in ("traefik", "step_ca"):
            if (
                feature in features
                or (feature == "traefik" and number == 102)
                or (feature == "step_ca" and number == 103)
            ):
                found[feature] = found[feature] or address
        role = guest.get("portainer_role")
        if kind == "vm" and role == "primary":
            port = service[1] if service else int(network.get("portainer_server_port") or _DEFAULT_SERVER_PORT)
            portainer_names = tuple(dict.fromkeys((hostname, *names)))
            found["portainer"] = found["portainer"] or address
            backends.append(Backend(name, number, "portainer", "https", address, port, portainer_names))
            continue
        if kind == "vm" and role == "agent":
            port = int(network.get("portainer_agent_port") or _DEFAULT_AGENT_PORT)
            backends.append(Backend(name, number, "agent", "https", address, port, names))
        if service:
            backends.append(Backend(name, number, "service", service[2], address, service[1], names))
        elif kind == "lxc":
            ports = [container_port(each) for each in guest.get("ports") or []]
            backends += [
                Backend(name, number, "service", "http", address, port, names) for port in dict.fromkeys(ports) if port
            ]
    unique = {(each.address, each.port): each for each in reversed(backends)}
    ordered = tuple(sorted(unique.values(), key=lambda each: (each.guest, each.port)))
    return Guests(ordered, domain, found["portainer"], portainer_names, found["traefik"], found["step_ca"])


def in_network(directory: Path, network: str) -> bool:
    """Whether all guests' addresses lie in the lab's network already."""
    addresses = [address for _, _, guest in _guests(directory) if (address := _address(guest))]
    return all(address.startswith(f"{network}.") for address in addresses)


def translate(source: Path, target: Path, network: str) -> None:
    """Copy an inventory with every guest's address moved into the lab's network.

    ``10.0.0.141`` becomes ``127.10.0.141``; only addresses that share their first two numbers with a guest's are moved.

    Args:
        source: the inventory as it is.
        target: a directory for the copy; made when missing.
        network: the first two numbers, such as ``127.10``.

    Raises:
        LabError: a file cannot be read.
    """
    prefixes = {
        address.rpartition(".")[0].rpartition(".")[0] for _, _, guest in _guests(source) if (address := _address(guest))
    }
    pattern = re.compile(
        r"(?<![\d.])(?:" + "|".join(re.escape(each) for each in sorted(prefixes)) + r")\.(\d{1,3}\.\d{1,3})(?![\d.])"
    )
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for path in sorted(source.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        moved = pattern.sub(lambda match: f"{network}.{match[1]}", text) if prefixes else text
        (target / path.name).write_text(moved, encoding="utf-8")
