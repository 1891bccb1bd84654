"""The lab's certificate authority and its SSH keys, all thrown away with the lab."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = datetime.timedelta(days=30)
_SKEW = datetime.timedelta(hours=1)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """A certificate authority in a directory: ``root.crt`` and ``root.key``, made on first use.

    Args:
        directory: made when missing.
        name: the root certificate's common name.
    """

    def __init__(self, directory: Path, name: str = "Phoenix lab root") -> None:
        self.directory = directory
        self.certificate_path = directory / "root.crt"
        key_path = directory / "root.key"
        directory.mkdir(parents=True, exist_ok=True)
        if not (self.certificate_path.exists() and key_path.exists()):
            self._make(key_path, name)
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key_path} holds no elliptic-curve key")
        self._key = key
        self.certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())

    def _make(self, key_path: Path, common: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        certificate = (
            _builder(name, name, key.public_key(), _DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(key_path, _pem(key))
        self.certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(
        self,
        key: CertificatePublicKeyTypes,
        names: list[str],
        life: datetime.timedelta,
        addresses: tuple[str, ...] = (),
    ) -> x509.Certificate:
        """Sign a server's certificate.

        Args:
            key: the server's public key.
            names: DNS names; the first is the common name too.
            life: how long it is valid.
            addresses: IP addresses.
        """
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        # A common name holds 64 characters at most; clients look at the alternative names alone.
        common = (*names, *addresses)[0][:64]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        return (
            _builder(subject, self.certificate.subject, key, life)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, stem: str, names: list[str], addresses: list[str]) -> tuple[Path, Path]:
        """Make a server's key and certificate, unless one of that stem is there.

        Args:
            stem: of the file names.
            names: DNS names.
            addresses: IP addresses.

        Returns:
            Paths of the certificate (with the root's after it) and of the private key.
        """
        certificate_path, key_path = self.directory / f"{stem}.crt", self.directory / f"{stem}.key"
        if certificate_path.exists() and key_path.exists():
            return certificate_path, key_path
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.sign(key.public_key(), names, _DAYS, tuple(addresses))
        write_private(key_path, _pem(key))
        certificate_path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM) + self.certificate_path.read_bytes()
        )
        return certificate_path, key_path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, life: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def ssh_key(path: Path, comment: str) -> str:
    """Make an Ed25519 key pair in OpenSSH's format, unless it is there.

    Args:
        path: of the private key; the public one gets ``.pub``.
        comment: stands after the public key.

    Returns:
        The public key's line without its comment, such as ``ssh-ed25519 AAAA…``.
    """
    public_path = path.with_name(path.name + ".pub")
    if not (path.exists() and public_path.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        key = ed25519.Ed25519PrivateKey.generate()
        write_private(
            path,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            ),
        )
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        public_path.write_text(f"{line.decode()} {comment}\n")
    return " ".join(public_path.read_text().split()[:2])
