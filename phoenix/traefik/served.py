"""What clients get of routes: judged from real requests through the live entry point. Pure, but for :func:`examine`.

Traefik's own 404 means that it does not serve the route; a backend that is down or answers 5xx is the backend's
matter, and is told as a warning.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix.remote import Transport
from phoenix.remote.http import Request, Response, fetch_many
from phoenix.traefik.asking import Question, Reply, ask, questions

ASK_LIMIT = 20
"""Most routes asked after one push; the API has shown every one of them right by then."""

PATIENCE_SECONDS = 3.0
POLL_SECONDS = 0.1

_OWN_404 = b"404 page not found\n"
_OWN_500 = b"Internal Server Error"
_GATEWAY_ERRORS = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Findings:
    """What requests showed.

    Attributes:
        asked: how many routes were asked; None where the container has no client to ask with.
        left_out: how many were not, for their number.
        failures: Traefik does not serve a route.
        warnings: it does, but the backend does not answer well.
    """

    asked: int | None
    left_out: int = 0
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def is_late(reply: Reply) -> bool:
    """Whether the connection was taken and the answer did not come in time (curl's exit code 28)."""
    return reply.status is None and reply.error.startswith("(28)")


def is_own_404(reply: Reply) -> bool:
    """Whether Traefik itself may have said that it has no such route; some backends written in Go say just the same."""
    return reply.status == 404 and reply.body == _OWN_404 and "server" not in reply.headers


def is_own_500(reply: Reply) -> bool:
    """Whether Traefik itself could not use the backend, mostly since it cannot verify its certificate."""
    return reply.status == 500 and reply.body == _OWN_500 and "content-type" not in reply.headers


def backend(http: Mapping[str, Any], router: str) -> str:
    """URL of the first server a router leads to; empty for a service of Traefik's own."""
    service = _at(http, "services").get(str(_at(_at(http, "routers"), router).get("service")))
    servers = _at(service, "loadBalancer").get("servers")
    first = servers[0] if isinstance(servers, list) and servers else {}
    return str(first.get("url") or "") if isinstance(first, Mapping) else ""


def _at(data: Any, key: str) -> Mapping[str, Any]:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def judge(replies: Sequence[Reply], http: Mapping[str, Any]) -> tuple[list[Reply], list[str]]:
    """The replies that tell of a failure, and phrases for the warnings."""
    failed, warnings = [], []
    for reply in replies:
        router = reply.question.router
        if is_late(reply):
            warnings.append(
                f"router {router}: no answer in time: its backend {backend(http, router)} is slow or cannot be "
                "reached, or Traefik is busy with many certificates"
            )
        elif reply.status is None or is_own_404(reply):
            failed.append(reply)
        elif reply.status in _GATEWAY_ERRORS:
            warnings.append(f"router {router}: its backend {backend(http, router)} does not answer ({reply.status})")
        elif is_own_500(reply):
            warnings.append(
                f"router {router}: Traefik cannot use its backend {backend(http, router)}; where it is https, see "
                "whether its certificate fits serverName and rootFile"
            )
        elif reply.status >= 500:
            warnings.append(f"router {router}: its backend {backend(http, router)} answers {reply.status}")
    return failed, warnings


def failure(reply: Reply) -> str:
    """A phrase for a reply that tells of a failure."""
    asked = reply.question
    if reply.status is None:
        return f"router {asked.router}: https://{asked.hostname} gets no answer ({reply.error})"
    return f"router {asked.router}: https://{asked.hostname} gets Traefik's own 404: it does not serve the route"


def examine(
    transport: Transport, addresses: Mapping[str, str], http: Mapping[str, Any], names: Iterable[str]
) -> Findings:
    """Ask the live entry points for routes, until each is served or the patience is over.

    Args:
        transport: Traefik's container.
        addresses: listen address by entry point.
        http: the ``http`` section that is live.
        names: routers to ask for.
    """
    wanted = questions(http.get("routers") or {}, names, addresses)
    left_out = max(0, len(wanted) - ASK_LIMIT)
    waiting: list[Question] = wanted[:ASK_LIMIT]
    total = len(waiting)
    warnings: list[str] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        replies = ask(transport, waiting)
        if replies is None:
            return Findings(None, len(wanted))
        failed, said = judge(replies, http)
        warnings += said
        if not failed or time.monotonic() >= deadline:
            break
        waiting = [reply.question for reply in failed]
        time.sleep(POLL_SECONDS)
    failed = _without_backends_own(transport, http, failed)
    return Findings(total, left_out, tuple(map(failure, failed)), tuple(warnings))


def _without_backends_own(transport: Transport, http: Mapping[str, Any], failed: Sequence[Reply]) -> list[Reply]:
    """The failures without those 404s that come from the backend itself: asked directly, it says the same."""
    suspects = [reply for reply in failed if reply.status == 404 and backend(http, reply.question.router)]
    requests = [
        Request(
            f"{backend(http, reply.question.router)}/",
            {"Host": reply.question.hostname},
            timeout=5,
            insecure=True,
        )
        for reply in suspects
    ]
    answers = fetch_many(transport, requests) if requests else []
    own = [
        reply
        for reply, answer in zip(suspects, answers, strict=True)
        if isinstance(answer, Response) and answer.status == 404 and answer.body[: len(_OWN_404)] == _OWN_404
    ]
    return [reply for reply in failed if reply not in own]


def blocks(text: str) -> dict[tuple[str, str], str] | None:
    """The entries of a file of ours, (section, name) → text, without parsing it; None for a file not in our form."""
    found: dict[tuple[str, str], list[str]] = {}
    section = name = ""
    started = False
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip(" "))
        if indent == 0:
            if started or line != "http:":
                return None
            started = True
        elif indent == 2:
            section, name = line.strip().removesuffix(":"), ""
        elif indent == 4:
            name = line.strip().partition(": ")[0].removesuffix(":").strip("'\"")
            found.setdefault((section, name), []).append(line)
        else:
            found.setdefault((section, name), []).append(line)
    return {key: "\n".join(lines) for key, lines in found.items()} if started else None


def changed_routers(old: str, new: str, http: Mapping[str, Any]) -> list[str]:
    """Routers of ``new`` that clients may meet otherwise than under ``old``: all, where that cannot be told.

    Args:
        old: text of the file that is live.
        new: text of the one that shall be.
        http: the ``http`` section of ``new``.
    """
    routers = _at(http, "routers")
    before, after = blocks(old), blocks(new)
    if before is None or after is None:
        return sorted(map(str, routers))
    different = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    found = []
    for name in sorted(map(str, routers)):
        router = _at(routers, name)
        service = str(router.get("service"))
        balancer = _at(_at(_at(http, "services"), service), "loadBalancer")
        keys = {
            ("routers", name),
            ("services", service),
            ("serversTransports", str(balancer.get("serversTransport"))),
            *(("middlewares", str(middleware)) for middleware in router.get("middlewares") or ()),
        }
        if keys & different:
            found.append(name)
    return found
