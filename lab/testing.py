"""Labs for tests: pytest fixtures and helpers. A ``conftest.py`` imports the fixtures it wants by name.

Every lab gets a network of its own, so that test runs side by side do not meet.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from lab.kinds import SshServer
from lab.local import Lab
from lab.local.processes import Process, boot_id, end, start_time

REPOSITORY = Path(__file__).resolve().parents[1]
DEADLINE_SECONDS = 20.0


@dataclass(frozen=True)
class Result:
    """How a command ended: exit code (negative: the signal), and what it printed."""

    code: int
    out: str
    err: str


def wait_for(condition: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Look at ``condition`` until it is true.

    Raises:
        AssertionError: it was not within ``seconds``; ``what`` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)


@contextlib.contextmanager
def free_network() -> Iterator[str]:
    """First two numbers of loopback addresses that no other lab of this machine's tests has meanwhile."""
    for number in (100 + (os.getpid() + step) % 140 for step in range(140)):
        # An abstract socket is a lock that goes with its process.
        with socket.socket(socket.AF_UNIX) as lock:
            try:
                lock.bind(f"\0phoenix-lab-network-{number}")
            except OSError:
                continue
            yield f"127.{number}"
            return
    raise AssertionError("all 140 test networks are in use")


@contextlib.contextmanager
def local_lab(directory: Path, inventory: Path | None = None, ssh: SshServer = "auto") -> Iterator[Lab]:
    """A lab that is up inside and gone after, also where this process is killed."""
    with free_network() as network, Lab(directory, network, inventory, ssh, owner=os.getpid()) as lab:
        yield lab


@contextlib.asynccontextmanager
async def _connect(lab: Lab, host: str, **options: object):  # type: ignore[no-untyped-def]  # noqa: ANN202
    target = lab.settings[host]["connection"]
    known = asyncssh.import_known_hosts(f"[{target['host']}]:{target['port']} {target['hostKey']}\n")
    given: dict[str, object] = {
        "username": target["user"],
        "client_keys": [target["privateKeyFile"]],
        "known_hosts": known,
        "agent_path": None,
        "config": None,
        **options,
    }
    async with asyncssh.connect(target["host"], target["port"], **given) as connection:
        yield connection


class Session:
    """SSH into a host of a lab as its settings say, host key checked.

    Args:
        lab: is up.
        host: ``traefik`` or ``portainer``.
    """

    def __init__(self, lab: Lab, host: str = "traefik") -> None:
        self.lab = lab
        self.host = host

    def connect(self, **options: object):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """An asyncssh connection, as an asynchronous context manager; ``options`` go to ``asyncssh.connect``."""
        return _connect(self.lab, self.host, **options)

    def run(self, command: str, stdin: bytes = b"") -> Result:
        """Run one command over a connection of its own."""

        async def once() -> Result:
            async with self.connect() as connection:
                done = await connection.run(command, input=stdin, encoding=None)
                code = done.returncode if done.returncode is not None else 255
                return Result(code, done.stdout.decode(), done.stderr.decode())

        return asyncio.run(once())


def systemctl(address: Path, *arguments: str) -> Result:
    """Run ``systemctl`` against the service manager at a Unix socket, without the process a session starts for it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(180)
        connection.connect(str(address))
        connection.sendall(json.dumps(arguments).encode() + b"\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    reply = json.loads(received)
    return Result(reply["code"], reply["out"], reply["err"])


class ServiceManager:
    """The lab's service manager alone, with a directory for ``/``.

    Args:
        directory: holds root, socket and journal.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.units = self.root / "etc/systemd/system"
        self.units.mkdir(parents=True)
        self._runtime = directory / "run"
        self._runtime.mkdir()
        self.address = self._runtime / "s"
        self.journal_path = directory / "journal.jsonl"
        with (directory / "log").open("wb") as log:
            # It ends with this process, also where this one is killed.
            after = [str(os.getpid()), "/bin/sh", "-c", "kill $PPID"]
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "lab.systemd.daemon",
                    *map(str, (self.root, self.address, self.journal_path)),
                    *after,
                ],
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._accepts, "the service manager's socket")
        except AssertionError:
            self.close()
            raise AssertionError((directory / "log").read_text()) from None

    def _accepts(self) -> bool:
        """Whether it listens: a socket is there a moment before."""
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.address)) == 0

    @property
    def pid(self) -> int:
        """The manager's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the manager still runs."""
        return self._process.poll() is None

    def reset(self) -> None:
        """Stop and forget all units."""
        units = self.systemctl("list-units", "--all", "--plain", "--type=service,socket").out.split("\n")
        names = [line.split()[0] for line in units if line.strip()]
        if names:
            self.systemctl("stop", *names)
        shutil.rmtree(self.units)
        self.units.mkdir()
        self.systemctl("reset-failed")
        self.systemctl("daemon-reload")
        self.journal_path.write_bytes(b"")

    def close(self) -> None:
        """Stop it and all its services."""
        moment = start_time(self.pid)
        if moment is not None:
            end([Process("service manager", self.pid, moment, boot_id())])
        self._process.wait(DEADLINE_SECONDS)

    def write(self, name: str, text: str) -> Path:
        """Write a unit file, or a drop-in such as ``a.service.d/b.conf``."""
        path = self.units / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def _call(self, command: str, arguments: tuple[str, ...]) -> Result:
        client = REPOSITORY / "lab/systemd/client.py"
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(client), command, str(self.address), str(self.journal_path), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def systemctl(self, *arguments: str) -> Result:
        """Run ``systemctl``, without the process that a session starts for it."""
        return systemctl(self.address, *arguments)

    def command(self, *arguments: str) -> Result:
        """Run ``systemctl`` as a session in the lab does."""
        return self._call("systemctl", arguments)

    def journalctl(self, *arguments: str) -> Result:
        """Run ``journalctl``."""
        return self._call("journalctl", arguments)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        lines = self.systemctl("show", unit, "-p", ",".join(names)).out.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def value(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.show(unit, name)[name]

    def pid_of(self, unit: str) -> int:
        """The main process of a service; 0 for none."""
        return int(self.value(unit, "MainPID"))

    def wait(self, unit: str, **wanted: str) -> None:
        """Wait until properties of a unit have these values."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (found := self.show(unit, *wanted)) != wanted:
            if time.monotonic() > deadline:
                lines = self.journalctl("-u", unit, "-o", "cat", "-n", "20").out
                raise AssertionError(f"{unit}: wanted {wanted}, last seen {found}; its journal:\n{lines}")
            time.sleep(0.02)

    def journal(self, unit: str) -> list[str]:
        """All messages about or from a unit."""
        if not self.journal_path.exists():
            return []
        full = unit if "." in unit else f"{unit}.service"
        rows = [json.loads(line) for line in self.journal_path.read_text().splitlines()]
        return [row["m"] for row in rows if row["u"] == full]


@pytest.fixture(scope="session")
def _managers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServiceManager]]:
    managers: list[ServiceManager] = []
    yield managers
    for manager in managers:
        manager.close()


@pytest.fixture
def service_manager(
    _managers: list[ServiceManager], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceManager]:
    """A service manager without units. Tests share one for as long as none of them ends it."""
    manager = _managers.pop() if _managers else ServiceManager(tmp_path_factory.mktemp("sm"))
    try:
        yield manager
    except BaseException:
        manager.close()
        raise
    if manager.alive:
        manager.reset()
        _managers.append(manager)
    else:
        manager.close()


@pytest.fixture(scope="session")
def session_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for the whole run, for tests that leave it as it was."""
    with local_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab
