"""``phoenix routes`` and ``phoenix render``: what an inventory gives, without any target."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from phoenix.cli.lazy import LazyGroup

PROJECT = Path(__file__).resolve().parents[2]

inventory_option = click.option(
    "--inventory",
    type=click.Path(path_type=Path),
    help="Directory with the hypervisor's JSON files; by default the stack's.",
)
stack_option = click.option("--stack", help="Stack whose settings (stacks/Pulumi.<stack>.yaml) apply.")


@click.group(
    cls=LazyGroup,
    lazy={
        "probe": "phoenix.cli.probe:probe",
        "sync": "phoenix.portainer.commands:sync",
        "status": "phoenix.portainer.commands:status",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
def phoenix() -> None:
    """Ingress of a Phoenix Hypervisor: Traefik in front, Portainer behind it."""


def _configuration(inventory: Path | None, stack: str | None) -> Any:
    from phoenix.configuration import configure
    from phoenix.errors import InputError
    from phoenix.inventory import load
    from phoenix.settings import parse
    from phoenix.settings_files import stack_settings

    settings = stack_settings(PROJECT, stack) if stack else parse({}, "phoenix defaults")
    directory = inventory or (PROJECT / settings.inventory if settings.inventory else None)
    if directory is None:
        raise InputError(["--inventory is missing: name the directory with the hypervisor's JSON files, or a --stack."])
    return configure(load(directory), settings)


@phoenix.command()
@inventory_option
@stack_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def routes(inventory: Path | None, stack: str | None, as_json: bool) -> None:
    """Print the route table: host name → backend, with the certificate resolver and the guest."""
    from phoenix.cli.table import render_table
    from phoenix.outputs import route_output

    configuration = _configuration(inventory, stack)
    if as_json:
        data = {
            "internalDomain": configuration.internal_domain,
            "routes": {route.router: route_output(route, 443) for route in configuration.routes},
        }
        click.echo(json.dumps(data, indent=2))
        return
    rows = [
        (name, route.backend, resolver, route.router, route.guest)
        for route in configuration.routes
        for name, resolver in zip(route.hostnames, route.resolvers, strict=True)
    ]
    headings = ("HOST NAME", "BACKEND", "CERTIFICATE RESOLVER", "ROUTER", "GUEST")
    click.echo(render_table(headings, rows, empty="No guest of this inventory asks to be routed."))


@phoenix.command()
@inventory_option
@stack_option
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory to write the files into.")
def render(inventory: Path | None, stack: str | None, output: Path) -> None:
    """Write traefik.yml, dynamic_conf.yml and traefik.service into a directory, without any target."""
    from phoenix.errors import InputError

    configuration = _configuration(inventory, stack)
    files = {
        "traefik.yml": configuration.static_text,
        "dynamic_conf.yml": configuration.dynamic_text,
        "traefik.service": configuration.unit_text,
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            staged = output / f".{name}.{os.getpid()}.new"
            staged.write_text(text, encoding="utf-8")
            staged.replace(output / name)
    except OSError as error:
        raise InputError([f"{output}: it cannot be written ({error.strerror}): name another --output."]) from None
    for name, text in files.items():
        click.echo(f"{output / name}  {len(text.encode())} bytes")
    click.echo(f"revision {configuration.revision}, {len(configuration.routes)} routes")
