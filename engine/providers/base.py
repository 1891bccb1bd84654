"""What a provider is to the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from engine.diff import DiffResult
from engine.errors import OutcomeUnknown, UnsupportedError
from engine.values import Properties


@dataclass(frozen=True)
class Failure:
    """An input a provider refuses."""

    property: str
    reason: str


@dataclass(frozen=True)
class ReadResult:
    """A resource as it is found; an empty id means it is gone."""

    id: str
    outputs: Properties = field(default_factory=dict)
    inputs: Properties | None = None


@dataclass
class Context:
    """The circumstances of one call.

    Attributes:
        log: takes one line a running operation prints; shown while it runs, not kept.
        cancelled: set when the call is to end at once: its time is over, or the user said so.
    """

    urn: str
    name: str
    type: str
    preview: bool = False
    log: Callable[[str], None] = lambda _line: None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Provider:
    """Create, read, update and delete for the resources of one package.

    The defaults: inputs pass, the engine compares them, nothing can be created, read or invoked.
    """

    def check(self, _context: Context, _old: Properties | None, new: Properties) -> tuple[Properties, list[Failure]]:
        """Return the inputs with defaults filled in, and what is wrong with them."""
        return new, []

    def diff(
        self, _context: Context, _identifier: str, _old_inputs: Properties, _old_outputs: Properties, _new: Properties
    ) -> DiffResult:
        """Compare; ``changes`` is None where the engine is to compare the inputs."""
        return DiffResult()

    def create(self, context: Context, _inputs: Properties) -> tuple[str, Properties]:
        """Create, and return id and outputs; in a preview the id is empty."""
        raise UnsupportedError(f"creating a {context.type}")

    def update(
        self, _context: Context, _identifier: str, _old_inputs: Properties, _old_outputs: Properties, new: Properties
    ) -> Properties:
        """Update in place, and return the outputs."""
        return new

    def delete(self, _context: Context, _identifier: str, _inputs: Properties, _outputs: Properties) -> None:
        """Delete."""

    def read(self, _context: Context, identifier: str, inputs: Properties, outputs: Properties) -> ReadResult:
        """Look at the live resource."""
        return ReadResult(identifier, outputs, inputs)

    def invoke(self, _context: Context, token: str, _arguments: Properties) -> Properties:
        """Call a function."""
        raise UnsupportedError(f"the function {token}")


GRACE: Final = 2.0
"""Seconds a provider has to end what it runs once its time is over."""


def run_limited(seconds: float, what: str, action: Callable[[], Any], cancelled: threading.Event | None = None) -> Any:
    """Run an action for at most so many seconds (0: no limit); ``cancelled`` is set when they are over.

    Raises:
        OutcomeUnknown: the time is over; an action that heeds no ``cancelled`` is left behind on its thread.
    """
    if seconds <= 0:
        return action()
    outcome: list[tuple[bool, Any]] = []

    def target() -> None:
        try:
            outcome.append((True, action()))
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            outcome.append((False, error))

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        if cancelled is not None:
            cancelled.set()
            thread.join(GRACE)
        raise OutcomeUnknown(f"{what} timed out after {seconds:g} s (customTimeouts)")
    good, value = outcome[0]
    if not good:
        raise value
    return value
