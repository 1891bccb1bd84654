"""The Compose projects of Portainer's server and agents, through PyYAML's serializer.

Options of the server: https://docs.portainer.io/advanced/cli. The agent's volumes and its shared secret:
https://docs.portainer.io/admin/environments/add/docker/agent.
"""

from __future__ import annotations

import re
from typing import Any

from phoenix.errors import InputError
from phoenix.inventory.models import Inventory
from phoenix.settings import PortainerSettings
from phoenix.traefik import document

SERVER_PROJECT = "portainer"
AGENT_PROJECT = "portainer-agent"
DATA_VOLUME = "portainer_data"
DEFAULT_SERVER_IMAGE = "portainer/portainer-ce:2.39.0"
DEFAULT_AGENT_IMAGE = "portainer/agent:2.39.0"
SECRETS = "/run/phoenix"

_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:-]{0,200}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?")


def pinned_image(wanted: str | None, from_inventory: str | None, default: str) -> str:
    """The image to run: the stack's, else the inventory's, where that is pinned, else a pinned default.

    Raises:
        InputError: the stack's own is not pinned to a tag or digest, or is ``latest``.
    """
    if wanted is not None:
        if not is_pinned(wanted):
            raise InputError(
                [f"phoenix:portainer: the image {wanted!r} is not pinned: name a tag such as {default!r}, or a digest."]
            )
        return wanted
    if from_inventory is not None and is_pinned(from_inventory):
        return from_inventory
    return default


def is_pinned(image: str) -> bool:
    """Whether an image's name has a digest, or a tag other than ``latest``."""
    if not _IMAGE.fullmatch(image):
        return False
    if "@sha256:" in image:
        return True
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(tag) and tag != "latest"


def server_image(inventory: Inventory, portainer: PortainerSettings) -> str:
    """The image of the server."""
    listed = inventory.hypervisor.docker.portainer_server_image
    return pinned_image(portainer.server_image, listed, DEFAULT_SERVER_IMAGE)


def agent_image(inventory: Inventory, portainer: PortainerSettings) -> str:
    """The image of the agents."""
    listed = inventory.hypervisor.docker.portainer_agent_image
    return pinned_image(portainer.agent_image, listed, DEFAULT_AGENT_IMAGE)


def server_compose(image: str, port: int, *, certificate: bool, admin_password: bool, agent_secret: bool) -> str:
    """The server's Compose file.

    Args:
        image: pinned.
        port: published, for https.
        certificate: its own certificate lies beside the file as ``portainer.crt`` and ``portainer.key``.
        admin_password: the first password lies beside it as ``admin_password``.
        agent_secret: ``agent.env`` beside it holds AGENT_SECRET.
    """
    command: list[str] = []
    secrets: dict[str, Any] = {}
    if certificate:
        command += ["--sslcert", f"{SECRETS}/portainer.crt", "--sslkey", f"{SECRETS}/portainer.key"]
        secrets |= {"certificate": "portainer.crt", "key": "portainer.key"}
    if admin_password:
        command += ["--admin-password-file", f"{SECRETS}/admin_password"]
        secrets |= {"password": "admin_password"}
    service: dict[str, Any] = {
        "image": image,
        "container_name": "portainer",
        "restart": "unless-stopped",
        "ports": [f"{port}:9443"],
        "volumes": [
            "/var/run/docker.sock:/var/run/docker.sock",
            f"{DATA_VOLUME}:/data",
            *(f"./{name}:{SECRETS}/{name}:ro" for name in secrets.values()),
        ],
    }
    if command:
        service["command"] = command
    if agent_secret:
        service["env_file"] = ["agent.env"]
    return _text({"portainer": service}, {DATA_VOLUME: {"name": DATA_VOLUME}})


def agent_compose(image: str, port: int, *, agent_secret: bool) -> str:
    """An agent's Compose file.

    Args:
        image: pinned.
        port: published.
        agent_secret: ``agent.env`` beside the file holds AGENT_SECRET.
    """
    service: dict[str, Any] = {
        "image": image,
        "container_name": "portainer_agent",
        "restart": "unless-stopped",
        "ports": [f"{port}:9001"],
        "volumes": [
            "/var/run/docker.sock:/var/run/docker.sock",
            "/var/lib/docker/volumes:/var/lib/docker/volumes",
            "/:/host",
        ],
    }
    if agent_secret:
        service["env_file"] = ["agent.env"]
    return _text({"agent": service}, {})


def _text(services: dict[str, Any], volumes: dict[str, Any]) -> str:
    return document.dump({"services": services, **({"volumes": volumes} if volumes else {})})
