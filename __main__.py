"""The program: a hypervisor's inventory in, its ingress and Portainer out.

Each step waits for the one before it: the target is ready → account and directories → Traefik's program, where the
stack installs it → Traefik's files, the gateway's site → units and service → Traefik serves every intended router →
Portainer.
"""

from pathlib import Path

import pulumi

from components import (
    ReadinessGate,
    RoutersGate,
    TraefikBinary,
    TraefikDynamicConfig,
    TraefikHost,
    TraefikService,
    TraefikStaticConfig,
    build_gateway,
    build_portainer,
    read_program,
)
from components.outputs import export_outputs
from phoenix.traefik.readiness import checks

PROJECT = Path(__file__).resolve().parent
program = read_program(PROJECT)
traefik, connection = program.settings.traefik, program.traefik


def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
    """Options of a resource that waits for others."""
    return pulumi.ResourceOptions(depends_on=list(resources))


ready = ReadinessGate("ready", connection, checks(program.settings, program.configuration))
host = TraefikHost("traefik-host", connection, traefik, after(ready))
binaries = (
    [TraefikBinary("traefik", connection, traefik, program.configuration, PROJECT, after(host))]
    if traefik.install
    else []
)
static = TraefikStaticConfig("traefik-static", connection, traefik, program.configuration, after(host, *binaries))
dynamic = TraefikDynamicConfig(
    "traefik-dynamic", connection, program.settings, program.configuration, after(host, *binaries)
)
gateway = build_gateway(program, after(ready))
service = TraefikService(
    "traefik-service",
    connection,
    program.settings,
    program.configuration,
    gateway,
    [static.digest, *(binary.digest for binary in binaries)],
    after(static, dynamic, *filter(None, [gateway])),
)
gate = RoutersGate("traefik-routers", connection, program.settings, program.configuration, after(service))

build_portainer(program.portainer, after(gate))
export_outputs(program)
