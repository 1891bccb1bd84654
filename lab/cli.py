"""``bin/lab``: up, reload, down, status, exec and logs of a machine-local lab."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lab.errors import LabDownError
from lab.kinds import KINDS, PORTAINERS, Options, kind
from phoenix.errors import PhoenixError

_REPOSITORY = Path(__file__).resolve().parents[1]
_F = TypeVar("_F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)


def _where(function: _F) -> _F:
    directory = click.option(
        "--directory",
        type=_PATH,
        default=_REPOSITORY / ".lab",
        help="Where the lab keeps everything.  [default: .lab in the repository]",
    )
    name = click.option(
        "--kind", "kind_name", type=click.Choice(KINDS), default="local", show_default=True,
        help="local: loopback addresses, no root. container: real systemd containers, root only.",
    )  # fmt: skip
    return directory(name(function))


def _what(function: _F) -> _F:
    for decorate in (
        click.option(
            "--ssh", type=click.Choice(["auto", "openssh", "asyncssh"]), default="auto", show_default=True,
            help="SSH server of the local lab; auto takes OpenSSH's where it is installed and lets this user in.",
        ),
        click.option(
            "--portainer", type=click.Choice(PORTAINERS),
            help="What answers for Portainer: a plain backend, or a version with its API.  [default: plain]",
        ),
        click.option(
            "--inventory", type=_PATH,
            help="Directory with the installation's JSON files.  [default: that of the stack local]",
        ),
        click.option("--network", help="First numbers of all addresses.  [default: 127.10]"),
        click.option("--json", "as_json", is_flag=True, help="Print JSON for machines."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def _report(line: str) -> None:
    click.echo(line, err=True)


def _options(**given: Any) -> Options:
    return Options(**given, report=_report)


def _print(record: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(json.dumps(record, indent=2, sort_keys=True) if as_json else text)


def _up(kind_name: str, as_json: bool, options: Options) -> None:
    record = kind(kind_name).up(options)
    change = {
        "started": "is up",
        "changed": "was up; it follows the inventory now",
        "unchanged": "is up already: nothing to do",
    }[record["change"]]
    _print(record, as_json, f"The lab in {options.directory} {change}. Settings: {record['settings']}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A lab on this machine: SSH hosts, backends and a service manager for Traefik."""


@cli.command()
@_where
@_what
def up(kind_name: str, as_json: bool, **given: Any) -> None:
    """Start the lab, or bring the one that is up in line with its inventory."""
    _up(kind_name, as_json, _options(**given))


@cli.command()
@_where
@_what
def reload(kind_name: str, as_json: bool, **given: Any) -> None:
    """Apply a changed inventory to the lab that is up; exit code 3 where none is."""
    options = _options(**given)
    if not kind(kind_name).status(options)["up"]:
        raise LabDownError(f"the lab in {options.directory} is not up: start it with bin/lab up.")
    _up(kind_name, as_json, options)


@cli.command()
@_where
@_what
def down(kind_name: str, as_json: bool, **given: Any) -> None:
    """End everything the lab started and remove all it made."""
    options = _options(**given)
    existed = kind(kind_name).down(options)
    record = {"existed": existed, "directory": str(options.directory)}
    _print(record, as_json, f"The lab in {options.directory} {'is down' if existed else 'was not up'}.")


@cli.command()
@_where
@_what
def status(kind_name: str, as_json: bool, **given: Any) -> None:
    """Show what runs; exit code 0 when the lab is up, else 3."""
    options = _options(**given)
    found = kind(kind_name).status(options)
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
    else:
        from lab.tables import show

        show(found)
    if not found["up"]:
        sys.exit(LabDownError.exit_code)


@cli.command(name="exec", context_settings={"ignore_unknown_options": True})
@_where
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def exec_(kind_name: str, directory: Path, host: str, command: tuple[str, ...]) -> None:
    """Run a COMMAND in a HOST of the lab (traefik, portainer; in the container lab a number); without one, a shell."""
    sys.exit(kind(kind_name).exec(_options(directory=directory), host, command))


@cli.command()
@_where
@click.argument("names", nargs=-1)
@click.option("-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="Lines of each log.")
def logs(kind_name: str, directory: Path, names: tuple[str, ...], lines: int) -> None:
    """Show the last lines of the lab's logs: all, or those whose name begins with one of NAMES."""
    del kind_name
    found = sorted((directory / "log").glob("*.log"))
    chosen = [path for path in found if not names or path.name.startswith(names)]
    if not chosen:
        known = ", ".join(path.stem for path in found) or "none"
        raise LabDownError(f"{directory / 'log'} has no log of that name (there are: {known}): is the lab up?")
    for path in chosen:
        click.echo(click.style(f"==> {path.stem} <==", bold=True))
        for line in path.read_text(errors="replace").splitlines()[-lines:] if lines else []:
            click.echo(line)


def main() -> None:
    """Entry point: an error raised on purpose becomes one line and its exit code."""
    try:
        cli(prog_name="lab")
    except PhoenixError as error:
        click.echo(f"lab: {error}", err=True)
        sys.exit(error.exit_code)
