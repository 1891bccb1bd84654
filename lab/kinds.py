"""The kinds of lab behind one interface: ``local``, and ``container``, which needs root and Debian packages."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from lab.local.lab import Lab

KINDS = ("local", "container")
SshServer = Literal["auto", "openssh", "asyncssh"]
PORTAINERS = ("plain", "2.23", "2.39", "2.41", "2.43")


def _quiet(line: str) -> None:
    del line


@dataclass(frozen=True)
class Options:
    """What ``bin/lab`` was called with.

    Attributes:
        directory: where the lab keeps everything.
        network: the first numbers of all addresses; None for the kind's own.
        inventory: a directory with the installation's JSON files; None for the kind's own.
        ssh: which SSH server the local lab starts.
        portainer: what answers for Portainer in the local lab: ``plain``, a backend like the others, or a version of
            the stand-in that has Portainer's API; None for that of the lab that is up, else ``plain``.
        report: is told what takes time.
    """

    directory: Path
    network: str | None = None
    inventory: Path | None = None
    ssh: SshServer = "auto"
    portainer: str | None = None
    report: Callable[[str], None] = _quiet


class Kind(Protocol):
    """A kind of lab. Every method raises PhoenixError with one sentence."""

    def up(self, options: Options) -> dict[str, Any]:
        """Start, or bring in line; ``settings`` (the file's path) and ``change``: started, changed or unchanged."""
        ...

    def down(self, options: Options) -> bool:
        """End everything; whether there was a lab."""
        ...

    def status(self, options: Options) -> dict[str, Any]:
        """What runs; ``up`` says whether all of it does."""
        ...

    def exec(self, options: Options, host: str, command: Sequence[str]) -> int:
        """Run a command in a host with our input and output; its exit code."""
        ...


class Local:
    """Everything on loopback addresses, as whoever calls."""

    def _lab(self, options: Options) -> Lab:
        from lab.local.lab import Lab

        return Lab(options.directory, options.network, options.inventory, options.ssh, options.portainer)

    def up(self, options: Options) -> dict[str, Any]:
        """Start, or bring in line."""
        return self._lab(options).up()

    def down(self, options: Options) -> bool:
        """End everything."""
        return self._lab(options).down()

    def status(self, options: Options) -> dict[str, Any]:
        """What runs."""
        return {"kind": "local", **self._lab(options).status()}

    def exec(self, options: Options, host: str, command: Sequence[str]) -> int:
        """Run a command in ``traefik`` or ``portainer``."""
        return self._lab(options).exec(host, command)


class Container:
    """Real systemd containers in network namespaces, as root."""

    def up(self, options: Options) -> dict[str, Any]:
        """Start."""
        from lab import container

        was_up = bool(container.status(options.directory)["up"])
        start = container.up if options.network is None else partial(container.up, network_prefix=options.network)
        settings = start(options.directory, options.inventory, report=options.report)
        return {
            "kind": "container",
            "change": "unchanged" if was_up else "started",
            "settings": str(options.directory / "settings.yaml"),
            "values": settings,
        }

    def down(self, options: Options) -> bool:
        """End everything."""
        from lab import container

        return container.down(options.directory, report=options.report)

    def status(self, options: Options) -> dict[str, Any]:
        """What runs."""
        from lab import container

        return {"kind": "container", "directory": str(options.directory), **container.status(options.directory)}

    def exec(self, options: Options, host: str, command: Sequence[str]) -> int:
        """Run a command in a guest: its CTID or VMID, or ``hypervisor``."""
        from lab import container

        prefix = container.exec_prefix(options.directory, host)
        return subprocess.run([*prefix, *(command or ["/bin/sh"])], check=False).returncode


def kind(name: str) -> Kind:
    """The kind of that name, one of :data:`KINDS`."""
    return Container() if name == "container" else Local()
