"""Plain lines, one when a step begins and one when it ends; and the diff view."""

from __future__ import annotations

from typing import Any, Final, TextIO

from engine.display import summary
from engine.display.render import MARKS, Palette, Renderer, changed_keys
from engine.display.view import View
from engine.events import DiagnosticEvent, OutputsEvent, PreludeEvent, StepEvent, SummaryEvent
from engine.values import UNKNOWN, Properties, opened

_DOING: Final = {
    "create": ("create", "creating", "created"),
    "update": ("update", "updating", "updated"),
    "delete": ("delete", "deleting", "deleted"),
    "replace": ("replace", "replacing", "replaced"),
    "create-replacement": ("create replacement", "creating replacement", "created replacement"),
    "delete-replaced": ("delete original", "deleting original", "deleted original"),
    "read": ("read", "reading", "read"),
    "refresh": ("refreshing", "refreshing", "refreshed"),
    "same": ("", "", ""),
}


def doing(operation: str, phase: str, *, preview: bool) -> str:
    """Say what a step does, in the tense of its phase."""
    planned, running, done = _DOING.get(operation, (operation, operation, operation))
    if preview:
        return planned
    if phase == "failed":
        return f"**{running} failed**"
    return running if phase == "pre" else done


class Display(View):
    """What every display for people shares: it collects diagnostics and outputs and writes the end."""

    def __init__(
        self,
        out: TextIO,
        palette: Palette,
        *,
        title: str,
        stack: str,
        preview: bool,
        show_secrets: bool = False,
        suppress_outputs: bool = False,
        show_sames: bool = False,
    ) -> None:
        super().__init__()
        self.out = out
        self.palette = palette
        self.title = f"{title} ({stack}):"
        self.doing = title.lower()
        self.preview = preview
        self.renderer = Renderer(palette, show_secrets=show_secrets)
        self.suppress_outputs = suppress_outputs
        self.show_sames = show_sames
        self.diagnostics: list[DiagnosticEvent] = []
        self.stack_urn = ""
        self.old_outputs: Properties | None = None
        self.outputs: Properties = {}

    def __call__(self, event: Any) -> None:
        """Note what the end needs, then take the event."""
        with self._lock:
            if isinstance(event, DiagnosticEvent) and not event.ephemeral:
                self.diagnostics.append(event)
            elif isinstance(event, PreludeEvent):
                self.stack_urn = event.stack_urn
            elif isinstance(event, StepEvent) and summary.is_stack(event.urn):
                if event.result and event.new is not None and not self.preview:  # a refresh shows them all
                    self.old_outputs = self.outputs = event.new.outputs
            elif isinstance(event, OutputsEvent) and summary.is_stack(event.resource.urn):
                self.outputs = event.resource.outputs
                self.old_outputs = event.old.outputs if event.old is not None else None
            super().__call__(event)

    def begin(self, event: PreludeEvent) -> None:
        """Write what begins, of which stack."""
        self.write(self.palette("headline", self.title))

    def write(self, *lines: str) -> None:
        """Write lines."""
        print(*(lines or ("",)), sep="\n", file=self.out, flush=True)

    def diagnostic(self, event: DiagnosticEvent) -> None:
        """Write what a running command prints, as it comes."""
        if event.ephemeral and event.urn and not self.preview:
            kind, name = summary.urn_type_name(event.urn)
            self.write(f"    {kind} {name} {event.message.rstrip()}")

    def finish(self, event: SummaryEvent) -> None:
        """Write the end."""
        lines = summary.diagnostics(self.diagnostics, self.palette, self.stack_urn)
        if not self.suppress_outputs and not (event.failed and self.preview):
            shown = self.shown_outputs()
            lines += [*shown, ""] if shown else []
        lines += summary.counts(event.changes, self.palette, preview=event.preview)
        errored = {item.urn for item in self.diagnostics if item.severity == "error"}
        lines += [f"    {len(errored)} errored"] if errored else []
        if not event.preview:
            lines += ["", f"{self.palette('headline', 'Duration:')} {summary.duration(event.seconds)}"]
        self.write(*lines)

    def shown_outputs(self) -> list[str]:
        """Return the stack's outputs; in a preview those that change, as far as that is known."""
        old, new = self.old_outputs, self.outputs
        if self.preview and old is not None:
            new = {key: value for key, value in new.items() if opened(value) is not UNKNOWN}
            old = {key: value for key, value in old.items() if key in new or key not in self.outputs}
        return summary.outputs(self.renderer, old, new, unchanged=not self.preview)


class LinesDisplay(Display):
    """Plain lines as things happen: for pipes, files and CI."""

    def begin(self, event: PreludeEvent) -> None:
        """Announce."""
        super().begin(event)
        self.write("", f"@ {self.doing}....")

    def step(self, event: StepEvent) -> None:
        """Write a line for what is worth one."""
        operation, pre = event.operation, event.phase == "pre"
        if (
            event.resource.is_default_provider
            or (operation == "same" and not self.show_sames)
            or (self.preview and not pre and operation != "refresh")
        ):
            return
        kind, name = summary.urn_type_name(event.urn)
        timing = "" if self.preview else " (0s)" if pre else f" ({event.seconds:.2f}s)"
        text = doing(operation, event.phase, preview=self.preview) + timing + changed_keys(event)
        self.write(self.palette.operation(operation, f" {MARKS.get(operation, '  ')} {kind} {name} {text}"))

    def finish(self, event: SummaryEvent) -> None:
        """Write the end."""
        self.write()
        super().finish(event)
        self.write()


class DiffDisplay(Display):
    """The diff view: each changed resource with its properties."""

    def step(self, event: StepEvent) -> None:
        """Write a changed resource when its step begins; a refreshed one when it is read."""
        refreshed = event.operation == "refresh" or bool(event.result)
        if event.phase != ("done" if refreshed else "pre") or event.resource.is_default_provider:
            return
        operation = event.result or event.operation
        stack = summary.is_stack(event.urn)
        if operation in ("create-replacement", "delete-replaced") or (
            operation == "same" and not (stack or self.show_sames)
        ):
            return
        indent = 0 if stack else 4 * (event.urn.split("::")[2].count("$") + 1)
        inner = " " * (indent + 4)
        mark = MARKS.get(operation, "  ")
        kind, _ = summary.urn_type_name(event.urn)
        lines = [self.palette.operation(operation, f"{' ' * indent}{mark}{kind}: ({operation})")]
        if event.old is not None and event.old.id:
            lines.append(f"{inner}[id={event.old.id}]")
        lines.append(f"{inner}[urn={event.urn}]")
        if event.resource.provider and not kind.startswith("pulumi-python:"):
            lines.append(f"{inner}[provider={event.resource.provider}]")
        self.write(*lines, *self._details(event, refreshed, indent + 4))

    def _details(self, event: StepEvent, refreshed: bool, indent: int) -> list[str]:
        old, new = event.old, event.new
        if old is None or new is None:
            shown = new or old
            return self.renderer.properties(shown.inputs, indent) if shown is not None else []
        if refreshed:
            return self.renderer.difference(old.outputs, new.outputs, indent)
        return self.renderer.difference(old.inputs, new.inputs, indent)

    def finish(self, event: SummaryEvent) -> None:
        """Write the end; outputs are part of the diff."""
        shown: list[str] = []
        if not self.suppress_outputs and not event.failed:
            shown = self.shown_outputs()
        if shown:
            self.write("    --outputs:--", *shown[1:])
        self.suppress_outputs = True
        super().finish(event)
