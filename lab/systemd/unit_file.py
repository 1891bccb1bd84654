"""Reads unit files as systemd does: systemd.syntax(7), systemd.unit(5) and the command lines of systemd.service(5)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zµ]*)")
_SECONDS = {
    "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "us": 1e-6, "usec": 1e-6, "µs": 1e-6, "ms": 1e-3, "msec": 1e-3,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0, "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b"}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\$")
_WORD_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


class UnitSyntaxError(ValueError):
    """A value in a unit file cannot be understood; the text says which and why."""


@dataclass(frozen=True)
class Entry:
    """One ``key=value`` of a unit file and where it stands."""

    section: str
    key: str
    value: str
    path: Path
    line: int


@dataclass
class UnitText:
    """All entries of a unit file and its drop-ins, in order, and what was wrong with them."""

    entries: list[Entry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def last(self, section: str, key: str) -> str | None:
        """The last value given for ``key``; an empty one counts as unset."""
        values = [entry.value for entry in self.entries if (entry.section, entry.key) == (section, key)]
        return (values[-1] or None) if values else None

    def every(self, section: str, key: str) -> list[str]:
        """All values of a list-like ``key``; an empty assignment clears those before it."""
        values: list[str] = []
        for entry in self.entries:
            if (entry.section, entry.key) == (section, key):
                values = [*values, entry.value] if entry.value else []
        return values

    def words(self, section: str, key: str) -> list[str]:
        """The space-separated words of all values of ``key``."""
        return [word for value in self.every(section, key) for word in split_words(value)]


def parse(text: str, path: Path) -> UnitText:
    """Split a unit file's text into its entries.

    Args:
        text: the file's content.
        path: named in warnings.
    """
    unit = UnitText()
    section, pending, start = "", "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith(("#", ";")) or not (line or pending):
            continue
        start = start if pending else number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        line, pending = (pending + line).strip(), ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" not in line:
            unit.warnings.append(f"{path}:{start}: Missing '=', ignoring line.")
        elif not section:
            unit.warnings.append(f"{path}:{start}: Assignment outside of section. Ignoring.")
        else:
            key, _, value = line.partition("=")
            unit.entries.append(Entry(section, key.strip(), value.strip(), path, start))
    return unit


def duration(text: str) -> float:
    """Seconds of a time span such as ``90``, ``1min 30s``, ``250ms`` or ``infinity``.

    Raises:
        UnitSyntaxError: it is none.
    """
    if text.strip() == "infinity":
        return math.inf
    total, position = 0.0, 0
    while position < len(text.strip()):
        match = _DURATION.match(text.strip(), position)
        if match is None or match[2] not in _SECONDS:
            raise UnitSyntaxError(f"{text!r} is no time span")
        total += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if not text.strip():
        raise UnitSyntaxError("an empty time span")
    return total


def boolean(text: str) -> bool:
    """The truth of ``1 yes y true t on`` and their opposites.

    Raises:
        UnitSyntaxError: it is neither.
    """
    lowered = text.strip().lower()
    if lowered in {"1", "yes", "y", "true", "t", "on"}:
        return True
    if lowered in {"0", "no", "n", "false", "f", "off"}:
        return False
    raise UnitSyntaxError(f"{text!r} is neither yes nor no")


def split_words(text: str) -> list[str]:
    """Words of a line with systemd's quoting: single and double quotes, C escapes.

    Raises:
        UnitSyntaxError: a quote is not closed, or an escape is unknown.
    """
    words: list[str] = []
    current: list[str] | None = None
    quote = ""
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\":
            piece, position = _escape(text, position + 1)
            current = [*(current or []), piece]
            continue
        if quote:
            if char == quote:
                quote = ""
            else:
                current = [*(current or []), char]
        elif char in "'\"":
            quote, current = char, current or []
        elif char.isspace():
            if current is not None:
                words.append("".join(current))
            current = None
        else:
            current = [*(current or []), char]
        position += 1
    if quote:
        raise UnitSyntaxError(f"unbalanced quotes in {text!r}")
    if current is not None:
        words.append("".join(current))
    return words


def _escape(text: str, position: int) -> tuple[str, int]:
    rest = text[position:]
    if rest[:1] in _ESCAPES:
        return _ESCAPES[rest[0]], position + 1
    for pattern, base in ((r"x([0-9a-fA-F]{2})", 16), (r"([0-7]{3})", 8)):
        match = re.match(pattern, rest)
        if match:
            return chr(int(match[1], base)), position + match.end()
    raise UnitSyntaxError(f"unknown escape \\{rest[:1]} in {text!r}")


@dataclass(frozen=True)
class Command:
    """One command line of an ``Exec…=`` directive.

    Attributes:
        path: the program.
        arguments: its argument vector, the name it is started under first.
        ignore_failure: ``-`` was given: a failure counts as success.
        substitute: whether ``$VARIABLE`` is replaced; ``:`` switches it off.
        as_manager: ``+`` or ``!`` was given: ``User=`` does not apply.
    """

    path: str
    arguments: tuple[str, ...]
    ignore_failure: bool = False
    substitute: bool = True
    as_manager: bool = False

    def expanded(self, environment: Mapping[str, str]) -> list[str]:
        """The argument vector with the variables of ``environment`` put in."""
        if not self.substitute:
            return list(self.arguments)
        words: list[str] = [self.arguments[0]]
        for argument in self.arguments[1:]:
            whole = _WORD_VARIABLE.fullmatch(argument)
            if whole:
                words += split_words(environment.get(whole[1], ""))
            else:
                words.append(_VARIABLE.sub(lambda match: environment.get(match[1], "") if match[1] else "$", argument))
        return words


def commands(line: str) -> list[Command]:
    """The commands of one ``Exec…=`` line; a lone ``;`` parts them.

    Raises:
        UnitSyntaxError: quoting is wrong, or a command is missing.
    """
    found: list[Command] = []
    group: list[str] = []
    for word in [*split_words(line), ";"]:
        if word != ";":
            group.append(word)
        elif group:
            found.append(_command(group))
            group = []
    return found


def _command(words: list[str]) -> Command:
    match = re.match(r"[-@:+!]*", words[0])
    prefix = match[0] if match else ""
    path = words[0][len(prefix) :]
    arguments = list(words[1:])
    if not path:
        raise UnitSyntaxError(f"no program in {' '.join(words)!r}")
    name = path
    if "@" in prefix:
        if not arguments:
            raise UnitSyntaxError(f"no argv[0] after @ in {' '.join(words)!r}")
        name = arguments.pop(0)
    return Command(path, (name, *arguments), "-" in prefix, ":" not in prefix, "+" in prefix or "!" in prefix)


def specifiers(values: Mapping[str, str]) -> Callable[[str], str]:
    """A function that replaces ``%x`` by ``values["x"]`` and ``%%`` by ``%``; unknown ones stay."""

    def replace(text: str) -> str:
        return re.sub(
            r"%(.)",
            lambda match: "%" if match[1] == "%" else values.get(match[1], match[0]),
            text,
        )

    return replace


def environment_file(text: str) -> dict[str, str]:
    """Variables of an ``EnvironmentFile=``: one ``NAME=value`` a line, quotes allowed, ``#`` and ``;`` comments."""
    variables: dict[str, str] = {}
    for raw in text.replace("\\\n", "").splitlines():
        line = raw.strip()
        if not line or line[0] in "#;" or "=" not in line:
            continue
        name, _, value = line.partition("=")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        variables[name.strip()] = value
    return variables


def merge(texts: Iterable[UnitText]) -> UnitText:
    """One unit of a file and its drop-ins, in that order."""
    whole = UnitText()
    for text in texts:
        whole.entries += text.entries
        whole.warnings += text.warnings
    return whole
