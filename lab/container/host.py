"""What this machine must give the container lab: root, capabilities, kernel features, programs.

Nothing is assumed from the name of the system: each right is read or tried.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.container import cgroups
from lab.container.errors import ContainerLabError, MissingRequirementError
from lab.container.processes import run

Report = Callable[[str], None]

_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}
_PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "zstd": "zstd",
    "tar": "tar",
    "ssh-keygen": "openssh-client",
}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def missing_right() -> str | None:
    """One sentence on the first right or kernel feature this machine lacks; None where the lab can run."""
    if os.geteuid() != 0:
        return "The container lab needs root: run it with sudo, or use the lab without --kind container."
    effective = _effective_capabilities()
    lacking = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if lacking:
        return f"The container lab needs {', '.join(lacking)}: start this machine's container with it."
    for wanted, holds in (
        ("overlayfs in the kernel: load the module overlay", _overlay),
        ("a writable cgroup hierarchy of systemd in /sys/fs/cgroup: mount one", _writable_cgroups),
        ("to make network namespaces: allow unshare(CLONE_NEWNET) here", _namespaces),
        (f"the Debian packages {', '.join(missing_packages())}: install them", _installable),
    ):
        if not holds():
            return f"The container lab needs {wanted}."
    return None


def missing_packages() -> list[str]:
    """Debian packages whose programs are not on PATH."""
    names = [package for program, package in _PACKAGES.items() if shutil.which(program) is None]
    return names if _KEYRING.exists() else [*names, "debian-archive-keyring"]


def prepare(report: Report) -> None:
    """Check the rights and install the missing packages.

    Raises:
        MissingRequirementError: a right is missing, or apt-get could not install a package.
    """
    if (reason := missing_right()) is not None:
        raise MissingRequirementError(reason)
    packages = missing_packages()
    if not packages:
        return
    report(f"installing {', '.join(packages)} (apt-get)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    if run(install, check=False, timeout=900, env=env).returncode != 0:
        run(["apt-get", "update", "--quiet"], check=False, timeout=600, env=env)
        try:
            run(install, timeout=900, env=env)
        except ContainerLabError as error:
            raise MissingRequirementError(
                f"The Debian packages {', '.join(packages)} could not be installed: {error}"
            ) from error


def run_quietly(*argv: str) -> bool:
    """Whether a short command ends well."""
    return shutil.which(argv[0]) is not None and run(argv, check=False, timeout=20).returncode == 0


def _overlay() -> bool:
    def known() -> bool:
        return "\toverlay\n" in Path("/proc/filesystems").read_text()

    return known() or (run_quietly("modprobe", "overlay") and known())


def _writable_cgroups() -> bool:
    hierarchies = cgroups.hierarchies()
    return bool(hierarchies) and all(os.access(path, os.W_OK) for path in hierarchies)


def _namespaces() -> bool:
    return shutil.which("unshare") is None or run_quietly("unshare", "--net", "--mount", "true")


def _installable() -> bool:
    return not missing_packages() or shutil.which("apt-get") is not None


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
