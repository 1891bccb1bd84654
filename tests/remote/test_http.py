"""HTTP from inside a guest: with curl, and without."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_servers import free_port

from phoenix.errors import CommandError, InputError
from phoenix.remote import Transport, open_transport
from phoenix.remote.http import Request, Response, fetch_http, fetch_many

BIG = bytes(range(256)) * 8192


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/slow":
            time.sleep(3)
        if path == "/nothing":
            self.close_connection = True
            return
        if path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")
            self.close_connection = True
            return
        if path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"one\n", BIG, b"end"):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        codes = {"/teapot": 418, "/moved": 302, "/empty": 204}
        body = BIG if path == "/big" else json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(codes.get(path, 200))
        self.send_header("X-Many", "1")
        self.send_header("X-Many", "2")
        if path == "/moved":
            self.send_header("Location", "/elsewhere")
        if path == "/empty":
            self.end_headers()
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["curl", "bash"])
def client(
    request: pytest.FixtureRequest, make_connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Transport:
    """A target with curl, and one that has only bash."""
    if request.param == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    if request.param == "bash":
        only(tmp_path, monkeypatch, "sh", "bash", "base64", "cat", "timeout")
        make_connection = None
        from phoenix.remote import Connection

        return open_transport(Connection(transport="local"))
    return open_transport(make_connection("local"))


def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Leave nothing on PATH but these programs."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in names:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        # timeout as a link would pass for busybox's
        (tools / name).write_text(f'#!/bin/sh\nexec {found} "$@"\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))


def test_over_every_transport(transport: Transport, base: str) -> None:
    answers = fetch_many(transport, [f"{base}/one?a=1&b=%20'\"$x", Request(f"{base}/teapot"), f"{base}/big"])
    assert [answer.status for answer in answers if isinstance(answer, Response)] == [200, 418, 200]
    first, _, big = answers
    assert isinstance(first, Response)
    assert isinstance(big, Response)
    assert json.loads(first.body)["path"].startswith("/one?a=1&b=%20'")
    assert big.body == BIG


def test_headers_go_and_come(client: Transport, base: str) -> None:
    answer = fetch_http(client, f"{base}/x", {"Host": "a.example.test", "Authorization": 'Basic "q\\u=='})
    sent = json.loads(answer.body)["headers"]
    assert (sent["Host"], sent["Authorization"]) == ("a.example.test", 'Basic "q\\u==')
    assert answer.headers["x-many"] == "1, 2"


def test_chunked_and_empty_and_redirected(client: Transport, base: str) -> None:
    chunked, empty, moved = fetch_many(client, [f"{base}/chunked", f"{base}/empty", f"{base}/moved"])
    assert isinstance(chunked, Response)
    assert chunked.body == b"one\n" + BIG + b"end"
    assert isinstance(empty, Response)
    assert (empty.status, empty.body) == (204, b"")
    assert isinstance(moved, Response)
    assert (moved.status, moved.headers["location"]) == (302, "/elsewhere")


def test_one_that_fails_does_not_stop_the_others(client: Transport, base: str) -> None:
    dead = f"http://127.0.0.1:{free_port()}/dead?token=TOP-SECRET"
    answers = fetch_many(
        client, [dead, Request(f"{base}/slow", timeout=1), f"{base}/nothing", f"{base}/cut", f"{base}/ok"]
    )
    assert [type(answer) for answer in answers] == [CommandError] * 4 + [Response]
    for answer in answers[:4]:
        assert str(answer).startswith("GET http://127.0.0.1:")
        assert "TOP-SECRET" not in str(answer)
        assert "\n" not in str(answer)
    with pytest.raises(CommandError, match="GET http"):
        fetch_http(client, dead)


def test_curl_says_why(make_connection: Any, base: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    transport = open_transport(make_connection("local"))
    refused, slow = fetch_many(transport, [f"http://127.0.0.1:{free_port()}/", Request(f"{base}/slow", timeout=0.3)])
    assert str(refused).endswith("connection refused: nothing listens there.")
    assert str(slow).endswith("no answer within the time limit.")


def test_something_that_is_no_http(client: Transport) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-nope\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(CommandError):
            fetch_http(client, f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()


def test_neither_curl_nor_bash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix.remote import Connection

    only(tmp_path, monkeypatch, "sh", "base64")
    with pytest.raises(CommandError, match=r"has neither curl nor bash .* install curl"):
        fetch_http(open_transport(Connection(transport="local")), "http://127.0.0.1:1/")


def test_https_needs_curl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix.remote import Connection

    only(tmp_path, monkeypatch, "sh", "bash", "base64", "cat")
    with pytest.raises(CommandError, match="without it only http works: install curl there"):
        fetch_http(open_transport(Connection(transport="local")), "https://127.0.0.1:1/")


def test_nothing_of_a_request_is_in_an_argument_list(make_connection: Any, base: str, tmp_path: Path) -> None:
    """A curl that writes down its arguments sees no header and no URL."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    spy = tmp_path / "curl"
    spy.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nexec {curl} "$@"\n')
    spy.chmod(0o755)
    transport = open_transport(make_connection("local"))
    import os

    before = os.environ["PATH"]
    os.environ["PATH"] = f"{tmp_path}:{before}"
    try:
        answer = fetch_http(transport, f"{base}/x?key=TOP-SECRET", {"Authorization": "Bearer TOP-SECRET"})
    finally:
        os.environ["PATH"] = before
    assert b"Bearer TOP-SECRET" in answer.body
    assert "TOP-SECRET" not in (tmp_path / "arguments").read_text()


def test_https_with_a_private_authority(make_connection: Any, tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("openssl") is None:
        pytest.skip("curl or openssl is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=s.example.test", "-addext", "subjectAltName=DNS:s.example.test",
         "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = server.server_address[1]
    url, there = f"https://s.example.test:{port}/x", f"127.0.0.1:{port}"
    try:
        untrusted, trusted, wrong_name, unchecked = fetch_many(
            open_transport(make_connection("local")),
            [
                Request(url, connect_to=there),
                Request(url, connect_to=there, ca_file=str(tmp_path / "cert")),
                Request(f"https://127.0.0.1:{port}/x", ca_file=str(tmp_path / "cert")),
                Request(url, connect_to=there, insecure=True),
            ],
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "certificate is not trusted" in str(untrusted)
    assert isinstance(trusted, Response)
    assert json.loads(trusted.body)["headers"]["Host"] == f"s.example.test:{port}"
    assert isinstance(wrong_name, CommandError)
    assert isinstance(unchecked, Response)


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "ftp://127.0.0.1/"},
        {"url": "file:///etc/shadow"},
        {"url": "127.0.0.1:8080"},
        {"url": "http://"},
        {"url": "http://127.0.0.1:99999/"},
        {"url": "http://127.0.0.1/ x"},
        {"url": 'http://127.0.0.1/"\noutput = "/etc/passwd'},
        {"url": "http://127.0.0.1/", "headers": {"X": "a\r\nY: b"}},
        {"url": "http://127.0.0.1/", "headers": {"X Y": "a"}},
        {"url": "http://127.0.0.1/", "headers": {"": "a"}},
        {"url": "http://127.0.0.1/", "ca_file": "/a\nb"},
    ],
)
def test_hostile_requests_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Request(**arguments)
    assert "\n" not in caught.value.mistakes[0]


def test_no_requests_no_trip(local: Transport) -> None:
    assert fetch_many(local, []) == []
