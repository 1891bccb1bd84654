"""Whether an instance of Traefik is ready to take requests, by its own API. Pure.

Ready means: the intended revision is live, no router or service is in error, and the certificates that were served
before are loaded. Neither READY=1 nor /ping says any of that: Traefik accepts connections before it routes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phoenix.errors import CommandError
from phoenix.remote.http import Request, Response
from phoenix.traefik.dynamic import REVISION_PREFIX
from phoenix.traefik.live import PROVIDER

Answer = Response | CommandError

CERTIFICATES_PATH = "/api/certificates"
OVERVIEW_PATH = "/api/overview"


def questions(api_url: str, revision: str | None) -> list[Request]:
    """What to ask an instance; the answers go to :func:`not_ready` in the same order."""
    paths = [OVERVIEW_PATH, CERTIFICATES_PATH]
    if revision:
        paths.append(f"/api/http/middlewares/{REVISION_PREFIX}{revision}@{PROVIDER}")
    return [Request(f"{api_url}{path}", timeout=10) for path in paths]


def not_ready(answers: Sequence[Answer], revision: str | None) -> Iterator[str]:
    """A phrase for each reason against sending requests to it; none where it is ready.

    Args:
        answers: to :func:`questions`.
        revision: that was asked for.
    """
    overview, _, *marker = answers
    if isinstance(overview, CommandError) or overview.status != 200:
        yield "its API does not answer"
        return
    if revision and (isinstance(marker[0], CommandError) or marker[0].status != 200):
        yield f"revision {revision} is not live"
    http = _mapping(_data(overview)).get("http")
    for section in ("routers", "services"):
        count = _mapping(_mapping(http).get(section)).get("errors", 0)
        if count:
            yield f"{count} of its {section} {'is' if count == 1 else 'are'} in error"


def missing(answers: Sequence[Answer], known: frozenset[str]) -> int:
    """How many of the certificates that were served before are not loaded (yet).

    Args:
        answers: to :func:`questions`.
        known: their fingerprints.
    """
    return len(known - fingerprints(answers[1]))


def fingerprints(answer: Answer) -> frozenset[str]:
    """The certificates an instance has loaded; none where it does not say (versions before 3.6 do not)."""
    if isinstance(answer, CommandError) or answer.status != 200:
        return frozenset()
    data = _data(answer)
    return frozenset(
        str(entry["certFingerprint"])
        for entry in (data if isinstance(data, list) else ())
        if isinstance(entry, Mapping) and entry.get("certFingerprint")
    )


def _data(answer: Response) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
