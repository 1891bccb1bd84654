"""Stand-ins for Proxmox VE's ``pct`` and ``qm``, over the lab's guests.

A script of its own, standard library only: it runs on the lab's hypervisor and, through the wrappers in
``<directory>/bin``, on the machine itself. Behaviour follows Proxmox VE's own sources (pve-container
``PVE/CLI/pct.pm``, qemu-server ``PVE/CLI/qm.pm``), its traps included: ``PATH`` has no ``/usr/local/bin``,
``pct push`` truncates in place, ``pct pull`` empties its destination before it looks for the source, and
``qm guest exec`` exits 0 whatever the command's exit code was.

Usage: ``proxmox.py pct|qm ARGUMENT…``; ``PHOENIX_LAB_GUESTS`` names the directory with ``lab.json``.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

PATH = "/sbin:/bin:/usr/sbin:/usr/bin"
_GUESTS = Path(os.environ.get("PHOENIX_LAB_GUESTS", "/run/phoenix-lab"))
_CLONE_NEWNS = 0x00020000
_MAXIMUM_INPUT = 1024 * 1024
_MAXIMUM_OUTPUT = 16 * 1024 * 1024
_AGENT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POLL_SECONDS = 0.02
_POWER_SECONDS = 60.0


class RefusalError(Exception):
    """What the real tool would die of: its words and its exit code."""

    def __init__(self, message: str, code: int = 255) -> None:
        super().__init__(message)
        self.code = code


def parse(
    arguments: list[str], options: dict[str, str], flags: frozenset[str] = frozenset()
) -> tuple[list[str], list[str]]:
    """Split a command line as Proxmox VE does: options anywhere, one dash or two, extra arguments after ``--``.

    Args:
        arguments: what follows the command's name.
        options: is filled with the options found; its keys are the names allowed.
        flags: options whose value may be left out, which then is 1.

    Returns:
        The positional arguments before ``--``, and those after it.

    Raises:
        RefusalError: an option is unknown or lacks its value.
    """
    words, extra = arguments, []
    if "--" in arguments:
        words, extra = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    positional: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("-") or word == "-":
            positional.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name not in options:
            raise RefusalError(f"Unknown option: {name}\n400 unable to parse option")
        if not equals:
            if name in flags and (not queue or queue[0] not in ("0", "1")):
                value = "1"
            elif queue:
                value = queue.pop(0)
            else:
                raise RefusalError(f"Option {name} requires an argument\n400 unable to parse option")
        options[name] = value
    return positional, extra


def _lab() -> dict[str, Any]:
    try:
        state = json.loads((_GUESTS / "lab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusalError(f"the lab's {_GUESTS / 'lab.json'} cannot be read: {error}") from error
    return dict(state)


def _guests(kind: str) -> dict[str, dict[str, Any]]:
    state = _lab()
    every = {**state.get("stubs", {}), **state["guests"]}
    return {number: guest for number, guest in every.items() if guest.get("kind") == kind}


def _guest(kind: str, number: str) -> dict[str, Any]:
    if not number.isdigit():
        raise RefusalError(f"400 Parameter verification failed.\nvmid: type check ('integer') failed - got '{number}'")
    guest = _guests(kind).get(number)
    if guest is None:
        folder = "lxc" if kind == "lxc" else "qemu-server"
        raise RefusalError(f"Configuration file 'nodes/pve/{folder}/{number}.conf' does not exist", 2)
    return guest


def _leader(guest: dict[str, Any]) -> int | None:
    """Pid of the guest's PID 1, which a reboot replaces: its keeper's child is nspawn, whose child it is."""
    pid, started = guest.get("pid"), guest.get("started")
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if stat[0] == "Z" or int(stat[19]) != started:
            return None
        (nspawn,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        (inside,) = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
    except (OSError, ValueError):
        return None
    return int(inside)


def _status(guest: dict[str, Any]) -> str:
    return "running" if guest.get("stub") or _leader(guest) is not None else "stopped"


def _enter(pid: int) -> list[str]:
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]


def _one(positional: list[str], count: int, usage: str) -> list[str]:
    if len(positional) != count:
        raise RefusalError(
            f"400 not enough arguments\n{usage}" if len(positional) < count else f"400 too many arguments\n{usage}"
        )
    return positional


def _config(guest: dict[str, Any]) -> None:
    for name, value in sorted(guest.get("config", {}).items()):
        print(f"{name}: {value}")  # noqa: T201 - this is a command line tool


# --- pct ---------------------------------------------------------------------------------------------------------


def pct(arguments: list[str]) -> int:
    """The ``pct`` command; returns the exit code."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if command == "list":
        rows = [("VMID", "Status", "Lock", "Name")]
        rows += [(number, _status(guest), "", guest["name"]) for number, guest in _numbered("lxc")]
        for row in rows:
            print("{:<10} {:<10} {:<12} {:<20}".format(*row))  # noqa: T201
        return 0
    if command == "exec":
        return _pct_exec(rest)
    if command in ("push", "pull"):
        return _pct_copy(command, rest)
    if command in ("status", "config"):
        (number,) = _one(
            parse(rest, {"verbose": "", "current": ""}, frozenset({"verbose", "current"}))[0],
            1,
            f"pct {command} <vmid>",
        )
        guest = _guest("lxc", number)
        if command == "config":
            _config(guest)
        else:
            print(f"status: {_status(guest)}")  # noqa: T201
        return 0
    if command == "start":
        (number,) = _one(parse(rest, {"skiplock": "", "debug": ""})[0], 1, "pct start <vmid>")
        return _start("lxc", number)
    if command in ("reboot", "stop", "shutdown"):
        (number,) = _one(parse(rest, {"timeout": "", "skiplock": ""})[0], 1, f"pct {command} <vmid>")
        return _power(command, _running("lxc", number, f"CT {number} not running"))
    raise RefusalError(f"ERROR: unknown command 'pct {command}' in the lab's stand-in")


