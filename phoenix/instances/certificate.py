"""Checks the certificate that Portainer's server shall show to Traefik. Pure."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import serialization


def certificate_mistakes(certificate: bytes, key: bytes, server_name: str, now: datetime.datetime) -> Iterator[str]:
    """A phrase for each reason why Traefik, which verifies it, would refuse the certificate.

    Args:
        certificate: PEM, the server's own first, then its chain.
        key: PEM, without a password.
        server_name: what Traefik asks for: a host name or an address.
        now: aware; the certificate must be valid then.
    """
    try:
        own = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        yield "holds no PEM certificate"
        return
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        yield "has a key file that holds no PEM key without a password"
    else:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        encoding = serialization.Encoding.DER
        if private.public_key().public_bytes(encoding, form) != own.public_key().public_bytes(encoding, form):
            yield "does not belong to the key in the key file"
    if not own.not_valid_before_utc <= now <= own.not_valid_after_utc:
        until = own.not_valid_after_utc.date()
        yield f"is valid from {own.not_valid_before_utc.date()} until {until}, not today"
    names = alternative_names(own)
    if server_name.lower() not in names and not _wildcard_covers(names, server_name.lower()):
        listed = ", ".join(sorted(names)) or "none; a common name alone does not count"
        yield f"does not carry the name {server_name} (its names: {listed})"


def alternative_names(certificate: x509.Certificate) -> set[str]:
    """The DNS names, in lower case, and addresses a certificate is for (RFC 6125: the common name does not count)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    names = {name.lower() for name in extension.get_values_for_type(x509.DNSName)}
    return names | {str(address) for address in extension.get_values_for_type(x509.IPAddress)}


def _wildcard_covers(names: set[str], server_name: str) -> bool:
    try:
        ipaddress.ip_address(server_name)
    except ValueError:
        return f"*.{server_name.partition('.')[2]}" in names
    return False
