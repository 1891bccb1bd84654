"""Guests with real systemd: an overlay each, booted by systemd-nspawn in a namespace of the lab.

The namespace is entered with nsenter: ``ip netns exec`` would hide ``/sys/fs/cgroup`` from nspawn. The interface is
made before the boot and named eth0, so that no network manager is needed inside.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.container import cgroups, mounts
from lab.container.errors import ContainerLabError
from lab.container.network import NAMESPACES, Network
from lab.container.processes import Process, identify, spawn, wait_until

RUNTIME = Path("/run/phoenix-lab")
BOOT_SECONDS = 90.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
# $0: the new root; $1: the directory with the lab's state; then the program.
_CHROOT = (
    'cd "$0" && mount -t proc proc proc && mount --rbind /dev dev && mount --rbind /sys sys && '
    'mkdir -p run/phoenix-lab && mount --bind "$1" run/phoenix-lab && hostname -F etc/hostname && '
    'shift && exec chroot . "$@"'
)
# $1: where a start after a stop is asked for; $2: text that moves a shell into the guest's cgroups; then nspawn.
# Nspawn ends with 133 when the guest reboots, so that whoever keeps its cgroup starts it again (systemd-nspawn(1)).
_KEEP = """
start=$1 move=$2
shift 2
while :; do
    (eval "$move"; exec "$@")
    [ $? -eq 133 ] || read -r _ <"$start"
done
"""
# A VM has a kernel of its own: what a container engine inside changes in /proc/sys and /sys must be writable.
_VM_OPTIONS = ("--capability=CAP_NET_ADMIN", "--system-call-filter=@keyring bpf")
_VM_ENVIRONMENT = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where one lab keeps what it runs on; everything below is gone after ``down``."""

    network: Network

    @property
    def directory(self) -> Path:
        """A tmpfs: overlays can have their upper layers there whatever the machine's own root is."""
        return RUNTIME / self.network.prefix

    @property
    def cgroup(self) -> str:
        """The lab's group, relative to each hierarchy."""
        return f"phoenix-lab-{self.network.prefix}"

    def root(self, guest: str) -> Path:
        """A guest's root file system as it is seen from the host."""
        return self.directory / "root" / guest

    def log(self, guest: str) -> Path:
        """What a guest's console, or a process, has said."""
        path = self.directory / "log" / f"{guest}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def groups(self, name: str) -> list[Path]:
        """Directories of the group of one guest or process."""
        return cgroups.create(f"{self.cgroup}/{name}")


def mount_root(runtime: Runtime, guest: str, layers: Sequence[Path]) -> Path:
    """Mount a guest's writable root; the first layer is the topmost."""
    root = runtime.root(guest)
    mounts.overlay(layers, runtime.directory / "upper" / guest, runtime.directory / "work" / guest, root)
    return root


