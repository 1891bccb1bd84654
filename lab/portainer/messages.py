"""Requests and replies, apart from sockets."""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import cookies
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Request:
    """A request as it came in; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    address: str

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return self.query.get(name, [None])[0]

    def json(self) -> dict[str, object] | None:
        """The body, where it is a JSON mapping."""
        try:
            data = json.loads(self.body)
        except ValueError:
            return None
        return data if isinstance(data, dict) else None

    def form(self) -> dict[str, str]:
        """The body's fields, where it is a form: urlencoded or multipart."""
        kind = self.headers.get("content-type", "")
        if kind.startswith("application/x-www-form-urlencoded"):
            parsed = parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)
            return {name: values[0] for name, values in parsed.items()}
        if kind.startswith("multipart/form-data"):
            head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode()
            message = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
            fields = {}
            for part in message.iter_parts():
                name = part.get_param("name", header="content-disposition")
                content = part.get_payload(decode=True)
                if isinstance(name, str) and isinstance(content, bytes):
                    fields[name] = content.decode("utf-8", "replace")
            return fields
        return {}

    def cookie(self, name: str) -> str | None:
        """A cookie's value."""
        jar = cookies.SimpleCookie(self.headers.get("cookie", ""))
        return jar[name].value if name in jar else None


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(data: object, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(data).encode(), {"Content-Type": "application/json"})


def error(status: int, message: str, details: str = "") -> Reply:
    """An error as Portainer's handlers write it."""
    return answer({"message": message, "details": details or message}, status)


def text(status: int, body: str) -> Reply:
    """An answer that is no JSON: CSRF refusals, unknown routes."""
    return Reply(status, body.encode(), {"Content-Type": "text/plain; charset=utf-8"})
