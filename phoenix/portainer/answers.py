"""What Portainer's answers mean: JSON or not, what it said, and which error and remedy fit a status."""

from __future__ import annotations

import json
from typing import Any

import httpx

from phoenix.portainer.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    ServerFailedError,
    SetupExpiredError,
)
from phoenix.portainer.target import Secrets, Target

SAID_LENGTH = 600

#: What a router that has no route answers, Traefik's text.
NO_ROUTE = "404 page not found"

_PROXY_STATUSES = frozenset({502, 503, 504})

_MEANINGS: dict[int, tuple[type[RefusedError], str]] = {
    401: (
        AuthenticationError,
        "make a new API key or correct the login: this one is not valid, or no longer.",
    ),
    403: (
        RefusedError,
        "the account needs administrator rights, and no proxy may add Origin or Authorization.",
    ),
    404: (
        NotFoundError,
        "the record was removed meanwhile, or the server's version is not supported (2.23 to 2.43 are).",
    ),
    405: (RefusedError, "the server's version does not know this call: 2.23 to 2.43 are supported."),
    409: (ConflictError, "the name is taken, or a deployment is under way: run again when it has ended."),
}


def decode(target: Target, path: str, response: httpx.Response) -> object:
    """The JSON of an answer.

    Raises:
        ProtocolError: it is none.
    """
    try:
        answer: object = json.loads(response.content)
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "no type")
        raise ProtocolError(
            f"{target.describe()}: {path} answered {response.status_code} with {kind} in place of JSON: look "
            "whether the hostname is routed to Portainer ('bin/phoenix routes')."
        ) from None
    return answer


def _error_body(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def said(response: httpx.Response, secrets: Secrets) -> str:
    """What Portainer said about an error: one line, bounded, no control characters or known secrets."""
    body = _error_body(response) or {}
    known = [text for text in (body.get("message"), body.get("details")) if isinstance(text, str) and text]
    text = ": ".join(dict.fromkeys(known)) or response.text
    return one_line(text, secrets)


def one_line(text: str, secrets: Secrets) -> str:
    """``text`` fit for a message: one line, bounded, without control characters or known secrets."""
    masked = secrets.mask(text)
    masked = " ".join("".join(char if char.isprintable() else " " for char in masked).split())
    return masked if len(masked) <= SAID_LENGTH else masked[:SAID_LENGTH] + "…"


def is_from_a_proxy(response: httpx.Response) -> bool:
    """Whether a proxy in front of Portainer answered in its place, so that the request's fate is unknown."""
    return response.status_code in _PROXY_STATUSES and "message" not in (_error_body(response) or {})


def refusal(target: Target, secrets: Secrets, method: str, path: str, response: httpx.Response) -> RefusedError:
    """The error that fits an answer whose status is not 2xx."""
    status, told = response.status_code, said(response, secrets)
    kind, remedy = _explain(target, response, told)
    detail = f" ({told})" if told else ""
    return kind(
        f"{target.describe()}: {method} {path} was refused with {status}{detail}: {remedy}",
        status=status,
        said=told,
    )


def _explain(target: Target, response: httpx.Response, told: str) -> tuple[type[RefusedError], str]:
    status = response.status_code
    if "AdminInitTimeout" in response.headers.get("redirect-reason", ""):
        return SetupExpiredError, (
            "nobody made the first user within five minutes of Portainer's start: restart its container and "
            "run again at once."
        )
    if 300 <= status < 400:
        there = response.headers.get("location", "nowhere")[:200]
        return RefusedError, f"it points to {there}: check Portainer's hostname and the gateway."
    if status == 404 and told == NO_ROUTE:
        return NotFoundError, f"Traefik has no router for {target.hostname}: run 'pulumi up' for this stack."
    if status >= 500:
        return ServerFailedError, "look at Portainer's log (docker logs on its machine) and run again."
    return _MEANINGS.get(status, (RefusedError, "correct what Portainer names and run again."))
