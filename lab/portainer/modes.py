"""Which version a stand-in plays, and what that changes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """A version's behaviour.

    Attributes:
        version: what ``/api/system/status`` answers.
        asynchronous: stacks are deployed after the answer.
        old_stack_route: ``POST /api/stacks?type=2&method=string`` works.
        token_status: the status of a new API key.
        setup_token: the first user needs ``X-Setup-Token``, and a foreign ``Origin`` is refused.
    """

    version: str
    asynchronous: bool = False
    old_stack_route: bool = False
    token_status: int = 200
    setup_token: bool = False


MODES = {
    "2.23": Mode("2.23.0", old_stack_route=True, token_status=201),
    "2.39": Mode("2.39.0"),
    "2.41": Mode("2.41.0", asynchronous=True),
    "2.43": Mode("2.43.0", asynchronous=True, setup_token=True),
}
