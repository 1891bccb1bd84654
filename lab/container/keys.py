"""Throw-away SSH keys of one lab."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An Ed25519 key in OpenSSH's formats.

    Attributes:
        private: the private key file's text.
        public: ``ssh-ed25519 AAAA…``, without a comment.
    """

    private: str
    public: str


def generate() -> KeyPair:
    """A fresh key pair."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return KeyPair(private.decode(), public.decode())
