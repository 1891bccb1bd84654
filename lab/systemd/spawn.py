"""Starts a program in the environment its unit asks for, with plain fork and exec, and finds all it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# systemd.exec(5), "Process Exit Codes".
EXIT_CHDIR, EXIT_EXEC, EXIT_FDS, EXIT_LIMITS, EXIT_GROUP, EXIT_USER = 200, 203, 202, 205, 216, 217
STEPS = {
    EXIT_CHDIR: "CHDIR",
    EXIT_EXEC: "EXEC",
    EXIT_FDS: "FDS",
    EXIT_LIMITS: "LIMITS",
    EXIT_GROUP: "GROUP",
    EXIT_USER: "USER",
}
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Stands in a Program's identity for a user that does not exist.
NO_SUCH_USER = -2
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LISTEN_FDS_START = 3


@dataclass(frozen=True)
class Program:
    """What to start and how.

    Attributes:
        path: the program; without a slash it is looked for in the standard directories.
        arguments: the argument vector.
        environment: the whole environment.
        identity: user id, group id and user name, or None to stay who we are.
        descriptors: open files handed over from descriptor 3 on, with their names.
    """

    path: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str = "/"
    directory_optional: bool = False
    identity: tuple[int, int, str] | None = None
    umask: int = 0o022
    open_files: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    descriptors: list[tuple[int, str]] = field(default_factory=list)


def become_subreaper() -> None:
    """Make the kernel hand us the orphans of what we start, so that none gets away."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(program: Program) -> tuple[int, int]:
    """Fork and exec.

    Returns:
        The process id, and a pipe that ends when the program runs; when it could not be run the pipe first
        gives one line ``<exit status> <reason>``, and the process exits with that status.
    """
    read_end, write_end = os.pipe()
    libc = ctypes.CDLL(None, use_errno=True)
    manager = os.getpid()
    everything = set(signal.Signals)
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, everything)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(write_end)
        os.set_blocking(read_end, False)
        return pid, read_end
    status, reason = EXIT_EXEC, ""
    try:
        signal.set_wakeup_fd(-1)
        for number in everything - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        status, reason = _prepare(program, write_end)
        if not status:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != manager:
                os._exit(EXIT_EXEC)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            status, reason = _execute(program)
    except BaseException as error:  # noqa: BLE001 - nothing may escape from the child of a fork
        reason = str(error)
    with contextlib.suppress(OSError):
        # _prepare moved the pipe out of the way of the handed-over descriptors.
        os.write(_error_pipe.get(0, write_end), f"{status} {reason}".encode())
    os._exit(status or EXIT_EXEC)


_error_pipe: dict[int, int] = {}


def _prepare(program: Program, write_end: int) -> tuple[int, str]:
    """In the child: descriptors, limits, identity, directory. Returns a failed step's status and reason, else 0."""
    count = len(program.descriptors)
    steps: list[tuple[int, Callable[[], None]]] = [
        (EXIT_FDS, lambda: _descriptors(program, write_end, _LISTEN_FDS_START + count)),
        (EXIT_LIMITS, lambda: _limits(program)),
        (EXIT_USER, lambda: _identity(program)),
        (EXIT_CHDIR, lambda: _directory(program)),
    ]
    for status, step in steps:
        try:
            step()
        except (OSError, ValueError, KeyError) as error:
            return status, getattr(error, "strerror", None) or str(error)
    return 0, ""


def _descriptors(program: Program, write_end: int, free: int) -> None:
    import fcntl

    # All sources first go above the target range, so that no dup2 overwrites one that is still needed.
    pipe = fcntl.fcntl(write_end, fcntl.F_DUPFD_CLOEXEC, free + 16)
    _error_pipe[0] = pipe
    null = os.open(os.devnull, os.O_RDWR)
    wanted = [
        null,
        null if program.stdout is None else program.stdout,
        null if program.stderr is None else program.stderr,
        *(number for number, _ in program.descriptors),
    ]
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, free + 16) for number in wanted]
    for target, source in enumerate(high):
        os.dup2(source, target, inheritable=True)


def _limits(program: Program) -> None:
    os.umask(program.umask)
    if program.open_files is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = program.open_files
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        except (ValueError, OSError):
            # Without the capability systemd takes the closest limit it may set.
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _identity(program: Program) -> None:
    if program.identity is None:
        return
    uid, gid, name = program.identity
    if NO_SUCH_USER in {uid, gid}:
        raise KeyError(f"no such user: {name}")
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return
    if os.geteuid() == 0:
        os.initgroups(name, gid) if name else os.setgroups([gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif uid != os.geteuid():
        raise PermissionError(1, "Operation not permitted")


def _directory(program: Program) -> None:
    try:
        os.chdir(program.directory)
    except OSError:
        if not program.directory_optional:
            raise
        os.chdir("/")


def _execute(program: Program) -> tuple[int, str]:
    environment = dict(program.environment)
    if program.descriptors:
        environment["LISTEN_PID"] = str(os.getpid())
        environment["LISTEN_FDS"] = str(len(program.descriptors))
        environment["LISTEN_FDNAMES"] = ":".join(name for _, name in program.descriptors)
    if "WATCHDOG_USEC" in environment:
        environment["WATCHDOG_PID"] = str(os.getpid())
    path = program.path
    if "/" not in path:
        path = next((found for base in SEARCH_PATH.split(":") if os.access(found := f"{base}/{path}", os.X_OK)), path)
    try:
        os.execve(path, program.arguments, environment)  # noqa: S606 - starting programs is its purpose
    except OSError as error:
        return EXIT_EXEC, error.strerror or str(error)


def members(invocation: str, exclude: frozenset[int] = frozenset()) -> list[int]:
    """Living processes of one run of a service: those that carry its ``INVOCATION_ID``.

    Args:
        invocation: the run's id, as in the processes' environment.
        exclude: process ids to leave out.
    """
    needle = f"INVOCATION_ID={invocation}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in exclude:
            continue
        with contextlib.suppress(OSError):
            if needle in (entry / "environ").read_bytes().split(b"\0") and not _is_zombie(entry):
                found.append(int(entry.name))
    return found


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"


def comm(pid: int) -> str:
    """The program name of a process, or ``n/a`` once it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "n/a"
