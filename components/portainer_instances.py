"""Builds Portainer's server and agents from inventory and settings."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.portainer import Instance, PortainerDeployment, PortainerInstance
from phoenix.configuration import Configuration
from phoenix.errors import InputError
from phoenix.instances import compose
from phoenix.instances.certificate import certificate_mistakes
from phoenix.instances.targets import agent_connection, check_agents, with_key
from phoenix.inventory import Inventory
from phoenix.remote import Connection
from phoenix.routes import PORTAINER
from phoenix.settings import Settings


@dataclass(frozen=True)
class PortainerPlan:
    """What of Portainer a stack deploys.

    Attributes:
        connection: how the server's VM is reached.
        deploy_command: the stack's own script, in place of the instances; None for the instances.
        instances: resource name, VM and Compose project of the server and each agent.
    """

    connection: Connection
    deploy_command: str | None
    instances: tuple[tuple[str, Connection, Instance], ...]


def plan_portainer(
    settings: Settings, inventory: Inventory, configuration: Configuration, project: Path
) -> PortainerPlan | None:
    """What of Portainer a stack deploys, checked; None where it names no connection for it.

    Args:
        settings: the stack's.
        inventory: the hypervisor's guests.
        configuration: Traefik's files; the server's route says its port and name.
        project: directory that file names in the settings start from.

    Raises:
        InputError: with one sentence for each mistake.
    """
    connection = settings.portainer.connection
    if inventory.portainer_server is None or connection is None:
        return None
    connection = with_key(connection, settings)
    if settings.portainer.deploy_command:
        return PortainerPlan(connection, settings.portainer.deploy_command, ())
    server = server_instance(settings, inventory, configuration, project)
    agents = agent_instances(settings, inventory)
    return PortainerPlan(connection, None, (("portainer-server", connection, server), *agents))


def build_portainer(plan: PortainerPlan | None, opts: pulumi.ResourceOptions) -> None:
    """Register what the plan says.

    Args:
        plan: None registers nothing.
        opts: options of each component; they carry the dependency on the gate.
    """
    if plan is None:
        return
    if plan.deploy_command:
        PortainerDeployment("portainer", plan.connection, plan.deploy_command, opts)
    for name, target, instance in plan.instances:
        PortainerInstance(name, target, instance, opts)


def agent_instances(settings: Settings, inventory: Inventory) -> list[tuple[str, Connection, Instance]]:
    """Resource name, VM and project of each agent.

    Raises:
        InputError: an agent's VM cannot be reached as configured, or the image is not pinned.
    """
    check_agents(settings, inventory.portainer_agents)
    port = inventory.hypervisor.network.portainer_agent_port
    image = compose.agent_image(inventory, settings.portainer)
    found = []
    for vm in inventory.portainer_agents:
        target = agent_connection(settings, vm)
        if target is None:
            continue
        instance = Instance(
            project=compose.AGENT_PROJECT,
            directory=f"{settings.portainer.directory}-agent",
            compose=compose.agent_compose(image, port, agent_secret=settings.portainer.agent_secret is not None),
            secret_files=_agent_environment(settings),
            health_url=f"https://127.0.0.1:{port}/ping",
            health_status=204,
        )
        found.append((f"portainer-agent-{vm.name}", with_key(target, settings), instance))
    return found


def server_instance(settings: Settings, inventory: Inventory, configuration: Configuration, project: Path) -> Instance:
    """The server's project.

    Raises:
        InputError: its certificate is not fit, or its image not pinned.
    """
    portainer = settings.portainer
    files = _agent_environment(settings)
    route = next(route for route in configuration.routes if route.base == PORTAINER)
    if portainer.certificate_file or portainer.key_file:
        server_name = route.transport.server_name if route.transport else route.hostnames[0]
        files |= certificate_files(settings, project, server_name)
    elif route.transport and not route.transport.insecure_skip_verify:
        pulumi.log.warn(
            f"{settings.source}: phoenix:portainer.certificateFile is missing: Portainer would show a certificate of "
            "its own making, which Traefik refuses; name one from the internal CA."
        )
    if portainer.admin_password is not None:
        files["admin_password"] = portainer.admin_password.get_secret_value()
    port = int(route.backend.rpartition(":")[2])
    return Instance(
        project=compose.SERVER_PROJECT,
        directory=portainer.directory,
        compose=compose.server_compose(
            compose.server_image(inventory, portainer),
            port,
            certificate="portainer.crt" in files,
            admin_password="admin_password" in files,
            agent_secret="agent.env" in files,
        ),
        secret_files=files,
        health_url=f"https://127.0.0.1:{port}/api/system/status",
        health_status=200,
        remove_data=portainer.remove_data_on_destroy,
    )


def certificate_files(settings: Settings, project: Path, server_name: str) -> dict[str, str]:
    """The server's certificate and key, read and checked.

    Raises:
        InputError: a file is missing, or Traefik would refuse the certificate.
    """
    portainer = settings.portainer
    if not portainer.certificate_file or not portainer.key_file:
        missing = "keyFile" if portainer.certificate_file else "certificateFile"
        raise InputError([f"{settings.source}: phoenix:portainer.{missing} is missing: a certificate needs its key."])
    texts = []
    for name in (portainer.certificate_file, portainer.key_file):
        path = project / Path(name).expanduser()
        try:
            texts.append(path.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError):
            raise InputError(
                [f"{settings.source}: phoenix:portainer names {path}, which cannot be read: correct it."]
            ) from None
    now = datetime.datetime.now(datetime.UTC)
    mistakes = [
        f"{portainer.certificate_file}: the certificate {phrase}: have the internal CA issue another."
        for phrase in certificate_mistakes(texts[0].encode(), texts[1].encode(), server_name, now)
    ]
    if mistakes:
        raise InputError(mistakes)
    return {"portainer.crt": texts[0], "portainer.key": texts[1]}


def _agent_environment(settings: Settings) -> dict[str, str]:
    secret = settings.portainer.agent_secret
    if secret is None:
        return {}
    value = secret.get_secret_value()
    if any(ord(character) < 32 for character in value) or "'" in value:
        raise InputError(
            [
                f"{settings.source}: phoenix:portainer.agentSecret must not hold quotes or control characters: "
                "choose another."
            ]
        )
    return {"agent.env": f"AGENT_SECRET={value}\n"}