def _numbered(kind: str) -> list[tuple[str, dict[str, Any]]]:
    return sorted(_guests(kind).items(), key=lambda item: int(item[0]))


def _running(kind: str, number: str, message: str) -> int:
    guest = _guest(kind, number)
    if guest.get("stub"):
        raise RefusalError(f"guest {number} only has a service in the lab, no system to enter")
    pid = _leader(guest)
    if pid is None:
        raise RefusalError(message)
    return pid


def _pct_exec(arguments: list[str]) -> int:
    options = {"keep-env": "1"}
    own, after = arguments, []
    if "--" in arguments:
        own, after = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    positional, _ = parse(own, options)
    if not positional:
        raise RefusalError("400 not enough arguments\npct exec <vmid> [<extra-args>] [OPTIONS]")
    number, *extra = positional
    extra += after
    pid = _running("lxc", number, f"container '{number}' not running!")
    if not extra:
        raise RefusalError("missing command")
    environment = dict(os.environ) if options["keep-env"] == "1" else {}
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "PHOENIX_LAB_GUESTS"):
        environment.pop(name, None)
    # lxc-attach(1) says which container the process is in.
    environment |= {"PATH": PATH, "container": "lxc"}
    argv = [*_enter(pid), *extra]
    os.execvpe(argv[0], argv, environment)  # noqa: S606 - the caller's own command


def _pct_copy(command: str, arguments: list[str]) -> int:
    options: dict[str, str] = {"perms": "", "user": "", "group": ""}
    usage = f"pct {command} <vmid> " + ("<file> <destination>" if command == "push" else "<path> <destination>")
    number, source, destination = _one(parse(arguments, options)[0], 3, f"{usage} [OPTIONS]")
    words = "can only push files to a running CT" if command == "push" else "can only pull files from a running VM"
    pid = _running("lxc", number, words)
    if command == "push":
        try:
            reader = os.open(source, os.O_RDONLY)
        except OSError as error:
            raise RefusalError(f"failed to open {source} for reading") from error
        _enter_mounts(pid)
        writer = _create(destination, options)
    else:
        writer = _create(destination, options)
        _enter_mounts(pid)
        try:
            reader = os.open(source, os.O_RDONLY)
        except OSError as error:
            raise RefusalError(f"failed to open {source}: {error.strerror}") from error
    with os.fdopen(reader, "rb") as incoming, os.fdopen(writer, "wb") as outgoing:
        shutil.copyfileobj(incoming, outgoing)
    return 0


