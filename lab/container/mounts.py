"""Mounts of the lab: made below one runtime directory, so that they can all be found and undone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.container.processes import run


def below(directory: Path, mounts: str | None = None) -> list[Path]:
    """Mount points at or below a directory, the innermost and latest first.

    Args:
        directory: an absolute path.
        mounts: text of ``/proc/self/mounts``; read when None.
    """
    text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    found = []
    for line in text.splitlines():
        target = Path(line.split()[1].replace("\\040", " ").replace("\\134", "\\"))
        if target == directory or directory in target.parents:
            found.append(target)
    return found[::-1]


def unmount_all(directory: Path) -> None:
    """Undo every mount at or below a directory; one that is still in use is detached."""
    for target in below(directory):
        if run(["umount", str(target)], check=False).returncode != 0:
            run(["umount", "--lazy", str(target)], check=False)


def overlay(lower: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """Mount an overlay; the first lower directory is the topmost (overlayfs documentation of the kernel).

    Raises:
        ContainerLabError: mount(8) refused.
    """
    for directory in (upper, work, target):
        directory.mkdir(parents=True, exist_ok=True)
    layers = ":".join(str(path).replace("\\", "\\\\").replace(":", "\\:") for path in lower)
    options = f"lowerdir={layers},upperdir={upper},workdir={work}"
    run(["mount", "-t", "overlay", "overlay", "-o", options, str(target)])
    target.chmod(0o755)
