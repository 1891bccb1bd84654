"""Where a Portainer server is, who talks to it, how long to wait, and which values no message may show."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pydantic import SecretStr

from phoenix.errors import InputError


@dataclass(frozen=True)
class Target:
    """Where Portainer answers.

    Attributes:
        hostname: the name in the ``Host`` header, in SNI and in the certificate.
        address: the address to connect to, for example the gateway's; by default what ``hostname`` resolves
            to.
        port: TCP port.
        root_file: PEM file with the certificate authorities to trust, beside the system's own.
        server_name: the name expected in the certificate and sent as SNI, where it is not ``hostname``.
    """

    hostname: str
    address: str | None = None
    port: int = 443
    root_file: Path | None = None
    server_name: str | None = None

    @property
    def url(self) -> str:
        """The address of the API for people."""
        return f"https://{self.hostname}" + ("" if self.port == 443 else f":{self.port}")

    def describe(self) -> str:
        """The target for messages: the URL, and the address it is reached at."""
        return f"{self.url} (at {self.address})" if self.address and self.address != self.hostname else self.url


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: for the TCP and TLS connection.
        read: for the answer of a usual request.
        environment: for an environment to be made: the server itself gives up after 3 s.
        deploy: for a stack: the server pulls images before it answers.
        poll: between two looks at something under way, at most.
        settle: how long a request whose answer was lost may still show its effect.
    """

    connect: float = 10.0
    read: float = 30.0
    environment: float = 60.0
    deploy: float = 900.0
    poll: float = 1.0
    settle: float = 60.0


@dataclass(frozen=True)
class ApiKey:
    """An API key, ``ptr_…``."""

    value: SecretStr


@dataclass(frozen=True)
class Login:
    """A user's name and password."""

    username: str
    password: SecretStr


Credentials = ApiKey | Login


@dataclass(frozen=True)
class Clock:
    """Time, injectable for tests."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Secrets:
    """The values that no message may show."""

    values: set[str] = field(default_factory=set, repr=False)

    def add(self, value: SecretStr | str) -> None:
        """Remember a secret; very short ones are left out: masking them would blot out whole messages."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if len(text) >= 4:
            self.values.add(text)

    def mask(self, text: str) -> str:
        """``text`` with every known secret replaced."""
        for value in sorted(self.values, key=len, reverse=True):
            text = text.replace(value, "[secret]")
        return text


def tls_context(target: Target) -> ssl.SSLContext:
    """TLS settings that verify the chain and the name.

    Raises:
        InputError: the root file cannot be read or holds no certificate.
    """
    try:
        text = target.root_file.read_text(encoding="ascii") if target.root_file is not None else None
        return _context(text)
    except (OSError, ValueError, ssl.SSLError) as error:
        said = getattr(error, "strerror", None) or "no certificate in it"
        raise InputError(
            [
                f"{target.root_file}: the root certificate cannot be read ({said}): name a PEM file with the "
                "authority's certificate."
            ]
        ) from None


@lru_cache(maxsize=8)
def _context(root: str | None) -> ssl.SSLContext:
    """Kept, since reading the system's authorities takes a tenth of a second."""
    context = ssl.create_default_context()
    if root is not None:
        context.load_verify_locations(cadata=root)
    return context
