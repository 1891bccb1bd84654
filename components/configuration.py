"""Reads what ``pulumi config`` and the inventory say; where they are wrong, the program ends with clear sentences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.runtime.config import get_config

from components.early import connect_early
from phoenix.errors import InputError
from phoenix.instances.targets import with_key
from phoenix.remote.connection import Connection
from phoenix.settings import Settings, parse
from phoenix.settings_files import PROJECT, inventory_directory, with_settings_file

if TYPE_CHECKING:
    from components.portainer_instances import PortainerPlan
    from phoenix.configuration import Configuration
    from phoenix.inventory import Inventory
    from phoenix.traefik.readiness import Check

SETTINGS_KEYS = tuple(sorted(field.alias or name for name, field in Settings.model_fields.items() if not field.exclude))


@dataclass(frozen=True)
class Program:
    """Everything the program is built from, checked.

    Attributes:
        settings: the stack's.
        inventory: the hypervisor's guests.
        configuration: Traefik's three files.
        traefik: how Traefik's container is reached.
        portainer: what of Portainer is deployed; None where the stack names no connection for it.
        gateway: how the gateway's container is reached; None where the stack does not manage it.
    """

    settings: Settings
    inventory: Inventory
    configuration: Configuration
    traefik: Connection
    portainer: PortainerPlan | None
    gateway: Connection | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        """What must hold in Traefik's container before anything is put there."""
        from phoenix.traefik.readiness import checks

        return checks(self.settings, self.configuration)


def read_program(project: Path) -> Program:
    """The program's input.

    Args:
        project: directory of ``Pulumi.yaml``; relative names in the configuration start there.

    Raises:
        pulumi.RunError: with one sentence for each mistake; nothing has been registered by then.
    """
    try:
        return _read(project)
    except InputError as error:
        raise pulumi.RunError("\n".join(error.mistakes)) from None


def _read(project: Path) -> Program:
    source = f"stacks/Pulumi.{pulumi.get_stack()}.yaml"
    settings = parse(with_settings_file(stack_values(), project), source)
    connection = settings.traefik.connection
    if connection is None:
        raise InputError([f"{source}: phoenix:traefik.connection is missing: say how Traefik's container is reached."])
    traefik = with_key(connection, settings)
    connect_early(traefik)
    # What follows takes long enough to import that the connection should be on its way before.
    from components.portainer_instances import plan_portainer
    from phoenix.configuration import read

    inventory, configuration = read(inventory_directory(settings, project, pulumi.get_stack()), settings)
    gateway = settings.gateway.connection
    return Program(
        settings=settings,
        inventory=inventory,
        configuration=configuration,
        traefik=traefik,
        portainer=plan_portainer(settings, inventory, configuration, project),
        gateway=with_key(gateway, settings) if gateway else None,
    )


def stack_values() -> dict[str, Any]:
    """The stack's configuration as plain data; objects arrive as JSON text (https://www.pulumi.com/docs/concepts/config/)."""
    values: dict[str, Any] = {}
    for key in SETTINGS_KEYS:
        text = get_config(f"{PROJECT}:{key}")
        if text is None or text == "":
            continue
        values[key] = _structured(text)
    return values


def _structured(text: str) -> Any:
    if text[:1] not in "{[":
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
