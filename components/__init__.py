"""The program's components: what a stack is made of, each a file, in the order they are built.

Each is a :class:`pulumi.ComponentResource` with a token ``phoenix:<module>:<Type>``, whose children are named from its
own name. What they deploy is decided in :mod:`phoenix`; here stand resources and their dependencies only.
"""

from components.configuration import Program, read_program
from components.gateway import GatewaySite, build_gateway
from components.portainer import PortainerDeployment, PortainerInstance
from components.portainer_instances import build_portainer
from components.readiness import ReadinessGate
from components.routers_gate import RoutersGate
from components.traefik_binary import TraefikBinary
from components.traefik_dynamic import TraefikDynamicConfig
from components.traefik_host import TraefikHost
from components.traefik_service import TraefikService
from components.traefik_static import TraefikStaticConfig

__all__ = [
    "GatewaySite",
    "PortainerDeployment",
    "PortainerInstance",
    "Program",
    "ReadinessGate",
    "RoutersGate",
    "TraefikBinary",
    "TraefikDynamicConfig",
    "TraefikHost",
    "TraefikService",
    "TraefikStaticConfig",
    "build_gateway",
    "build_portainer",
    "read_program",
]
