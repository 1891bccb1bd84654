"""Control groups of the lab's processes: where containers may live, and how to find everything that was started.

systemd as PID 1 of a container needs a cgroup of its own (systemd-nspawn(1), ``--keep-unit``). The same groups are
the lab's register of processes: whatever forked, and whoever was killed on the way, its pids stand there.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def hierarchies(mounts: str | None = None) -> list[Path]:
    """Mount points of the hierarchies that systemd uses: one for unified machines, two for hybrid ones.

    Args:
        mounts: text of ``/proc/mounts``; read when None.
    """
    text = Path("/proc/mounts").read_text() if mounts is None else mounts
    found: list[Path] = []
    for line in text.splitlines():
        _, target, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(target))
    return found


def create(name: str, *, every: bool = False) -> list[Path]:
    """Make the group; returns its directories.

    Args:
        name: path of the group below each hierarchy.
        every: also in the hierarchies of single controllers, for a guest that runs a container engine: what that
            engine makes there is then below the group, and goes with it.
    """
    groups = [hierarchy / name for hierarchy in (_all_hierarchies() if every else hierarchies())]
    for group, hierarchy in zip(groups, _all_hierarchies() if every else hierarchies(), strict=True):
        for path in reversed([group, *(parent for parent in group.parents if hierarchy in parent.parents)]):
            path.mkdir(exist_ok=True)
            # A group of the old cpuset controller takes no process before it has CPUs and memory nodes (cpuset(7)).
            for setting in ("cpuset.cpus", "cpuset.mems"):
                own, above = path / setting, path.parent / setting
                if own.exists() and above.exists() and not own.read_text().strip():
                    with contextlib.suppress(OSError):
                        own.write_text(above.read_text())
    return groups


def processes(name: str) -> set[int]:
    """Pids in the group and in all groups below it, whichever hierarchy they stand in."""
    pids: set[int] = set()
    for hierarchy in _all_hierarchies():
        for register in (hierarchy / name).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                pids.update(int(line) for line in register.read_text().split())
    return pids - {0}


def remove(name: str) -> bool:
    """Remove the group and all below it; True when nothing is left."""
    left = False
    for hierarchy in _all_hierarchies():
        group = hierarchy / name
        if not group.is_dir():
            continue
        below = [path for path in group.rglob("*") if path.is_dir()]
        for path in [*sorted(below, key=lambda one: len(one.parts), reverse=True), group]:
            with contextlib.suppress(OSError):
                path.rmdir()
        left = left or group.exists()
    return not left


def _all_hierarchies() -> list[Path]:
    """Every mounted hierarchy: a container engine inside a guest may have used the others too."""
    lines = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [Path(target) for _, target, kind, *_ in lines if kind in ("cgroup", "cgroup2")]


def existing(name: str) -> list[Path]:
    """Directories of the group that exist."""
    return [hierarchy / name for hierarchy in _all_hierarchies() if (hierarchy / name).is_dir()]
