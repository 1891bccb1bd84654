"""Shows a run in a terminal: plain where there is none, or where NO_COLOR is set."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from phoenix.portainer.carry_out import Outcome
from phoenix.portainer.plan import Plan, Step
from phoenix.portainer.readiness import Result

_STYLES = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "adopt": (">", "cyan"),
    "unchanged": ("=", "dim"),
    "delete": ("-", "red"),
}
_FINDINGS = {
    "conflict": "bold red",
    "duplicate": "magenta",
    "orphan": "magenta",
    "drift": "yellow",
    "unreachable": "red",
    "warning": "yellow",
}


class Terminal:
    """Progress on standard error, the plan on standard output.

    Args:
        out: where the plan goes.
        progress: where everything else goes.
        plan: whether the plan is shown; not where JSON is printed.
        unchanged: whether the plan's unchanged steps are listed.
    """

    def __init__(
        self, out: Console | None = None, progress: Console | None = None, *, plan: bool = True, unchanged: bool = False
    ) -> None:
        self.out = out or Console(highlight=False, soft_wrap=True)
        self.err = progress or Console(stderr=True, highlight=False, soft_wrap=True)
        self._shows_plan = plan
        self._unchanged = unchanged

    def begin(self, step: str, what: str) -> None:
        """See :class:`phoenix.portainer.report.Progress`."""
        self.err.print(f"[dim]…[/] {escape(step)}: {escape(what)}")

    def end(self, step: str, seconds: float, detail: str) -> None:
        """See :class:`phoenix.portainer.report.Progress`."""
        more = f" [dim]({escape(detail)})[/]" if detail else ""
        self.err.print(f"[green]✓[/] {escape(step)} {seconds:.1f} s{more}")

    def fail(self, step: str, seconds: float) -> None:
        """See :class:`phoenix.portainer.report.Progress`."""
        self.err.print(f"[red]✗[/] {escape(step)} {seconds:.1f} s")

    def readiness(self, number: int, results: list[Result]) -> None:
        """See :class:`phoenix.portainer.report.Progress`."""
        for result in results:
            sign = "[red]✗[/]" if result.problem else "[green]✓[/]"
            subject = f"{result.check.name} ({result.check.subject})"
            problem = f": {escape(result.problem)}" if result.problem else ""
            again = f" [dim]try {number}[/]" if number > 1 else ""
            self.err.print(f"  {sign} {escape(subject)} {result.seconds * 1000:.0f} ms{problem}{again}")

    def plan(self, plan: Plan) -> None:
        """See :class:`phoenix.portainer.report.Progress`."""
        if not self._shows_plan:
            return
        for step in plan.steps:
            if step.action != "unchanged" or self._unchanged:
                self.out.print(line(step))
        counts = plan.count()
        summary = ", ".join(f"[{_STYLES[name][1]}]{number} {name}[/]" for name, number in counts.items() if number)
        self.out.print(f"Plan: {summary or 'nothing is declared'}")
        for finding in plan.findings:
            self.out.print(f"[{_FINDINGS[finding.kind]}]{finding.kind}:[/] {escape(finding.message)}")

    def outcome(self, outcome: Outcome) -> None:
        """See :class:`phoenix.portainer.report.Progress`."""
        sign = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[yellow]·[/]"}[outcome.result]
        message = f": {escape(outcome.message)}" if outcome.message else ""
        self.err.print(f"  {sign} {line(outcome.step, reasons=False)} {outcome.seconds:.1f} s{message}")

    def note(self, text: str) -> None:
        """See :class:`phoenix.portainer.report.Progress`."""
        self.err.print(f"[yellow]note:[/] {escape(text)}")


def line(step: Step, *, reasons: bool = True) -> str:
    """A step on one line, in rich's markup."""
    sign, style = _STYLES[step.action]
    where = "" if step.kind == "environment" else f" in {step.environment}"
    why = f" [dim]{escape('; '.join(step.reasons))}[/]" if reasons and step.reasons else ""
    return f"[{style}]{sign} {step.action:9}[/] {step.kind} [bold]{escape(step.name)}[/]{escape(where)}{why}"
