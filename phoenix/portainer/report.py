"""What a run did, for people and for machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from phoenix.portainer.carry_out import Outcome
from phoenix.portainer.plan import Plan
from phoenix.portainer.readiness import Result


@dataclass
class Report:
    """A run, filled in as it goes on, so that a failed one can be shown too.

    Attributes:
        stack: the Pulumi stack.
        dry_run: whether nothing was to be written.
        steps: name and seconds of each step that ended well.
        readiness: the last round of checks.
        server: Portainer's version; empty before it answered.
        plan: what was to be done.
        outcomes: what became of it.
        notes: sentences.
        failed: the step that failed; empty where none did.
    """

    stack: str
    dry_run: bool = False
    steps: list[tuple[str, float]] = field(default_factory=list)
    readiness: list[Result] = field(default_factory=list)
    server: str = ""
    plan: Plan | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""
    message: str = ""

    def as_json(self) -> dict[str, object]:
        """The run for machines."""
        return {
            "stack": self.stack,
            "dryRun": self.dry_run,
            "ok": not self.failed,
            "failedStep": self.failed or None,
            "message": self.message,
            "server": self.server or None,
            "steps": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in self.steps],
            "readiness": [result.as_json() for result in self.readiness],
            "plan": self.plan.as_json() if self.plan else None,
            "outcomes": [
                {
                    **outcome.step.as_json(),
                    "result": outcome.result,
                    "seconds": round(outcome.seconds, 3),
                    "message": outcome.message,
                }
                for outcome in self.outcomes
                if outcome.step.action != "unchanged"
            ],
            "notes": list(self.notes),
        }


class Progress(Protocol):
    """Shows a run while it goes on."""

    def begin(self, step: str, what: str) -> None:
        """A step begins."""
        ...

    def end(self, step: str, seconds: float, detail: str) -> None:
        """A step ended well."""
        ...

    def fail(self, step: str, seconds: float) -> None:
        """A step failed."""
        ...

    def readiness(self, number: int, results: list[Result]) -> None:
        """A round of checks ended."""
        ...

    def plan(self, plan: Plan) -> None:
        """The plan is made."""
        ...

    def outcome(self, outcome: Outcome) -> None:
        """A step of the plan ended."""
        ...

    def note(self, text: str) -> None:
        """A sentence."""
        ...


class Silent:
    """Shows nothing."""

    def begin(self, step: str, what: str) -> None:
        """Nothing."""

    def end(self, step: str, seconds: float, detail: str) -> None:
        """Nothing."""

    def fail(self, step: str, seconds: float) -> None:
        """Nothing."""

    def readiness(self, number: int, results: list[Result]) -> None:
        """Nothing."""

    def plan(self, plan: Plan) -> None:
        """Nothing."""

    def outcome(self, outcome: Outcome) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
