"""What the lab starts: an inventory's JSON files, moved onto the lab's network. Pure but for reading the files."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.container.errors import ContainerLabError
from lab.container.network import Network

FILES = (
    "phoenix_lxc_configs.json",
    "phoenix_vm_configs.json",
    "phoenix_hypervisor_config.json",
    "phoenix_stacks_config.json",
)
BUILT_IN = Path(__file__).with_name("inventory")
PUBLIC_AUTHORITY = "acme.public-ca.test"
REGISTRY = "registry-1.docker.io"
BACKENDS = "lxcs"

Role = Literal["gateway", "traefik", "authority", "portainer", "agent"]

_LXC_ROLES: dict[str, Role] = {"101": "gateway", "102": "traefik", "103": "authority"}
_VM_ROLES: dict[str, Role] = {"primary": "portainer", "agent": "agent"}


@dataclass(frozen=True, slots=True)
class Machine:
    """A guest with a systemd of its own."""

    number: str
    kind: Literal["lxc", "vm"]
    name: str
    address: str
    role: Role
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Backend:
    """A guest of which only the service answers."""

    number: str
    name: str
    address: str
    port: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the lab starts, with its addresses and names.

    Attributes:
        texts: file name → the inventory's JSON text with the lab's addresses.
        source: the inventory's own directory; what else lies in it, such as compose files, is copied.
    """

    network: Network
    domain: str
    internal_domain: str
    portainer_hostname: str
    portainer_port: int
    machines: tuple[Machine, ...]
    backends: tuple[Backend, ...]
    texts: Mapping[str, str]
    source: Path

    @property
    def hypervisor_config(self) -> dict[str, Any]:
        """The hypervisor's own configuration."""
        return dict(json.loads(self.texts[FILES[2]]))

    @property
    def hypervisor(self) -> str:
        """The hypervisor's address; the internal DNS server listens there too."""
        return f"{self.network.prefix}.13"

    @property
    def internet(self) -> str:
        """Address of the namespace that plays the internet: the public CA and the external DNS server."""
        return f"{self.network.prefix}.2"

    def machine(self, role: Role) -> Machine:
        """The guest of a role.

        Raises:
            ContainerLabError: the inventory has none.
        """
        for machine in self.machines:
            if machine.role == role:
                return machine
        raise ContainerLabError(f"inventory: no guest has the role {role}: add it to the inventory.")

    def namespaces(self) -> dict[str, list[str]]:
        """Short name of each namespace → its addresses."""
        spaces = {machine.number: [machine.address] for machine in self.machines}
        spaces |= {"hv": [self.hypervisor], "inet": [self.internet]}
        spaces[BACKENDS] = sorted({backend.address for backend in self.backends})
        return spaces

    def gateway_names(self) -> list[str]:
        """What the gateway's certificate names: every host below both domains, and what a wildcard does not cover."""
        services = [backend.settings.get("traefik_service") or {} for backend in self.backends]
        labels = [backend.name for backend in self.backends] + [str(one["name"]) for one in services if "name" in one]
        names = [f"*.{self.domain}", f"*.{self.internal_domain}", self.portainer_hostname]
        names += [f"{label.lower()}.{self.internal_domain}" for label in labels if "." in label]
        return list(dict.fromkeys([*names, self.machine("gateway").address]))

    def internal_records(self) -> dict[str, str]:
        """Names with their own address on the internal DNS server; every other name leads to Traefik."""
        records = {
            f"ca.{self.internal_domain}": self.machine("authority").address,
            PUBLIC_AUTHORITY: self.internet,
            REGISTRY: self.internet,
        }
        for machine in self.machines:
            if machine.kind == "vm":
                records.setdefault(f"{machine.name.lower()}.{self.internal_domain}", machine.address)
        for zone in (self.hypervisor_config.get("dns_server") or {}).get("authoritative_zones") or []:
            for record in zone.get("records") or []:
                if "ip_external" in record:
                    records[f"{record['hostname']}.{zone['zone_name']}"] = record["ip_external"]
        # The VM is reached by its address: its internal name, like its public one, leads through Traefik.
        records.pop(f"{self.machine('portainer').name.lower()}.{self.internal_domain}")
        return records


