"""``phoenix topology``: a picture of what an inventory gives, without any target."""

from __future__ import annotations

import os
from pathlib import Path

import click

from phoenix.cli.commands import inventory_option, read, stack_option

FORMATS = ("text", "mermaid", "svg")
_BY_SUFFIX = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}


@click.command()
@inventory_option
@stack_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="By default as the suffix of --output says (.svg, .mmd), else text.",
)
@click.option("--output", type=click.Path(path_type=Path), help="File to write; by default the terminal.")
def topology(inventory: Path | None, stack: str | None, form: str | None, output: Path | None) -> None:
    """Draw the topology: clients, gateway, Traefik, routes, guests, certificate authorities, Portainer."""
    from phoenix.errors import InputError
    from phoenix.topology import as_mermaid, as_svg, as_text
    from phoenix.topology import topology as picture_of

    found = read(inventory, stack)
    picture = picture_of(found.inventory, found.settings, found.configuration)
    drawers = {"text": as_text, "mermaid": as_mermaid, "svg": as_svg}
    chosen = form or _BY_SUFFIX.get(output.suffix if output else "", "text")
    text = drawers[chosen](picture).rstrip("\n") + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    staged = output.with_name(f".{output.name}.{os.getpid()}.new")
    try:
        staged.write_text(text, encoding="utf-8")
        staged.replace(output)
    except OSError as error:
        staged.unlink(missing_ok=True)
        where = click.format_filename(output)
        raise InputError([f"{where}: it cannot be written ({error.strerror}): name another --output."]) from None
    click.echo(f"{click.format_filename(output)}  {len(text.encode())} bytes")
