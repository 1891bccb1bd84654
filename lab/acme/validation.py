"""Looks whether the one who asks for a certificate answers for the name."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl

from cryptography import x509

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_PROTOCOL = "acme-tls/1"
_SECONDS = 10.0
_ANSWER_LIMIT = 64 * 1024


class ValidationError(Exception):
    """The name was not proven; the text says what was seen.

    Attributes:
        kind: the ACME error type (RFC 8555, 6.7).
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


async def http(address: tuple[str, int], name: str, token: str, expected: str) -> None:
    """http-01: the key authorization lies below ``/.well-known/acme-challenge/``.

    Args:
        address: host and port that every name is taken to be at.
        name: the DNS name.
        token: the challenge's token.
        expected: the key authorization.

    Raises:
        ValidationError: it does not.
    """
    request = (
        f"GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\n"
        "User-Agent: phoenix-lab-acme\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(*address)
            with contextlib.closing(writer):
                writer.write(request.encode())
                answer = await reader.read(_ANSWER_LIMIT)
    except (OSError, TimeoutError) as error:
        raise ValidationError("connection", f"{name} at {address[0]}:{address[1]}: {error or 'no answer'}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200" not in status:
        raise ValidationError("unauthorized", f"{name}: the challenge's address answers {status!r}")
    if body.decode(errors="replace").strip() != expected:
        raise ValidationError("unauthorized", f"{name}: the challenge's address answers something else")


async def tls_alpn(address: tuple[str, int], name: str, expected: str) -> None:
    """tls-alpn-01: a certificate for the name alone that holds the key authorization's digest (RFC 8737).

    Args:
        address: host and port that every name is taken to be at.
        name: the DNS name.
        expected: the key authorization.

    Raises:
        ValidationError: there is no such certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([_PROTOCOL])
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=name)
            with contextlib.closing(writer):
                connection = writer.get_extra_info("ssl_object")
                protocol, encoded = connection.selected_alpn_protocol(), connection.getpeercert(binary_form=True)
    except ssl.SSLError as error:
        raise ValidationError("tls", f"{name} at {address[0]}:{address[1]}: {error.reason}") from None
    except (OSError, TimeoutError) as error:
        raise ValidationError("connection", f"{name} at {address[0]}:{address[1]}: {error or 'no answer'}") from None
    if protocol != _PROTOCOL:
        raise ValidationError("unauthorized", f"{name}: the server does not speak {_PROTOCOL}")
    certificate = x509.load_der_x509_certificate(encoded)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        proof = certificate.extensions.get_extension_for_oid(_ACME_IDENTIFIER)
    except x509.ExtensionNotFound:
        raise ValidationError("unauthorized", f"{name}: the certificate is none for a challenge") from None
    digest = b"\x04\x20" + hashlib.sha256(expected.encode()).digest()
    value = proof.value.value if isinstance(proof.value, x509.UnrecognizedExtension) else b""
    if list(names) != [x509.DNSName(name)] or not proof.critical or value != digest:
        raise ValidationError("unauthorized", f"{name}: the certificate holds another proof")
