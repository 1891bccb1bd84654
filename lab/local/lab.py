"""The local lab as an object: up, down, apply a changed inventory, status, exec."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from lab.errors import LabDownError, LabError
from lab.kinds import SshServer
from lab.local import guests, hosts, parts, ports, settings
from lab.local import record as records
from lab.local.inventory import Guests
from lab.local.layout import (
    API_PORT,
    AUTHORITY_PORT,
    SSH_PORT,
    WEB_PORT,
    WEBSECURE_PORT,
    Layout,
    check_directory,
    check_network,
)
from lab.local.processes import Process, end, launch, with_marker

DEFAULT_INVENTORY = Path(__file__).resolve().parents[2] / "stacks/inventory/local"
DEFAULT_NETWORK = "127.10"
# What the lab makes in its directory. Nothing else there is touched.
_OWN = frozenset(
    ("authority", "backends.json", "inventory", "log", "portainer", "run", "settings.yaml", "ssh", "traefik")
)


class Lab:
    """A local lab in a directory.

    Args:
        directory: holds everything the lab makes; ``down`` empties it.
        network: first two numbers of its addresses, on loopback; None for those of the lab that is up, else 127.10.
        inventory: a directory with the installation's JSON files; addresses outside ``network`` are moved into it.
            None for that of the lab that is up, else the stack's own.
        ssh: which SSH server; ``auto`` takes OpenSSH's where it is installed and lets this user in.
        portainer: ``plain`` for a backend like the others, or a version of the stand-in with Portainer's API; None for
            that of the lab that is up, else ``plain``.
        owner: process id of somebody without whom the lab is not wanted any more: it goes down when that process ends.

    As a context manager it is up inside and down after.

    Raises:
        LabError: an argument cannot be used.
    """

    def __init__(
        self,
        directory: Path | str = ".lab",
        network: str | None = None,
        inventory: Path | str | None = None,
        ssh: SshServer = "auto",
        portainer: str | None = None,
        owner: int | None = None,
    ) -> None:
        self.layout = Layout(check_directory(Path(directory)))
        self._network = None if network is None else check_network(network)
        self._source = None if inventory is None else Path(inventory).absolute()
        self.ssh = ssh
        self._portainer = portainer
        self._owner = owner

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # What is known of a lab that is up.

    @property
    def network(self) -> str:
        """First two numbers of the lab's addresses."""
        if self._network is None:
            try:
                self._network = check_network(str(self.record()["network"]))
            except LabError:
                return DEFAULT_NETWORK
        return self._network

    def record(self) -> dict[str, Any]:
        """The lab's record.

        Raises:
            LabDownError: there is none.
        """
        return records.read(self.layout.record)

    @property
    def source(self) -> Path:
        """The inventory that was given: now, or to the lab that is up."""
        if self._source is None:
            try:
                self._source = Path(self.record()["inventory"]["source"])
            except (LabError, KeyError):
                return DEFAULT_INVENTORY
        return self._source

    @property
    def portainer(self) -> str:
        """What answers for Portainer."""
        if self._portainer is None:
            try:
                self._portainer = str(self.record()["portainer"])
            except (LabError, KeyError):
                return "plain"
        return self._portainer

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that ``up`` wrote.

        Raises:
            LabDownError: the lab is not up.
        """
        try:
            content: dict[str, Any] = yaml.safe_load(self.layout.settings.read_text())
        except FileNotFoundError:
            raise LabDownError(f"no lab is up in {self.layout.directory}: start it with bin/lab up.") from None
        return content

    @property
    def inventory(self) -> Path:
        """The inventory with the lab's own addresses: as given, or the lab's copy of it."""
        copy = self.layout.directory / "inventory"
        return copy if copy.is_dir() else self.source

    # Up.

    def up(self) -> dict[str, Any]:
        """Start the lab, or bring the one that is up in line with its inventory.

        Returns:
            The lab's record; ``change`` says what was done: ``started``, ``changed`` or ``unchanged``.

        Raises:
            LabError: a port is taken, a program is missing, or the directory is not the lab's.
        """
        with self._locked():
            running = self._running()
            if running is not None:
                return self._apply(running)
            return self._start()

    def _running(self) -> dict[str, Any] | None:
        """The record of the lab that is up; remains of one that is not are removed."""
        directory = self.layout.directory
        if not self.layout.record.exists():
            others = sorted(path.name for path in directory.iterdir() if path.name in _OWN)
            if others:
                raise LabError(
                    f"{directory / others[0]} is in the way and not this lab's: remove it, "
                    "or choose another --directory."
                )
            return None
        self._check_owner()
        try:
            record = self.record()
        except LabError:
            record = {}
        processes = records.processes(record)
        if record.get("state") == "up" and processes and all(process.alive for process in processes):
            if record["network"] != self.network:
                raise LabError(
                    f"the lab in {directory} is up on {record['network']}, not on {self.network}: "
                    "run bin/lab down first, or choose another --directory."
                )
            if record["portainer"] != self.portainer:
                raise LabError(
                    f"the lab in {directory} is up with --portainer {record['portainer']}, not {self.portainer}: "
                    "run bin/lab down first."
                )
            return record
        self._clean(record)
        return None

    def _start(self) -> dict[str, Any]:
        layout = self.layout
        record: dict[str, Any] = {
            "version": records.VERSION,
            "kind": "local",
            "state": "starting",
            "id": uuid.uuid4().hex,
            "directory": str(layout.directory),
            "network": self.network,
            "portainer": self.portainer,
            "started": time.time(),
            "processes": [],
        }
        # Written before anything is started, so that whatever happens next can be cleaned up.
        records.write(layout.record, record)
        try:
            found = guests.read(layout, self.source, self.network)
            addresses = self._addresses(found)
            ca = settings.authority_address(self.network, found)
            ports.check(addresses["traefik"], addresses["portainer"], ca, found)
            layout.make_runtime()
            layout.logs.mkdir(exist_ok=True)
            guests.write(layout, found, with_portainer=self.portainer == "plain")
            for name in ("traefik", "portainer"):
                hosts.make(layout, name, hosts.marker(record))
            record["ssh"] = parts.start(
                layout, found, addresses, ca, self.ssh, self.portainer, self._owner, self._starter(record)
            )
            self._describe(record, found)
            record["state"] = "up"
            records.write(layout.record, record)
        except BaseException:
            self._clean(record)
            raise
        return {**record, "change": "started"}

    def _starter(self, record: dict[str, Any]) -> parts.Start:
        environment = hosts.daemon_environment(hosts.marker(record))

        def start(name: str, command: Sequence[str]) -> Process:
            process = launch(name, command, parts.log(self.layout, name), environment)
            record["processes"].append(process.as_json())
            records.write(self.layout.record, record)
            return process

        return start

    def _addresses(self, found: Guests) -> dict[str, str]:
        return {
            "traefik": settings.traefik_address(self.network),
            "portainer": settings.portainer_address(self.network, found),
        }

    def _describe(self, record: dict[str, Any], found: Guests) -> None:
        """Write the settings, and into the record what they say."""
        layout, addresses = self.layout, self._addresses(found)
        host_keys = {host: hosts.host_key(layout, host) for host in addresses}
        built = settings.build(layout, self.network, found, host_keys, self.inventory, hosts.find_traefik().resolve())
        settings.write(layout.settings, built)
        record["inventory"] = {"source": str(self.source), "directory": str(self.inventory)}
        record["settings"] = str(layout.settings)
        record["hosts"] = {
            host: {"address": address, "port": SSH_PORT, "root": str(layout.directory / host)}
            for host, address in addresses.items()
        }
        record["traefik"] = {
            name: f"{addresses['traefik']}:{port}"
            for name, port in (("web", WEB_PORT), ("websecure", WEBSECURE_PORT), ("api", API_PORT))
        }
        record["authorities"] = {
            "address": f"{settings.authority_address(self.network, found)}:{AUTHORITY_PORT}",
            "internalRoot": str(layout.root_certificate),
            "publicRoot": str(layout.public_authority / "root.crt"),
            "roots": str(layout.roots),
        }
        record["backends"] = [backend.as_json() for backend in found.backends]

    def _apply(self, record: dict[str, Any]) -> dict[str, Any]:
        found = guests.read(self.layout, self.source, self.network)
        wanted = [backend.as_json() for backend in found.backends]
        if wanted == record["backends"] and record["inventory"]["source"] == str(self.source):
            return {**record, "change": "unchanged"}
        before, portainer = record["hosts"]["portainer"]["address"], self._addresses(found)["portainer"]
        if portainer != before:
            raise LabError(
                f"the inventory moves Portainer from {before} to {portainer}: run bin/lab down, then bin/lab up."
            )
        guests.change(self.layout, found, with_portainer=self.portainer == "plain")
        self._describe(record, found)
        records.write(self.layout.record, record)
        return {**record, "change": "changed"}

    # Down.

    def down(self) -> bool:
        """End everything the lab started and empty its directory.

        Returns:
            Whether there was a lab.

        Raises:
            LabError: the directory is not the lab's.
        """
        if not self.layout.directory.is_dir():
            return False
        with self._locked():
            if not self.layout.record.exists():
                return False
            self._check_owner()
            try:
                record = self.record()
            except LabError:
                record = {}
            self._clean(record)
        with contextlib.suppress(OSError):
            self.layout.directory.rmdir()
        return True

    def _clean(self, record: dict[str, Any]) -> None:
        end(records.processes(record))
        if "id" in record:
            end(with_marker(hosts.marker(record)), seconds=2.0)
        outside = self.layout.runtime
        if outside.parent != self.layout.directory and outside.is_dir() and outside.lstat().st_uid == os.getuid():
            shutil.rmtree(outside, ignore_errors=True)
        for name in sorted(_OWN):
            path = self.layout.directory / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        # Last, so that a clean-up that was cut short can be done again.
        self.layout.record.unlink(missing_ok=True)

    # Status.

    def status(self) -> dict[str, Any]:
        """What runs and what does not.

        Returns:
            The record without secrets, with ``up`` and the state of each process and service.

        Raises:
            LabDownError: there is no lab.
        """
        record = self.record()
        processes = records.processes(record)
        services = []
        if processes and processes[0].alive:
            services = hosts.services(self.layout)
        return {
            **{key: value for key, value in record.items() if key != "processes"},
            "up": record.get("state") == "up" and all(process.alive for process in processes),
            "processes": [{"name": each.name, "pid": each.pid, "alive": each.alive} for each in processes],
            "services": services,
        }

    def command(self, host: str, command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """What runs a command in a host as an SSH session would: argument vector and environment.

        Args:
            host: ``traefik`` or ``portainer``, or the host's address.
            command: the argument vector in the host; empty for a shell.

        Raises:
            LabError: there is no such host.
            LabDownError: the lab is not up.
        """
        known = self.record()["hosts"]
        found = [name for name, each in known.items() if host in {name, each["address"]}]
        if not found:
            raise LabError(f"the lab has no host {host!r}: name one of {', '.join(sorted(known))}.")
        session = Path(known[found[0]]["root"]) / "bin/.session"
        return [str(session)], {**hosts.session_environment(), "SSH_ORIGINAL_COMMAND": shlex.join(command)}

    def exec(self, host: str, command: Sequence[str]) -> int:
        """Run a command in a host, with our input and output.

        Returns:
            Its exit code; 128 + n when signal n ended it.

        Raises:
            LabError: as :meth:`command`.
        """
        arguments, environment = self.command(host, command)
        code = subprocess.run(arguments, env=environment, check=False).returncode
        return 128 - code if code < 0 else code

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        directory = self.layout.directory
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise LabError(f"{directory} cannot be used: {error.strerror}: choose another --directory.") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _check_owner(self) -> None:
        if self.layout.record.stat().st_uid != os.getuid():
            raise LabError(
                f"the lab in {self.layout.directory} belongs to another user: choose another --directory, "
                "or have them end it."
            )
