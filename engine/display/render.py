"""Turns properties and their differences into text, secrets masked."""

from __future__ import annotations

import difflib
import json
import os
from typing import Any, Final, TextIO

from engine.assets import Archive, Asset
from engine.events import StepEvent
from engine.values import UNKNOWN, Properties, Reference, Secret, opened, same

COLOURS: Final = {
    "add": "\033[32m", "delete": "\033[31m", "update": "\033[33m", "replace": "\033[35m",
    "error": "\033[31m", "warning": "\033[33m", "dim": "\033[2m", "bold": "\033[1m", "headline": "\033[1;35m",
    "info": "\033[36m", "reset": "\033[0m",
}  # fmt: skip
MARKS: Final = {
    "same": "  ", "create": "+ ", "update": "~ ", "delete": "- ", "replace": "+-", "create-replacement": "++",
    "delete-replaced": "--", "read": "> ", "refresh": "~ ", "discard": "< ",
}  # fmt: skip
OPERATION_COLOURS: Final = {
    "create": "add", "update": "update", "delete": "delete", "replace": "replace", "create-replacement": "add",
    "delete-replaced": "delete", "read": "info", "refresh": "update",
}  # fmt: skip
LONGEST: Final = 150
INTERNAL: Final = frozenset({"__provider", "__defaults", "__internal", "id", "urn"})


class Palette:
    """Colours text, or leaves it plain."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, name: str, text: str) -> str:
        """Return the text in a colour."""
        return f"{COLOURS[name]}{text}{COLOURS['reset']}" if self.enabled and name in COLOURS and text else text

    def operation(self, operation: str, text: str) -> str:
        """Return the text in an operation's colour."""
        return self(OPERATION_COLOURS.get(operation, ""), text)


def wants_colour(choice: str, stream: TextIO) -> bool:
    """Decide about colour: ``--color``, then NO_COLOR, then whether it is a terminal."""
    if choice in ("always", "never", "raw"):
        return choice == "always"
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def is_text(value: Any) -> bool:
    """Tell whether a value is text of several lines, worth a line diff."""
    return isinstance(value, str) and "\n" in value.rstrip("\n")


