"""Variables in compose files, as Docker Compose substitutes them.

Source: https://docs.docker.com/reference/compose-file/interpolation/. ``$$`` is a literal dollar sign; ``$NAME``,
``${NAME}``, ``${NAME:-default}``, ``${NAME:?message}`` and ``${NAME:+other}`` (each also without the colon) are
substituted; other braces behind a dollar sign make Compose refuse the file; other dollar signs stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_MAXIMUM_DEPTH = 20


@dataclass
class Findings:
    """What a substitution met.

    Attributes:
        unset: names without value and default: Compose puts an empty text there.
        required: names that ``${NAME:?…}`` demands and that have no value.
        invalid: the first characters of each ``${`` that Compose refuses.
    """

    unset: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)


def substitute(text: str, variables: Mapping[str, str], findings: Findings, depth: int = 0) -> str:
    """``text`` with its variables substituted; what was wrong is added to ``findings``.

    Args:
        text: one string value of a compose file.
        variables: names and values.
        findings: collects what is wrong.
        depth: how deep defaults are nested.
    """
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            parts.append("$")
            at = dollar + 2
        elif following == "{":
            end = _closing(text, dollar + 2)
            if end < 0 or depth >= _MAXIMUM_DEPTH:
                findings.invalid.append(text[dollar : dollar + 24])
                return "".join(parts)
            parts.append(_braced(text[dollar + 2 : end], variables, findings, depth))
            at = end + 1
        elif found := _NAME.match(text, dollar + 1):
            parts.append(_plain(found.group(), variables, findings))
            at = found.end()
        else:
            # A dollar sign before anything else stands for itself.
            parts.append("$")
            at = dollar + 1
    parts.append(text[at:])
    return "".join(parts)


def escape(text: str) -> str:
    """``text`` such that Compose substitutes nothing in it."""
    return text.replace("$", "$$")


def _closing(text: str, start: int) -> int:
    """Where the brace closes that opened before ``start``; -1 where it does not."""
    depth, at = 1, start
    while at < len(text):
        if text.startswith("$$", at):
            at += 2
            continue
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def _plain(name: str, variables: Mapping[str, str], findings: Findings) -> str:
    if name not in variables:
        findings.unset.append(name)
        return ""
    return variables[name]


def _braced(inner: str, variables: Mapping[str, str], findings: Findings, depth: int) -> str:
    found = _NAME.match(inner)
    if not found:
        findings.invalid.append("${" + inner[:22])
        return ""
    name, rest = found.group(), inner[found.end() :]
    if not rest:
        return _plain(name, variables, findings)
    operator = _OPERATOR.match(rest)
    if not operator:
        findings.invalid.append("${" + inner[:22])
        return ""
    word = rest[operator.end() :]
    has = bool(variables.get(name)) if operator.group().startswith(":") else name in variables
    match operator.group()[-1]:
        case "-":
            return variables[name] if has else substitute(word, variables, findings, depth + 1)
        case "+":
            return substitute(word, variables, findings, depth + 1) if has else ""
        case _:
            if not has:
                findings.required.append(name)
            return variables.get(name, "")
