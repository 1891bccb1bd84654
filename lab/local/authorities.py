"""The lab's two certificate authorities: the internal one in Step-CA's place, and one that plays the public CA."""

from __future__ import annotations

import json
from pathlib import Path

from lab.local.authority import Authority, write_private
from lab.local.layout import AUTHORITY_PORT, WEB_PORT, WEBSECURE_PORT, Layout
from lab.local.settings import INTERNAL_PATH, PUBLIC_PATH

_INTERNAL_HOURS, _PUBLIC_HOURS = 24, 90 * 24


def write(layout: Layout, address: str, traefik: str) -> Path:
    """Make both roots and the configuration of the process that answers for them.

    Args:
        layout: the lab's paths.
        address: where it listens.
        traefik: where every name is taken to be.

    Returns:
        The configuration's path.
    """
    internal = Authority(layout.authority)
    public = Authority(layout.public_authority, "Phoenix lab public root")
    layout.roots.write_bytes(internal.certificate_path.read_bytes() + public.certificate_path.read_bytes())
    certificate, key = internal.issue("authorities", [], [address])
    path = layout.authority / "acme.json"
    content = {
        "address": address,
        "port": AUTHORITY_PORT,
        "certificate": str(certificate),
        "key": str(key),
        "web": f"{traefik}:{WEB_PORT}",
        "websecure": f"{traefik}:{WEBSECURE_PORT}",
        "authorities": {
            INTERNAL_PATH: {
                "directory": str(layout.authority),
                "name": "Phoenix lab root",
                "hours": _INTERNAL_HOURS,
                "challenges": ["http-01", "tls-alpn-01"],
            },
            PUBLIC_PATH: {
                "directory": str(layout.public_authority),
                "name": "Phoenix lab public root",
                "hours": _PUBLIC_HOURS,
                "challenges": ["http-01", "tls-alpn-01"],
            },
        },
    }
    write_private(path, json.dumps(content, indent=1).encode())
    return path
