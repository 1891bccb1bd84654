"""Plain lines, one when a step begins and one when it ends; and the diff view."""

from __future__ import annotations

import threading
from typing import Final, TextIO

from engine.display import summary
from engine.display.render import MARKS, Palette, Renderer, changed_keys
from engine.events import DiagnosticEvent, OutputsEvent, PreludeEvent, StepEvent, SummaryEvent
from engine.values import Properties

_DOING: Final = {
    "create": ("create", "creating", "created"),
    "update": ("update", "updating", "updated"),
    "delete": ("delete", "deleting", "deleted"),
    "replace": ("replace", "replacing", "replaced"),
    "create-replacement": ("create replacement", "creating replacement", "created replacement"),
    "delete-replaced": ("delete original", "deleting original", "deleted original"),
    "read": ("read", "reading", "read"),
    "refresh": ("refresh", "refreshing", "refreshed"),
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


def changes(event: StepEvent) -> bool:
    """Tell whether a step's event announces a change to one of the user's resources."""
    return (
        event.phase == "pre"
        and event.logical
        and event.operation not in ("same", "refresh", "read", "discard")
        and not event.resource.is_default_provider
    )


class Display:
    """What every display shares: it collects diagnostics and outputs and writes the end."""

    def __init__(
        self,
        out: TextIO,
        palette: Palette,
        *,
        preview: bool,
        show_secrets: bool = False,
        suppress_outputs: bool = False,
        show_sames: bool = False,
    ) -> None:
        self.out = out
        self.palette = palette
        self.preview = preview
        self.renderer = Renderer(palette, show_secrets=show_secrets)
        self.suppress_outputs = suppress_outputs
        self.show_sames = show_sames
        self.diagnostics: list[DiagnosticEvent] = []
        self.stack_urn = ""
        self.old_outputs: Properties | None = None
        self.outputs: Properties = {}
        self.changed_urns: list[tuple[str, str]] = []
        self._lock = threading.RLock()

    def __call__(self, event: object) -> None:
        """Take an event."""
        with self._lock:
            if isinstance(event, DiagnosticEvent):
                if not event.ephemeral:
                    self.diagnostics.append(event)
                self.diagnostic(event)
            elif isinstance(event, StepEvent):
                if summary.is_stack(event.urn):
                    self.stack_urn = event.urn
                if changes(event):
                    self.changed_urns.append((event.operation, event.urn))
                self.step(event)
            elif isinstance(event, OutputsEvent):
                if summary.is_stack(event.resource.urn):
                    self.stack_urn = event.resource.urn
                    self.outputs = event.resource.outputs
                    self.old_outputs = event.old.outputs if event.old is not None else None
                self.component_done(event)
            elif isinstance(event, SummaryEvent):
                self.finish(event)
            elif isinstance(event, PreludeEvent):
                self.begin()

    def write(self, text: str = "") -> None:
        """Write a line."""
        print(text, file=self.out, flush=True)

    def begin(self) -> None:
        """The operation begins."""

    def close(self) -> None:
        """The display is no longer needed."""

    def step(self, event: StepEvent) -> None:
        """A step begins or ends."""

    def component_done(self, event: OutputsEvent) -> None:
        """A component's outputs are there."""

    def diagnostic(self, event: DiagnosticEvent) -> None:
        """A message was told."""

    def finish(self, event: SummaryEvent) -> None:
        """Write the end."""
        for line in summary.diagnostics(self.diagnostics, self.palette, self.stack_urn):
            self.write(line)
        if not self.suppress_outputs and not (event.failed and self.preview):
            shown = summary.outputs(self.renderer, self.old_outputs, self.outputs, unchanged=not self.preview)
            for line in shown:
                self.write(line)
            if shown:
                self.write()
        for line in summary.counts(event.changes, self.palette, preview=event.preview):
            self.write(line)
        if not event.preview:
            self.write()
            self.write(f"{self.palette('headline', 'Duration:')} {summary.duration(event.seconds)}")
        self.write()


class LinesDisplay(Display):
    """Plain lines as things happen: for pipes, files and CI."""

    def begin(self) -> None:
        """Announce."""
        self.write()
        self.write(f"@ {'previewing update' if self.preview else 'updating'}....")

    def step(self, event: StepEvent) -> None:
        """Write a line for what is worth one."""
        if event.resource.is_default_provider or (event.operation == "same" and not self.show_sames):
            return
        if event.operation == "refresh" and event.phase == "pre":
            return
        if event.operation in ("create-replacement", "delete-replaced") and self.preview:
            return
        if self.preview and event.phase != "pre" and event.operation not in ("refresh",):
            return
        if event.operation == "replace" and event.phase == "pre" and not self.preview:
            return
        kind, name = summary.urn_type_name(event.urn)
        mark = MARKS.get(event.operation, "  ")
        info = ""
        if event.old is not None and event.new is not None and event.operation in ("update", "replace"):
            keys = changed_keys(event.old.inputs, event.new.inputs)
            info = f" [diff: {keys}]" if keys else ""
        text = doing(event.operation, event.phase, preview=self.preview)
        timing = ""
        if not self.preview:
            timing = " (0s)" if event.phase == "pre" else f" ({event.seconds:.2f}s)"
        self.write(self.palette.operation(event.operation, f" {mark} {kind} {name} {text}{timing}{info}"))

    def diagnostic(self, event: DiagnosticEvent) -> None:
        """Write what a running command prints, as it comes."""
        if event.ephemeral and event.urn and not self.preview:
            kind, name = summary.urn_type_name(event.urn)
            self.write(f"    {kind} {name} {event.message.rstrip()}")

    def finish(self, event: SummaryEvent) -> None:
        """Write the end."""
        self.write()
        super().finish(event)


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
        self.write(self.palette.operation(operation, f"{' ' * indent}{mark}{kind}: ({operation})"))
        if event.old is not None and event.old.id:
            self.write(f"{inner}[id={event.old.id}]")
        self.write(f"{inner}[urn={event.urn}]")
        if event.resource.provider and not kind.startswith("pulumi-python:"):
            self.write(f"{inner}[provider={event.resource.provider}]")
        for line in self._details(event, refreshed, indent + 4):
            self.write(line)

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
            shown = summary.outputs(self.renderer, self.old_outputs, self.outputs, unchanged=not self.preview)
        if shown:
            self.write("    --outputs:--")
            for line in shown[1:]:
                self.write(line)
        self.suppress_outputs = True
        super().finish(event)