def _enter_mounts(pid: int) -> None:
    """Become part of the guest's mount namespace, so that no symbolic link inside can lead outside."""
    library = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    # Load the name service now: afterwards, its modules would be the guest's.
    with contextlib.suppress(KeyError):
        pwd.getpwnam("root")
    if library.setns(handle, _CLONE_NEWNS) != 0:
        raise RefusalError("failed to enter the container's mount namespace")
    os.close(handle)
    os.chdir("/")


def _create(path: str, options: dict[str, str]) -> int:
    """Open a file for writing as pct does: a new one with its mode, an existing one truncated where it stands."""
    uid, gid = -1, -1
    if options["user"]:
        uid = int(options["user"]) if options["user"].isdigit() else _identifier("uid", options["user"])
    if options["group"]:
        gid = int(options["group"]) if options["group"].isdigit() else _identifier("gid", options["group"])
    mode: int | None = None
    if options["perms"]:
        text = options["perms"]
        try:
            mode = int(text, 16) if text.startswith("0x") else int(text, 8)
        except ValueError as error:
            raise RefusalError(f"invalid mode: '{text}'") from error
    try:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0)
            mode = 0o666 & ~_umask() if mode is None else mode
        except FileExistsError:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    except OSError as error:
        raise RefusalError(f"failed to create file: {path}: {error.strerror}") from error
    if mode is not None:
        os.fchmod(handle, mode)
    if uid >= 0 or gid >= 0:
        os.fchown(handle, uid, gid)
    return handle


def _identifier(kind: str, name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid if kind == "uid" else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise RefusalError(f"failed to get {kind} for: {name}") from error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _start(kind: str, number: str) -> int:
    guest = _guest(kind, number)
    if _status(guest) == "running":
        raise RefusalError(f"{'CT' if kind == 'lxc' else 'VM'} {number} already running")
    deadline = time.monotonic() + _POWER_SECONDS
    while _leader(guest) is None:
        # The guest's keeper only listens while the guest is off.
        with contextlib.suppress(OSError):
            handle = os.open(_GUESTS / f"start-{number}", os.O_WRONLY | os.O_NONBLOCK)
            os.write(handle, b"start\n")
            os.close(handle)
        if time.monotonic() > deadline:
            raise RefusalError("startup failed: timed out")
        time.sleep(_POLL_SECONDS)
    return 0


def _power(command: str, pid: int) -> int:
    # systemd(1): SIGRTMIN+4 powers off, SIGRTMIN+5 reboots.
    numbers = {"stop": signal.SIGKILL, "shutdown": signal.SIGRTMIN + 4, "reboot": signal.SIGRTMIN + 5}
    os.kill(pid, numbers[command])
    deadline = time.monotonic() + _POWER_SECONDS
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise RefusalError("timed out")
        time.sleep(_POLL_SECONDS)
    return 0


# --- qm ----------------------------------------------------------------------------------------------------------


def qm(arguments: list[str]) -> int:
    """The ``qm`` command; returns the exit code."""
    match arguments:
        case ["list", *_]:
            print(f"{'VMID':>10} {'NAME':<20} {'STATUS':<10}")  # noqa: T201
            for number, guest in _numbered("vm"):
                print(f"{number:>10} {guest['name']:<20} {_status(guest):<10}")  # noqa: T201
        case ["status", number]:
            print(f"status: {_status(_guest('vm', number))}")  # noqa: T201
        case ["config", number]:
            _config(_guest("vm", number))
        case ["start", number]:
            return _start("vm", number)
        case ["reboot" | "stop" | "shutdown" as command, number]:
            return _power(command, _running("vm", number, f"VM {number} not running"))
        case ["agent", number, "ping"] | ["guest", "cmd", number, "ping"]:
            _running("vm", number, f"VM {number} is not running")
        case ["guest", "exec-status", number, pid]:
            _running("vm", number, f"VM {number} is not running")
            _print_json(_agent_status(pid))
        case ["guest", "exec", *rest]:
            _print_json(_guest_exec(rest))
        case _:
            raise RefusalError(f"ERROR: unknown command 'qm {' '.join(arguments[:2])}' in the lab's stand-in")
    return 0


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=3, sort_keys=True, ensure_ascii=False))  # noqa: T201


