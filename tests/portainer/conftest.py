"""A certificate authority, stand-in servers and small inventories for the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from lab.portainer import StandIn
from phoenix.portainer.api import Portainer
from phoenix.portainer.session import Session
from phoenix.portainer.target import Clock, Credentials, Login, Target, Timeouts
from tests.portainer.support import (
    HOSTNAME,
    PASSWORD,
    Certificates,
    FakeTime,
    Open,
    Start,
    make_certificates,
)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture(params=["2.23", "2.39", "2.41", "2.43"])
def any_mode(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


@pytest.fixture(params=["2.39", "2.41"])
def both_modes(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


@pytest.fixture
def start(certificates: Certificates, time: FakeTime) -> Iterator[Start]:
    """Starts stand-ins, with the fake clock unless told otherwise, and stops them."""
    running: list[StandIn] = []

    def begin(mode: str = "2.39", **options: object) -> StandIn:
        arguments = {"certificate": certificates.certificate, "key": certificates.key, "clock": time.now}
        server = StandIn(mode, **(arguments | options))  # type: ignore[arg-type]
        server.start()
        time.meanwhile.append(server.wait_for_restart)
        running.append(server)
        return server

    yield begin
    for server in running:
        server.stop()


@pytest.fixture
def connect(certificates: Certificates, time: FakeTime) -> Iterator[Open]:
    """Opens clients of a stand-in, logged in as the administrator unless told otherwise."""
    sessions: list[Session] = []

    def begin(
        server: StandIn,
        credentials: Credentials | None = None,
        *,
        timeouts: Timeouts | None = None,
        clock: Clock | None = None,
        initialised: bool = True,
    ) -> Portainer:
        target = Target(HOSTNAME, address=server.host, port=server.port, root_file=certificates.root)
        session = Session(
            target,
            credentials or Login("admin", SecretStr(PASSWORD)),
            timeouts=timeouts or Timeouts(connect=5, read=10, deploy=60, poll=0.01, settle=2),
            clock=clock or time.clock(),
        )
        sessions.append(session)
        api = Portainer(session)
        if initialised:
            token = SecretStr(server.api.setup_token) if server.api.mode.setup_token else None
            api.initialise("admin", SecretStr(PASSWORD), setup_token=token)
        return api

    yield begin
    for session in sessions:
        session.close()
