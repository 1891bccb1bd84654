"""Signed requests: JSON Web Signature in the form that ACME uses (RFC 7515, RFC 7638, RFC 8555 section 6.2)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm, str]] = {
    "P-256": (ec.SECP256R1(), hashes.SHA256(), "ES256"),
    "P-384": (ec.SECP384R1(), hashes.SHA384(), "ES384"),
    "P-521": (ec.SECP521R1(), hashes.SHA512(), "ES512"),
}
_MINIMUM_RSA_BITS = 2048


class JoseError(ValueError):
    """A request is not signed as it has to be; the text says why."""


def encode(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: object) -> bytes:
    """The reverse of :func:`encode`.

    Raises:
        JoseError: it is none.
    """
    if not isinstance(text, str) or "=" in text:
        raise JoseError("a value is no base64url text")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise JoseError("a value is no base64url text") from None


@dataclass(frozen=True)
class Key:
    """An account's public key: the JSON Web Key, its thumbprint (RFC 7638) and what verifies."""

    jwk: dict[str, str]
    thumbprint: str
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey

    def verify(self, algorithm: str, signature: bytes, signed: bytes) -> None:
        """Check a signature.

        Raises:
            JoseError: it is wrong, or the algorithm does not go with the key.
        """
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                if algorithm != "RS256":
                    raise JoseError(f"algorithm {algorithm} does not go with an RSA key")
                self.public.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
                return
            _, digest, expected = _CURVES[self.jwk["crv"]]
            size = (self.public.curve.key_size + 7) // 8
            if algorithm != expected or len(signature) != 2 * size:
                raise JoseError(f"algorithm {algorithm} does not go with a key on {self.jwk['crv']}")
            numbers = (int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
            self.public.verify(utils.encode_dss_signature(*numbers), signed, ec.ECDSA(digest))
        except InvalidSignature:
            raise JoseError("the signature is wrong") from None


def key(jwk: object) -> Key:
    """Read a JSON Web Key.

    Raises:
        JoseError: it is none, of an unknown kind, or too short.
    """
    if not isinstance(jwk, dict):
        raise JoseError("jwk is no object")
    kind = jwk.get("kty")
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    if kind == "RSA":
        members = {name: str(jwk.get(name, "")) for name in ("e", "kty", "n")}
        modulus, exponent = int.from_bytes(decode(members["n"])), int.from_bytes(decode(members["e"]))
        if modulus.bit_length() < _MINIMUM_RSA_BITS:
            raise JoseError(f"an RSA key of {modulus.bit_length()} bits is under {_MINIMUM_RSA_BITS}")
        try:
            public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        except ValueError:
            raise JoseError("the RSA key is no key") from None
    elif kind == "EC" and jwk.get("crv") in _CURVES:
        members = {name: str(jwk.get(name, "")) for name in ("crv", "kty", "x", "y")}
        x, y = int.from_bytes(decode(members["x"])), int.from_bytes(decode(members["y"]))
        try:
            public = ec.EllipticCurvePublicNumbers(x, y, _CURVES[members["crv"]][0]).public_key()
        except ValueError:
            raise JoseError("the key is no point of its curve") from None
    else:
        raise JoseError(f"keys of kind {kind} are not known")
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return Key(members, encode(hashlib.sha256(canonical).digest()), public)


@dataclass(frozen=True)
class Signed:
    """A request's parts, not verified yet.

    Attributes:
        header: the protected header.
        payload: the JSON object; None for a POST-as-GET.
    """

    header: dict[str, Any]
    payload: dict[str, Any] | None
    signature: bytes
    signed: bytes

    def verify(self, public: Key) -> None:
        """Check the signature.

        Raises:
            JoseError: it is wrong.
        """
        public.verify(str(self.header.get("alg")), self.signature, self.signed)


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError:
        raise JoseError(f"{what} is no JSON") from None
    if not isinstance(content, dict):
        raise JoseError(f"{what} is no JSON object")
    return content


def parse(body: bytes) -> Signed:
    """Take a request's body apart.

    Raises:
        JoseError: it is no flattened JWS.
    """
    content = _object(body, "the body")
    protected, payload = content.get("protected"), content.get("payload")
    header = _object(decode(protected), "the protected header")
    inner = decode(payload)
    signed = f"{protected}.{payload}".encode()
    return Signed(header, _object(inner, "the payload") if inner else None, decode(content.get("signature")), signed)
