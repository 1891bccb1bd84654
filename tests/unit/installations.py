"""Small installations for the tables: the JSON texts of a hypervisor, and what they give or get wrong."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phoenix.configuration import Configuration, read
from phoenix.errors import InputError
from phoenix.inventory.load import FILES, HYPERVISOR_FILE, LXC_FILE, STACKS_FILE, VM_FILE
from phoenix.routes import Route
from phoenix.settings import parse

PROJECT = Path(__file__).resolve().parents[2]
SOURCE = "stacks/Pulumi.test.yaml"
HYPERVISOR: dict[str, Any] = {
    "domain_name": "example.test",
    "portainer_api": {"portainer_hostname": "portainer.example.test"},
}

Texts = dict[str, str | None]


def lxc(name: Any = "app", ip: Any = "10.0.0.5/24", **more: Any) -> dict[str, Any]:
    """A container; ``ports`` only where it is given."""
    return {"name": name, "network_config": {"ip": ip}, **more}


def vm(vmid: Any = 1002, name: Any = "apps", ip: Any = "10.0.0.102/24", **more: Any) -> dict[str, Any]:
    """A virtual machine without a role."""
    return {"vmid": vmid, "name": name, "network_config": {"ip": ip}, **more}


def primary(**more: Any) -> dict[str, Any]:
    """The VM of the Portainer server."""
    return vm(1001, "Portainer", "10.0.0.101/24", portainer_role="primary", **more)


def texts(
    lxcs: Mapping[str, Any] | None = None,
    vms: Sequence[Any] | None = None,
    hypervisor: Mapping[str, Any] | None = None,
    stacks: Mapping[str, Any] | None = None,
) -> Texts:
    """The four files; the catalogue of Docker stacks only where it is given."""
    return {
        LXC_FILE: json.dumps({"lxc_configs": lxcs or {}}),
        VM_FILE: json.dumps({"vms": vms or []}),
        HYPERVISOR_FILE: json.dumps(HYPERVISOR if hypervisor is None else hypervisor),
        STACKS_FILE: None if stacks is None else json.dumps({"docker_stacks": stacks}),
    }


def write(directory: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Put the files into a directory."""
    for name, text in files.items():
        if text is not None:
            (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return directory


def configured(files: Mapping[str, str | bytes | None], settings: Mapping[str, Any] | None = None) -> Configuration:
    """What the files configure, read from a directory as the program does."""
    with tempfile.TemporaryDirectory() as directory:
        return read(write(Path(directory), files), parse(settings or {}, SOURCE))[1]


def routed(files: Mapping[str, str | bytes | None], settings: Mapping[str, Any] | None = None) -> dict[str, Route]:
    """Router name → route."""
    return {route.router: route for route in configured(files, settings).routes}


def mistakes(files: Mapping[str, str | bytes | None], settings: Mapping[str, Any] | None = None) -> list[str]:
    """Every sentence of one run, the directory's own name left out; none where all is right."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            read(write(Path(directory), files), parse(settings or {}, SOURCE))
        except InputError as error:
            return [sentence.replace(f"{directory}/", "") for sentence in error.mistakes]
    return []


def inventory_of(stack: str) -> Texts:
    """The files of an example inventory of the project."""
    directory = PROJECT / "stacks" / "inventory" / stack
    return {name: (directory / name).read_text(encoding="utf-8") for name in FILES if (directory / name).exists()}
