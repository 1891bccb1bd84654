"""Processes the lab starts: named by pid and start time, so that a reused pid is never taken for one of ours."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.container.errors import ContainerLabError

_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Attributes:
        pid: its id in the PID namespace of the lab's caller.
        started: field 22 of ``/proc/<pid>/stat``, clock ticks after boot.
    """

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        fields = _stat(self.pid)
        return fields is not None and fields[0] not in "ZX" and int(fields[19]) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone is no error."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def reap(self) -> None:
        """Collect it where it is a child of this process, so that a long-lived caller keeps no zombie."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)

    def children(self) -> list[int]:
        """Pids of the direct children of all its threads."""
        pids: list[int] = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                pids += [int(word) for word in children.read_text().split()]
        return pids


def identify(pid: int) -> Process | None:
    """The process that has this pid now, or None."""
    fields = _stat(pid)
    return None if fields is None else Process(pid, int(fields[19]))


def _stat(pid: int) -> list[str] | None:
    """Fields of ``/proc/<pid>/stat`` from the third (state) on: the name before it may hold blanks (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition until it holds; False when the deadline passes first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = 120,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program of this machine to its end.

    Raises:
        ContainerLabError: it failed (unless ``check`` is off), is missing or ran into the time limit in seconds.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False,
            env=None if env is None else dict(env), stdin=subprocess.DEVNULL if stdin is None else None,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ContainerLabError(f"{argv[0]} is not installed on this machine: install it.") from error
    except subprocess.TimeoutExpired as error:
        raise ContainerLabError(f"{shlex.join(argv[:3])} did not end within {timeout:g} s.") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
        raise ContainerLabError(f"{shlex.join(argv[:4])} ended with exit code {done.returncode}: {said}")
    return done


def spawn(argv: Sequence[str], *, cgroups: Iterable[Path], log: Path, env: Mapping[str, str]) -> Process:
    """Start a long-lived process in its own session and cgroups, output appended to a log file.

    The shell that becomes the program moves itself: a ``preexec_fn`` is not safe beside threads.
    """
    moves = "".join(f"echo $$ > {shlex.quote(str(path / 'cgroup.procs'))} && " for path in cgroups)
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", moves + 'exec "$@"', "sh", *argv],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=dict(env),
        )  # fmt: skip
    # The lab outlives its caller: nobody waits for the child, so the interpreter must not warn about it.
    child.returncode = 0
    process = identify(child.pid)
    if process is None:
        raise ContainerLabError(f"{argv[0]} ended at once: see {log}.")
    return process
