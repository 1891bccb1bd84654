"""The end of every display: diagnostics, outputs, counts, duration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engine.checkpoint import STACK_TYPE
from engine.display.render import MARKS, Palette, Renderer
from engine.events import DiagnosticEvent
from engine.values import Properties

_VERBS: Final = {
    "create": ("to create", "created"),
    "update": ("to update", "updated"),
    "delete": ("to delete", "deleted"),
    "replace": ("to replace", "replaced"),
    "read": ("to read", "read"),
    "refresh": ("to refresh", "refreshed"),
}


def urn_label(urn: str) -> str:
    """Write a URN as ``type (name)``."""
    parts = urn.split("::", 3)
    if len(parts) < 4:
        return urn
    return f"{parts[2].rsplit('$', 1)[-1]} ({parts[3]})"


def urn_type_name(urn: str) -> tuple[str, str]:
    """Return a URN's type and name."""
    parts = urn.split("::", 3)
    return (parts[2].rsplit("$", 1)[-1], parts[3]) if len(parts) == 4 else (urn, "")


def diagnostics(found: Iterable[DiagnosticEvent], palette: Palette, stack_urn: str) -> list[str]:
    """Write the Diagnostics section, resource by resource."""
    grouped: dict[str, list[DiagnosticEvent]] = {}
    for event in found:
        if not event.ephemeral and event.severity != "debug":
            grouped.setdefault(event.urn or stack_urn, []).append(event)
    if not grouped:
        return []
    lines = [palette("headline", "Diagnostics:")]
    for urn, events in grouped.items():
        lines.append(f"  {palette('bold', urn_label(urn))}:")
        for event in events:
            prefix = {"error": palette("error", "error: "), "warning": palette("warning", "warning: ")}.get(
                event.severity, ""
            )
            body = event.message.rstrip("\n").split("\n")
            lines += [f"    {prefix if number == 0 else ''}{line}" for number, line in enumerate(body)]
        lines.append("")
    return lines


def outputs(renderer: Renderer, old: Properties | None, new: Properties, *, unchanged: bool) -> list[str]:
    """Write the Outputs section, with or without what is unchanged; empty where nothing is to show."""
    body = renderer.properties(new, 4) if old is None else renderer.difference(old, new, 4, unchanged=unchanged)
    return [renderer.palette("headline", "Outputs:"), *body] if body else []


def counts(changes: dict[str, int], palette: Palette, *, preview: bool) -> list[str]:
    """Write the Resources section."""
    lines = [palette("headline", "Resources:")]
    total = 0
    for operation, (planned, done) in _VERBS.items():
        number = changes.get(operation, 0)
        if number:
            total += number
            text = f"    {MARKS[operation]}{number} {planned if preview else done}"
            lines.append(palette.operation(operation, text))
    unchanged = changes.get("same", 0)
    if unchanged:
        kinds = sum(1 for operation in _VERBS if changes.get(operation))
        total_text = f"{total} changes. " if kinds > 1 else ""
        lines.append(f"    {total_text}{unchanged} unchanged")
    return lines


def duration(seconds: float) -> str:
    """Write a duration: whole seconds, minutes, hours."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s"


def is_stack(urn: str) -> bool:
    """Tell whether a URN is a stack's."""
    return urn_type_name(urn)[0] == STACK_TYPE
