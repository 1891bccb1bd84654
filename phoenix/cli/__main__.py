"""Entry point of ``bin/phoenix``.

Exit codes: 0 done; 1 an error of another kind; 2 wrong input or arguments; 3 a target cannot be reached or a command
on it failed; 4 Traefik refused or does not serve what was meant; 5 Portainer refused; 130 interrupted.
"""

from __future__ import annotations

import os
import sys

import click

from phoenix.cli.commands import phoenix
from phoenix.errors import InputError, PhoenixError


def main() -> int:
    """Run the command line; every expected error becomes its sentences on stderr and an exit code."""
    try:
        code = phoenix.main(standalone_mode=False)
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
        # click ends so, with 1, where the reader of our output went away (`phoenix routes | head -n 1`): no error.
        if isinstance(stop.__context__, BrokenPipeError):
            return 0
        return stop.code if isinstance(stop.code, int) else 1
    return code if isinstance(code, int) else 0


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None


if __name__ == "__main__":
    sys.exit(main())
