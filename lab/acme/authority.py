"""Accounts, orders and certificates of one certificate authority: the state behind the ACME resources."""

from __future__ import annotations

import asyncio
import datetime
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab.acme import jose, validation

_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9][a-z0-9-]{0,61}[a-z0-9]")
_ORDER_LIFE = datetime.timedelta(hours=1)


class ProblemError(Exception):
    """A request that is refused: RFC 8555, 6.7."""

    def __init__(self, kind: str, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status = status


@dataclass
class Account:
    """Who orders."""

    identity: str
    key: jose.Key
    contact: list[str]
    status: str = "valid"


@dataclass
class Challenge:
    """One way to prove a name."""

    identity: str
    kind: str
    token: str
    status: str = "pending"
    error: dict[str, object] | None = None
    validated: str | None = None


@dataclass
class Authorization:
    """The proof of one name."""

    identity: str
    account: str
    name: str
    challenges: list[Challenge]
    status: str = "pending"


@dataclass
class Order:
    """A certificate that is wanted."""

    identity: str
    account: str
    names: list[str]
    authorizations: list[str]
    expires: datetime.datetime
    status: str = "pending"
    certificate: str | None = None
    error: dict[str, object] | None = None


def stamp(moment: datetime.datetime) -> str:
    """RFC 3339, in seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class State:
    """All that one authority knows.

    Attributes:
        issue: makes a certificate chain (PEM) from a request and its names.
        web: where http-01 looks, host and port.
        websecure: where tls-alpn-01 looks.
        kinds: challenges that are offered.
    """

    issue: Callable[[x509.CertificateSigningRequest, list[str]], bytes]
    web: tuple[str, int]
    websecure: tuple[str, int]
    kinds: tuple[str, ...] = ("http-01", "tls-alpn-01")
    accounts: dict[str, Account] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    authorizations: dict[str, Authorization] = field(default_factory=dict)
    certificates: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    nonces: dict[str, None] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def new_nonce(self) -> str:
        """A value that one request may use."""
        nonce = secrets.token_urlsafe(16)
        self.nonces[nonce] = None
        while len(self.nonces) > 10_000:
            self.nonces.pop(next(iter(self.nonces)))
        return nonce

    def use_nonce(self, nonce: object) -> None:
        """Take a nonce.

        Raises:
            ProblemError: it was not given out, or is used.
        """
        if not isinstance(nonce, str) or self.nonces.pop(nonce, self) is self:
            raise ProblemError("badNonce", "the nonce was not given out, or was used before")

    def account_of(self, key: jose.Key) -> Account | None:
        """The account of a key."""
        return next((each for each in self.accounts.values() if each.key.thumbprint == key.thumbprint), None)

    def register(self, key: jose.Key, contact: list[str]) -> Account:
        """A new account."""
        account = Account(secrets.token_hex(8), key, contact)
        self.accounts[account.identity] = account
        return account

    def order(self, account: Account, identifiers: object) -> Order:
        """A new order.

        Raises:
            ProblemError: it names nothing, or something that is no DNS name.
        """
        names: list[str] = []
        for each in identifiers if isinstance(identifiers, list) else []:
            value = str(each.get("value", "")).lower() if isinstance(each, dict) else ""
            if not isinstance(each, dict) or each.get("type") != "dns" or not _NAME.fullmatch(value):
                raise ProblemError("rejectedIdentifier", f"{value!r} is no DNS name")
            names.append(value)
        if not names:
            raise ProblemError("malformed", "the order names nothing")
        names = list(dict.fromkeys(names))
        authorizations = []
        for name in names:
            challenges = [Challenge(secrets.token_hex(8), kind, secrets.token_urlsafe(24)) for kind in self.kinds]
            authorization = Authorization(secrets.token_hex(8), account.identity, name, challenges)
            self.authorizations[authorization.identity] = authorization
            authorizations.append(authorization.identity)
        expires = datetime.datetime.now(datetime.UTC) + _ORDER_LIFE
        order = Order(secrets.token_hex(8), account.identity, names, authorizations, expires)
        self.orders[order.identity] = order
        return order

    def refresh(self, order: Order) -> None:
        """Bring an order's status in line with its authorizations."""
        if order.status != "pending":
            return
        states = {self.authorizations[each].status for each in order.authorizations}
        if "invalid" in states:
            order.status = "invalid"
        elif states == {"valid"}:
            order.status = "ready"

    def begin(self, account: Account, authorization: Authorization, challenge: Challenge) -> None:
        """Look after a challenge, in the background."""
        if challenge.status != "pending" or authorization.status != "pending":
            return
        challenge.status = "processing"
        expected = f"{challenge.token}.{account.key.thumbprint}"
        if challenge.kind == "http-01":
            work = validation.http(self.web, authorization.name, challenge.token, expected)
        else:
            work = validation.tls_alpn(self.websecure, authorization.name, expected)
        task = asyncio.ensure_future(self._finish(authorization, challenge, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, authorization: Authorization, challenge: Challenge, work: Awaitable[None]) -> None:
        try:
            await work
        except validation.ValidationError as error:
            challenge.status = authorization.status = "invalid"
            challenge.error = {"type": f"urn:ietf:params:acme:error:{error.kind}", "detail": str(error), "status": 403}
            return
        challenge.status = authorization.status = "valid"
        challenge.validated = stamp(datetime.datetime.now(datetime.UTC))

    def finalize(self, order: Order, encoded: bytes) -> None:
        """Issue an order's certificate.

        Raises:
            ProblemError: the order is not ready, or the request does not fit it.
        """
        self.refresh(order)
        if order.status != "ready":
            raise ProblemError("orderNotReady", f"the order is {order.status}", 403)
        try:
            request = x509.load_der_x509_csr(encoded)
            valid = request.is_signature_valid
        except ValueError:
            raise ProblemError("badCSR", "the request cannot be read") from None
        try:
            extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            names = extension.value.get_values_for_type(x509.DNSName)
        except x509.ExtensionNotFound:
            names = []
        if not valid or sorted(each.lower() for each in names) != sorted(order.names):
            raise ProblemError(
                "badCSR", f"the request is for {', '.join(names)}, the order for {', '.join(order.names)}"
            )
        identity = secrets.token_hex(8)
        self.certificates[identity] = (order.account, self.issue(request, order.names))
        order.certificate, order.status = identity, "valid"


def chain(certificates: list[x509.Certificate]) -> bytes:
    """PEM of a chain, the leaf first."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