def write(root: Path, path: str, text: str, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
    """Write a file below a guest's root, made with its mode from the start."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    target.chmod(mode)
    os.chown(target, *owner)


def enable(root: Path, unit: str, text: str | None = None) -> None:
    """Have a unit started at boot, as ``systemctl enable`` would for multi-user.target."""
    if text is not None:
        write(root, f"/etc/systemd/system/{unit}", text)
    source = next(
        path for path in (f"/etc/systemd/system/{unit}", f"/lib/systemd/system/{unit}") if (root / path[1:]).exists()
    )
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (wants / unit).symlink_to(source)


class Boot:
    """One boot that was begun: ``wait`` returns when systemd inside has reached its target."""

    def __init__(
        self,
        runtime: Runtime,
        guest: str,
        *,
        vm: bool = False,
        binds: Mapping[Path, str] | None = None,
    ) -> None:
        self._runtime, self._guest = runtime, guest
        self._began = time.monotonic()
        path = runtime.directory / "notify" / guest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        argv = [
            "nsenter", f"--net={NAMESPACES / runtime.network.namespace(guest)}",
            "systemd-nspawn", "--quiet", "--boot", f"--directory={runtime.root(guest)}",
            f"--machine={runtime.network.bridge}-{guest}", "--register=no", "--keep-unit", "--settings=no",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--notify-ready=yes",
            "--console=read-only", "--kill-signal=SIGRTMIN+4",
            *(_VM_OPTIONS if vm else ()),
            *(f"--bind={source}:{target}" for source, target in (binds or {}).items()),
        ]  # fmt: skip
        start = runtime.directory / "guests" / f"start-{guest}"
        start.parent.mkdir(exist_ok=True)
        os.mkfifo(start, 0o600)
        groups = cgroups.create(f"{runtime.cgroup}/{guest}", every=vm)
        move = " && ".join(f"echo 0 > {shlex.quote(str(group / 'cgroup.procs'))}" for group in groups)
        self.process: Process = spawn(
            ["/bin/sh", "-c", _KEEP, "guest", str(start), move, *argv],
            cgroups=runtime.groups(f"{guest}.keeper"),
            log=runtime.log(guest),
            env={**_ENVIRONMENT, **(_VM_ENVIRONMENT if vm else {}), "NOTIFY_SOCKET": str(path)},
        )

    def wait(self, seconds: float = BOOT_SECONDS) -> float:
        """Wait for READY=1 of the guest's systemd (sd_notify(3)); returns the seconds since the boot began.

        Raises:
            ContainerLabError: the guest ended, or was not ready in time; its console's last line is in the message.
        """
        deadline = self._began + seconds
        with self._socket, selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if selector.select(0.2) and b"READY=1" in self._socket.recv(4096):
                    return time.monotonic() - self._began
                if not self.process.alive or not self.process.children():
                    break
        lines = self._runtime.log(self._guest).read_text(errors="replace").strip().splitlines() or ["nothing was said"]
        cause = "ended while booting" if not self.process.children() else f"was not ready within {seconds:g} s"
        raise ContainerLabError(f"guest {self._guest} {cause}: {lines[-1]}")


def launch(
    runtime: Runtime,
    name: str,
    guest: str,
    root: Path | None,
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Start a process in a guest's namespace; with another root, also in a mount namespace of its own.

    Returns:
        Its record in the state file.
    """
    enter = ["nsenter", f"--net={NAMESPACES / runtime.network.namespace(guest)}"]
    if root is not None:
        isolate = ["unshare", "--mount", "--uts", "--propagation=private", "/bin/sh", "-c", _CHROOT]
        enter += [*isolate, str(root), str(runtime.directory / "guests")]
    process = spawn(
        [*enter, *argv],
        cgroups=runtime.groups(name),
        log=runtime.log(name),
        env={**_ENVIRONMENT, **(environment or {})},
    )
    return {"name": name, "pid": process.pid, "started": process.started, "booted": False}


def leader(keeper: Process) -> int | None:
    """Pid of the guest's PID 1, the child of the keeper's child; it changes when the guest reboots."""
    nspawns = [identify(pid) for pid in keeper.children()] if keeper.alive else []
    return next((pid for nspawn in nspawns if nspawn is not None for pid in nspawn.children()), None)


def enter(pid: int) -> list[str]:
    """Start of a command line that runs the rest inside a guest, as ``lxc-attach`` does."""
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]


def halt(keepers: Iterable[Process]) -> None:
    """Stop guests at once: their state is thrown away. Each nspawn is left to clean up behind its guest."""
    nspawns: list[Process] = []
    leaders = [leader(keeper) for keeper in keepers]
    for keeper in keepers:
        nspawns += [child for child in map(identify, keeper.children()) if child is not None]
        keeper.signal(signal.SIGKILL)
    for inside in [identify(pid) for pid in leaders if pid is not None]:
        if inside is not None:
            inside.signal(signal.SIGKILL)
    wait_until(lambda: not any(nspawn.alive for nspawn in nspawns), 3)
    for keeper in keepers:
        keeper.reap()


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL for each of these processes."""
    for process in [identify(pid) for pid in pids]:
        if process is not None:
            process.signal(signal.SIGKILL)
            process.reap()
