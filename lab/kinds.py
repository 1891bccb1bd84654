"""The kinds of lab behind one interface: ``local``, and ``container`` where its parts are installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from lab.errors import LabError

KINDS = ("local", "container")


@dataclass(frozen=True)
class Options:
    """What ``bin/lab`` was called with.

    Attributes:
        directory: where the lab keeps everything.
        network: first two numbers of the local lab's addresses.
        inventory: a directory with the installation's JSON files, None for the stack's own.
        ssh: which SSH server the local lab starts.
    """

    directory: Path
    network: str = "127.10"
    inventory: Path | None = None
    ssh: str = "auto"


class Kind(Protocol):
    """A kind of lab. Every method raises LabError with one sentence, LabDownError where no lab is up."""

    def up(self, options: Options) -> dict[str, Any]:
        """Start, or bring in line; the record, with ``change``: ``started``, ``changed`` or ``unchanged``."""
        ...

    def down(self, options: Options) -> bool:
        """End everything; whether there was a lab."""
        ...

    def status(self, options: Options) -> dict[str, Any]:
        """The record with ``up`` and the state of every part."""
        ...

    def exec(self, options: Options, host: str, command: Sequence[str]) -> int:
        """Run a command in a host with our input and output; its exit code."""
        ...


class _Local:
    def _lab(self, options: Options):  # type: ignore[no-untyped-def]  # noqa: ANN202
        from lab.local.lab import Lab

        return Lab(options.directory, options.network, options.inventory, options.ssh)  # type: ignore[arg-type]

    def up(self, options: Options) -> dict[str, Any]:
        return cast("dict[str, Any]", self._lab(options).up())

    def down(self, options: Options) -> bool:
        return bool(self._lab(options).down())

    def status(self, options: Options) -> dict[str, Any]:
        return cast("dict[str, Any]", self._lab(options).status())

    def exec(self, options: Options, host: str, command: Sequence[str]) -> int:
        return int(self._lab(options).exec(host, command))


def kind(name: str) -> Kind:
    """The kind of that name.

    Raises:
        LabError: it is not there.
    """
    if name == "local":
        return _Local()
    try:
        return cast("Kind", importlib.import_module(f"lab.{name}"))
    except ModuleNotFoundError as error:
        raise LabError(f"--kind {name} is not available ({error}): use --kind local.") from None