def load(directory: Path | None, network: Network) -> Plan:
    """Read an inventory and move its addresses onto the network.

    Args:
        directory: holds the files of ``FILES``; None for the built-in inventory.
        network: where its guests are to live.

    Raises:
        ContainerLabError: a file is missing, is not JSON or lacks what the lab needs.
    """
    source = directory or BUILT_IN
    texts = {name: _read(source / name) for name in FILES}
    old = _prefix(json.loads(texts[FILES[2]]), source / FILES[2])
    moved = {
        name: re.sub(rf"(?<![\d.]){re.escape(old)}\.(?=\d)", f"{network.prefix}.", text) for name, text in texts.items()
    }
    lxcs, vms, hypervisor, _ = (json.loads(moved[name]) for name in FILES)
    machines = (*_lxc_machines(lxcs, network), *_vm_machines(vms, network))
    portainer = hypervisor.get("portainer_api") or {}
    domain = str(hypervisor.get("domain_name") or "example.test")
    plan = Plan(
        network=network,
        domain=domain,
        internal_domain=domain if domain.startswith("internal.") else f"internal.{domain}",
        portainer_hostname=str(portainer.get("portainer_hostname") or f"portainer.{domain}"),
        portainer_port=int((hypervisor.get("network") or {}).get("portainer_server_port") or 9443),
        machines=machines,
        backends=tuple(_backends(lxcs, network)),
        texts=moved,
        source=source,
    )
    for role in ("gateway", "traefik", "authority", "portainer"):
        plan.machine(role)
    _check_addresses(plan)
    return plan


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        if not isinstance(json.loads(text), dict):
            raise ContainerLabError(f"{path}: the top level is no object: see the built-in inventory.")
    except OSError as error:
        raise ContainerLabError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ContainerLabError(f"{path}: is not JSON: {error}.") from error
    return text


def _prefix(hypervisor: Mapping[str, Any], path: Path) -> str:
    network = hypervisor.get("network") or {}
    for text in (network.get("default_subnet"), (network.get("interfaces") or {}).get("address")):
        try:
            return str(ipaddress.ip_interface(str(text)).ip).rpartition(".")[0]
        except ValueError:
            continue
    raise ContainerLabError(
        f"{path}: network.default_subnet is missing or is no IPv4 network: give one such as 10.0.0.0/24."
    )


def _lxc_machines(lxcs: Mapping[str, Any], network: Network) -> Iterator[Machine]:
    for number, settings in (lxcs.get("lxc_configs") or {}).items():
        address = _address(settings, network)
        if number in _LXC_ROLES and address:
            yield Machine(number, "lxc", str(settings.get("name", number)), address, _LXC_ROLES[number], settings)


def _vm_machines(vms: Mapping[str, Any], network: Network) -> Iterator[Machine]:
    for settings in vms.get("vms") or []:
        address, role = _address(settings, network), _VM_ROLES.get(str(settings.get("portainer_role")))
        if role and address and not settings.get("is_template"):
            yield Machine(str(settings["vmid"]), "vm", str(settings.get("name")), address, role, settings)


def _backends(lxcs: Mapping[str, Any], network: Network) -> Iterator[Backend]:
    for number, settings in (lxcs.get("lxc_configs") or {}).items():
        service, address = settings.get("traefik_service") or {}, _address(settings, network)
        ports = settings.get("ports") or []
        if number in _LXC_ROLES or address is None or not (service or ports):
            continue
        port = service.get("port") or str(ports[0]).rpartition(":")[2].partition("/")[0]
        yield Backend(number, str(settings.get("name", number)), address, int(port), settings)


def _address(settings: Mapping[str, Any], network: Network) -> str | None:
    text = str((settings.get("network_config") or {}).get("ip", "")).partition("/")[0]
    return text if text.startswith(f"{network.prefix}.") else None


def _check_addresses(plan: Plan) -> None:
    taken = {plan.network.host: "the host", plan.hypervisor: "the hypervisor", plan.internet: "the internet"}
    guests: list[Machine | Backend] = [*plan.machines, *plan.backends]
    for guest in guests:
        if (other := taken.get(guest.address)) is not None:
            raise ContainerLabError(
                f"inventory: guest {guest.number} has the address {guest.address}, which {other} has: give it another."
            )
        taken[guest.address] = f"guest {guest.number}"
