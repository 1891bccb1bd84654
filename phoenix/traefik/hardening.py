"""Which sandboxing directives a container allows, found out by trying them. Pure: scripts out, names in.

In a container without nesting, directives that need a mount namespace can end a service with 226/NAMESPACE before its
program starts (systemd.exec(5), "Process Exit Codes"). Each is therefore tried with a transient unit first, and what
fails is left out of Traefik's unit.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

DIRECTIVES: Sequence[tuple[str, str]] = (
    ("NoNewPrivileges", "true"),
    ("PrivateDevices", "true"),
    ("PrivateTmp", "true"),
    ("ProtectClock", "true"),
    ("ProtectControlGroups", "true"),
    ("ProtectHome", "true"),
    ("ProtectHostname", "true"),
    ("ProtectKernelLogs", "true"),
    ("ProtectKernelModules", "true"),
    ("ProtectKernelTunables", "true"),
    ("ProtectProc", "invisible"),
    ("ProtectSystem", "strict"),
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX AF_NETLINK"),
    ("RestrictNamespaces", "true"),
    ("RestrictRealtime", "true"),
    ("RestrictSUIDSGID", "true"),
    ("LockPersonality", "true"),
    ("MemoryDenyWriteExecute", "true"),
    ("KeyringMode", "private"),
    ("RemoveIPC", "true"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
)
"""Names and values, in the unit's order. ProcSubset=pid is not among them: it hides net.core.somaxconn, for want of
which Go takes 128 connections into its queue in place of 4,096."""

CANNOT_TRY = "*"
"""Stands for all directives, where they cannot be tried."""

_PRIVILEGES = (("AmbientCapabilities", "CAP_NET_BIND_SERVICE"), ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"))


def probe_script(user: str, directives: Iterable[tuple[str, str]] = DIRECTIVES) -> str:
    """Prints the name of each directive under which a program does not start; nothing where all may be used.

    All are tried together first, so that the common case costs one transient unit.
    """
    wanted = list(directives)
    start = f"systemd-run --quiet --wait --collect --property={shlex.quote(f'User={user}')}"
    everything = " ".join(_property(name, value) for name, value in (*_PRIVILEGES, *wanted))
    lines = [
        f"command -v systemd-run >/dev/null && {start} /bin/true 2>/dev/null || {{ echo '{CANNOT_TRY}'; exit 0; }}",
        f"if {start} {everything} /bin/true 2>/dev/null; then exit 0; fi",
        *(
            f"{start} {_property(name, value)} /bin/true 2>/dev/null || echo {shlex.quote(name)}"
            for name, value in wanted
        ),
    ]
    return "\n".join(lines) + "\ntrue"


def _property(name: str, value: str) -> str:
    return f"--property={shlex.quote(f'{name}={value}')}"


def refused(output: str, directives: Iterable[tuple[str, str]] = DIRECTIVES) -> tuple[str, ...]:
    """The names to leave out, from the script's output, in the unit's order."""
    lines = set(output.split())
    known = [name for name, _ in directives]
    return tuple(known) if CANNOT_TRY in lines else tuple(name for name in known if name in lines)
