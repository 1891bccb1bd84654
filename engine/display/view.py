"""What every view shares: it hears events one at a time, and keeps the list of changes."""

from __future__ import annotations

import threading
from typing import Any

from engine.events import DiagnosticEvent, OutputsEvent, PreludeEvent, StepEvent, SummaryEvent


class View:
    """Hears events; each kind has a method to override."""

    def __init__(self) -> None:
        self.changed_urns: list[tuple[str, str]] = []
        self._lock = threading.RLock()

    def __call__(self, event: Any) -> None:
        """Take an event; from any thread."""
        with self._lock:
            if isinstance(event, StepEvent):
                if event.announces_change:
                    self.changed_urns.append((event.operation, event.urn))
                self.step(event)
            elif isinstance(event, DiagnosticEvent):
                self.diagnostic(event)
            elif isinstance(event, OutputsEvent):
                self.outputs_event(event)
            elif isinstance(event, SummaryEvent):
                self.finish(event)
            elif isinstance(event, PreludeEvent):
                self.begin(event)

    def begin(self, event: PreludeEvent) -> None:
        """The operation begins."""

    def step(self, event: StepEvent) -> None:
        """A step begins or ends."""

    def outputs_event(self, event: OutputsEvent) -> None:
        """A component's outputs are there."""

    def diagnostic(self, event: DiagnosticEvent) -> None:
        """A message was told."""

    def finish(self, event: SummaryEvent) -> None:
        """The operation is over."""

    def close(self) -> None:
        """The view is no longer needed."""
