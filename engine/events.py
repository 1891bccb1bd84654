"""What happens during an operation, told to whoever shows or records it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.checkpoint import Resource
from engine.diff import DiffResult


@dataclass(slots=True)
class Event:
    """Base of all events."""

    timestamp: float = field(default_factory=time.time, init=False)


@dataclass(slots=True)
class PreludeEvent(Event):
    """The operation begins; ``config`` has its secrets masked."""

    config: dict[str, str]
    stack_urn: str


@dataclass(slots=True)
class StepEvent(Event):
    """A step begins (``pre``), is done (``done``) or failed (``failed``).

    Attributes:
        operation: same, create, update, delete, replace, create-replacement, delete-replaced,
            read, refresh, discard-replaced or remove-pending-replace.
        logical: whether it counts in the summary (the physical halves of a replacement do not).
        seconds: how long it took, for ``done`` and ``failed``.
        result: what a refresh found: same, update or delete.
    """

    phase: str
    operation: str
    urn: str
    old: Resource | None = None
    new: Resource | None = None
    diff: DiffResult | None = None
    logical: bool = True
    seconds: float = 0.0
    result: str = ""

    @property
    def resource(self) -> Resource:
        """The new state, or the old one of a deletion."""
        found = self.new or self.old
        if found is None:
            raise ValueError("a step has a resource")
        return found

    @property
    def announces_change(self) -> bool:
        """Whether it is the beginning of a change to one of the user's resources."""
        unchanging = ("same", "refresh", "read", "discard")
        return (
            self.phase == "pre"
            and self.logical
            and self.operation not in unchanging
            and not self.resource.is_default_provider
        )


@dataclass(slots=True)
class OutputsEvent(Event):
    """A component's or the stack's outputs are registered: the end of its step."""

    operation: str
    resource: Resource
    old: Resource | None
    seconds: float


@dataclass(slots=True)
class DiagnosticEvent(Event):
    """A message: severity is debug, info, info#err (stderr), warning or error.

    An ephemeral one is shown while its resource is worked on and not repeated under Diagnostics.
    """

    severity: str
    message: str
    urn: str = ""
    ephemeral: bool = False


@dataclass(slots=True)
class SummaryEvent(Event):
    """The operation is over: how many resources each operation met, and how long it took."""

    changes: dict[str, int]
    seconds: float
    preview: bool
    failed: bool


Sink = Callable[[Any], None]
