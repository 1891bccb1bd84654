"""Whether a route shows a certificate of the right issuer. Pure: PEM in, phrases out.

Traefik shows its own default certificate where a resolver has got none, is unknown or skipped, and its API calls the
router enabled all the same; only a handshake tells.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phoenix.routes import INTERNAL_RESOLVER, Route
from phoenix.settings import Settings
from phoenix.traefik.asking import Reply

if TYPE_CHECKING:
    from cryptography import x509

DEFAULT_NAME = "TRAEFIK DEFAULT CERT"


@dataclass(frozen=True, slots=True)
class Demand:
    """What the certificate of a host name must be.

    Attributes:
        router: the router that serves it.
        hostname: the name it must carry.
        internal: it must lead to the internal CA's root; else to another.
        issuer: must be part of the issuer's name, whatever its case; empty for any.
    """

    router: str
    hostname: str
    internal: bool
    issuer: str = ""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Demand:
        """From a resource's properties."""
        return cls(data["router"], data["hostname"], bool(data["internal"]), str(data.get("issuer") or ""))

    def to_props(self) -> dict[str, Any]:
        """Plain data that :meth:`parse` reads."""
        return {"router": self.router, "hostname": self.hostname, "internal": self.internal, "issuer": self.issuer}


def demands(settings: Settings, routes: Iterable[Route]) -> list[Demand]:
    """What a stack demands: of every route, or of those with a ``certificateIssuer``."""
    found = []
    for route in routes:
        issuer = settings.routes[route.router].certificate_issuer if route.router in settings.routes else None
        if settings.certificate_authority.demand_certificates or issuer:
            for hostname, resolver in zip(route.hostnames, route.resolvers, strict=True):
                found.append(Demand(route.router, hostname, resolver == INTERNAL_RESOLVER, issuer or ""))
    return found


def problem(demand: Demand, reply: Reply, root: bytes | None, now: datetime.datetime) -> str | None:
    """A phrase where a host name's certificate is not what is demanded; None where it is.

    Args:
        demand: what it must be.
        reply: what was shown.
        root: the internal CA's root certificate, PEM, or several; None where it could not be read.
        now: with a time zone.
    """
    chain = _load(reply.chain)
    said = _problem(demand, chain, root, now) if chain else f"no certificate ({reply.error or 'none can be read'})"
    return f"router {demand.router}: {demand.hostname} shows {said}" if said else None


def _problem(
    demand: Demand, chain: Sequence[x509.Certificate], root: bytes | None, now: datetime.datetime
) -> str | None:
    leaf = chain[0]
    if DEFAULT_NAME in leaf.subject.rfc4514_string():
        return "Traefik's default certificate: its resolver has not got one"
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        return f"a certificate for {leaf.not_valid_before_utc:%F %T} to {leaf.not_valid_after_utc:%F %T} UTC only"
    if not names_cover(_names(leaf), demand.hostname):
        return f"a certificate for other names ({', '.join(_names(leaf)) or 'none'})"
    return _issuer_problem(demand, chain, root)


def _issuer_problem(demand: Demand, chain: Sequence[x509.Certificate], root: bytes | None) -> str | None:
    issuer = chain[0].issuer.rfc4514_string()
    if demand.issuer:
        right = demand.issuer.casefold() in issuer.casefold()
        return None if right else f"a certificate from {issuer}, not from {demand.issuer!r}"
    roots = _load_all(root) if root else []
    ours = any(_leads_to(chain, one) for one in roots)
    if demand.internal and not ours:
        missing = "" if roots else ", which cannot be read"
        return f"a certificate from {issuer}, which does not lead to the internal CA's root certificate{missing}"
    if not demand.internal and (ours or chain[0].issuer == chain[0].subject):
        return f"a certificate from {issuer}, which is no public CA"
    return None


def _load(chain: Sequence[bytes]) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return [x509.load_pem_x509_certificate(pem) for pem in chain]
    except ValueError:
        return []


def _load_all(bundle: bytes) -> list[x509.Certificate]:
    """Every certificate of a file: the CA's old root stands beside its new one for a while."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(bundle)
    except ValueError:
        return []


def _names(leaf: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]


def names_cover(names: Iterable[str], hostname: str) -> bool:
    """Whether a name or a wildcard of one label (RFC 6125, 6.4.3) stands for ``hostname``."""
    parent = hostname.partition(".")[2]
    return any(name.lower() in (hostname, f"*.{parent}") for name in names)


def _leads_to(chain: Sequence[x509.Certificate], root: x509.Certificate) -> bool:
    """Whether each certificate was issued by the next, and the last by ``root`` or is it."""
    from cryptography.exceptions import InvalidSignature

    links = [*chain] if chain[-1] == root else [*chain, root]
    try:
        for issued, issuer in itertools.pairwise(links):
            issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
