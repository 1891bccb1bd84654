"""The lab's background processes: started detached, known by pid and start time, ended by pid alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError


@dataclass(frozen=True)
class Process:
    """A process of the lab.

    Attributes:
        start_time: field 22 of ``/proc/PID/stat``: clock ticks after boot. With ``boot`` it tells this process
            from a later one with the same pid.
        boot: the kernel's boot id.
    """

    name: str
    pid: int
    start_time: int
    boot: str

    def as_json(self) -> dict[str, Any]:
        """For the lab's record."""
        return asdict(self)

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return start_time(self.pid) == self.start_time and boot_id() == self.boot


def boot_id() -> str:
    """The kernel's id of this boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks after boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        with contextlib.suppress(ChildProcessError, OSError):
            os.waitpid(pid, os.WNOHANG)
        return None
    return int(fields[19])


def launch(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start a program in the background, with nothing of our terminal left open.

    Args:
        name: for messages.
        command: the argument vector.
        log: takes its output.
        environment: the whole environment; ours when None.

    Raises:
        LabError: it cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        try:
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=None if environment is None else dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise LabError(f"{command[0]} cannot be started for {name}: {error.strerror}: install it again.") from None
    # Popen complains about children that outlive it; these are meant to.
    started.returncode = 0
    moment = start_time(started.pid)
    return Process(name, started.pid, moment if moment is not None else -1, boot_id())


def wait_until(process: Process, ready: Callable[[], bool], log: Path, seconds: float = 15.0) -> None:
    """Wait until a process does its work.

    Raises:
        LabError: it ended, or took longer than ``seconds``; the last line of its log is given.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.alive:
            raise LabError(f"{process.name} ended at once: {_last_line(log)}; the whole log is {log}.")
        if time.monotonic() > deadline:
            raise LabError(
                f"{process.name} was not ready within {seconds:.0f} s: {_last_line(log)}; the whole log is {log}."
            )
        time.sleep(0.005)


def _last_line(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "it wrote nothing"


def end(processes: Sequence[Process], seconds: float = 10.0) -> None:
    """End processes by pid: SIGTERM, and SIGKILL for those that stay. A pid that is another's by now is left alone."""
    for process in processes:
        _send(process, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while any(process.alive for process in processes) and time.monotonic() < deadline:
        time.sleep(0.005)
    for process in processes:
        _send(process, signal.SIGKILL)
    while any(process.alive for process in processes) and time.monotonic() < deadline + 5.0:
        time.sleep(0.005)


def _send(process: Process, number: int) -> None:
    # A pidfd taken before the check names the same process at the signal, whatever happens between.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if process.alive:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def with_marker(marker: str) -> list[Process]:
    """Living processes whose environment holds ``marker``, such as those a service of the lab left behind."""
    needle, found = marker.encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if needle in (entry / "environ").read_bytes().split(b"\0"):
                moment = start_time(int(entry.name))
                if moment is not None:
                    found.append(Process("left over", int(entry.name), moment, boot_id()))
    return found