def _guest_exec(arguments: list[str]) -> dict[str, Any]:
    options = {"synchronous": "1", "timeout": "", "pass-stdin": "0"}
    positional, extra = parse(arguments, options, frozenset({"synchronous", "pass-stdin"}))
    if not positional:
        raise RefusalError("400 not enough arguments\nqm guest exec <vmid> [<extra-args>] [OPTIONS]")
    number, *first = positional
    command = [*first, *extra]
    synchronous = options["synchronous"] == "1"
    if options["timeout"] and not synchronous:
        raise RefusalError("400 Parameter verification failed.\nsynchronous: needs to be set for 'timeout'")
    incoming = None
    if options["pass-stdin"] == "1":
        incoming = sys.stdin.buffer.read(_MAXIMUM_INPUT + 1)
        if len(incoming) > _MAXIMUM_INPUT:
            raise RefusalError("'input-data' (STDIN) is limited to 1 MiB, aborting")
    leader = _running("vm", number, f"VM {number} is not running")
    if not command:
        raise RefusalError("command or input-data (or both) required")
    found = subprocess.run(
        [*_enter(leader), "/bin/sh", "-c", 'command -v -- "$1" >/dev/null', "sh", command[0]],
        env={"PATH": _AGENT_PATH}, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if found.returncode != 0:
        raise RefusalError(
            "Agent error: Guest agent command failed, error was "
            f"'Failed to execute child process \u201c{command[0]}\u201d (No such file or directory)'"
        )
    pid = _agent_start(leader, command, incoming)
    limit = float(options["timeout"] or 30)
    began = time.monotonic()
    while synchronous and (limit == 0 or time.monotonic() - began < limit):
        result = _agent_status(pid)
        if result["exited"]:
            return result
        time.sleep(_POLL_SECONDS)
    if synchronous:
        print("timeout reached, returning pid", file=sys.stderr)  # noqa: T201
    return {"pid": int(pid)}


def _agent_start(leader: int, command: list[str], incoming: bytes | None) -> str:
    """Start a command that outlives this one, as the guest's agent does; its result is left in a file."""
    folder = _GUESTS / "agent"
    folder.mkdir(mode=0o700, exist_ok=True)
    read, write = os.pipe()
    if os.fork() != 0:
        os.close(write)
        with os.fdopen(read) as told:
            pid = told.read()
        os.wait()
        return pid
    os.setsid()
    with contextlib.suppress(BaseException):
        _agent_run(folder, leader, command, incoming, write)
    os._exit(0)


def _agent_run(folder: Path, leader: int, command: list[str], incoming: bytes | None, told: int) -> None:
    if os.fork() != 0:
        os._exit(0)
    pid = str(os.getpid())
    (folder / f"{pid}.json").write_text('{"exited": 0}')
    os.write(told, pid.encode())
    os.close(told)
    # The caller's pipes must end when the caller does.
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    done = subprocess.run(
        [*_enter(leader), *command], input=incoming, capture_output=True, env={"PATH": _AGENT_PATH}, check=False,
        stdin=subprocess.DEVNULL if incoming is None else None,
    )  # fmt: skip
    result: dict[str, Any] = {"exited": 1}
    result["signal" if done.returncode < 0 else "exitcode"] = abs(done.returncode)
    for name, data in (("out", done.stdout), ("err", done.stderr)):
        if data:
            result[f"{name}-data"] = data[:_MAXIMUM_OUTPUT].decode("utf-8", "replace")
        if len(data) > _MAXIMUM_OUTPUT:
            result[f"{name}-truncated"] = 1
    aside = folder / f".{pid}.json"
    aside.write_text(json.dumps(result))
    aside.rename(folder / f"{pid}.json")


def _agent_status(pid: str) -> dict[str, Any]:
    path = _GUESTS / "agent" / f"{pid}.json"
    try:
        result = dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise RefusalError(f"Agent error: Guest agent command failed, error was 'PID {pid} does not exist'") from error
    if result["exited"]:
        path.unlink(missing_ok=True)  # the agent forgets a result once it was read
    return result


def main(arguments: list[str]) -> NoReturn:
    """Run ``pct`` or ``qm``."""
    try:
        sys.exit({"pct": pct, "qm": qm}[arguments[0]](arguments[1:]))
    except RefusalError as refusal:
        print(refusal, file=sys.stderr)  # noqa: T201
        sys.exit(refusal.code)


if __name__ == "__main__":
    main(sys.argv[1:])
