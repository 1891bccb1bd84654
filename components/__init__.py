"""The program's components: what a stack is made of, each a file, in the order they are built.

Each is a :class:`pulumi.ComponentResource` with a token ``phoenix:<module>:<Type>``, whose children are named from its
own name. What they deploy is decided in :mod:`phoenix`; here stand resources and their dependencies only. A name's
module is imported when the name is first used, so that reading the configuration, and the first connection, need not
wait for all of them.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.configuration import Program, read_program
    from components.gateway import GatewaySite, build_gateway
    from components.outputs import export_outputs
    from components.portainer import PortainerDeployment, PortainerInstance
    from components.portainer_instances import build_portainer
    from components.readiness import ReadinessGate
    from components.routers_gate import RoutersGate
    from components.traefik_binary import TraefikBinary
    from components.traefik_dynamic import TraefikDynamicConfig
    from components.traefik_host import TraefikHost
    from components.traefik_service import TraefikService
    from components.traefik_static import TraefikStaticConfig

_MODULES = {
    "GatewaySite": "gateway",
    "PortainerDeployment": "portainer",
    "PortainerInstance": "portainer",
    "Program": "configuration",
    "ReadinessGate": "readiness",
    "RoutersGate": "routers_gate",
    "TraefikBinary": "traefik_binary",
    "TraefikDynamicConfig": "traefik_dynamic",
    "TraefikHost": "traefik_host",
    "TraefikService": "traefik_service",
    "TraefikStaticConfig": "traefik_static",
    "build_gateway": "gateway",
    "build_portainer": "portainer_instances",
    "export_outputs": "outputs",
    "read_program": "configuration",
}

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
    "export_outputs",
    "read_program",
]

if "engine.monitor" in sys.modules:
    # The SSH library takes as long to import as the settings' models: by the time they name the target it is there.
    threading.Thread(target=importlib.import_module, args=("phoenix.ssh_library",), daemon=True).start()


def __getattr__(name: str) -> Any:
    """Import the module of a name (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
