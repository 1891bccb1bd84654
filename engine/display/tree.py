"""The live view on a terminal: a tree of what changes, redrawn in place while it changes."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from engine.display import summary
from engine.display.lines import Display, doing
from engine.display.render import MARKS, changed_keys
from engine.events import DiagnosticEvent, OutputsEvent, PreludeEvent, StepEvent, SummaryEvent

INTERVAL: Final = 0.1
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass
class _Row:
    urn: str
    parent: str
    operation: str
    phase: str = "pre"
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    info: str = ""
    messages: dict[str, int] = field(default_factory=dict)

    @property
    def shown(self) -> bool:
        return self.operation != "same" or bool(self.messages) or self.phase == "failed"


class TreeDisplay(Display):
    """Draws a tree and keeps it up to date; what is over stays on the screen."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._rows: dict[str, _Row] = {}
        self._drawn = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, event: PreludeEvent) -> None:
        """Start redrawing."""
        super().begin(event)
        self._thread = threading.Thread(target=self._run, name="engine-display", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop redrawing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            with self._lock:
                self._draw(final=False)

    def step(self, event: StepEvent) -> None:
        """Update a row."""
        resource = event.resource
        if resource.is_default_provider:
            return
        row = self._rows.get(event.urn)
        if row is None or event.phase == "pre":
            kept = row.messages if row is not None else {}
            row = self._rows[event.urn] = _Row(event.urn, resource.parent, event.operation, messages=kept)
        row.operation, row.phase, row.seconds = event.operation, event.phase, event.seconds
        row.info = changed_keys(event).strip() or row.info

    def outputs_event(self, event: OutputsEvent) -> None:
        """A component's row is done with its outputs."""
        row = self._rows.get(event.resource.urn)
        if row is not None:
            row.phase, row.seconds = "done", event.seconds

    def diagnostic(self, event: DiagnosticEvent) -> None:
        """Show what a running step prints, and count messages."""
        row = self._rows.get(event.urn or self.stack_urn)
        if row is None:
            return
        text = event.message.strip().splitlines()
        if event.ephemeral:
            row.info = text[-1] if text else row.info
        elif event.severity != "debug":
            kind = {"error": "error", "warning": "warning"}.get(event.severity, "message")
            row.messages[kind] = row.messages.get(kind, 0) + 1
            if kind == "error" and text:
                row.info = text[0]

    def finish(self, event: SummaryEvent) -> None:
        """Draw the tree a last time, then the end."""
        self._stop.set()
        for row in self._rows.values():
            row.phase = "done" if row.phase == "pre" else row.phase
        self._draw(final=True)
        self.write()
        super().finish(event)

    # -- drawing --------------------------------------------------------------------------------

    def _draw(self, *, final: bool) -> None:
        width, height = shutil.get_terminal_size()
        lines = self._lines(final)
        if not final and len(lines) > height - 2:
            hidden = len(lines) - (height - 3)
            lines = [lines[0], *lines[-(height - 4) :], f"     ({hidden} more above)"]
        if not final:
            running = sum(1 for row in self._rows.values() if row.phase == "pre")
            glyph = _SPINNER[int(time.monotonic() / INTERVAL) % len(_SPINNER)]
            lines.append(f"@ {self.doing} {glyph}" + (f" {running} running" if running else ""))
        text = "".join((line if final else _cut(line, width)) + "\x1b[K\n" for line in lines)
        back = f"\x1b[{self._drawn}A\r" if self._drawn else ""
        self.out.write(back + "\x1b[J" + text if len(lines) < self._drawn else back + text)
        self.out.flush()
        self._drawn = 0 if final else len(lines)

    def _lines(self, final: bool) -> list[str]:
        shown = {urn for urn, row in self._rows.items() if row.shown or (not final and row.phase == "pre")}
        for urn in list(shown):
            above = self._rows[urn].parent
            while above in self._rows and above not in shown:
                shown.add(above)
                above = self._rows[above].parent
        children: dict[str, list[str]] = {}
        for urn, row in self._rows.items():
            if urn in shown:
                children.setdefault(row.parent if row.parent in shown else "", []).append(urn)
        table: list[tuple[_Row, str]] = []
        self._walk("", "", children, table)
        if not table:
            return []
        wide = max(len(prefix + summary.urn_type_name(row.urn)[0]) for row, prefix in table)
        name_wide = max(len(summary.urn_type_name(row.urn)[1]) for row, _ in table)
        head = f"     {'Type':<{wide}}  {'Name':<{name_wide}}  {'Plan' if self.preview else 'Status':<22}  Info"
        return [self.palette("headline", head), *(self._line(row, p, wide, name_wide) for row, p in table)]

    def _walk(self, parent: str, prefix: str, children: dict[str, list[str]], table: list[tuple[_Row, str]]) -> None:
        below = children.get(parent, [])
        for number, urn in enumerate(below):
            last = number == len(below) - 1
            branch = "" if not parent else prefix + ("└─ " if last else "├─ ")
            table.append((self._rows[urn], branch))
            self._walk(urn, "" if not parent else prefix + ("   " if last else "│  "), children, table)

    def _line(self, row: _Row, prefix: str, wide: int, name_wide: int) -> str:
        kind, name = summary.urn_type_name(row.urn)
        status = doing(row.operation, row.phase, preview=self.preview)
        if not self.preview and row.operation != "same":
            seconds = time.monotonic() - row.started if row.phase == "pre" else row.seconds
            status += f" ({seconds:.0f}s)" if row.phase == "pre" or seconds >= 10 else f" ({seconds:.2f}s)"
        counted = ", ".join(f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in row.messages.items())
        info = "; ".join(part for part in (counted, row.info) if part)
        mark = self.palette.operation(row.operation, f" {MARKS.get(row.operation, '  '):<2}")
        coloured = self.palette.operation(row.operation, f"{status:<22}")
        if row.phase == "failed":
            coloured = self.palette("error", f"{status:<22}")
        return f"{mark}  {prefix + kind:<{wide}}  {name:<{name_wide}}  {coloured}  {info}".rstrip()


def _cut(line: str, width: int) -> str:
    """Cut a line to the terminal's width, escape sequences not counted."""
    seen, out, position = 0, [], 0
    while position < len(line):
        if line[position] == "\x1b":
            end = line.index("m", position) + 1
            out.append(line[position:end])
            position = end
            continue
        if seen >= width - 1:
            break
        out.append(line[position])
        seen += 1
        position += 1
    return "".join(out) + ("\x1b[0m" if "\x1b" in line else "")
