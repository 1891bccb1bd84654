"""One container lab for a whole test session: ``from lab.container.testing import container_lab`` in a conftest.

The lab belongs to the test process: where that is killed, the next start removes what is left. Tests change guests
as they like and call :meth:`ContainerLab.reset` for those that must be as they were after ``up``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.container import client, core, host, power, state
from lab.container.authorities import add_name
from lab.container.client import Answer
from lab.container.errors import ContainerLabError, NetworkInUseError
from lab.container.machines import Runtime
from lab.container.network import Network
from lab.container.plan import Plan, Role, load
from lab.container.processes import wait_until

Completed = subprocess.CompletedProcess[str]

_LAB = pytest.StashKey["ContainerLab"]()
_NETWORKS = tuple(f"198.18.{number}" for number in range(10, 20))


class ContainerLab:
    """A running lab, for tests.

    Attributes:
        directory: holds ``settings.yaml``, ``inventory/``, keys and roots.
        settings: what ``settings.yaml`` holds.
        plan: the guests with their addresses.
    """

    def __init__(self, directory: Path, network: str, settings: dict[str, Any]) -> None:
        self.directory, self.settings = directory, settings
        self.network = Network(network)
        self.plan: Plan = load(directory / "inventory", self.network)

    @property
    def settings_file(self) -> Path:
        """What ``PHOENIX_SETTINGS_FILE`` names."""
        return self.directory / "settings.yaml"

    @property
    def has_docker(self) -> bool:
        """Whether the VMs have a Docker engine."""
        number = self.plan.machine("portainer").number
        return bool(state.of_directory(self.directory)["guests"][number]["data"])

    def number(self, role: Role) -> str:
        """CTID or VMID of a role."""
        return self.plan.machine(role).number

    def address(self, role: Role) -> str:
        """Address of a role's guest."""
        return self.plan.machine(role).address

    def root(self, kind: str) -> str:
        """PEM of the roots that vouch for ``internal`` or ``public`` certificates."""
        return (self.directory / f"{kind}-root.crt").read_text(encoding="utf-8")

    def files(self, guest: str) -> Path:
        """A guest's root directory as the host sees it, to read or change files behind the product's back."""
        return Runtime(self.network).root(guest)

    def exec(self, guest: str, *argv: str, stdin: bytes = b"", timeout: float = 120) -> Completed:
        """Run a command in a guest; its exit code is not looked at."""
        done = core.exec_(self.directory, guest, argv, stdin=stdin, timeout=timeout)
        return Completed(
            done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def shell(self, guest: str, script: str, *, stdin: bytes = b"", timeout: float = 120) -> str:
        """Run a shell script in a guest that must succeed; returns what it printed.

        Raises:
            AssertionError: it failed; with what it said.
        """
        done = self.exec(guest, "/bin/sh", "-c", f"set -eu\n{script}", stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            raise AssertionError(f"guest {guest}: {script!r} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def pct(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ``pct`` as on the hypervisor."""
        return self._tool("pct", arguments, stdin)

    def qm(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ``qm`` as on the hypervisor."""
        return self._tool("qm", arguments, stdin)

    def _tool(self, name: str, arguments: Sequence[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        argv = [str(self.tools / name), *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=120, check=False)

    def ssh(self, address: str, script: str, *, user: str = "root", jump: str | None = None) -> list[str]:
        """Command line of OpenSSH's client that runs a script on a guest, host keys checked."""
        options = ["-F", "none", "-o", f"UserKnownHostsFile={self.directory / 'known_hosts'}", "-o", "BatchMode=yes"]
        options += ["-i", str(self.directory / "id_ed25519"), "-o", "IdentitiesOnly=yes"]
        through = []
        if jump is not None:
            # -J would not hand our options on to the first hop.
            through = ["-o", "ProxyCommand=" + shlex.join(["ssh", *options, "-W", "%h:%p", f"root@{jump}"])]
        return ["ssh", *options, *through, f"{user}@{address}", script]

    def connection(self, name: str) -> dict[str, Any]:
        """A connection in the shape of the stack configuration.

        Args:
            name: ``ssh``, ``ssh-sudo``, ``ssh-jump``, ``pct`` and ``pct-over-ssh`` to Traefik's container, ``qm`` and
                ``qm-over-ssh`` to the agent's VM. ``pct`` and ``qm`` are found on PATH: see :attr:`tools`.
        """
        ssh = dict(self.settings["traefik"]["connection"])
        hypervisor = {**ssh, "host": self.plan.hypervisor, "hostKey": self.host_key(self.plan.hypervisor)}
        match name:
            case "ssh":
                return ssh
            case "ssh-sudo":
                return {**ssh, "user": "phoenix_user", "sudo": True}
            case "ssh-jump":
                return {**ssh, "jump": {key: value for key, value in hypervisor.items() if key != "transport"}}
            case "pct" | "qm":
                return {"transport": name, "guest": int(self.number("traefik" if name == "pct" else "agent"))}
            case "pct-over-ssh" | "qm-over-ssh":
                role: Role = "traefik" if name.startswith("pct") else "agent"
                return {**hypervisor, "transport": name, "guest": int(self.number(role))}
            case _:
                raise ValueError(name)

    @property
    def tools(self) -> Path:
        """The directory with ``pct`` and ``qm``, for PATH."""
        return self.directory / "bin"

    def host_key(self, address: str) -> str:
        """Public host key line of an address."""
        for line in (self.directory / "known_hosts").read_text(encoding="utf-8").splitlines():
            known, _, key = line.partition(" ")
            if known == address:
                return key
        raise ValueError(address)

    def get(
        self, hostname: str, path: str = "/", *, via: Role = "gateway", roots: str | None = None, tls: bool = True
    ) -> Answer:
        """One request to the gateway or another guest for a host name; see :func:`lab.container.client.get`."""
        port = self.plan.portainer_port if via == "portainer" else 443 if tls else 80
        return client.get(hostname, path, address=self.address(via), port=port, roots=roots, tls=tls)

    def add_name(self, hostname: str, address: str) -> None:
        """Have both DNS servers of the lab answer a name with an address."""
        for server in (self.plan.hypervisor, self.plan.internet):
            add_name(server, hostname, address)

    def reset(self, *guests: str) -> None:
        """Put guests back to what they were when the lab came up, and start them."""
        for guest in guests:
            power.reset(self.directory, guest)

    def stop(self, guest: str) -> None:
        """Cut a guest's power."""
        power.stop(self.directory, guest)

    def start(self, guest: str) -> None:
        """Start a stopped guest."""
        power.start(self.directory, guest)

    def wait_for(self, guest: str, script: str, seconds: float = 30) -> None:
        """Wait until a shell script succeeds in a guest.

        Raises:
            AssertionError: it did not in time; with what it said last.
        """
        last: list[str] = [""]

        def holds() -> bool:
            done = self.exec(guest, "/bin/sh", "-c", script)
            last[0] = done.stderr + done.stdout
            return done.returncode == 0

        if not wait_until(holds, seconds):
            raise AssertionError(f"guest {guest}: {script!r} does not hold within {seconds:g} s: {last[0]}")


def start_lab(directory: Path, *, inventory: Path | None = None, docker: bool = True) -> ContainerLab:
    """Start a lab on the first free network, for the life of this process.

    Raises:
        MissingRequirementError: this machine cannot run the lab.
        ContainerLabError: it did not start, or no network is free.
    """
    for network in _NETWORKS:
        try:
            settings = core.up(
                directory, inventory, network_prefix=network, docker=docker, owner=os.getpid(), report=_report
            )
        except NetworkInUseError:
            continue
        return ContainerLab(directory, network, settings)
    raise ContainerLabError(f"No network of {', '.join(_NETWORKS)} is free for the tests: stop the labs that run.")


def _report(line: str) -> None:
    os.write(2, f"container lab: {line}\n".encode())


@pytest.fixture(scope="session")
def container_lab(request: pytest.FixtureRequest) -> ContainerLab:
    """The session's lab; the tests that ask for it are skipped, with the reason, where it cannot run.

    It is one lab however many conftest files import this fixture, and it goes when pytest ends.
    """
    if (reason := host.missing_right()) is not None:
        pytest.skip(reason)
    config = request.config
    if _LAB not in config.stash:
        directory = Path(tempfile.mkdtemp(prefix="phoenix-container-lab-"))

        def stop() -> None:
            core.down(directory / "lab")
            shutil.rmtree(directory, ignore_errors=True)

        config.add_cleanup(stop)
        config.stash[_LAB] = start_lab(directory / "lab")
    return config.stash[_LAB]
