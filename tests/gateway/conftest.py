"""NGINX for tests: the installed one, else Debian's package unpacked aside, so that nothing is installed or started."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lab.container.testing import container_lab

__all__ = ["container_lab"]


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the program; skips where it is neither there nor to be had."""
    installed = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if installed:
        return installed
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip("there is no nginx, and no apt-get to take it from")
    directory = tmp_path_factory.mktemp("nginx")
    for command in (["apt-get", "download", "nginx"], ["apt-get", "update"], ["apt-get", "download", "nginx"]):
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
        if packages := list(directory.glob("nginx_*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(directory)], check=True, timeout=60)
            break
    else:
        pytest.skip(f"there is no nginx, and apt-get cannot fetch it: {done.stderr.strip()[-200:]}")
    program = directory / "usr/sbin/nginx"
    if subprocess.run([program, "-v"], capture_output=True, timeout=20, check=False).returncode != 0:
        pytest.skip("Debian's nginx does not run on this machine")
    return str(Path(program))
