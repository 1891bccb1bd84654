"""The program's outputs, schema version 1: what the portainer manager and other readers build on. Pure.

``docs/outputs.schema.json`` is the contract; :mod:`phoenix.portainer.contract` reads it.
"""

from __future__ import annotations

from typing import Any

from phoenix import names
from phoenix.configuration import Configuration
from phoenix.inventory.models import DockerStackReference, Inventory, Vm
from phoenix.routes import PORTAINER, Route
from phoenix.settings import Settings

SCHEMA_VERSION = 1


def route_output(route: Route, port: int) -> dict[str, Any]:
    """One entry of ``routes``."""
    return {
        "hostnames": list(route.hostnames),
        "rule": route.rule,
        "url": public_url(route.hostnames[0], port),
        "service": route.service,
        "backend": route.backend,
        "certResolver": route.resolvers[0],
        "guest": route.guest,
    }


def public_url(hostname: str, port: int) -> str:
    """How a browser writes it: without the port where it is https's own."""
    return f"https://{hostname}" if port == 443 else f"https://{hostname}:{port}"


def traefik_address(inventory: Inventory, settings: Settings) -> str | None:
    """Where the gateway reaches Traefik: its own listen address, else that of its container."""
    host = settings.traefik.websecure_address.rpartition(":")[0].strip("[]")
    if host and host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return host
    for lxc in inventory.lxcs:
        if "traefik" in lxc.features or lxc.id == 102:
            return _address(lxc.network_config.ip)
    return settings.traefik.connection.host if settings.traefik.connection else None


def _address(ip: str | None) -> str | None:
    try:
        return names.address(ip or "")
    except ValueError:
        return None


def environments(settings: Settings) -> tuple[str, ...]:
    """The environments of Docker stacks this stack deploys."""
    return settings.docker_environments or (settings.environment,)


def docker_stack_outputs(inventory: Inventory, settings: Settings) -> list[dict[str, Any]]:
    """``dockerStacks``: every Docker stack of this stack's environments, on each VM that runs one.

    A reference without an environment means the stack's own; one with another environment belongs to another stack.
    Without a Portainer server there is none, since nothing could deploy it.
    """
    server = inventory.portainer_server
    if server is None:
        return []
    wanted = environments(settings)
    found = []
    for vm in (*inventory.portainer_agents, server):
        for reference in vm.docker_stacks:
            environment = reference.environment or settings.environment
            if environment in wanted and reference.name in inventory.docker_stacks:
                found.append(_docker_stack(inventory, vm, reference, environment))
    return sorted(found, key=lambda entry: (entry["vmid"], entry["deploymentName"]))


def _docker_stack(inventory: Inventory, vm: Vm, reference: DockerStackReference, environment: str) -> dict[str, Any]:
    stack = inventory.docker_stacks[reference.name]
    details = stack.environments.get(environment)
    return {
        "name": reference.name,
        "environment": environment,
        "deploymentName": f"{reference.name}-{environment}",
        "vmid": vm.id,
        "portainerEnvironment": vm.portainer_environment_name or vm.name,
        "composeFile": stack.compose_file_path,
        "variables": [{"name": item.name, "value": item.value} for item in details.variables] if details else [],
        "files": [{"source": item.source, "destination": item.destination} for item in details.files]
        if details
        else [],
    }


def portainer_output(inventory: Inventory, settings: Settings, configuration: Configuration) -> dict[str, Any] | None:
    """``portainer``: server and agents, or None for an installation without a server."""
    server = inventory.portainer_server
    route = next((route for route in configuration.routes if route.base == PORTAINER), None)
    if server is None or route is None:
        return None
    port = inventory.hypervisor.network.portainer_agent_port
    hostname = route.hostnames[0]
    return {
        "url": public_url(hostname, settings.gateway.port),
        "hostname": hostname,
        "adminUser": inventory.hypervisor.portainer_api.admin_user,
        "server": {
            "vmid": server.id,
            "name": server.name,
            "address": _address(server.network_config.ip),
            "port": int(route.backend.rpartition(":")[2]),
        },
        "agents": [
            {
                "vmid": vm.id,
                "name": vm.name,
                "environment": vm.portainer_environment_name or vm.name,
                "address": _address(vm.network_config.ip),
                "port": port,
                "url": f"tcp://{vm.name.lower()}.{configuration.internal_domain}:{port}",
            }
            for vm in inventory.portainer_agents
        ],
    }


def program_outputs(inventory: Inventory, settings: Settings, configuration: Configuration) -> dict[str, Any]:
    """All outputs as plain data; the program marks ``dockerStacks`` as secret where it holds variables."""
    gateway = configuration.gateway
    return {
        "schemaVersion": SCHEMA_VERSION,
        "environment": settings.environment,
        "internalDomain": configuration.internal_domain,
        "traefik": {
            "revision": configuration.revision,
            "address": traefik_address(inventory, settings),
            "version": settings.traefik.version,
        },
        "gateway": {"address": gateway, "port": settings.gateway.port} if gateway else None,
        "routes": {route.router: route_output(route, settings.gateway.port) for route in configuration.routes},
        "portainer": portainer_output(inventory, settings, configuration),
        "dockerStacks": docker_stack_outputs(inventory, settings),
    }
