"""The lab's network: one bridge on the host side, a namespace for each guest, all names derived from the network.

The names alone say what belongs to a lab, so that what a killed lab left behind is found without its state.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.container.errors import ContainerLabError
from lab.container.processes import run

NAMESPACES = Path("/run/netns")
_BENCHMARKING = ipaddress.IPv4Network("198.18.0.0/15")


@dataclass(frozen=True, slots=True)
class Network:
    """A /24 out of 198.18.0.0/15, the range for tests of network devices (RFC 2544, RFC 6890): never routed.

    Args:
        prefix: its first three octets, such as ``198.18.10``.

    Raises:
        ContainerLabError: the prefix is no such network.
    """

    prefix: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", self.prefix):
            raise ContainerLabError(
                f"network: {self.prefix!r} is not a network prefix: give three octets such as 198.18.10."
            )
        try:
            inside = ipaddress.IPv4Network(f"{self.prefix}.0/24").subnet_of(_BENCHMARKING)
        except ValueError:
            inside = False
        if not inside:
            raise ContainerLabError(
                f"network: {self.prefix} is outside {_BENCHMARKING}, the range for tests: "
                "give a prefix such as 198.18.10."
            )

    @property
    def bridge(self) -> str:
        """Name of the bridge (an interface name has at most 15 characters)."""
        _, second, third = self.prefix.split(".")
        return f"phx{second}-{third}"

    @property
    def host(self) -> str:
        """The host's own address on the bridge."""
        return f"{self.prefix}.1"

    def namespace(self, guest: str) -> str:
        """Name of a guest's namespace."""
        return f"phoenix-{self.prefix}-{guest}"

    def link(self, guest: str) -> str:
        """Name of the host's end of a guest's cable."""
        _, second, third = self.prefix.split(".")
        return f"px{int(second):x}{int(third):02x}-{guest}"


def build(network: Network, guests: Mapping[str, Sequence[str]]) -> None:
    """Make the bridge and a namespace with one interface ``eth0`` for each guest, and no way out of the network.

    Args:
        network: the network.
        guests: short name (at most 8 characters) → its addresses.

    Raises:
        ContainerLabError: ip(8) refused, such as where another network has these addresses.
    """
    run(["ip", "link", "add", network.bridge, "type", "bridge"])
    lines = [f"addr add {network.host}/24 dev {network.bridge}", f"link set {network.bridge} up"]
    for guest in guests:
        link, space = network.link(guest), network.namespace(guest)
        lines += [
            f"netns add {space}",
            f"link add {link} type veth peer name eth0 netns {space}",
            f"link set {link} master {network.bridge} up",
        ]
    run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    for guest, addresses in guests.items():
        lines = [f"addr add {address}/24 dev eth0" for address in addresses]
        lines += ["link set lo up", "link set eth0 up"]
        run(["ip", "-netns", network.namespace(guest), "-batch", "-"], stdin="\n".join(lines) + "\n")


def remove(network: Network) -> None:
    """Remove whatever carries this network's names."""
    for space in namespaces(network):
        run(["ip", "netns", "delete", space], check=False)
    for link in links(network):
        run(["ip", "link", "delete", link], check=False)


def namespaces(network: Network) -> list[str]:
    """Names of this network's namespaces that exist."""
    with contextlib.suppress(OSError):
        return sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith(network.namespace("")))
    return []


def links(network: Network) -> list[str]:
    """Names of this network's interfaces on the host that exist, the bridge last."""
    found = [path.name for path in Path("/sys/class/net").iterdir()]
    cables = sorted(name for name in found if name.startswith(network.link("")))
    return cables + [name for name in found if name == network.bridge]
