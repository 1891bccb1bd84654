"""The client against stand-in servers: connections, logins, what errors say."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lab.portainer import StandIn
from phoenix.errors import InputError, PortainerError
from phoenix.portainer.api import Portainer
from phoenix.portainer.errors import (
    AuthenticationError,
    ConflictError,
    DeploymentError,
    LockedError,
    LoginsSpentError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    ServerFailedError,
    SetupExpiredError,
    UnavailableError,
    UncertainError,
)
from phoenix.portainer.records import DEPLOYING
from phoenix.portainer.session import Call, Session
from phoenix.portainer.target import ApiKey, Login, Target, Timeouts
from tests.portainer.declarations import COMPOSE
from tests.portainer.support import HOSTNAME, PASSWORD, Certificates, FakeTime, Open, Start, make_certificates

URL = "tcp://vm1.internal.example.test:9001"


def variables(**values: str) -> tuple[tuple[str, SecretStr], ...]:
    return tuple((name, SecretStr(value)) for name, value in values.items())


# -- connecting ------------------------------------------------------------------------------------------------


def test_the_hostname_is_kept_while_the_address_is_the_gateways(start: Start, connect: Open) -> None:
    # The certificate is for the host name, the connection goes to 127.0.0.1: both have to be right at once.
    api = connect(start())
    assert api.status().version == "2.39.0"
    assert api.session.target.describe().startswith(f"https://{HOSTNAME}:")


def test_an_unknown_authority_is_refused_with_the_remedy(start: Start, tmp_path: Path) -> None:
    server = start()
    other = make_certificates(tmp_path)
    session = Session(Target(HOSTNAME, server.host, server.port, other.root), tries=1)
    with pytest.raises(UnavailableError, match=r"certificate cannot be verified.*portainer\.api\.rootFile"):
        Portainer(session).status()
    assert server.log.entries == []


def test_a_certificate_of_another_name_is_refused_unless_the_name_is_given(start: Start, tmp_path: Path) -> None:
    other = make_certificates(tmp_path, "elsewhere.example.test")
    server = start(certificate=other.certificate, key=other.key)
    target = Target(HOSTNAME, server.host, server.port, other.root)
    with pytest.raises(UnavailableError, match=r"[Hh]ostname mismatch.*portainer\.api\.serverName"):
        Portainer(Session(target, tries=1)).status()
    named = Target(HOSTNAME, server.host, server.port, other.root, server_name="elsewhere.example.test")
    assert Portainer(Session(named)).status().version == "2.39.0"


def test_a_root_file_without_a_certificate_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "root.crt").write_text("no certificate")
    for path in (tmp_path / "root.crt", tmp_path / "missing.crt"):
        with pytest.raises(InputError, match=r"root certificate cannot be read .*name a PEM file"):
            Session(Target(HOSTNAME, root_file=path))


def test_reads_wait_for_a_server_that_is_not_up_yet(start: Start, connect: Open, time: FakeTime) -> None:
    server = start()
    api = connect(server)
    server.stop()
    with pytest.raises(UnavailableError, match=r"no connection .*refused"):
        api.environments()
    assert time.slept, "it gave up without a second try"
    server.start()
    assert api.environments() == []


def test_proxies_of_the_environment_are_not_used(start: Start, connect: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert connect(start()).status().version == "2.39.0"


# -- logging in ------------------------------------------------------------------------------------------------


def test_one_login_serves_every_call_and_no_cookie_is_kept(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    api.create_environment("agent-1", URL)
    api.environments()
    # With the login's cookie this second write would be a 403 of the CSRF rules.
    api.create_environment("agent-2", URL)
    assert len(server.log.calls("POST", "/api/auth")) == 1
    assert list(api.session._client.cookies.jar) == []


def test_a_wrong_password_is_tried_once(start: Start, connect: Open) -> None:
    server = start()
    connect(server)
    api = connect(server, Login("admin", SecretStr("not-the-password")), initialised=False)
    with pytest.raises(AuthenticationError, match=r"refused the login of 'admin'.*Invalid credentials") as raised:
        api.environments()
    assert raised.value.status == 422
    assert len(server.log.calls("POST", "/api/auth")) == 1


def test_a_lock_is_named_and_not_prolonged(start: Start, connect: Open) -> None:
    server = start()
    connect(server)
    wrong = [connect(server, Login("admin", SecretStr("wrong-password")), initialised=False) for _ in range(10)]
    for api in wrong:
        with pytest.raises(AuthenticationError):
            api.session.login()
    api = connect(server, initialised=False)
    with pytest.raises(LockedError, match=r"one hour.*API key"):
        api.session.login()
    assert len(server.log.calls("POST", "/api/auth")) == 11


def test_a_restart_of_the_server_is_met_with_one_more_login(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    api.create_environment("agent-1", URL)
    server.restart()
    assert [item.name for item in api.environments()] == ["agent-1"]
    assert api.session.restarts == 1
    assert len(server.log.calls("POST", "/api/auth")) == 2


def test_a_server_that_keeps_restarting_does_not_lead_into_the_lock(
    start: Start, connect: Open, time: FakeTime
) -> None:
    server = start()
    api = connect(server)
    for _ in range(4):
        api.environments()
        server.restart()
    for _ in range(3):
        with pytest.raises(LoginsSpentError, match=r"voided 4 logins in one run"):
            api.environments()
    assert len(server.log.calls("POST", "/api/auth")) == 4
    assert sum(time.slept) > 15, "four logins came too fast after each other"


def test_a_login_whose_answer_is_lost_is_repeated_slowly(start: Start, connect: Open, time: FakeTime) -> None:
    server = start()
    api = connect(server)
    server.faults.add("POST", "/api/auth", "drop-after")
    server.faults.add("POST", "/api/auth", "502-before")
    assert api.current_user() == "admin"
    assert len(server.log.calls("POST", "/api/auth")) == 3
    assert sum(time.slept) > 4


def test_an_api_key_is_used_without_a_login_and_survives_a_restart(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    answer = api.session.send(Call("POST", "/api/users/1/tokens", body={"description": "test", "password": PASSWORD}))
    assert isinstance(answer, dict)
    server.log.clear()
    keyed = connect(server, ApiKey(SecretStr(answer["rawAPIKey"])), initialised=False)
    server.restart()
    assert keyed.current_user() == "admin"
    assert server.log.calls("POST", "/api/auth") == []
    revoked = connect(server, ApiKey(SecretStr("ptr_revoked")), initialised=False)
    with pytest.raises(AuthenticationError, match=r"make a new API key"):
        revoked.environments()


def test_a_second_address_takes_the_login_along(start: Start, connect: Open, certificates: Certificates) -> None:
    server = start()
    api = connect(server)
    api.environments()
    with api.session.at(Target(HOSTNAME, "127.0.0.1", server.port, certificates.root)) as other:
        assert Portainer(other).current_user() == "admin"
    assert len(server.log.calls("POST", "/api/auth")) == 1


# -- the first user --------------------------------------------------------------------------------------------


def test_the_first_user_is_made_once(any_mode: str, start: Start, connect: Open) -> None:
    server = start(any_mode)
    api = connect(server, initialised=False)
    token = SecretStr(server.api.setup_token) if any_mode == "2.43" else None
    assert not api.initialised()
    assert api.initialise("admin", SecretStr(PASSWORD), setup_token=token)
    assert api.initialised()
    assert not api.initialise("admin", SecretStr(PASSWORD), setup_token=token)


def test_what_keeps_the_first_user_from_being_made_is_said(start: Start, connect: Open) -> None:
    short = connect(start("2.39"), initialised=False)
    with pytest.raises(RefusedError, match=r"400 .*Password does not meet the requirements"):
        short.initialise("admin", SecretStr("short"))
    locked = connect(start("2.43"), initialised=False)
    with pytest.raises(RefusedError, match=r"set-up token.*portainer\.api\.setupTokenFile"):
        locked.initialise("admin", SecretStr(PASSWORD))


def test_an_answer_lost_while_the_first_user_is_made(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server, initialised=False)
    server.faults.add("POST", "/api/users/admin/init", "drop-after")
    assert api.initialise("admin", SecretStr(PASSWORD))
    assert api.current_user() == "admin"


def test_five_minutes_without_a_first_user_are_named(start: Start, connect: Open, time: FakeTime) -> None:
    server = start()
    api = connect(server, initialised=False)
    time.sleep(301)
    with pytest.raises(SetupExpiredError, match=r"five minutes.*restart its container"):
        api.initialised()


# -- what errors say -------------------------------------------------------------------------------------------


def test_each_refusal_says_what_portainer_said_and_what_to_do(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    api.create_environment("agent-1", URL)
    with pytest.raises(ConflictError, match=r"POST /api/endpoints was refused with 409 \(Name is not unique\)"):
        api.create_environment("agent-1", URL)
    with pytest.raises(NotFoundError, match=r"404 \(Unable to find a stack .*Object not found\)"):
        api.stack(99)
    server.api.agents[URL] = "refused"
    with pytest.raises(ServerFailedError, match=r"500 .*connection refused.*docker logs"):
        api.create_environment("agent-2", URL)
    with pytest.raises(RefusedError, match=r"405.*2\.23 to 2\.43"):
        api.session.send(Call("PUT", "/api/stacks"))


def test_a_deployment_that_fails_is_said_with_its_reason(both_modes: str, start: Start, connect: Open) -> None:
    server = start(both_modes)
    server.api.missing_images.add("nowhere/none")
    api = connect(server)
    place = api.create_environment("agent-1", URL).id
    text = "services:\n  web:\n    image: nowhere/none:1\n"
    with pytest.raises(PortainerError, match=r"pull access denied for nowhere/none:1"):
        api.settled(api.create_stack(place, "app", text, ()))


def test_a_deployment_without_end_is_given_up(start: Start, connect: Open) -> None:
    server = start("2.41")
    api = connect(server, timeouts=Timeouts(deploy=5, poll=1))
    place = api.create_environment("agent-1", URL).id
    with server.api.deploying:
        record = api.create_stack(place, "app", COMPOSE, ())
        assert record.status == DEPLOYING
        with pytest.raises(DeploymentError, match=r"still being deployed after 5 s"):
            api.settled(record)


def test_no_error_shows_a_secret(start: Start, connect: Open) -> None:
    server = start("2.39")
    api = connect(server)
    place = api.create_environment("agent-1", URL).id
    text = "services:\n  web:\n    image: ${IMAGE}\n"
    server.api.missing_images.add("s3cr3t-registry/app")
    with pytest.raises(PortainerError) as raised:
        api.create_stack(place, "app", text, variables(IMAGE="s3cr3t-registry/app"))
    assert "pull access denied for [secret]" in str(raised.value)
    assert "s3cr3t" not in str(raised.value)
    assert "s3cr3t" not in repr(api.session.secrets)
    assert PASSWORD not in repr(api.session.secrets)
    record = None
    server.api.missing_images.clear()
    record = api.create_stack(place, "app", text, variables(IMAGE="s3cr3t-registry/app"))
    assert "s3cr3t" not in repr(record)


def test_a_lost_answer_to_a_write_is_uncertain_and_is_not_repeated(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    for kind in ("drop-before", "drop-after", "502-before"):
        server.log.clear()
        server.faults.add("POST", "/api/endpoints", kind)
        with pytest.raises(UncertainError):
            api.create_environment(f"agent-{kind}", URL)
        assert len(server.log.calls("POST", "/api/endpoints")) == 1


def test_a_lost_answer_to_a_read_is_asked_for_again(start: Start, connect: Open) -> None:
    server = start()
    api = connect(server)
    for kind in ("drop-before", "502-after", "500-before"):
        server.faults.add("GET", "/api/endpoints", kind)
    assert api.environments() == []
    assert len(server.log.calls("GET", "/api/endpoints")) == 4


# -- what is not Portainer -------------------------------------------------------------------------------------


class Answering:
    """A server that answers every request with the same bytes."""

    def __init__(self, reply: Callable[[], Iterator[bytes]], certificates: Certificates) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with context.wrap_socket(self.request, server_side=True) as connection:
                    connection.recv(65536)
                    try:
                        for part in reply():
                            connection.sendall(part)
                    except OSError:
                        return

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=5)


def reply(status: str, kind: str, body: bytes) -> Callable[[], Iterator[bytes]]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return lambda: iter([head.encode() + b"Connection: close\r\n\r\n" + body])


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    while True:
        yield b" " * 1024 * 1024


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (
            reply("404 Not Found", "text/plain; charset=utf-8", b"404 page not found\n"),
            NotFoundError,
            r"Traefik has no router for portainer\.example\.test: run 'pulumi up'",
        ),
        (
            reply("200 OK", "text/html", b"<html>Welcome to nginx!</html>"),
            ProtocolError,
            r"answered 200 with text/html in place of JSON",
        ),
        (
            reply("200 OK", "application/json", b'{"other": "service"}'),
            ProtocolError,
            r"answered a record whose Version does not fit",
        ),
        (reply("200 OK", "application/json", b"[" * 100_000), ProtocolError, r"in place of JSON"),
        (reply("504 Gateway Timeout", "text/html", b"<html></html>"), UncertainError, r"504 from a proxy"),
        (reply("301 Moved", "text/html", b""), RefusedError, r"301.*check Portainer's hostname"),
        (lambda: iter([b"SSH-2.0-OpenSSH_9.2\r\n"]), UncertainError, r"lost its connection"),
        (lambda: iter([]), UncertainError, r"lost its connection"),
        (endless, ProtocolError, r"answered more than \d+ bytes"),
        (
            reply("500 Internal", "application/json", b'{"message": "a\\u001b[31mb\\u0000\\nc", "details": ""}'),
            ServerFailedError,
            r"500 \(a \[31mb c\)",
        ),
    ],
)
def test_what_is_not_portainer_is_said(
    answer: Callable[[], Iterator[bytes]], error: type[Exception], said: str, certificates: Certificates, time: FakeTime
) -> None:
    server = Answering(answer, certificates)
    try:
        target = Target(HOSTNAME, "127.0.0.1", server.server.server_address[1], certificates.root)
        with Session(target, clock=time.clock(), tries=1) as session, pytest.raises(error, match=said):
            Portainer(session).status()
    finally:
        server.close()


def test_a_server_that_never_answers_is_given_up(start: Start, certificates: Certificates, time: FakeTime) -> None:
    server: StandIn = start()
    server.faults.add("GET", "/api/system/status", "timeout-before")
    session = Session(
        Target(HOSTNAME, server.host, server.port, certificates.root),
        timeouts=Timeouts(read=0.2),
        clock=time.clock(),
        tries=1,
    )
    with session, pytest.raises(UncertainError, match=r"no answer within 0\.2 s"):
        Portainer(session).status()
