"""Who may: logins and their limit, tokens, API keys, CSRF rules."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Mapping

COOKIE = "portainer_api_key"
JWT_SECONDS = 8 * 3600
BURST = 10
LOCK_SECONDS = 3600.0


class Tokens:
    """JSON Web Tokens (HS256) whose key lives as long as the server's process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def renew_key(self) -> None:
        """What a restart does: every token made before is void."""
        self._key = secrets.token_bytes(32)

    def make(self, user: int, name: str) -> str:
        """A token for a user."""
        head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        claims = {"id": user, "username": name, "exp": self._clock() + JWT_SECONDS, "jti": secrets.token_hex(8)}
        body = _encode(json.dumps(claims).encode())
        return f"{head}.{body}.{self._sign(head, body)}"

    def user(self, token: str) -> int | None:
        """The user a valid token names."""
        try:
            head, body, signature = token.split(".")
            if not hmac.compare_digest(signature, self._sign(head, body)):
                return None
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except ValueError:
            return None
        return int(claims["id"]) if claims["exp"] > self._clock() else None

    def _sign(self, head: str, body: str) -> str:
        return _encode(hmac.new(self._key, f"{head}.{body}".encode(), hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class LoginLimit:
    """A burst of ten logins an address, one a second after it; over that, an hour's lock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}
        self._locked: dict[str, float] = {}

    def allows(self, address: str) -> bool:
        """Count a login; whether it may go on."""
        now = self._clock()
        with self._lock:
            if self._locked.get(address, 0.0) > now:
                return False
            left, at = self._left.get(address, (float(BURST), now))
            left = min(float(BURST), left + (now - at))
            if left < 1:
                self._locked[address] = now + LOCK_SECONDS
                return False
            self._left[address] = (left - 1, now)
            return True

    def clear(self) -> None:
        """What a restart does."""
        with self._lock:
            self._left.clear()
            self._locked.clear()


class CrossSite:
    """The CSRF rules: they bind whoever sends the login's cookie."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(32)

    @property
    def token(self) -> str:
        """What ``X-CSRF-Token`` has to be."""
        return self._token

    def refuses(self, method: str, headers: Mapping[str, str], cookie: str | None) -> str | None:
        """The text of the 403, where the rules forbid a request.

        Args:
            method: HTTP method.
            headers: lower-case names.
            cookie: the login's cookie.
        """
        if cookie is None or method in {"GET", "HEAD", "OPTIONS"}:
            return None
        origin = headers.get("origin") or headers.get("referer", "")
        if not origin:
            return "Forbidden - referer not supplied\n"
        if origin.partition("://")[2].partition("/")[0] != headers.get("host"):
            return "Forbidden - referer invalid\n"
        if headers.get("x-csrf-token") != self._token:
            return "Forbidden - CSRF token invalid\n"
        return None


def foreign_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request says that it comes from another site (2.43 refuses that whatever the login)."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def password_digest(password: str, salt: str) -> str:
    """How a password is kept; few rounds, since this server guards nothing."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 1000).hex()
