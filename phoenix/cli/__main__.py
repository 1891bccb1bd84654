"""Entry point of ``bin/phoenix``.

Exit codes: 0 done; 1 an error of another kind; 2 wrong input or arguments; 3 a target cannot be reached or a command
on it failed; 4 Traefik refused or does not serve what was meant; 5 Portainer refused; 10 to 21 the step
of `phoenix sync` that failed (docs/portainer.md has the table); 130 interrupted.
"""

from __future__ import annotations

import os
import sys

import click

from phoenix.cli.commands import phoenix
from phoenix.errors import InputError, PhoenixError


def main() -> int:
    """Run the command line; every expected error becomes its sentences on stderr and an exit code."""
    output = sys.stdout
    try:
        code = phoenix.main(prog_name="phoenix", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("phoenix: interrupted", err=True)
        return 130
    except PhoenixError as error:
        for sentence in error.mistakes if isinstance(error, InputError) else [str(error)]:
            click.echo(f"{click.style('error:', fg='red', bold=True)} {sentence}", err=True, color=_colour())
        return error.exit_code
    except SystemExit as stop:
        # click ends so, with 1 and another stdout, where the reader of our output went away, as in
        # `phoenix routes | head -n 1`: no error.
        if sys.stdout is not output:
            return 0
        return stop.code if isinstance(stop.code, int) else 1
    return code if isinstance(code, int) else 0


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None


if __name__ == "__main__":
    sys.exit(main())
