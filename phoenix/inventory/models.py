"""Typed models of the hypervisor's JSON files: only what ingress and Portainer need, all else ignored.

The files belong to the whole installation, so unknown keys are normal. Values that we do use are checked when they
are read; each ``ValueError`` text states the limit, and :mod:`phoenix.inventory.load` puts file, guest, field,
value and remedy around it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StrictBool

from phoenix import names


def _whole_number(value: Any) -> Any:
    is_text = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9
    if isinstance(value, bool) or not (isinstance(value, int) or is_text):
        raise ValueError("must be a whole number such as 1001")
    return int(value)


def _port_mapping(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('must be a port mapping such as "8001:8000"')  # noqa: TRY004 - pydantic wants a ValueError
    return str(value)


def _role(value: str) -> str:
    meant = value.strip().lower()
    if value != meant and meant in ("primary", "agent"):
        raise ValueError(f'must be written "{meant}", in lower case and without blanks, to have an effect')
    return value


def _reference(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("must be a variable's name: letters, digits and underscores, no digit first")
    return value


def _path_in_container(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must be an absolute path in the container, such as /app/.env")
    return value


Hostname = Annotated[str, AfterValidator(names.hostname)]
Port = Annotated[int, BeforeValidator(names.port)]
PortMapping = Annotated[str, BeforeValidator(_port_mapping)]
GuestId = Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=999_999_999)]
Scheme = Literal["http", "https"]
GuestKind = Literal["lxc", "vm"]


class Model(BaseModel):
    """Base of the inventory's models: unknown keys are ignored, values are not coerced, instances are immutable."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True)


class NetworkConfig(Model):
    """A guest's network.

    Attributes:
        ip: address with prefix length (``10.0.0.12/24``) or ``dhcp``.
    """

    ip: str | None = None


class TraefikService(Model):
    """How a guest wants to be routed; stands in newer files and goes before ``ports``.

    Attributes:
        name: the first part of the host name, below the internal domain.
        port: the port the service listens on.
        scheme: how Traefik talks to it; by default ``http`` for an LXC and ``https`` for a VM.
    """

    name: Annotated[str, AfterValidator(names.router_part)]
    port: Port
    scheme: Scheme | None = None


class DockerStackReference(Model):
    """A Docker stack that a VM runs.

    Attributes:
        name: key in ``phoenix_stacks_config.json``.
        environment: ``production``, ``testing`` or ``development``; none where the file names the stack alone.
    """

    name: str
    environment: str | None = None


class Guest(Model):
    """What LXCs and VMs have in common.

    Attributes:
        kind: ``lxc`` or ``vm``.
        id: CTID or VMID.
        name: the guest's name.
        ports: port mappings in Docker's notation, first the host's, then the guest's.
        portainer_role: ``primary`` for the server, ``agent`` for an agent.
    """

    kind: GuestKind
    id: GuestId
    name: str = Field(min_length=1)
    network_config: NetworkConfig = NetworkConfig()
    ports: tuple[PortMapping, ...] = ()
    traefik_service: TraefikService | None = None
    portainer_role: Annotated[str, AfterValidator(_role)] = "none"
    features: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How messages name the guest, for example ``LXC 801 (granite-embedding)``."""
        return names.printable(f"{self.kind.upper()} {self.id} ({self.name})", 80)


class Lxc(Guest):
    """A container of ``phoenix_lxc_configs.json``."""

    kind: GuestKind = "lxc"


class Vm(Guest):
    """A virtual machine of ``phoenix_vm_configs.json``."""

    kind: GuestKind = "vm"
    id: GuestId = Field(alias="vmid")
    is_template: StrictBool = False
    portainer_environment_name: str | None = None
    docker_stacks: tuple[Annotated[DockerStackReference, BeforeValidator(_reference)], ...] = ()


class HypervisorNetwork(Model):
    """Ports of Portainer on every VM."""

    portainer_server_port: Port = 9443
    portainer_agent_port: Port = 9001


class PortainerApi(Model):
    """Portainer's public name and first account."""

    admin_user: str = "admin"
    admin_password: SecretStr | None = None
    portainer_hostname: Hostname | None = None


class DockerImages(Model):
    """Images of Portainer itself."""

    portainer_server_image: str | None = None
    portainer_agent_image: str | None = None


class Hypervisor(Model):
    """``phoenix_hypervisor_config.json``."""

    domain_name: Hostname
    network: HypervisorNetwork = HypervisorNetwork()
    portainer_api: PortainerApi = PortainerApi()
    docker: DockerImages = DockerImages()


class StackVariable(Model):
    """A variable of a Docker stack; its value may be a secret."""

    name: Annotated[str, AfterValidator(_variable_name)]
    value: str


class StackFile(Model):
    """A file a Docker stack needs in its container."""

    source: str = Field(min_length=1)
    destination: Annotated[str, AfterValidator(_path_in_container)] = Field(alias="destination_in_container")


class StackEnvironment(Model):
    """One environment of a Docker stack."""

    variables: tuple[StackVariable, ...] = ()
    files: tuple[StackFile, ...] = ()


class DockerStack(Model):
    """An entry of ``phoenix_stacks_config.json``."""

    description: str = ""
    compose_file_path: str = Field(min_length=1)
    environments: dict[str, StackEnvironment] = {}


class Inventory(Model):
    """All files of one installation, checked.

    Attributes:
        lxcs: by CTID, ascending.
        vms: by VMID, ascending; templates included.
        docker_stacks: the catalogue, by name.
    """

    hypervisor: Hypervisor
    lxcs: tuple[Lxc, ...]
    vms: tuple[Vm, ...]
    docker_stacks: dict[str, DockerStack] = {}

    @property
    def guests(self) -> tuple[Guest, ...]:
        """Every guest that can run: VM templates are left out."""
        return (*self.lxcs, *(vm for vm in self.vms if not vm.is_template))

    @property
    def portainer_server(self) -> Vm | None:
        """The VM with ``portainer_role: primary``."""
        return next((vm for vm in self.vms if not vm.is_template and vm.portainer_role == "primary"), None)

    @property
    def portainer_agents(self) -> tuple[Vm, ...]:
        """The VMs with ``portainer_role: agent``."""
        return tuple(vm for vm in self.vms if not vm.is_template and vm.portainer_role == "agent")
