"""Single guests of a running lab: stop, start, and back to the state after ``up``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

from lab.container import machines, mounts, state
from lab.container.authorities import listens
from lab.container.errors import ContainerLabError
from lab.container.machines import Runtime
from lab.container.network import Network
from lab.container.processes import identify, run, wait_until

_SECONDS = 180.0  # a machine with far more work than cores takes its time


def stop(directory: Path, guest: str) -> None:
    """Cut a guest's power; its files stay.

    Raises:
        ContainerLabError: there is no such guest, or it does not end.
    """
    keeper = state.process(_guest(directory, guest)[1])
    nspawns = [child for child in map(identify, keeper.children()) if child is not None]
    pid = machines.leader(keeper)
    if pid is not None and (inside := identify(pid)) is not None:
        inside.signal(signal.SIGKILL)
    if not wait_until(lambda: not any(nspawn.alive for nspawn in nspawns), _SECONDS):
        raise ContainerLabError(f"guest {guest} does not stop within {_SECONDS:g} s.")


def start(directory: Path, guest: str) -> None:
    """Start a stopped guest and wait until its systemd has started everything and sshd answers.

    Raises:
        ContainerLabError: there is no such guest, or it is not ready in time.
    """
    runtime, found = _guest(directory, guest)
    request = state.path(runtime).parent / f"start-{guest}"
    if not wait_until(lambda: _ready(found) or _ask(request), _SECONDS):
        lines = runtime.log(guest).read_text(errors="replace").strip().splitlines() or ["nothing"]
        raise ContainerLabError(
            f"guest {guest} is not ready within {_SECONDS:g} s: systemd is {_condition(found)!r}, "
            f"the console's last line is {lines[-1]!r}."
        )


def _ask(request: Path) -> bool:
    """Ask a guest's keeper to start it; it only listens while the guest is off. Always False: not yet ready."""
    with contextlib.suppress(OSError):
        handle = os.open(request, os.O_WRONLY | os.O_NONBLOCK)
        os.write(handle, b"start\n")
        os.close(handle)
    return False


def reset(directory: Path, guest: str) -> None:
    """Put a guest's files back to what they were when the lab came up, and start it.

    Raises:
        ContainerLabError: there is no such guest, or it is not ready in time.
    """
    runtime, found = _guest(directory, guest)
    stop(directory, guest)
    mounts.unmount_all(runtime.root(guest))
    upper = runtime.directory / "upper" / guest
    for below in (upper, runtime.directory / "work" / guest, runtime.directory / "data" / guest):
        shutil.rmtree(below, ignore_errors=True)
    run(["cp", "--archive", str(pristine(runtime, guest)), str(upper)])
    for name in found["data"]:
        (runtime.directory / "data" / guest / name).mkdir(parents=True)
    machines.mount_root(runtime, guest, [Path(layer) for layer in found["layers"]])
    start(directory, guest)


def keep(runtime: Runtime, guest: str) -> None:
    """Remember a guest's files for ``reset``."""
    target = pristine(runtime, guest)
    target.parent.mkdir(exist_ok=True)
    run(["cp", "--archive", str(runtime.directory / "upper" / guest), str(target)])


def pristine(runtime: Runtime, guest: str) -> Path:
    """Where the files of a fresh guest are kept."""
    return runtime.directory / "pristine" / guest


def _ready(found: state.State) -> bool:
    return _condition(found) in ("running", "degraded") and listens(found["address"], 22)


def _condition(found: state.State) -> str:
    """What the guest's systemd says of itself; ``off`` without one."""
    pid = machines.leader(state.process(found))
    if pid is None:
        return "off"
    return run([*machines.enter(pid), "systemctl", "is-system-running"], check=False, timeout=60).stdout.strip()


def _guest(directory: Path, guest: str) -> tuple[Runtime, state.State]:
    known = state.of_directory(directory)
    found = known["guests"].get(guest)
    if found is None or not found["booted"]:
        numbers = ", ".join(number for number, one in known["guests"].items() if one["booted"])
        raise ContainerLabError(f"guest {guest} is unknown: give one of {numbers}.")
    return Runtime(Network(known["network"])), found
