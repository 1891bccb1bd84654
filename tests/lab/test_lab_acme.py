"""The lab's certificate authorities: the real Traefik gets its certificates there, and nobody else gets any."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lab.acme import jose
from lab.local import Lab
from lab.local.settings import INTERNAL_PATH
from lab.testing import local_lab, wait_for
from tests.lab.deployment import Deployment

INVENTORY = Path(__file__).parent / "fixtures/inventory"
PRIVATE = rsa.generate_private_key(65537, 2048)


def integer(number: int) -> str:
    return jose.encode(number.to_bytes((number.bit_length() + 7) // 8))


def jwk(private: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = private.public_key().public_numbers()
    return {"kty": "RSA", "e": integer(numbers.e), "n": integer(numbers.n)}


class Client:
    """An ACME client, as small as one can be; each request can be spoilt on its way."""

    def __init__(self, lab: Lab, private: rsa.RSAPrivateKey = PRIVATE) -> None:
        self.private = private
        host, _, port = lab.record()["authorities"]["address"].partition(":")
        self.address = (host, int(port))
        self.origin = f"https://{host}:{port}"
        self.base = self.origin + INTERNAL_PATH
        self.trusted = ssl.create_default_context(cafile=str(lab.layout.root_certificate))
        self.kid: str | None = None

    def request(
        self, method: str, url: str, body: bytes = b"", kind: str = "application/jose+json"
    ) -> tuple[int, Any, Any]:
        connection = http.client.HTTPSConnection(*self.address, context=self.trusted, timeout=30)
        try:
            connection.request(method, url.removeprefix(self.origin), body, {"Content-Type": kind})
            response = connection.getresponse()
            content = response.read()
            is_json = "json" in (response.getheader("Content-Type") or "") and content
            return response.status, response.headers, json.loads(content) if is_json else content
        finally:
            connection.close()

    def post(self, url: str, payload: dict[str, Any] | None, **spoilt: Any) -> tuple[int, Any, Any]:
        nonce = self.request("HEAD", f"{self.base}/new-nonce")[1]["Replay-Nonce"]
        header: dict[str, Any] = {"alg": "RS256", "nonce": nonce, "url": url}
        header |= {"kid": self.kid} if self.kid else {"jwk": jwk(self.private)}
        header |= spoilt.get("header", {})
        protected = jose.encode(json.dumps(header).encode())
        inner = "" if payload is None else jose.encode(json.dumps(payload).encode())
        signature = self.private.sign(f"{protected}.{inner}".encode(), padding.PKCS1v15(), hashes.SHA256())
        body = {"protected": protected, "payload": inner, "signature": jose.encode(spoilt.get("signature", signature))}
        return self.request("POST", url, json.dumps(body).encode(), spoilt.get("kind", "application/jose+json"))

    def register(self) -> None:
        status, headers, _ = self.post(f"{self.base}/new-account", {"termsOfServiceAgreed": True})
        assert status in {200, 201}
        self.kid = headers["Location"]

    def order(self, *names: str) -> tuple[str, dict[str, Any]]:
        identifiers = [{"type": "dns", "value": name} for name in names]
        status, headers, body = self.post(f"{self.base}/new-order", {"identifiers": identifiers})
        assert status == 201, body
        return headers["Location"], body


@pytest.fixture(scope="module")
def issuing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with local_lab(tmp_path_factory.mktemp("acme"), INVENTORY) as lab:
        yield lab


@pytest.fixture
def client(issuing: Lab) -> Client:
    return Client(issuing)


@pytest.fixture
def account(client: Client) -> Client:
    client.register()
    return client


def served(address: str, name: str, trusted: ssl.SSLContext) -> x509.Certificate | None:
    host, _, port = address.partition(":")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=20) as plain,
            trusted.wrap_socket(plain, server_hostname=name) as connection,
        ):
            encoded = connection.getpeercert(binary_form=True)
            assert encoded is not None
            return x509.load_der_x509_certificate(encoded)
    except (ssl.SSLCertVerificationError, OSError):
        return None


def test_traefik_gets_certificates_of_both_authorities(issuing: Lab) -> None:
    deployment = Deployment(issuing)
    settings, authority = issuing.settings, issuing.settings["certificateAuthority"]
    storage = Path(settings["traefik"]["stateDirectory"])
    websecure = settings["traefik"]["websecureAddress"]
    common = {"caCertificates": [authority["rootFile"]], "keyType": "EC256"}
    resolvers = {
        "internal": {
            "acme": {
                "caServer": authority["url"] + authority["directory"],
                "storage": str(storage / "internal.json"),
                "tlsChallenge": {},
                "certificatesDuration": 24,
                **common,
            }
        },
        "external": {
            "acme": {
                "caServer": authority["externalDirectory"],
                "storage": str(storage / "external.json"),
                "httpChallenge": {"entryPoint": "web"},
                **common,
            }
        },
    }
    names = {"internal": "i.internal.phoenix.test", "external": "portainer.phoenix.test"}
    routers = {
        key: {"rule": f"Host(`{name}`)", "entryPoints": ["websecure"], "service": "o", "tls": {"certResolver": key}}
        for key, name in names.items()
    }
    redirect = {"redirections": {"entryPoint": {"to": "websecure", "scheme": "https"}}}
    deployment.write(
        entry_points={
            "web": {"address": settings["traefik"]["webAddress"], "http": redirect},
            "websecure": {"address": websecure},
        },
        resolvers=resolvers,
        routers=routers,
    )
    assert deployment.systemctl("start traefik").code == 0
    try:
        for key, root in (("internal", "internalRoot"), ("external", "publicRoot")):
            trusted = ssl.create_default_context(cafile=issuing.record()["authorities"][root])
            wait_for(lambda t=trusted, n=names[key]: served(websecure, n, t), f"the {key} certificate", 60)  # type: ignore[misc]
            certificate = served(websecure, names[key], trusted)
            assert certificate is not None
            other = ssl.create_default_context(
                cafile=issuing.record()["authorities"]["publicRoot" if key == "internal" else "internalRoot"]
            )
            assert served(websecure, names[key], other) is None
            hours = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() / 3600
            assert hours == pytest.approx(25 if key == "internal" else 90 * 24 + 1)
        both = ssl.create_default_context(cafile=str(issuing.layout.roots))
        assert all(served(websecure, name, both) for name in names.values())
    finally:
        deployment.systemctl("stop traefik")


def test_health_and_unknown_paths(client: Client) -> None:
    assert client.request("GET", "/health")[2] == {"status": "ok"}
    assert client.request("GET", "/acme/nothing")[0] == 404
    assert client.request("GET", f"{client.base}/directory")[2]["newOrder"] == f"{client.base}/new-order"


def test_an_account_is_found_by_its_key(client: Client) -> None:
    url = f"{client.base}/new-account"
    client.register()
    first, client.kid = client.kid, None
    status, headers, _ = client.post(url, {"onlyReturnExisting": True})
    assert (status, headers["Location"]) == (200, first)


@pytest.mark.parametrize(
    ("spoilt", "status", "error"),
    [
        ({"header": {"nonce": "made-up"}}, 400, "badNonce"),
        ({"header": {"url": "https://elsewhere/new-order"}}, 401, "unauthorized"),
        ({"header": {"alg": "none"}}, 400, "malformed"),
        ({"header": {"alg": "HS256"}}, 400, "malformed"),
        ({"header": {"kid": "https://elsewhere/account/1"}}, 400, "accountDoesNotExist"),
        ({"signature": b"x" * 256}, 400, "malformed"),
        ({"signature": b""}, 400, "malformed"),
        ({"kind": "application/json"}, 415, "malformed"),
    ],
)
def test_spoilt_requests(account: Client, spoilt: dict[str, Any], status: int, error: str) -> None:
    answer = account.post(f"{account.base}/new-order", {"identifiers": [{"type": "dns", "value": "a.test"}]}, **spoilt)
    assert (answer[0], answer[2]["type"]) == (status, f"urn:ietf:params:acme:error:{error}")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"protected":"!"}', b'{"protected":"e30","payload":"e30"}'])
def test_bodies_that_are_no_signed_request(client: Client, body: bytes) -> None:
    status, _, answer = client.request("POST", f"{client.base}/new-order", body)
    assert status in {400, 401}
    assert answer["type"].startswith("urn:ietf:params:acme:error:")


def test_a_body_that_is_too_long(client: Client) -> None:
    status, _, _ = client.request("POST", f"{client.base}/new-order", b"x" * 300_000)
    assert status == 413


def test_a_nonce_is_used_once(account: Client) -> None:
    nonce = account.request("HEAD", f"{account.base}/new-nonce")[1]["Replay-Nonce"]
    where, payload = f"{account.base}/new-order", {"identifiers": [{"type": "dns", "value": "a.test"}]}
    assert account.post(where, payload, header={"nonce": nonce})[0] == 201
    again = account.post(where, payload, header={"nonce": nonce})
    assert again[2]["type"].endswith(":badNonce")


@pytest.mark.parametrize("name", ["", "no-dot", "a..b", "*.a.test", "-a.test", "a.test/../x", "ü.test", "a b.test"])
def test_names_that_are_none(account: Client, name: str) -> None:
    answer = account.post(f"{account.base}/new-order", {"identifiers": [{"type": "dns", "value": name}]})
    assert answer[2]["type"].endswith(":rejectedIdentifier")


@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
def test_a_name_that_is_not_proven_gets_no_certificate(account: Client, kind: str) -> None:
    where, order = account.order("stolen.test")
    authorization = account.post(order["authorizations"][0], None)[2]
    challenge = next(each for each in authorization["challenges"] if each["type"] == kind)
    assert account.post(order["finalize"], {"csr": request("stolen.test")})[2]["type"].endswith(":orderNotReady")
    account.post(challenge["url"], {})
    wait_for(lambda: account.post(where, None)[2]["status"] == "invalid", "the order's end", 60)
    failed = account.post(challenge["url"], None)[2]
    assert failed["status"] == "invalid"
    assert failed["error"]["detail"].startswith("stolen.test")
    assert account.post(order["finalize"], {"csr": request("stolen.test")})[2]["type"].endswith(":orderNotReady")


def request(*names: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(alternatives, critical=False)
    return jose.encode(made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


def test_another_account_sees_nothing(account: Client, issuing: Lab) -> None:
    where, order = account.order("mine.test")
    other = Client(issuing, rsa.generate_private_key(65537, 2048))
    other.register()
    assert other.kid != account.kid
    for url in (where, order["authorizations"][0]):
        assert other.post(url, None)[0] == 404
    assert other.post(str(account.kid), None)[0] == 403


# Keys


@pytest.mark.parametrize(("curve", "algorithm"), [("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512")])
def test_signatures_on_curves(curve: str, algorithm: str) -> None:
    chosen, digest, _ = jose._CURVES[curve]
    private = ec.generate_private_key(chosen)
    numbers, size = private.public_key().public_numbers(), (chosen.key_size + 7) // 8
    key = jose.key({"kty": "EC", "crv": curve, **{n: jose.encode(getattr(numbers, n).to_bytes(size)) for n in "xy"}})
    r, s = utils.decode_dss_signature(private.sign(b"text", ec.ECDSA(digest)))
    signature = r.to_bytes(size) + s.to_bytes(size)
    key.verify(algorithm, signature, b"text")
    for bad in ((algorithm, signature, b"other"), ("ES999", signature, b"text"), (algorithm, signature[1:], b"text")):
        with pytest.raises(jose.JoseError):
            key.verify(*bad)


def test_the_thumbprint_of_rfc_7638() -> None:
    """The example of RFC 7638, section 3.1."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    key = jose.key({"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})
    assert key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    "bad",
    [
        None, [], {}, {"kty": "oct", "k": "AA"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
    ],
)  # fmt: skip
def test_what_is_no_key(bad: object) -> None:
    with pytest.raises(jose.JoseError):
        jose.key(bad)
