"""The program: a hypervisor's inventory in, its ingress and Portainer out.

Each step waits for the one before it: the target is ready → account and directories → Traefik's program, where the
stack installs it → Traefik's files, the gateway's site → units and service → Traefik serves every intended router →
Portainer.
"""

from pathlib import Path

import pulumi

import components

PROJECT = Path(__file__).resolve().parent
program = components.read_program(PROJECT)
traefik, connection = program.settings.traefik, program.traefik


def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
    """Options of a resource that waits for others."""
    return pulumi.ResourceOptions(depends_on=list(resources))


ready = components.ReadinessGate("ready", connection, program.checks)
host = components.TraefikHost("traefik-host", connection, traefik, after(ready))
binaries = (
    [components.TraefikBinary("traefik", connection, traefik, program.configuration, PROJECT, after(host))]
    if traefik.install
    else []
)
static = components.TraefikStaticConfig(
    "traefik-static", connection, traefik, program.configuration, after(host, *binaries)
)
dynamic = components.TraefikDynamicConfig(
    "traefik-dynamic", connection, program.settings, program.configuration, after(host, *binaries)
)
gateway = components.build_gateway(program, after(ready))
service = components.TraefikService(
    "traefik-service",
    connection,
    program.settings,
    program.configuration,
    gateway,
    [static.digest, *(binary.digest for binary in binaries)],
    after(static, dynamic, *filter(None, [gateway])),
)
gate = components.RoutersGate("traefik-routers", connection, program.settings, program.configuration, after(service))

components.build_portainer(program.portainer, after(gate))
components.export_outputs(program)
