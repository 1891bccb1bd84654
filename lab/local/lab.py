"""The local lab as an object: up, down, apply a changed inventory, status, exec."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from lab.errors import LabDownError, LabError
from lab.local import hosts, inventory, settings
from lab.local.authority import Authority, ssh_key, write_private
from lab.local.layout import API_PORT, SSH_PORT, WEB_PORT, WEBSECURE_PORT, Layout, check_directory, check_network
from lab.local.processes import Process, end, launch, wait_until, with_marker

SshServer = Literal["auto", "openssh", "asyncssh"]
DEFAULT_INVENTORY = Path(__file__).resolve().parents[2] / "stacks/inventory/local"
_RECORD_VERSION = 1


class Lab:
    """A local lab in a directory.

    Args:
        directory: holds everything the lab makes; ``down`` empties it.
        network: first two numbers of its addresses, on loopback.
        inventory: a directory with the installation's JSON files; addresses outside ``network`` are moved into it.
        ssh: which SSH server; ``auto`` takes OpenSSH's where it is installed and lets this user in.

    As a context manager it is up inside and down after.

    Raises:
        LabError: an argument cannot be used.
    """

    def __init__(
        self,
        directory: Path | str = ".lab",
        network: str = "127.10",
        inventory: Path | str | None = None,
        ssh: SshServer = "auto",
    ) -> None:
        self.layout = Layout(check_directory(Path(directory)))
        self.network = check_network(network)
        self.source = Path(inventory).absolute() if inventory is not None else DEFAULT_INVENTORY
        self.ssh = ssh

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # What is known of a lab that is up.

    def record(self) -> dict[str, Any]:
        """The lab's record.

        Raises:
            LabDownError: there is none.
        """
        try:
            content = json.loads(self.layout.record.read_text())
        except FileNotFoundError:
            raise LabDownError(f"no lab is up in {self.layout.directory}: start it with bin/lab up.") from None
        except (OSError, ValueError) as error:
            raise LabError(f"{self.layout.record} cannot be read ({error}): run bin/lab down.") from None
        if not isinstance(content, dict) or content.get("version") != _RECORD_VERSION:
            raise LabError(f"{self.layout.record} was not written by this version of the lab: run bin/lab down.")
        return content

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that ``up`` wrote.

        Raises:
            LabDownError: the lab is not up.
        """
        import yaml

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

    def _processes(self, record: dict[str, Any]) -> list[Process]:
        return [Process(**each) for each in record.get("processes", [])]

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
            others = [path.name for path in directory.iterdir()]
            if others:
                raise LabError(
                    f"{directory} is not empty and holds no lab ({others[0]} …): choose another --directory, or empty it."
                )
            return None
        if self.layout.record.stat().st_uid != os.getuid():
            raise LabError(f"the lab in {directory} belongs to another user: choose another --directory.")
        try:
            record = self.record()
        except LabError:
            record = {}
        processes = self._processes(record)
        if record.get("state") == "up" and processes and all(process.alive for process in processes):
            if record["network"] != self.network:
                raise LabError(
                    f"the lab in {directory} is up on {record['network']}, not on {self.network}: run bin/lab down first, "
                    "or choose another --directory."
                )
            return record
        self._clean(record)
        return None

    def _start(self) -> dict[str, Any]:
        layout = self.layout
        record: dict[str, Any] = {
            "version": _RECORD_VERSION,
            "kind": "local",
            "state": "starting",
            "id": uuid.uuid4().hex,
            "directory": str(layout.directory),
            "network": self.network,
            "started": time.time(),
            "processes": [],
        }
        # Written before anything is started, so that whatever happens next can be cleaned up.
        self._write_record(record)
        try:
            guests = self._read_inventory()
            self._check_ports(guests)
            layout.make_runtime()
            layout.logs.mkdir(exist_ok=True)
            ssh_key(layout.client_key, "phoenix lab client")
            Authority(layout.authority)
            self._write_backends(guests)
            marker = hosts.marker(record)
            host_keys = {
                host: ssh_key(layout.keys / f"host-{host}", f"phoenix lab {host}") for host in ("traefik", "portainer")
            }
            hosts.make_traefik(layout, marker)
            hosts.make_portainer(layout, marker)
            environment = {**os.environ, **dict([marker.split("=", 1)]), "PYTHONPATH": str(_repository())}
            supervisor = self._launch(
                record, "service manager", [sys.executable, "-m", "lab.systemd.daemon", str(layout.traefik),
                str(layout.runtime / "systemd"), str(layout.journal)], environment
            )  # fmt: skip
            backends = self._launch(
                record, "backends", [sys.executable, "-m", "lab.local.backends", str(layout.directory / "backends.json"),
                str(layout.runtime / "backends")], environment
            )  # fmt: skip
            addresses = {
                "traefik": settings.traefik_address(self.network),
                "portainer": settings.portainer_address(self.network, guests),
            }
            record["ssh"] = hosts.start_ssh(
                layout, self.ssh, addresses, marker, lambda name, command: self._launch(record, name, command, environment)
            )
            wait_until(supervisor, lambda: _answers(layout.runtime / "systemd"), layout.logs / "service-manager.log")
            wait_until(backends, lambda: _answers(layout.runtime / "backends"), layout.logs / "backends.log")
            self._apply_backends()
            self._finish(record, guests, host_keys)
            record["state"] = "up"
            self._write_record(record)
        except BaseException:
            self._clean(record)
            raise
        return {**record, "change": "started"}

    def _launch(
        self, record: dict[str, Any], name: str, command: Sequence[str], environment: dict[str, str]
    ) -> Process:
        process = launch(name, command, self.layout.logs / f"{name.replace(' ', '-')}.log", environment)
        record["processes"].append(process.as_json())
        self._write_record(record)
        return process

    def _finish(self, record: dict[str, Any], guests: inventory.Guests, host_keys: dict[str, str]) -> None:
        layout = self.layout
        copy = layout.directory / "inventory"
        settings.write(
            layout.settings,
            settings.build(layout, self.network, guests, host_keys, copy if copy.is_dir() else None),
        )
        traefik = settings.traefik_address(self.network)
        record["inventory"] = {"source": str(self.source), "directory": str(self.inventory)}
        record["settings"] = str(layout.settings)
        record["hosts"] = {
            "traefik": {"address": traefik, "port": SSH_PORT, "root": str(layout.traefik)},
            "portainer": {
                "address": settings.portainer_address(self.network, guests),
                "port": SSH_PORT,
                "root": str(layout.portainer),
            },
        }
        record["traefik"] = {
            "web": f"{traefik}:{WEB_PORT}",
            "websecure": f"{traefik}:{WEBSECURE_PORT}",
            "api": f"{traefik}:{API_PORT}",
        }
        record["backends"] = [backend.as_json() for backend in guests.backends]

    def _apply(self, record: dict[str, Any]) -> dict[str, Any]:
        guests = self._read_inventory()
        wanted = [backend.as_json() for backend in guests.backends]
        source = record.get("inventory", {}).get("source")
        if wanted == record.get("backends") and source == str(self.source):
            return {**record, "change": "unchanged"}
        portainer = settings.portainer_address(self.network, guests)
        if portainer != record["hosts"]["portainer"]["address"]:
            raise LabError(
                f"the inventory moves Portainer from {record['hosts']['portainer']['address']} to {portainer}: "
                "run bin/lab down, then bin/lab up."
            )
        self._write_backends(guests)
        self._apply_backends()
        host_keys = {
            host: ssh_key(self.layout.keys / f"host-{host}", f"phoenix lab {host}") for host in ("traefik", "portainer")
        }
        self._finish(record, guests, host_keys)
        self._write_record(record)
        return {**record, "change": "changed"}

    def _read_inventory(self) -> inventory.Guests:
        if not self.source.is_dir():
            raise LabError(f"{self.source} is no directory: name one with the installation's JSON files (--inventory).")
        copy = self.layout.directory / "inventory"
        if inventory.in_network(self.source, self.network):
            if copy.exists():
                shutil.rmtree(copy)
            return inventory.read(self.source)
        inventory.translate(self.source, copy, self.network)
        return inventory.read(copy)

    def _check_ports(self, guests: inventory.Guests) -> None:
        traefik, portainer = settings.traefik_address(self.network), settings.portainer_address(self.network, guests)
        wanted = [
            ("SSH to the Traefik container", traefik, SSH_PORT),
            ("SSH to the Portainer machine", portainer, SSH_PORT),
            ("Traefik's entry point web", traefik, WEB_PORT),
            ("Traefik's entry point websecure", traefik, WEBSECURE_PORT),
            ("Traefik's API", traefik, API_PORT),
            *((f"the backend of {each.name}", each.address, each.port) for each in guests.backends),
        ]
        taken: dict[tuple[str, int], str] = {}
        for what, address, port in wanted:
            first = taken.setdefault((address, port), what)
            if first != what:
                raise LabError(
                    f"{address}:{port} is wanted by {first} and by {what}: give one of them another port in the inventory."
                )
            _try_port(what, address, port)

    def _write_backends(self, guests: inventory.Guests) -> None:
        authority = Authority(self.layout.authority)
        content = []
        for backend in guests.backends:
            entry = backend.as_json()
            if backend.scheme == "https":
                stem = f"{backend.guest}-{backend.address}"
                certificate, key = authority.issue(stem, list(backend.names), [backend.address])
                entry |= {"certificate": str(certificate), "key": str(key)}
            content.append(entry)
        write_private(self.layout.directory / "backends.json", json.dumps(content, indent=1).encode())

    def _apply_backends(self) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.layout.runtime / "backends"))
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        mistakes = json.loads(received or b'{"mistakes": ["the backends\' process gave no answer"]}')["mistakes"]
        if mistakes:
            raise LabError(f"{mistakes[0]}: free the port, or choose another --network.")

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
            if self.layout.record.stat().st_uid != os.getuid():
                raise LabError(f"the lab in {self.layout.directory} belongs to another user, who has to end it.")
            try:
                record = self.record()
            except LabError:
                record = {}
            self._clean(record)
        with contextlib.suppress(OSError):
            self.layout.directory.rmdir()
        return True

    def _clean(self, record: dict[str, Any]) -> None:
        end(self._processes(record))
        if "id" in record:
            end(with_marker(hosts.marker(record)), seconds=2.0)
        outside = self.layout.runtime
        if outside.parent != self.layout.directory and outside.is_dir() and outside.lstat().st_uid == os.getuid():
            shutil.rmtree(outside, ignore_errors=True)
        for path in self.layout.directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != self.layout.record:
                path.unlink()
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
        processes = self._processes(record)
        services = []
        if processes and processes[0].alive:
            services = hosts.services(self.layout)
        return {
            **{key: value for key, value in record.items() if key != "processes"},
            "up": record.get("state") == "up" and all(process.alive for process in processes),
            "processes": [{"name": each.name, "pid": each.pid, "alive": each.alive} for each in processes],
            "services": services,
        }

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

    def _write_record(self, record: dict[str, Any]) -> None:
        staged = self.layout.record.with_name("lab.json.new")
        write_private(staged, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        staged.replace(self.layout.record)


def _repository() -> Path:
    return Path(__file__).resolve().parents[2]


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def _try_port(what: str, address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise LabError(
                    f"{address}:{port} for {what} needs root: give it a port from 1024 on, or run the lab as root."
                ) from None
            if error.errno == errno.EADDRINUSE:
                raise LabError(
                    f"{address}:{port} for {what} is taken: end what listens there (ss -ltnp 'sport = :{port}'), "
                    "or choose another --network."
                ) from None
            raise LabError(f"{address}:{port} for {what} cannot be used ({error.strerror}): choose another --network.") from None