class Renderer:
    """Writes properties as the official CLI's diff view does.

    Args:
        palette: the colours.
        show_secrets: write secrets in clear.
    """

    def __init__(self, palette: Palette, *, show_secrets: bool = False) -> None:
        self.palette = palette
        self.show_secrets = show_secrets

    def scalar(self, value: Any) -> str:  # noqa: PLR0911 - one case a kind of value
        """Write a value that takes one line."""
        if isinstance(value, Secret):
            return self.scalar(value.value) if self.show_secrets else "[secret]"
        if value is UNKNOWN:
            return "[unknown]"
        if value is None:
            return "<null>"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            text = json.dumps(value[:LONGEST], ensure_ascii=False)
            return text if len(value) <= LONGEST else text[:-1] + '..."'
        if isinstance(value, Asset):
            kind = "text" if value.text is not None else "file" if value.path is not None else "uri"
            return f"asset({kind}:{value.digest[:7]})" + (f" {{ {value.path or value.uri} }}" if kind != "text" else "")
        if isinstance(value, Archive):
            return f"archive({'file' if value.path else 'assets'}:{value.digest[:7]}) {{ {value.path or ''} }}"
        if isinstance(value, Reference):
            return json.dumps(value.urn)
        return json.dumps(value)

    def _open(self, value: Any) -> Any:
        return opened(value) if self.show_secrets else value

    def properties(self, values: Properties, indent: int, *, mark: str = "", colour: str = "") -> list[str]:
        """Write a property map, a line or more each."""
        shown = {k: v for k, v in sorted(values.items()) if k not in INTERNAL or indent > 12}
        width = max((len(key) for key in shown), default=0)
        lines: list[str] = []
        for key, value in shown.items():
            lines += self._value(f"{key:<{width}}: ", value, indent, mark, colour)
        return lines

    def _line(self, indent: int, mark: str, text: str, colour: str) -> str:
        prefix = " " * (indent - 2) + f"{mark:<2}" if mark else " " * indent
        return self.palette(colour, prefix + text) if colour else prefix + text

    def _value(self, head: str, value: Any, indent: int, mark: str, colour: str) -> list[str]:
        value = self._open(value)
        if isinstance(value, dict) and value:
            lines = [self._line(indent, mark, head + "{", colour)]
            width = max(len(str(key)) for key in value)
            for key in sorted(value):
                lines += self._value(f"{key:<{width}}: ", value[key], indent + 4, mark, colour)
            return [*lines, self._line(indent, mark, "}", colour)]
        if isinstance(value, list) and value:
            lines = [self._line(indent, mark, head + "[", colour)]
            for index, item in enumerate(value):
                lines += self._value(f"[{index}]: ", item, indent + 4, mark, colour)
            return [*lines, self._line(indent, mark, "]", colour)]
        if isinstance(value, dict | list):
            return [self._line(indent, mark, head + ("{}" if isinstance(value, dict) else "[]"), colour)]
        return [self._line(indent, mark, head + self.scalar(value), colour)]

    def difference(self, old: Properties, new: Properties, indent: int, *, unchanged: bool = False) -> list[str]:
        """Write what differs between two property maps, with or without what is unchanged."""
        keys = [key for key in sorted(old.keys() | new.keys()) if key not in INTERNAL]
        same_keys = {key for key in keys if key in old and key in new and _equal(old[key], new[key])}
        if not unchanged:
            keys = [key for key in keys if key not in same_keys]
        width = max((len(key) for key in keys), default=0)
        lines: list[str] = []
        for key in keys:
            head = f"{key:<{width}}: "
            if key in same_keys:
                lines += self._value(head, new[key], indent, "", "")
            else:
                lines += self._change(head, old, new, key, indent)
        return lines

    def _change(self, head: str, old: Any, new: Any, key: Any, indent: int) -> list[str]:
        missing = object()
        before = old.get(key, missing) if isinstance(old, dict) else old[key] if key < len(old) else missing
        after = new.get(key, missing) if isinstance(new, dict) else new[key] if key < len(new) else missing
        if before is missing:
            return self._value(head, after, indent, "+", "add")
        if after is missing:
            return self._value(head, before, indent, "-", "delete")
        before, after = self._open(before), self._open(after)
        if isinstance(before, dict) and isinstance(after, dict):
            return [
                self._line(indent, "~", head + "{", "update"),
                *self._inside(before, after, sorted(before.keys() | after.keys()), indent + 4),
                self._line(indent, "", "}", ""),
            ]
        if isinstance(before, list) and isinstance(after, list):
            return [
                self._line(indent, "~", head + "[", "update"),
                *self._inside(before, after, list(range(max(len(before), len(after)))), indent + 4),
                self._line(indent, "", "]", ""),
            ]
        if isinstance(before, str) and isinstance(after, str) and (is_text(before) or is_text(after)):
            return [self._line(indent, "~", head.rstrip(), "update"), *self.text(before, after, indent + 6)]
        return [self._line(indent, "~", f"{head}{self.scalar(before)} => {self.scalar(after)}", "update")]

    def _inside(self, old: Any, new: Any, keys: list[Any], indent: int) -> list[str]:
        lines: list[str] = []
        unchanged = 0
        width = max((len(str(key)) for key in keys), default=0) if isinstance(old, dict) else 0
        for key in keys:
            has_both = (key in old and key in new) if isinstance(old, dict) else key < len(old) and key < len(new)
            if has_both and _equal(old[key], new[key]):
                unchanged += 1
                continue
            head = f"{key:<{width}}: " if isinstance(old, dict) else f"[{key}]: "
            lines += self._change(head, old, new, key, indent)
        if unchanged:
            lines.append(" " * indent + self.palette("dim", f"({unchanged} unchanged)"))
        return lines

    def text(self, old: str, new: str, indent: int) -> list[str]:
        """Write a line diff of two texts, three lines of context around each change."""
        lines: list[str] = []
        for line in list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3))[2:]:
            mark, rest = line[:1], line[1:]
            if mark == "@":
                if lines:
                    lines.append(" " * indent + self.palette("dim", "..."))
                continue
            colour = {"+": "add", "-": "delete"}.get(mark, "")
            lines.append(self._line(indent, mark if mark.strip() else "", rest, colour))
        if not lines:
            lines.append(" " * indent + "(line endings differ)")
        return lines


def _equal(left: Any, right: Any) -> bool:
    return opened(right) is not UNKNOWN and same(opened(left), opened(right))


def changed_keys(event: StepEvent) -> str:
    """Write what an update or replacement changes at the top: `` [diff: ~a,+b,-c]``, or nothing."""
    if event.old is None or event.new is None or event.operation not in ("update", "replace", "create-replacement"):
        return ""
    old, new = event.old.inputs, event.new.inputs
    parts = [
        ("+" if key not in old else "-" if key not in new else "~") + key
        for key in sorted((old.keys() | new.keys()) - INTERNAL)
        if not (key in old and key in new and _equal(old[key], new[key]))
    ]
    return f" [diff: {','.join(parts)}]" if parts else ""
