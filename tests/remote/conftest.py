"""Fixtures: every transport over real servers and shells, on loopback only."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_servers import SHIMS, AsyncsshServer, Keys, openssh_server, sshd_problem

from phoenix.remote import Connection, Transport, close_all, open_transport

TRANSPORTS = (
    "local",
    "ssh",
    "ssh-openssh",
    "ssh-jump",
    "ssh-sudo",
    "pct",
    "pct-over-ssh",
    "pct-over-openssh",
    "qm",
    "qm-over-ssh",
)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """What a command gets on a server: the stand-ins first on PATH."""
    kept = {key: os.environ[key] for key in ("HOME", "USER", "TMPDIR") if key in os.environ}
    return {**kept, "PATH": f"{SHIMS}:{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def server(keys: Keys, environment: dict[str, str]) -> Iterator[AsyncsshServer]:
    running = AsyncsshServer(keys, environment)
    yield running
    running.close()


@pytest.fixture(scope="session")
def openssh(keys: Keys, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int | str]:
    """The port of an OpenSSH server, or why there is none."""
    problem = sshd_problem()
    if problem is not None:
        yield problem
        return
    with openssh_server(keys, tmp_path_factory.mktemp("sshd"), environment) as port:
        yield port


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def ssh_data(server: AsyncsshServer, keys: Keys) -> dict[str, Any]:
    """Plain data of a connection to the asyncssh server."""
    return {
        "transport": "ssh",
        "host": "127.0.0.1",
        "port": server.port,
        "user": getpass.getuser(),
        "privateKeyFile": str(keys.client_file),
        "hostKey": keys.host_line,
    }


@pytest.fixture
def make_connection(ssh_data: dict[str, Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from a name in TRANSPORTS to its connection."""
    monkeypatch.setenv("PATH", f"{SHIMS}:{os.environ['PATH']}")

    def make(name: str, **more: Any) -> Connection:
        data: dict[str, Any] = {}
        if name not in ("local", "pct", "qm"):
            data = dict(ssh_data)
        if "openssh" in name:
            port = request.getfixturevalue("openssh")
            if isinstance(port, str):
                pytest.skip(port)
            data["port"] = port
        if name == "ssh-jump":
            data["jump"] = {key: value for key, value in ssh_data.items() if key != "transport"}
        if name == "ssh-sudo":
            data["sudo"] = True
        if name.startswith("pct"):
            data["guest"] = 102
        if name.startswith("qm"):
            data["guest"] = 1001
        data["transport"] = name.replace("openssh", "ssh") if name[0] in "pq" else name.partition("-")[0]
        return Connection.parse({**data, **more})

    return make


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest, make_connection: Any) -> Iterator[Transport]:
    """The same test over every transport."""
    with contextlib.closing(open_transport(make_connection(request.param))) as opened:
        yield opened


@pytest.fixture
def local() -> Transport:
    return open_transport(Connection(transport="local"))


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """A directory to manage files in, reached through a name with a blank and quotes."""
    directory = tmp_path / 'it\'s a "place" $HOME'
    directory.mkdir()
    return directory
