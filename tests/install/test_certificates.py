"""Whether a route shows a certificate of the right issuer: judged from real chains."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from phoenix.settings import parse
from phoenix.traefik.asking import Question, Reply
from phoenix.traefik.certificates import Demand, demands, names_cover, problem

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
HOST = "app.internal.example.test"


class Issuer:
    """A certificate authority."""

    def __init__(self, name: str, parent: Issuer | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = sign(self.name, parent or self, self.key, authority=True)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def sign(
    name: x509.Name,
    issuer: Issuer,
    key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool = False,
    names: tuple[str, ...] = (),
    days: tuple[int, int] = (-1, 1),
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=days[0]))
        .not_valid_after(NOW + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def leaf(issuer: Issuer, *names: str, name: str = "", **more: Any) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    return sign(subject, issuer, key, names=names, **more).public_bytes(serialization.Encoding.PEM)


ROOT = Issuer("Phoenix Root CA")
INTERMEDIATE = Issuer("Phoenix Intermediate CA", ROOT)
IMPOSTOR = Issuer("Phoenix Root CA")
PUBLIC = Issuer("Public Root")
PUBLIC_INTERMEDIATE = Issuer("Let's Encrypt R11", PUBLIC)

GOOD = (leaf(INTERMEDIATE, HOST), INTERMEDIATE.pem)
PUBLICLY = (leaf(PUBLIC_INTERMEDIATE, HOST), PUBLIC_INTERMEDIATE.pem)


def judged(chain: tuple[bytes, ...], *, internal: bool = True, issuer: str = "", root: bytes | None = ROOT.pem) -> str:
    reply = Reply(Question("app-router", HOST, "127.0.0.1", 443), 200, chain=chain)
    return problem(Demand("app-router", HOST, internal, issuer), reply, root, NOW) or ""


@pytest.mark.parametrize(
    ("chain", "options"),
    [
        (GOOD, {}),
        ((*GOOD, ROOT.pem), {}),
        (GOOD, {"root": IMPOSTOR.pem + ROOT.pem}),
        (GOOD, {"root": ROOT.pem + IMPOSTOR.pem}),
        ((leaf(ROOT, HOST),), {}),
        ((leaf(ROOT, "*.internal.example.test"),), {}),
        (GOOD, {"issuer": "intermediate ca"}),
        (PUBLICLY, {"internal": False}),
        (PUBLICLY, {"internal": False, "root": None}),
        (PUBLICLY, {"internal": True, "issuer": "Let's Encrypt"}),
    ],
)
def test_right_certificates(chain: tuple[bytes, ...], options: dict[str, Any]) -> None:
    assert judged(chain, **options) == ""


@pytest.mark.parametrize(
    ("chain", "options", "says"),
    [
        ((), {}, "shows no certificate"),
        ((b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",), {}, "shows no certificate"),
        ((leaf(ROOT, "a.traefik.default", name="TRAEFIK DEFAULT CERT"),), {}, "Traefik's default certificate"),
        ((leaf(ROOT, HOST, days=(-3, -2)),), {}, "for 2026-05-29 00:00:00 to 2026-05-30 00:00:00 UTC only"),
        ((leaf(ROOT, HOST, days=(2, 3)),), {}, "UTC only"),
        ((leaf(ROOT, "other.internal.example.test"),), {}, "for other names (other.internal.example.test)"),
        ((leaf(ROOT, "*.example.test"),), {}, "for other names"),
        ((leaf(ROOT, name=HOST),), {}, "for other names (none)"),
        (PUBLICLY, {}, "does not lead to the internal CA's root certificate"),
        ((leaf(IMPOSTOR, HOST),), {}, "does not lead to the internal CA's root certificate"),
        ((GOOD[0],), {}, "does not lead to the internal CA's root certificate"),
        (GOOD, {"root": None}, "root certificate, which cannot be read"),
        (GOOD, {"internal": False}, "which is no public CA"),
        (GOOD, {"issuer": "Let's Encrypt"}, 'not from "Let\'s Encrypt"'),
    ],
)
def test_wrong_certificates(chain: tuple[bytes, ...], options: dict[str, Any], says: str) -> None:
    assert says in judged(chain, **options)
    assert judged(chain, **options).startswith(f"router app-router: {HOST} shows ")


def test_a_self_signed_certificate_is_from_no_public_ca() -> None:
    own = Issuer(HOST)
    certificate = sign(own.name, own, own.key, names=(HOST,)).public_bytes(serialization.Encoding.PEM)
    assert "which is no public CA" in judged((certificate,), internal=False)


def test_names() -> None:
    assert names_cover(["APP.internal.example.test"], HOST)
    assert names_cover(["x", "*.internal.example.test"], HOST)
    assert not names_cover(["*.example.test", "*", "internal.example.test"], HOST)
    assert not names_cover([str(ipaddress.ip_address("10.0.0.1"))], HOST)


def test_what_a_stack_demands() -> None:
    from pathlib import Path

    from phoenix import configuration

    inventory = Path(__file__).resolve().parents[2] / "stacks" / "inventory" / "local"

    def demanded(**values: Any) -> list[Demand]:
        settings = parse(values, "stacks/Pulumi.test.yaml")
        return demands(settings, configuration.read(inventory, settings)[1].routes)

    assert demanded() == []
    some = demanded(routes={"portainer-router": {"certificateIssuer": "Let's Encrypt"}})
    assert [(item.router, item.internal, item.issuer) for item in some] == [
        ("portainer-router", False, "Let's Encrypt")
    ]
    every = demanded(certificateAuthority={"demandCertificates": True})
    assert len(every) >= 6
    assert {item.router for item in every if not item.internal} == {"portainer-router"}
    assert [Demand.parse(item.to_props()) for item in every] == every
