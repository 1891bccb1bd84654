"""Which Portainer instance runs on which VM, and how that VM is reached. Pure."""

from __future__ import annotations

from phoenix import names
from phoenix.errors import InputError
from phoenix.inventory.models import Vm
from phoenix.remote.connection import IN_GUEST, Connection
from phoenix.settings import Settings


def agent_connection(settings: Settings, vm: Vm) -> Connection | None:
    """How an agent's VM is reached: as configured, else the way the server's VM is, with the guest or host changed.

    Returns:
        None where the stack names no connection for Portainer at all.

    Raises:
        InputError: the server's way cannot be used for another VM: over ssh each host has a key of its own.
    """
    own = settings.portainer.agents.get(vm.name)
    if own is not None:
        return own
    server = settings.portainer.connection
    if server is None:
        return None
    if server.transport in IN_GUEST:
        return server.model_copy(update={"guest": vm.id})
    if server.transport == "ssh" and server.known_hosts_file is not None:
        return server.model_copy(update={"host": names.address(vm.network_config.ip or "")})
    raise InputError(
        [
            f"{settings.source}: phoenix:portainer.agents.{vm.name} is missing: {vm.label} runs an agent, so say how "
            "it is reached, or reach the server by pct, qm or a knownHostsFile, which serve for every VM."
        ]
    )


def check_agents(settings: Settings, agents: tuple[Vm, ...]) -> None:
    """Refuse connections for VMs that run no agent.

    Raises:
        InputError: a name that is none of theirs.
    """
    known = {vm.name for vm in agents}
    mistakes = [
        f"{settings.source}: phoenix:portainer.agents names {name!r}, which is no VM with an agent (there are: "
        f"{', '.join(sorted(known)) or 'none'}): correct the name or remove the entry."
        for name in settings.portainer.agents
        if name not in known
    ]
    if mistakes:
        raise InputError(mistakes)


def with_key(connection: Connection, settings: Settings) -> Connection:
    """``connection``, with the stack's ``sshPrivateKey`` where it names no key of its own."""
    own = connection.private_key or connection.private_key_file or connection.agent
    if own or settings.ssh_private_key is None or connection.host is None:
        return connection
    return connection.model_copy(update={"private_key": settings.ssh_private_key})
