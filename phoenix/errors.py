"""The exception tree of the product.

::

    PhoenixError                  exit 1
    ├── InputError                exit 2   the user's files, settings or arguments are wrong; one sentence a mistake
    ├── RemoteError               exit 3   a target cannot be reached, or a command on it failed
    │   ├── UnreachableError
    │   └── CommandError
    ├── TraefikError              exit 4   Traefik refused a candidate, or does not serve what was meant
    └── PortainerError            exit 5   Portainer's API refused, or is not there

Each message is one sentence that names the file or resource, the field, the value, the limit and the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence


class PhoenixError(Exception):
    """Base of every error the product raises on purpose.

    Attributes:
        exit_code: what a command in ``bin/`` exits with when this error ends it.
    """

    exit_code: int = 1


class InputError(PhoenixError):
    """The user's input is wrong.

    Args:
        mistakes: one sentence for each mistake found; never empty.
    """

    exit_code = 2

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes: tuple[str, ...] = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class RemoteError(PhoenixError):
    """Something on a target went wrong."""

    exit_code = 3


class UnreachableError(RemoteError):
    """A target cannot be reached or does not let us in."""


class CommandError(RemoteError):
    """A command on a target ended with a non-zero exit code, or ran into its time limit."""


class TraefikError(PhoenixError):
    """Traefik refused a configuration, or does not serve what was meant."""

    exit_code = 4


class PortainerError(PhoenixError):
    """Portainer's API refused a request, or cannot be reached."""

    exit_code = 5
