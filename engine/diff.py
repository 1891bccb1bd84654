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
        of_inputs: whether the paths come from a comparison of the inputs, not from the provider.
    """

    changes: bool | None = None
    replace_keys: list[str] = field(default_factory=list)
    changed_keys: list[str] = field(default_factory=list)
    detailed: dict[str, str] | None = None
    delete_before_replace: bool | None = None
    of_inputs: bool = False

    @property
    def replaces(self) -> bool:
        """Whether the resource must be replaced."""
        return bool(self.replace_keys) or any(kind.endswith(REPLACE_SUFFIX) for kind in (self.detailed or {}).values())

    def settle(self, old: Properties, new: Properties) -> DiffResult:
        """Answer from the inputs what the provider left open."""
        if self.changes is None:
            paths = compare(old, new)
            self.changes, self.of_inputs = bool(paths), True
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


def apply_ignore_changes(new: Properties, old: Properties, patterns: list[str]) -> tuple[Properties, list[str]]:
    """Set ignored paths of the new inputs back to what they were.

    Returns:
        The inputs, and the patterns that could not be followed whole, since an element was added or removed. Malformed
        ones are passed over, as in the official engine (pulumi/sdk/go/common/resource/properties_path.go, Reset).
    """
    result: Any = new
    failed: list[str] = []
    for text in patterns:
        try:
            path = parse_path(text)
        except ConfigurationError:
            continue
        result, followed = _reset(result, old, path) if path else (result, False)
        if not followed:
            failed.append(text)
    return result, failed


def _reset(new: Any, old: Any, path: Path, *, hide: bool = False) -> tuple[Any, bool]:
    """Reset one path; return the new value, and whether the path could be followed in both.

    ``hide``: what is taken from the old value becomes a secret, since it stood inside one.
    """
    hidden = isinstance(new, Secret)
    hide = (hide or isinstance(old, Secret)) and not hidden
    new, old = opened(new), opened(old)
    head = path[0]
    if isinstance(new, dict) and not isinstance(head, int):
        result, followed = _reset_map(new, old, head, path[1:], hide)
    elif isinstance(new, list) and (head == "*" or isinstance(head, int)):
        result, followed = _reset_list(new, old, head, path[1:], hide)
    elif isinstance(head, int):
        result, followed = new, not isinstance(old, list)
    else:
        leads = isinstance(old, dict) and (len(path) > 1 or head in old)
        result, followed = new, head != "*" and not leads
    return (Secret(result) if hidden else result), followed


def _taken(value: Any, hide: bool) -> Any:
    return Secret(value) if hide and not isinstance(value, Secret) else value


def _reset_map(new: Properties, old: Any, head: str, rest: Path, hide: bool) -> tuple[Any, bool]:
    known = old if isinstance(old, dict) else {}
    if not rest:
        if head == "*":
            return ({key: _taken(value, hide) for key, value in old.items()} if known is old else new), True
        kept = {key: value for key, value in new.items() if key != head}
        return (kept | {head: _taken(known[head], hide)} if head in known else kept), True
    if known is not old:
        return new, False
    result = dict(new)
    for key in known if head == "*" else (head,):
        if key not in new:
            if key in known:
                return result, False
            continue
        result[key], followed = _reset(new[key], known.get(key), rest, hide=hide)
        if not followed:
            return result, False
    return result, True


def _reset_list(new: list[Any], old: Any, head: str | int, rest: Path, hide: bool) -> tuple[Any, bool]:
    if not isinstance(old, list):
        return new, head == "*" and not rest
    both = min(len(old), len(new))
    if isinstance(head, int):
        indexes: list[int] = [head] if head < both else []
        followed = head < both or (not rest and head >= max(len(old), len(new)))
    else:
        indexes, followed = list(range(both)), len(old) == len(new)
    result = list(new)
    for index in indexes:
        if not rest:
            result[index] = _taken(old[index], hide)
            continue
        result[index], inside = _reset(new[index], old[index], rest, hide=hide)
        followed = followed and inside
    return result, followed


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
