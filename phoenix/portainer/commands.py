"""``phoenix sync`` and ``phoenix status``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from phoenix.portainer.report import Report
    from phoenix.portainer.world import Live

PROJECT = Path(__file__).resolve().parents[2]

F = TypeVar("F", bound=Callable[..., object])

_FILE = click.Path(path_type=Path, allow_dash=True)


def _options(command: F) -> F:
    """The options that every command has."""
    for option in reversed(
        (
            click.option("--stack", required=True, help="The Pulumi stack."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON for machines."),
            click.option("--outputs", type=_FILE, help="Read the outputs from a file (- for stdin), not from pulumi."),
            click.option("--password-file", type=_FILE, help="File with the admin's password (- for stdin)."),
            click.option("--api-key-file", type=_FILE, help="File with an API key, in place of a login (- for stdin)."),
            click.option("--setup-token-file", type=_FILE, help="File with the set-up token (servers from 2.43 on)."),
            click.option("--root", type=_FILE, help="CA certificate to trust besides the system's."),
        )
    ):
        command = option(command)
    return command


def _live(
    stack: str,
    outputs: Path | None,
    password_file: Path | None,
    api_key_file: Path | None,
    setup_token_file: Path | None,
    root: Path | None,
) -> Live:
    from phoenix.errors import InputError
    from phoenix.portainer.world import Live

    given = (outputs, password_file, api_key_file, setup_token_file)
    if sum(str(path) == "-" for path in given) > 1:
        raise InputError(["Only one of the options can read standard input (-): put the others into files."])
    return Live(PROJECT, stack, outputs, password_file, api_key_file, setup_token_file, root)


@click.group()
def sync() -> None:
    """Bring Traefik, Portainer and the Docker stacks up to what the inventory declares."""


@sync.command("all")
@_options
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing.")
@click.option("--prune", is_flag=True, help="Also delete what this stack made and no longer declares.")
@click.option("--skip-pulumi", is_flag=True, help="Do not run pulumi: take the outputs as they are.")
def sync_everything(
    stack: str,
    as_json: bool,
    outputs: Path | None,
    password_file: Path | None,
    api_key_file: Path | None,
    setup_token_file: Path | None,
    root: Path | None,
    dry_run: bool,
    prune: bool,
    skip_pulumi: bool,
) -> None:
    """Wait until the system is ready, run pulumi up, then sync Portainer and check it through the gateway."""
    from phoenix.portainer.sync import Options, sync_all

    world = _live(stack, outputs, password_file, api_key_file, setup_token_file, root)
    options = Options(dry_run=dry_run, prune=prune, skip_pulumi=skip_pulumi or outputs is not None)
    _run(stack, as_json, dry_run, lambda progress, report: sync_all(world, options, progress, report))


@sync.command("stack")
@click.argument("name")
@click.argument("to", type=click.Choice(["to"]), metavar="to")
@click.argument("vmid", type=click.IntRange(1))
@_options
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing.")
def sync_one(
    name: str,
    to: str,
    vmid: int,
    stack: str,
    as_json: bool,
    outputs: Path | None,
    password_file: Path | None,
    api_key_file: Path | None,
    setup_token_file: Path | None,
    root: Path | None,
    dry_run: bool,
) -> None:
    """Sync one Docker stack: phoenix sync stack NAME to VMID."""
    from phoenix.portainer.sync import Options, sync_stack

    world = _live(stack, outputs, password_file, api_key_file, setup_token_file, root)
    options = Options(dry_run=dry_run)
    _run(stack, as_json, dry_run, lambda progress, report: sync_stack(world, name, vmid, options, progress, report))


@click.command()
@_options
def status(
    stack: str,
    as_json: bool,
    outputs: Path | None,
    password_file: Path | None,
    api_key_file: Path | None,
    setup_token_file: Path | None,
    root: Path | None,
) -> None:
    """Show what is ready, what is healthy and what differs from the inventory; changes nothing."""
    from phoenix.portainer.status import show_status

    world = _live(stack, outputs, password_file, api_key_file, setup_token_file, root)
    _run(stack, as_json, True, lambda progress, report: show_status(world, progress, report))


def _run(stack: str, as_json: bool, dry_run: bool, work: Callable[..., None]) -> None:
    from phoenix.portainer.report import Report
    from phoenix.portainer.show import Terminal

    report = Report(stack, dry_run=dry_run)
    try:
        work(Terminal(plan=not as_json), report)
    except BaseException as error:
        if as_json:
            _print_failed(report, error)
        raise
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))


def _print_failed(report: Report, error: BaseException) -> None:
    report.failed = report.failed or "input"
    report.message = report.message or str(error) or type(error).__name__
    click.echo(json.dumps(report.as_json(), indent=2))
