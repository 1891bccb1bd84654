"""What a candidate would find on its target: the files it names, and the ports it wants.

A second instance on throw-away ports cannot show either: it runs as another account, and binds other ports.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phoenix import names
from phoenix.remote import Transport
from phoenix.traefik.named_files import combined_script, named_files, problems

_OWN = ("traefik", "systemd")
"""Programs that may hold Traefik's ports: itself, and systemd for its sockets."""

_SOCKETS = "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep ' 0A ' || true"
"""Listening sockets (proc_net(5)): state 0A."""

_OWN_ADDRESSES = """
grep -B1 '/32 host LOCAL' /proc/net/fib_trie 2>/dev/null | sed -n 's/.*|-- //p'
sed -n 's/^\\([0-9a-f]*\\) .*/\\1/p' /proc/net/if_inet6 2>/dev/null
echo "anywhere $(cat /proc/sys/net/ipv4/ip_nonlocal_bind /proc/sys/net/ipv6/ip_nonlocal_bind 2>/dev/null)"
"""
"""The machine's own addresses, a line each; ``anywhere`` tells whether others can be listened on as well (ip(7))."""


def file_problems(transport: Transport, static: Any, dynamic: Any, user: str) -> list[str]:
    """A phrase for each file a configuration names that Traefik could not use; one round trip.

    Args:
        transport: Traefik's container.
        static: data of ``traefik.yml``, or None.
        dynamic: data of ``dynamic_conf.yml``, or None.
        user: account Traefik runs as.
    """
    files = named_files(static, dynamic)
    if not files:
        return []
    return problems(files, transport.run(combined_script(files, user), check=False).text)


@dataclass(frozen=True, slots=True)
class Socket:
    """A listening socket.

    Attributes:
        address: canonical; ``0.0.0.0`` or ``::`` for every address.
        port: its port.
        inode: names it in ``/proc/<pid>/fd``.
    """

    address: str
    port: int
    inode: str

    def conflicts(self, host: str, port: int) -> bool:
        """Whether nothing else can listen on ``host`` (empty for every address) and ``port``."""
        if port != self.port:
            return False
        here = ipaddress.ip_address(self.address)
        if here.is_unspecified or not host:
            return True
        wanted = ipaddress.ip_address(host)
        return wanted.is_unspecified or wanted == here


def listening(output: str) -> list[Socket]:
    """The listening sockets in the form of ``/proc/net/tcp`` and ``tcp6``; other lines are passed over."""
    found = []
    for line in output.splitlines():
        fields = line.split()
        host, _, port = fields[1].partition(":") if len(fields) > 9 else ("", "", "")
        try:
            # Each 32-bit word stands in the machine's byte order, which is little-endian on all that Traefik runs on.
            words = [bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8)]
            address = ipaddress.ip_address(b"".join(words))
            found.append(Socket(_plain(address), int(port, 16), fields[9]))
        except ValueError:
            continue
    return found


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def wanted_ports(static: Any) -> list[tuple[str, str, int]]:
    """(entry point, host or empty, port) of each entry point with a TCP port of its own."""
    points = static.get("entryPoints") if isinstance(static, Mapping) else None
    found = []
    for name, value in points.items() if isinstance(points, Mapping) else ():
        address = str(value.get("address") or "") if isinstance(value, Mapping) else ""
        host, _, port = address.removesuffix("/tcp").rpartition(":")
        try:
            plain = str(ipaddress.ip_address(host.strip("[]"))) if host else ""
        except ValueError:
            continue
        if port.isdigit() and int(port):
            found.append((str(name), plain, int(port)))
    return found


def own_addresses(output: str) -> frozenset[str] | None:
    """The addresses in the output of the script above, canonical; None where they cannot be told."""
    found = set()
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if word == "anywhere":
            if "1" in rest:
                return None
            continue
        try:
            is_long = len(line) == 32 and "." not in line
            found.add(str(ipaddress.ip_address(bytes.fromhex(line) if is_long else line)))
        except ValueError:
            continue
    return frozenset(found) or None


def _foreign_addresses(transport: Transport, wanted: Iterable[tuple[str, str, int]]) -> list[str]:
    """A phrase for each address that this machine does not have, so that Traefik could not start."""
    named = [
        (name, host)
        for name, host, _ in wanted
        if host and not ipaddress.ip_address(host).is_loopback and not ipaddress.ip_address(host).is_unspecified
    ]
    own = own_addresses(transport.run(_OWN_ADDRESSES, check=False).text) if named else None
    if own is None:
        return []
    return [
        f"entryPoints.{name}.address is on {host}, which {transport.description} does not have, so that Traefik could "
        f"not start: use one of {', '.join(sorted(own)) or 'its own'}, or leave the host out"
        for name, host in named
        if host not in own
    ]


def port_problems(transport: Transport, static: Any) -> list[str]:
    """A phrase for each port that another program listens on, and each address that is not the machine's.

    Traefik could not start with either. One round trip, and one more where an address is named or a port is taken.

    Where it cannot be seen whose socket it is, which only root and the program's own account can, nothing is said.
    """
    wanted = wanted_ports(static)
    foreign = _foreign_addresses(transport, wanted)
    sockets = listening(transport.run(_SOCKETS, check=False).text)
    taken = [
        (name, host, port, socket) for name, host, port in wanted for socket in sockets if socket.conflicts(host, port)
    ]
    if not taken:
        return foreign
    owners = _owners(transport, {socket.inode for *_, socket in taken})
    found = foreign
    for name, host, port, socket in taken:
        owner = owners.get(socket.inode)
        if owner is not None and owner not in _OWN:
            address = f"{names.url_host(host)}:{port}"
            found.append(
                f"entryPoints.{name}.address is {address}, where {owner} listens, so that Traefik could not start: "
                f"stop {owner}, or choose another address"
            )
    return list(dict.fromkeys(found))


def _owners(transport: Transport, inodes: Iterable[str]) -> dict[str, str]:
    patterns = " -o ".join(f"-lname {shlex.quote(f'socket:[[]{inode}[]]')}" for inode in sorted(inodes))
    script = (
        f"find /proc/[0-9]*/fd \\( {patterns} \\) -printf '%l %p\\n' 2>/dev/null | while read -r link path; do\n"
        "  process=${path#/proc/}; process=${process%%/*}\n"
        '  printf "%s %s\\n" "$link" "$(cat "/proc/$process/comm" 2>/dev/null)"\n'
        "done; true"
    )
    owners: dict[str, str] = {}
    for line in transport.run(script, check=False).text.splitlines():
        link, _, program = line.partition(" ")
        inode = link.removeprefix("socket:[").removesuffix("]")
        if program and (inode not in owners or program in _OWN):
            owners[inode] = program
    return owners
