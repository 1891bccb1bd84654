"""The settings that point a stack at the lab, in the shape of the stack's own configuration."""

from __future__ import annotations

import functools
import getpass
import grp
import os
import pwd
from pathlib import Path
from typing import Any

import yaml

from lab.local.authority import write_private
from lab.local.inventory import Guests
from lab.local.layout import (
    API_PORT,
    AUTHORITY_PORT,
    SSH_PORT,
    STANDBY_API_PORT,
    WEB_PORT,
    WEBSECURE_PORT,
    Layout,
)
from phoenix.traefik.download import file_digest

INTERNAL_PATH, PUBLIC_PATH = "/acme/acme", "/acme/public"
_HEADER = "# Written by bin/lab up for a stack whose settingsFile names it; bin/lab down removes it.\n"


def user_name() -> str:
    """The current user's name; its number where the user database has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return getpass.getuser() if "USER" in os.environ else str(os.getuid())


def _group_name() -> str:
    try:
        return grp.getgrgid(os.getgid()).gr_name
    except KeyError:
        return str(os.getgid())


@functools.lru_cache
def _sha256(path: str, identity: tuple[int, int]) -> str:
    del identity  # size and time, so that another program is another entry
    return file_digest(Path(path))


def _install(program: Path | None) -> dict[str, Any]:
    """What puts the program back where it was changed."""
    if program is None:
        return {}
    stat = program.stat()
    return {"install": {"file": str(program), "sha256": _sha256(str(program), (stat.st_size, stat.st_mtime_ns))}}


def build(
    layout: Layout,
    network: str,
    guests: Guests,
    host_keys: dict[str, str],
    inventory: Path,
    program: Path | None = None,
) -> dict[str, Any]:
    """The settings as plain data.

    Args:
        layout: the lab's paths.
        network: first two numbers of its addresses.
        guests: what the inventory holds.
        host_keys: public host key line by host.
        inventory: the inventory the lab serves: as given, or its own copy where it had to move addresses.
        program: Traefik on this machine, the same as in its container.
    """
    traefik = layout.traefik
    address = traefik_address(network)

    def connection(host: str, host_address: str) -> dict[str, Any]:
        return {
            "transport": "ssh",
            "host": host_address,
            "port": SSH_PORT,
            "user": user_name(),
            "privateKeyFile": str(layout.client_key),
            "hostKey": host_keys[host],
        }

    authority = authority_address(network, guests)
    settings: dict[str, Any] = {
        "inventory": str(inventory),
        "traefik": {
            "connection": connection("traefik", address),
            "binary": str(traefik / "usr/local/bin/traefik"),
            "configDirectory": str(traefik / "etc/traefik"),
            "stateDirectory": str(traefik / "var/lib/traefik"),
            "logDirectory": str(traefik / "var/log/traefik"),
            "unitDirectory": str(traefik / "etc/systemd/system"),
            "user": user_name(),
            "group": _group_name(),
            "webAddress": f"{address}:{WEB_PORT}",
            "websecureAddress": f"{address}:{WEBSECURE_PORT}",
            "apiAddress": f"{address}:{API_PORT}",
            "standbyApiAddress": f"{address}:{STANDBY_API_PORT}",
            **_install(program),
        },
        "certificateAuthority": {
            "url": f"https://{authority}:{AUTHORITY_PORT}",
            "directory": INTERNAL_PATH + "/directory",
            "rootFile": str(layout.root_certificate),
            "externalDirectory": f"https://{authority}:{AUTHORITY_PORT}{PUBLIC_PATH}/directory",
            # Of the https that the public authority is asked over, not of what it issues.
            "externalRootFile": str(layout.root_certificate),
        },
        # There is no gateway in this lab: Traefik itself is the door.
        "gateway": {"address": address, "port": WEBSECURE_PORT},
        "portainer": {
            "connection": connection("portainer", portainer_address(network, guests)),
            "rootFile": str(layout.root_certificate),
            # There is no Docker in this lab: its Portainer is a process of the lab's own.
            "deployCommand": "echo the lab runs Portainer itself",
            "serverName": guests.portainer_names[0],
        },
    }
    return settings


def traefik_address(network: str) -> str:
    """Where the Traefik container is."""
    return f"{network}.0.12"


def portainer_address(network: str, guests: Guests) -> str:
    """Where the Portainer machine is."""
    return guests.portainer_address or f"{network}.0.101"


def authority_address(network: str, guests: Guests) -> str:
    """Where the certificate authorities are."""
    return guests.authority_address or f"{network}.0.10"


def write(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings; only their owner can read them."""
    text = _HEADER + yaml.safe_dump(settings, sort_keys=True, default_flow_style=False, allow_unicode=True)
    staged = path.with_name(path.name + ".new")
    write_private(staged, text.encode())
    staged.replace(path)
