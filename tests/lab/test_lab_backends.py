"""The guests' services: who answers, over http and https, and the HTTP that clients and proxies speak to them."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any

import pytest

from lab.local import Lab

CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def backend(lab: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in lab.record()["backends"] if each["name"] == name)
    return found


def address(lab: Lab, name: str) -> tuple[str, int]:
    found = backend(lab, name)
    return found["address"], found["port"]


def raw(lab: Lab, name: str, *pieces: bytes) -> bytes:
    with socket.create_connection(address(lab, name), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_every_backend_says_who_it_is(session_lab: Lab) -> None:
    names = [each["name"] for each in session_lab.record()["backends"] if each["scheme"] == "http"]
    assert names
    for name in names:
        connection = http.client.HTTPConnection(*address(session_lab, name), timeout=20)
        connection.request("GET", "/x?y=1", headers={"Host": f"{name}.example.test", "X-Forwarded-Proto": "https"})
        response = connection.getresponse()
        body = json.loads(response.read())
        assert response.status == 200
        assert body["service"] == name
        assert body["host"] == f"{name}.example.test"
        assert body["path"] == "/x?y=1"
        assert body["forwarded"] == {"x-forwarded-proto": "https"}
        connection.close()


def test_connections_are_kept(session_lab: Lab) -> None:
    connection = http.client.HTTPConnection(*address(session_lab, "ollama"), timeout=20)
    clients = set()
    for _ in range(3):
        connection.request("POST", "/", body=b"x" * 100_000)
        clients.add(json.loads(connection.getresponse().read())["client"])
    assert len(clients) == 1
    connection.request("GET", "/", headers={"Connection": "close"})
    assert connection.getresponse().getheader("Connection") == "close"
    connection.close()


@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        ([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3], 3),
        ([b"GET / HT", b"TP/1.1\r\nHo", b"st: a\r\n\r\n"], 1),
        ([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", b"cdeGET / HTTP/1.1\r\nHost: a\r\n\r\n"], 2),
        ([CHUNKED + b"3\r\nabc\r\n", b"0;x\r\n\r\nGET / HTTP/1.1\r\n\r\n"], 2),
        ([CHUNKED + b"1\r\na\r\n0\r\nTrailer: x\r\n\r\n"], 1),
        ([b"\r\nGET / HTTP/1.1\r\n\r\n"], 1),
    ],
)  # fmt: skip
def test_requests_in_pieces(session_lab: Lab, pieces: list[bytes], answers: int) -> None:
    assert raw(session_lab, "ollama", *pieces).count(b"HTTP/1.1 200 OK\r\n") == answers


def test_expect_and_head(session_lab: Lab) -> None:
    answer = raw(session_lab, "ollama", b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", b"a")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    head = raw(session_lab, "ollama", b"HEAD / HTTP/1.1\r\n\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in head


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (CHUNKED + b"zz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
    ],
)
def test_what_is_no_request(session_lab: Lab, data: bytes, status: int) -> None:
    assert raw(session_lab, "ollama", data).startswith(f"HTTP/1.1 {status} ".encode())


def test_https_is_verified_against_the_labs_root(session_lab: Lab) -> None:
    portainer = backend(session_lab, "Portainer")
    trusted = ssl.create_default_context(cafile=session_lab.settings["portainer"]["rootFile"])
    for name in (session_lab.settings["portainer"]["serverName"], portainer["address"]):
        plain = socket.create_connection((portainer["address"], portainer["port"]), timeout=20)
        with trusted.wrap_socket(plain, server_hostname=name) as connection:
            connection.sendall(b"GET /api/system/status HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n")
            assert b'"service": "Portainer"' in b"".join(iter(lambda: connection.recv(65536), b""))
    plain = socket.create_connection((portainer["address"], portainer["port"]), timeout=20)
    with pytest.raises(ssl.SSLCertVerificationError):
        trusted.wrap_socket(plain, server_hostname="other.example.test")
    plain.close()
    plain = socket.create_connection((portainer["address"], portainer["port"]), timeout=20)
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname=portainer["address"])
    plain.close()


def test_an_agent_says_it_is_well(session_lab: Lab) -> None:
    agent = next(each for each in session_lab.record()["backends"] if each["kind"] == "agent")
    trusted = ssl.create_default_context(cafile=str(session_lab.layout.root_certificate))
    connection = http.client.HTTPSConnection(agent["address"], agent["port"], context=trusted, timeout=20)
    connection.request("GET", "/ping")
    assert connection.getresponse().status == 204
    connection.close()
