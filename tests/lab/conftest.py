from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.kinds import SshServer
from lab.local import Lab, openssh
from lab.testing import ServiceManager, _managers, free_network, local_lab, service_manager, session_lab

__all__ = ["_managers", "service_manager", "session_lab"]

HERE = Path(__file__).resolve().parent
INVENTORY = HERE / "fixtures/inventory"
SERVICE = shlex.join([sys.executable, "-I", "-S", str(HERE / "programs/service.py")])


def needs_openssh() -> None:
    if openssh.find() is None:
        pytest.skip("OpenSSH's sshd is not installed (Debian: apt-get install openssh-server)")
    if (reason := openssh.refusal()) is not None:
        pytest.skip(f"OpenSSH's sshd lets this user not in: {reason}")


@pytest.fixture
def network() -> Iterator[str]:
    with free_network() as found:
        yield found


@pytest.fixture(scope="module", params=["openssh", "asyncssh"])
def ssh_server(request: pytest.FixtureRequest) -> SshServer:
    if request.param == "openssh":
        needs_openssh()
    server: SshServer = request.param
    return server


@pytest.fixture(scope="module")
def lab(ssh_server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of this module's own, over each of the two SSH servers, in a directory with a space in its name."""
    with local_lab(tmp_path_factory.mktemp("a lab"), INVENTORY, ssh_server) as found:
        yield found


@pytest.fixture
def service(service_manager: ServiceManager) -> Callable[..., None]:
    """Writes a unit that runs the test service: options, further [Service] lines, and other sections."""

    def write(name: str, options: str = "", lines: str = "", rest: str = "") -> None:
        service_manager.write(f"{name}.service", f"[Service]\nExecStart={SERVICE} {options}\n{lines}\n{rest}\n")

    return write
