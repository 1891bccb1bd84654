"""``phoenix routes`` and ``phoenix render``: what an inventory gives, without any target."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from phoenix.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from phoenix.configuration import Configuration
    from phoenix.inventory import Inventory
    from phoenix.settings import Settings

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
        "topology": "phoenix.cli.topology:topology",
        "sync": "phoenix.portainer.commands:sync",
        "status": "phoenix.portainer.commands:status",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
def phoenix() -> None:
    """Ingress of a Phoenix Hypervisor: Traefik in front, Portainer behind it."""


class Read(NamedTuple):
    """What a command works on."""

    inventory: Inventory
    settings: Settings
    configuration: Configuration


def read(inventory: Path | None, stack: str | None) -> Read:
    """The inventory in a directory, by default the stack's, under a stack's settings, by default none.

    Raises:
        InputError: with one sentence for each mistake.
    """
    from phoenix import configuration
    from phoenix.errors import InputError
    from phoenix.settings import parse
    from phoenix.settings_files import inventory_directory, stack_settings

    settings = stack_settings(PROJECT, stack) if stack else parse({}, "phoenix defaults")
    directory = inventory or (inventory_directory(settings, PROJECT, stack) if stack else None)
    if directory is None:
        raise InputError(["--inventory is missing: name the directory with the hypervisor's JSON files, or a --stack."])
    guests, configured = configuration.read(directory, settings)
    return Read(guests, settings, configured)


@phoenix.command()
@inventory_option
@stack_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def routes(inventory: Path | None, stack: str | None, as_json: bool) -> None:
    """Print the route table: host name → backend, with the certificate resolver and the guest."""
    from phoenix.cli.table import render_table
    from phoenix.outputs import route_output

    _, settings, configuration = read(inventory, stack)
    if as_json:
        data = {
            "internalDomain": configuration.internal_domain,
            "routes": {route.router: route_output(route, settings.gateway.port) for route in configuration.routes},
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

    configuration = read(inventory, stack).configuration
    files = {
        "traefik.yml": configuration.static_text,
        "dynamic_conf.yml": configuration.dynamic_text,
        "traefik.service": configuration.unit_text,
    }
    staged = {output / name: output / f".{name}.{os.getpid()}.new" for name in files}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path, stage in staged.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
            stage.write_text(files[path.name], encoding="utf-8")
        for path, stage in staged.items():
            stage.replace(path)
    except OSError as error:
        for stage in staged.values():
            with contextlib.suppress(OSError):
                stage.unlink()
        where = click.format_filename(error.filename or output)
        raise InputError([f"{where}: it cannot be written ({error.strerror}): name another --output."]) from None
    for name, text in files.items():
        click.echo(f"{click.format_filename(output / name)}  {len(text.encode())} bytes")
    click.echo(f"revision {configuration.revision}, {len(configuration.routes)} routes")
