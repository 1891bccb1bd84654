"""HTTP requests to the lab's guests by address, for any host name, with the certificate that was shown."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        headers: names in lower case.
        issuer: common name of the certificate's issuer; None without TLS.
        protocol: the protocol ALPN chose; None without TLS or ALPN.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    issuer: str | None = None
    protocol: str | None = None

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        return dict(json.loads(self.body))


def get(
    url_host: str,
    path: str = "/",
    *,
    address: str,
    port: int,
    roots: str | None = None,
    tls: bool = True,
    timeout: float = 10,
) -> Answer:
    """One GET request, over a connection of its own.

    Args:
        url_host: the host name in the request, in SNI, and in the certificate's check.
        path: with its leading slash.
        address: where to connect.
        port: where to connect.
        roots: PEM of the roots to verify against; None shows the certificate without verifying it.
        tls: False for plain HTTP.
        timeout: seconds for each step.

    Raises:
        OSError: no connection, or the certificate does not hold (``ssl.SSLCertVerificationError``).
    """
    plain = socket.create_connection((address, port), timeout=timeout)
    try:
        issuer = protocol = None
        channel = plain
        if tls:
            channel = context(roots).wrap_socket(plain, server_hostname=url_host)
            shown = channel.getpeercert(binary_form=True)
            issuer = _issuer(shown) if shown else None
            protocol = channel.selected_alpn_protocol()
        connection = http.client.HTTPConnection(url_host, port, timeout=timeout)
        connection.sock = channel
        connection.request("GET", path, headers={"Host": url_host, "Connection": "close"})
        answer = connection.getresponse()
        body = answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return Answer(answer.status, headers, body, issuer, protocol)
    finally:
        plain.close()


def context(roots: str | None, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """A client's TLS context that trusts these roots alone; without roots it verifies nothing."""
    made = ssl.create_default_context(cadata=roots) if roots is not None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if roots is None:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols(list(alpn))
    return made


def _issuer(certificate: bytes) -> str:
    names = x509.load_der_x509_certificate(certificate).issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
