"""What is known of running labs: one JSON file each, in the runtime directory of its network."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.container.errors import ContainerLabDownError, ContainerLabError
from lab.container.machines import RUNTIME, Runtime
from lab.container.network import Network
from lab.container.processes import Process

State = dict[str, Any]
_LOCK_SECONDS = 900.0


def path(runtime: Runtime) -> Path:
    """The state file; its directory is also seen by the lab's hypervisor."""
    return runtime.directory / "guests" / "lab.json"


def read(runtime: Runtime) -> State | None:
    """The state of a network's lab; None where there is none that can be read."""
    try:
        state = json.loads(path(runtime).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def write(runtime: Runtime, state: State) -> None:
    """Replace the state file."""
    target = path(runtime)
    target.parent.mkdir(exist_ok=True)
    aside = target.with_name(f".{target.name}")
    aside.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    aside.rename(target)


def labs() -> Iterator[tuple[Runtime, State | None]]:
    """Every network that has a runtime directory, with its state."""
    for directory in sorted(RUNTIME.iterdir()) if RUNTIME.is_dir() else []:
        with contextlib.suppress(ContainerLabError):
            runtime = Runtime(Network(directory.name))
            yield runtime, read(runtime)


def of_directory(directory: Path) -> State:
    """The state of the lab that was started from a directory.

    Raises:
        ContainerLabDownError: none runs from there.
    """
    resolved = str(directory.resolve())
    for _, state in labs():
        if state is not None and state["directory"] == resolved:
            return state
    raise ContainerLabDownError(f"No container lab runs from {directory}: start it with up.")


def process(guest: State) -> Process:
    """The process that a guest, or one of the lab's services, is."""
    return Process(int(guest["pid"]), int(guest["started"]))


def running(state: State) -> bool:
    """Whether every process of the lab runs."""
    guests = state["guests"].values()
    return bool(guests) and all(process(guest).alive for guest in guests)


def wanted(state: State) -> bool:
    """False when the lab was started for a process that is gone."""
    owner = state.get("owner")
    return owner is None or process(owner).alive


@contextlib.contextmanager
def exclusive(runtime: Runtime) -> Iterator[None]:
    """One start or stop of a network at a time.

    The lock is a name in the kernel's abstract socket namespace: it ends with its holder and leaves no file.

    Raises:
        ContainerLabError: another start or stop held the lock for a quarter of an hour.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        while True:
            try:
                lock.bind(f"\0phoenix-lab-{runtime.network.prefix}")
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ContainerLabError(
                        f"Another start or stop of the lab on {runtime.network.prefix}.0/24 does not end: stop it."
                    ) from error
                time.sleep(0.1)
        yield
