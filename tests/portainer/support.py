"""What the tests of the portainer manager share: certificates, a clock, types of their fixtures."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.portainer import StandIn
from phoenix.portainer.api import Portainer
from phoenix.portainer.target import Clock

HOSTNAME = "portainer.example.test"
PASSWORD = "correct-horse-battery"

Start = Callable[..., StandIn]
Open = Callable[..., Portainer]


@dataclass(frozen=True)
class Certificates:
    """Files of one certificate authority and the server's certificate."""

    root: Path
    certificate: Path
    key: Path


def make_certificates(directory: Path, hostname: str = HOSTNAME) -> Certificates:
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("Test authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=12))
        )

    root = (
        builder("Test authority", root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [
        x509.DNSName(hostname),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    leaf = (
        builder(hostname, key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "root.crt").write_bytes(root.public_bytes(pem))
    (directory / "server.crt").write_bytes(leaf.public_bytes(pem))
    (directory / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificates(directory / "root.crt", directory / "server.crt", directory / "server.key")


@dataclass
class FakeTime:
    """A clock that a sleep moves: no test waits, but for what really takes its time (``meanwhile``)."""

    seconds: float = 1000.0
    slept: list[float] = field(default_factory=list)
    meanwhile: list[Callable[[], None]] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        for comes_to_its_end in self.meanwhile:
            comes_to_its_end()

    def clock(self) -> Clock:
        return Clock(self.now, self.sleep)


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds, or fail."""
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it did not come to hold in time"
        sleep(0.01)
