"""The form of a table's rows: a bad candidate, what is wrong with it, and what the message must name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from live_traefik import LiveTraefik

from phoenix.traefik import document

Data = dict[str, Any]


class Row(NamedTuple):
    """A candidate.

    Attributes:
        name: what is wrong.
        make: the candidate's text.
        says: each must be part of the message.
        hides: none may be part of it.
    """

    name: str
    make: Callable[[LiveTraefik], str]
    says: tuple[str, ...]
    hides: tuple[str, ...] = ()


def add(
    data: Data,
    live: LiveTraefik,
    *,
    backend: str = "plain",
    url: str | None = None,
    transport: Data | None = None,
    balancer: Data | None = None,
    **router: Any,
) -> Data:
    """Add a route named ``new`` to the live ones."""
    http = data["http"]
    plain = {"entryPoints": ["websecure"], "rule": "Host(`new.live.test`)", "service": "new-service", "tls": {}}
    http["routers"]["new-router"] = {key: value for key, value in {**plain, **router}.items() if value is not None}
    servers = {"servers": [{"url": url or live.backends[backend].url}]}
    if transport is not None:
        servers["serversTransport"] = "new-transport"  # type: ignore[assignment]
        http["serversTransports"] = {"new-transport": transport}
    http["services"]["new-service"] = {"loadBalancer": balancer if balancer is not None else servers}
    return data


def text(content: str, *says: str) -> Callable[[str], Row]:
    return lambda name: Row(name, lambda live: content, says)


def spoilt(name: str, spoil: Callable[[Data, LiveTraefik], object], *says: str, hides: tuple[str, ...] = ()) -> Row:
    """A row that spoils the live configuration."""

    def make(live: LiveTraefik) -> str:
        data = live.dynamic()
        spoil(data, live)
        return document.dump(data)

    return Row(name, make, says, hides)


def route(name: str, *says: str, hides: tuple[str, ...] = (), **options: Any) -> Row:
    """A row that adds a bad route; an option may be a function of the live Traefik."""

    def spoil(data: Data, live: LiveTraefik) -> None:
        add(data, live, **{key: value(live) if callable(value) else value for key, value in options.items()})

    return spoilt(name, spoil, *says, hides=hides)


def middleware(name: str, definition: Data, *says: str, hides: tuple[str, ...] = ()) -> Row:
    """A row whose new route goes through a bad middleware."""

    def spoil(data: Data, live: LiveTraefik) -> None:
        data["http"]["middlewares"]["new-middleware"] = definition
        add(data, live, middlewares=["new-middleware"])

    return spoilt(name, spoil, *says, hides=hides)


def raw(name: str, change: Callable[[str], str], *says: str) -> Row:
    """A row that changes the text of the live configuration."""
    return Row(name, lambda live: change(document.dump(live.dynamic())), says)


def set_at(*path: str, to: Any) -> Callable[[Data, LiveTraefik], None]:
    def spoil(data: Data, live: LiveTraefik) -> None:
        del live
        inner = data
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return spoil


def root(live: LiveTraefik) -> str:
    return str(live.authority.root_file)


def key_file(live: LiveTraefik) -> str:
    return str(next(Path(live.authority.directory).glob("*.key")))


def static(name: str, spoil: Callable[[Data, LiveTraefik], object], *says: str) -> Row:
    """A row that spoils the live static configuration."""

    def make(live: LiveTraefik) -> str:
        data = live.static()
        spoil(data, live)
        return document.dump(data)

    return Row(name, make, says)
