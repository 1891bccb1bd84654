"""The site under a real NGINX on loopback, with a TLS server in Traefik's place: needs neither root nor containers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.container.certificates import Authority
from phoenix.gateway.settings import GatewaySettings
from phoenix.gateway.site import CHALLENGE_PATH, PROBE_HOST, REVISION_PATH, Domain, Site, Upstream, render, revision_of
from tests.end_to_end.websockets import echoes

INTERNAL, EXTERNAL = "app.internal.example.test", "portainer.example.test"


class Instance(BaseHTTPRequestHandler):
    """In Traefik's place: tells what it saw; ``/status/<code>`` and ``/upgrade`` do what they say."""

    protocol_version = "HTTP/1.1"
    name = ""

    def do_GET(self) -> None:
        kind, _, argument = self.path.lstrip("/").partition("/")
        if kind == "upgrade":
            self._echo()
            return
        length = 0
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            while size := int(self.rfile.readline(), 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            length = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        seen = {
            "instance": self.name,
            "length": length,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        body = json.dumps(seen).encode()
        self.send_response(int(argument) if kind == "status" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name http.server looks for

    def _echo(self) -> None:
        """A WebSocket handshake (RFC 6455), then whatever comes goes back."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.send_header("Connection", "upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())  # noqa: S324 - what RFC 6455 asks for
        self.end_headers()
        self.wfile.flush()
        self.connection.settimeout(10)
        while data := self.connection.recv(4096):
            self.connection.sendall(data)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Quiet(ThreadingHTTPServer):
    """A client that breaks off is no news."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing."""


def serve(name: str, port: int, context: ssl.SSLContext | None) -> Quiet:
    server = Quiet(("127.0.0.1", port), type("Named", (Instance,), {"name": name}))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Running:
    """A gateway with Traefik's place behind it."""

    nginx: str
    directory: Path
    authority: Authority
    settings: GatewaySettings
    ports: dict[str, int]
    servers: dict[str, Quiet] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def context(self, *names: str) -> ssl.SSLContext:
        issued = self.authority.issue(list(names))
        certificate, key = self.directory / f"{names[0]}.crt", self.directory / f"{names[0]}.key"
        certificate.write_text(issued.certificate)
        key.write_text(issued.key)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(certificate, key)
        return made

    def start_instance(self, name: str, context: ssl.SSLContext) -> None:
        self.servers[name] = serve(name, self.ports[name], context)

    def stop_instance(self, name: str) -> None:
        server = self.servers.pop(name)
        server.shutdown()
        server.server_close()

    def site(self, domains: tuple[Domain, ...], **upstream: Any) -> str:
        made = Upstream("127.0.0.1", self.ports["web"], self.ports["main"], self.ports["standby"], **upstream)
        return render(Site(self.settings, made, domains))

    def start(self, text: str) -> None:
        (self.directory / "site.conf").write_text(text)
        temporary = "".join(
            f"{kind}_temp_path {self.directory}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.directory / "nginx.conf").write_text(
            f"pid {self.directory}/pid; error_log {self.directory}/error.log; daemon off; worker_processes 2;\n"
            f"events {{}} http {{ access_log off; {temporary} include {self.directory}/site.conf; }}\n"
        )
        command = [self.nginx, "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=20, check=False)
        assert tested.returncode == 0, tested.stderr
        assert "warn" not in tested.stderr, tested.stderr
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._listens():
            assert time.monotonic() < deadline, (self.directory / "error.log").read_text()
            time.sleep(0.02)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.settings.port), 1):
            return True
        return False

    def stop(self) -> None:
        for name in list(self.servers):
            self.stop_instance(name)
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)

    def secured(self, hostname: str, protocols: tuple[str, ...] = ()) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=self.authority.root)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        plain = socket.create_connection(("127.0.0.1", self.settings.port), 10)
        return context.wrap_socket(plain, server_hostname=hostname)

    def ask(
        self,
        hostname: str,
        path: str = "/",
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPSConnection(hostname)
        connection.sock = self.secured(hostname)
        connection.request(method, path, body, {"Host": hostname, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        with contextlib.suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, {}

    def plain(self, hostname: str, path: str = "/", method: str = "GET") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.http_port, timeout=10)
        connection.request(method, path, headers={"Host": hostname})
        answer = connection.getresponse()
        answer.read()
        return answer

    def log(self) -> str:
        return (self.directory / "error.log").read_text()


ALL = (Domain(("*.example.test",)),)


@pytest.fixture
def gateway(nginx: str, tmp_path: Path) -> Iterator[Running]:
    """NGINX with nothing started yet; Traefik's place has a certificate for both names."""
    authority = Authority("Test root")
    issued = authority.issue(["*.example.test", "*.internal.example.test", INTERNAL])
    (tmp_path / "gateway.crt").write_text(issued.certificate)
    (tmp_path / "gateway.key").write_text(issued.key)
    (tmp_path / "root.crt").write_text(authority.root)
    (tmp_path / "run").mkdir()
    settings = GatewaySettings(
        listen=("127.0.0.1",),
        port=free_port(),
        http_port=free_port(),
        certificate_file=str(tmp_path / "gateway.crt"),
        key_file=str(tmp_path / "gateway.key"),
        runtime_directory=str(tmp_path / "run"),
    )
    ports = {name: free_port() for name in ("web", "main", "standby")}
    running = Running(nginx, tmp_path, authority, settings, ports)
    if os.geteuid() == 0:
        # NGINX's workers are nobody then, and look for the switch.
        for path in (tmp_path, *tmp_path.parents):
            if path.stat().st_uid == 0 and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o011)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def served(gateway: Running) -> Running:
    """The same with Traefik's place taken, and the site for all names."""
    gateway.start_instance("main", gateway.context(INTERNAL, EXTERNAL))
    gateway.servers["web"] = serve("web", gateway.ports["web"], None)
    gateway.start(gateway.site(ALL))
    return gateway


CLAIMS = (
    *("X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "Forwarded"),
    *("X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Ssl"),
    *("X-Forwarded-Scheme", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info"),
    *("X_Forwarded_For", "X.Forwarded.For", "X!Real!IP"),
)
"""Headers by which a client could pass for another; the last ones only in the eyes of backends."""


def test_requests_arrive_with_host_and_forwarded_headers(served: Running) -> None:
    status, seen = served.ask(EXTERNAL, "/a?b=c%20d", headers=dict.fromkeys(CLAIMS, "203.0.113.7"))
    assert (status, seen["path"], seen["instance"]) == (200, "/a?b=c%20d", "main")
    host = f"{EXTERNAL}:{served.settings.port}"
    headers = seen["headers"]
    assert headers["host"] == headers["x-forwarded-host"] == host
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1", "a client's own claims count for nothing"
    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == ("https", str(served.settings.port))
    ours = {"host", "x-real-ip", *(f"x-forwarded-{name}" for name in ("host", "for", "proto", "port"))}
    assert set(headers) - {"accept-encoding"} == ours, "none of the claims, and connections to Traefik are kept"


@pytest.mark.parametrize("status", [200, 204, 301, 404, 429, 500, 502, 503, 504])
def test_answers_pass_as_they_are(served: Running, status: int) -> None:
    assert served.ask(INTERNAL, f"/status/{status}")[0] == status
    assert served.ask(INTERNAL)[0] == 200, "no answer sets Traefik aside"


def test_http2_is_offered(served: Running) -> None:
    with served.secured(EXTERNAL, ("h2", "http/1.1")) as stream:
        assert stream.selected_alpn_protocol() == "h2"
        assert stream.version() == "TLSv1.3"


def test_websockets_pass(served: Running) -> None:
    with served.secured(INTERNAL) as stream:
        echoes(stream, INTERNAL, "/upgrade", b"hello through two hops")


def test_a_large_body_is_streamed_not_stored(served: Running) -> None:
    body = os.urandom(1 << 20) * 48
    status, seen = served.ask(EXTERNAL, "/upload", "POST", body)
    assert (status, seen["length"]) == (200, len(body))
    assert not any((served.directory / "client_body").rglob("*[0-9]")), "nothing of it went to the disk"
    assert "buffered to a temporary file" not in served.log()


def test_a_body_over_the_limit_is_refused(gateway: Running) -> None:
    gateway.settings = gateway.settings.model_copy(update={"max_body_size": "1k"})
    gateway.start_instance("main", gateway.context(INTERNAL))
    gateway.start(gateway.site(ALL))
    assert gateway.ask(INTERNAL, "/", "POST", b"x" * 1024)[0] == 200
    assert gateway.ask(INTERNAL, "/", "POST", b"x" * 1025)[0] == 413


def test_plain_http_leads_to_https_but_for_challenges(served: Running) -> None:
    for method in ("GET", "POST"):
        answer = served.plain(EXTERNAL, "/a?b=c", method)
        assert answer.status == 308, "which keeps the method"
        assert answer.getheader("Location") == f"https://{EXTERNAL}:{served.settings.port}/a?b=c"
    assert served.plain(EXTERNAL, f"{CHALLENGE_PATH}token").status == 200


def test_unknown_names_are_not_served(served: Running) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        served.secured("other.test")
    with pytest.raises(http.client.RemoteDisconnected):
        served.plain("other.test")
    with served.secured(INTERNAL) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
        assert b" 200 " not in stream.recv(4096).partition(b"\r\n")[0]


def test_unknown_names_reach_traefik_where_they_shall(gateway: Running) -> None:
    gateway.settings = gateway.settings.model_copy(update={"unknown_hosts": "pass"})
    gateway.start_instance("main", gateway.context(INTERNAL))
    gateway.start(gateway.site(ALL))
    with gateway.secured(INTERNAL) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
        assert stream.recv(4096).startswith(b"HTTP/1.1 200")


def test_the_running_site_tells_its_revision(served: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.settings.http_port, timeout=10)
    connection.request("GET", REVISION_PATH, headers={"Host": PROBE_HOST})
    revision = revision_of((served.directory / "site.conf").read_text())
    assert connection.getresponse().read().decode() == revision


def test_the_switch_sends_every_request_to_the_standby_and_back(served: Running) -> None:
    served.start_instance("standby", served.context(INTERNAL, EXTERNAL))
    switch = Path(served.settings.switch_path)
    assert served.ask(INTERNAL)[1]["instance"] == "main"
    for _ in range(3):
        switch.touch()
        assert {served.ask(INTERNAL)[1]["instance"] for _ in range(10)} == {"standby"}
        switch.unlink()
        assert {served.ask(INTERNAL)[1]["instance"] for _ in range(10)} == {"main"}


def test_a_switch_left_behind_costs_nothing(served: Running) -> None:
    """A standby that is gone refuses, and the request, POST or not, goes to Traefik."""
    Path(served.settings.switch_path).touch()
    for method in ("GET", "POST"):
        assert served.ask(INTERNAL, "/", method, b"x")[1]["instance"] == "main"


def test_without_anybody_it_is_a_bad_gateway_and_over_at_once(gateway: Running) -> None:
    gateway.start(gateway.site(ALL))
    assert [gateway.ask(INTERNAL)[0] for _ in range(4)] == [502] * 4
    gateway.start_instance("main", gateway.context(INTERNAL))
    assert gateway.ask(INTERNAL)[0] == 200, "one failure does not set Traefik aside"


def test_a_standby_that_always_runs_takes_over(gateway: Running) -> None:
    context = gateway.context(INTERNAL)
    gateway.start_instance("main", context)
    gateway.start_instance("standby", context)
    gateway.start(gateway.site(ALL, standby_always_runs=True))
    assert gateway.ask(INTERNAL)[1]["instance"] == "main"
    gateway.stop_instance("main")
    assert {gateway.ask(INTERNAL, "/", method, b"x")[1]["instance"] for method in ("GET", "POST", "GET")} == {"standby"}


def test_clients_are_asked_to_leave_their_connections(served: Running) -> None:
    Path(served.settings.closing_path).touch()
    with served.secured(INTERNAL) as stream:
        stream.sendall(f"GET / HTTP/1.1\r\nHost: {INTERNAL}\r\n\r\n".encode())
        assert b"\r\nConnection: close\r\n" in stream.recv(4096)
    Path(served.settings.closing_path).unlink()
    with served.secured(INTERNAL) as stream:
        stream.sendall(f"GET / HTTP/1.1\r\nHost: {INTERNAL}\r\n\r\n".encode())
        assert b"close" not in stream.recv(4096).partition(b"\r\n\r\n")[0]


def test_traefik_is_verified_where_a_root_is_given(gateway: Running) -> None:
    stranger = Authority("Another root")
    (gateway.directory / "other.crt").write_text(stranger.root)
    gateway.start_instance("main", gateway.context(INTERNAL, EXTERNAL))
    domains = (
        Domain(("*.internal.example.test",), str(gateway.directory / "root.crt")),
        Domain(("*.example.test",), str(gateway.directory / "other.crt")),
    )
    gateway.start(gateway.site(domains))
    assert gateway.ask(INTERNAL)[0] == 200
    assert gateway.ask(EXTERNAL)[0] == 502, "its certificate comes from another authority"
    assert "upstream SSL certificate verify error" in gateway.log()


def test_a_connection_that_was_not_verified_is_not_taken_for_a_verified_name(gateway: Running) -> None:
    (gateway.directory / "other.crt").write_text(Authority("Another root").root)
    gateway.start_instance("main", gateway.context(INTERNAL, EXTERNAL))
    gateway.start(
        gateway.site(
            (
                Domain(("*.example.test",)),
                Domain(("*.internal.example.test",), str(gateway.directory / "other.crt")),
            )
        )
    )
    for _ in range(8):
        assert gateway.ask(EXTERNAL)[0] == 200
        assert gateway.ask(INTERNAL)[0] == 502


def test_the_name_is_verified_too(gateway: Running) -> None:
    gateway.start_instance("main", gateway.context("another.internal.example.test"))
    gateway.start(gateway.site((Domain(("*.internal.example.test",), str(gateway.directory / "root.crt")),)))
    assert gateway.ask(INTERNAL)[0] == 502
    assert "upstream SSL certificate does not match" in gateway.log()
