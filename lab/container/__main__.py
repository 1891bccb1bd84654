"""``python -m lab.container up|down|status|exec``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from lab.container import core
from lab.errors import LabError

_directory = click.option(
    "--directory", type=click.Path(path_type=Path), default=Path(".lab"), show_default=True, help="The lab's files."
)
_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.group()
def cli() -> None:
    """The container lab: real systemd containers in network namespaces (root only)."""


@cli.command()
@_directory
@_json
@click.option("--inventory", type=click.Path(path_type=Path), help="Directory with the four inventory files.")
@click.option("--network", default="198.18.10", show_default=True, help="First three octets of the lab's /24.")
def up(directory: Path, as_json: bool, inventory: Path | None, network: str) -> None:
    """Start the lab."""
    result = core.up(directory, inventory, network_prefix=network, report=lambda line: click.echo(line, err=True))
    click.echo(json.dumps(result, indent=2) if as_json else f"settings: {directory / 'settings.yaml'}")


@cli.command()
@_directory
def down(directory: Path) -> None:
    """Stop the lab and remove all it made."""
    if not core.down(directory, report=lambda line: click.echo(line, err=True)):
        click.echo(f"no container lab runs from {directory}", err=True)


@cli.command()
@_directory
@_json
def status(directory: Path, as_json: bool) -> None:
    """Say what runs; exit code 3 when the lab is not up."""
    found = core.status(directory)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo(f"{'up' if found['up'] else 'down'} {found['network'] or ''}".rstrip())
        for number, guest in found["guests"].items():
            click.echo(
                f"{number:>12}  {guest['name']:<20} {guest['address']:<16} {guest['state']:<8} {guest['systemd']}"
            )
    sys.exit(0 if found["up"] else 3)


@cli.command(name="exec", context_settings={"ignore_unknown_options": True})
@_directory
@click.argument("guest")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(directory: Path, guest: str, argv: tuple[str, ...]) -> None:
    """Run a command in a guest: a CTID, a VMID or hypervisor."""
    prefix = core.exec_prefix(directory, guest)
    os.execvp(prefix[0], [*prefix, *argv])  # noqa: S606 - the caller's own command


def main() -> None:
    """Run the command line; a mistake ends it with one sentence."""
    try:
        cli(prog_name="python -m lab.container")
    except LabError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
