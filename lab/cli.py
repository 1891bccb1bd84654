"""``bin/lab``: up, reload, down, status, exec and logs of a machine-local lab."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lab.errors import LabDownError, LabError
from lab.kinds import KINDS, Options, kind

_REPOSITORY = Path(__file__).resolve().parents[1]


def _say(text: str) -> None:
    click.echo(text, err=True)


def _print(record: dict[str, Any], *, as_json: bool, text: str) -> None:
    click.echo(json.dumps(record, indent=2, sort_keys=True) if as_json else text)


def _options(function: Any) -> Any:  # noqa: ANN401 - click's decorators are untyped in this respect
    for decorate in (
        click.option("--kind", "kind_name", type=click.Choice(KINDS), default="local", show_default=True),
        click.option("--json", "as_json", is_flag=True, help="Print JSON for machines."),
        click.option("--ssh", type=click.Choice(["auto", "openssh", "asyncssh"]), default="auto", show_default=True,
                     help="Which SSH server the hosts run; auto takes OpenSSH's where it is installed."),
        click.option("--inventory", type=click.Path(path_type=Path), default=None,
                     help="Directory with the installation's JSON files.  [default: stacks/inventory/local]"),
        click.option("--network", default="127.10", show_default=True, help="First two numbers of all addresses."),
        click.option("--directory", type=click.Path(path_type=Path), default=_REPOSITORY / ".lab",
                     help="Where the lab keeps everything.  [default: .lab in the repository]"),
    ):  # fmt: skip
        function = decorate(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Machine-local lab: SSH hosts, backends and a service manager for Traefik, on loopback and without root."""


def _up(kind_name: str, as_json: bool, options: Options) -> None:  # noqa: FBT001
    record = kind(kind_name).up(options)
    change = {
        "started": "is up",
        "changed": "was up: its backends now follow the inventory",
        "unchanged": "is up already: nothing to do",
    }[record["change"]]
    _print(record, as_json=as_json, text=f"The lab in {options.directory} {change}. Settings: {record['settings']}")


@cli.command()
@_options
def up(kind_name: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401, FBT001
    """Start the lab, or bring it in line with a changed inventory."""
    _up(kind_name, as_json, Options(**given))


@cli.command()
@_options
def reload(kind_name: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401, FBT001
    """Apply a changed inventory to the lab that is up."""
    options = Options(**given)
    kind(kind_name).status(options)
    _up(kind_name, as_json, options)


@cli.command()
@_options
def down(kind_name: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401, FBT001
    """End everything and empty the directory."""
    options = Options(**given)
    existed = kind(kind_name).down(options)
    text = "is down" if existed else "was not up"
    _print({"existed": existed, "directory": str(options.directory)}, as_json=as_json, text=f"The lab in {options.directory} {text}.")


@cli.command()
@_options
def status(kind_name: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401, FBT001
    """Show what runs; exit code 0 when the lab is up, else 3."""
    options = Options(**given)
    found = kind(kind_name).status(options)
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
    else:
        from lab.tables import show

        show(found)
    if not found["up"]:
        sys.exit(LabDownError.exit_code)


def main() -> None:
    """Entry point: a LabError becomes one line and its exit code."""
    try:
        cli(prog_name="lab")
    except LabError as error:
        _say(f"lab: {error}")
        sys.exit(error.exit_code)
