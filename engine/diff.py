"""What changed: property by property, and what that means for the resource.

Paths are written as Pulumi writes them: ``a.b[0]["odd.key"]``; in options ``[*]`` and ``*`` match any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from engine.errors import ConfigurationError
from engine.values import UNKNOWN, Properties, Secret, Value, opened, same

ADD: Final = "add"
DELETE: Final = "delete"
UPDATE: Final = "update"
REPLACE_SUFFIX: Final = "-replace"

Path = tuple[str | int, ...]


@dataclass
class DiffResult:
    """A provider's answer to "what differs".

    Attributes:
        changes: True, False, or None where the provider leaves it to the engine.
        replace_keys: properties that force a replacement.
        detailed: path → kind, or None where the provider tells none.
        delete_before_replace: what the provider wants, or None.
    """

    changes: bool | None = None
    replace_keys: list[str] = field(default_factory=list)
    changed_keys: list[str] = field(default_factory=list)
    detailed: dict[str, str] | None = None
    delete_before_replace: bool | None = None

    @property
    def replaces(self) -> bool:
        """Whether the resource must be replaced."""
        return bool(self.replace_keys) or any(kind.endswith(REPLACE_SUFFIX) for kind in (self.detailed or {}).values())

    def settle(self, old: Properties, new: Properties) -> DiffResult:
        """Answer from the inputs what the provider left open."""
        if self.changes is None:
            paths = compare(old, new)
            self.changes = bool(paths)
            self.changed_keys = sorted({str(path[0]) for path in paths})
            self.detailed = {format_path(path): kind for path, kind in paths.items()} or None
        return self


def compare(old: Properties, new: Properties) -> dict[Path, str]:
    """Return every differing path of two property maps and its kind; secretness does not count."""
    found: dict[Path, str] = {}
    _compare(opened(old), opened(new), (), found)
    return found


def _compare(old: Value, new: Value, path: Path, found: dict[Path, str]) -> None:
    old, new = opened(old), opened(new)
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in old:
                found[(*path, key)] = ADD
            elif key not in new:
                found[(*path, key)] = DELETE
            else:
                _compare(old[key], new[key], (*path, key), found)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            if index >= len(old):
                found[(*path, index)] = ADD
            elif index >= len(new):
                found[(*path, index)] = DELETE
            else:
                _compare(old[index], new[index], (*path, index), found)
    elif new is UNKNOWN or not same(old, new):
        found[path] = UPDATE


def inputs_differ(old: Properties, new: Properties) -> bool:
    """Tell whether two property maps differ, secretness apart."""
    return bool(compare(old, new))


def format_path(path: Path) -> str:
    """Write a path as Pulumi does."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][\w$-]*", part):
            text += f".{part}" if text else part
        else:
            escaped = part.replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


_PART: Final = re.compile(r'\.?([^.\[\]"]+)|\[(\d+)\]|\[(\*)\]|\["((?:[^"\\]|\\.)*)"\]')


def parse_path(text: str) -> Path:
    """Parse a path; ``*`` stands for any key or index.

    Raises:
        ConfigurationError: the path is malformed.
    """
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise ConfigurationError(f"property path {text!r} is malformed at character {position + 1}")
        name, index, star, quoted = match.groups()
        if index is not None:
            parts.append(int(index))
        else:
            parts.append(name or star or (quoted or "").replace('\\"', '"'))
        position = match.end()
    return tuple(parts)


def matches(pattern: Path, path: Path) -> bool:
    """Tell whether a path is at or below a pattern."""
    return len(path) >= len(pattern) and all(want in ("*", got) for want, got in zip(pattern, path, strict=False))


def apply_ignore_changes(new: Properties, old: Properties, patterns: list[str]) -> Properties:
    """Return the new inputs with ignored paths set back to what they were."""
    result: Any = new
    for text in patterns:
        result = _restore(result, old, parse_path(text))
    return result if isinstance(result, dict) else new


_MISSING: Final = object()


def _restore(new: Any, old: Any, path: Path) -> Any:
    secret = isinstance(new, Secret)
    new, old = opened(new), opened(old)
    if not path:
        return old
    head, rest = path[0], path[1:]
    if isinstance(new, dict) or (new is _MISSING and isinstance(old, dict)):
        source = old if isinstance(old, dict) else {}
        target: dict[Any, Any] = dict(new) if isinstance(new, dict) else {}
        keys = source.keys() | target.keys() if head == "*" else {head}
        for key in keys:
            restored = _restore(target.get(key, _MISSING), source.get(key, _MISSING), rest)
            if restored is _MISSING:
                target.pop(key, None)
            else:
                target[key] = restored
        result: Any = target if target or new is not _MISSING else _MISSING
    elif isinstance(new, list) and isinstance(old, list):
        result = list(new)
        indexes = range(max(len(new), len(old))) if head == "*" else [head]
        for index in indexes:
            if not isinstance(index, int) or index >= len(old):
                continue
            if index < len(result):
                result[index] = _restore(result[index], old[index], rest)
            elif index == len(result):
                result.append(old[index])
    else:
        result = new
    return Secret(result) if secret and result is not _MISSING else result


def apply_replace_on_changes(diff: DiffResult, patterns: list[str]) -> None:
    """Turn changes at or below the given paths into replacements, in place.

    As in the official engine, only what the provider tells in detail counts.
    """
    if not diff.changes:
        return
    parsed = [parse_path(pattern) for pattern in patterns]
    for text, kind in (diff.detailed or {}).items():
        path = parse_path(text)
        if any(matches(pattern, path) for pattern in parsed) and not kind.endswith(REPLACE_SUFFIX):
            diff.detailed = {**(diff.detailed or {}), text: kind + REPLACE_SUFFIX}
    for key in diff.changed_keys:
        if key not in diff.replace_keys and any(matches(pattern, (key,)) for pattern in parsed):
            diff.replace_keys.append(key)
