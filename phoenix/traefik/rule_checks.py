"""What can be known of rules without Traefik: their form, matchers that match nothing, and rules that clash. Pure.

Traefik 3 takes ``Host(`*.example.test`)``, a port or a path in ``Host`` and Traefik 2's ``{name:[a-z]+}`` literally, so
that the router is ``enabled`` and answers nobody; and of two routers for one host name it silently prefers the one with
the longer rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKENS = re.compile(r"`[^`]*`|\"(?:[^\"\\]|\\.)*\"|[A-Za-z]+(?=\s*\()|[()`\",]")
_ONE_NAME = frozenset({"Host", "HostRegexp", "HostSNI"})
_CALL = re.compile(
    r"\b(Host|HostRegexp|HostSNI|Path|PathPrefix|PathRegexp)\(\s*(?:`([^`]*)`|\"([^\"\\]*)\")\s*\)", re.IGNORECASE
)
_NAME = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)
_PLACEHOLDER = re.compile(r"\{[A-Za-z_]\w*(:[^}]*)?\}")
_PARTS = re.compile(r"`[^`]*`|\"(?:[^\"\\]|\\.)*\"|\s+|[^`\"\s]+")


def rule_mistakes(text: str) -> Iterator[str]:
    """Phrases for a rule: balanced, each Host matcher with one name, and no matcher that can match nothing."""
    matcher = ""
    within: list[str] = []
    for part in _TOKENS.findall(text):
        if part == "(":
            within.append(matcher)
        elif part in ("`", '"') or (part == ")" and not within):
            within.append(part)
            break
        elif part == ")":
            within.pop()
        elif part == "," and within and within[-1] in _ONE_NAME:
            name = within[-1]
            yield f"has the rule {text!r}: {name} takes one name in Traefik 3, so write {name}(`a`) || {name}(`b`)"
            return
        matcher = part if part.isalpha() else ""
    if within:
        yield f"has the rule {text!r}, whose parentheses or quotes do not match"
        return
    yield from _silent(text)


def _silent(text: str) -> Iterator[str]:
    """What Traefik accepts and no request ever matches."""
    for matcher, plain, quoted in _CALL.findall(text):
        kind, value = matcher.lower(), plain or quoted
        if kind in ("host", "hostsni") and value and value.isascii() and not _NAME.fullmatch(value):
            if value == "*" and kind == "hostsni":
                continue
            remedy = "HostRegexp" if "*" in value else "a host name without port, path or blanks"
            yield f"has the rule {text!r}: no request has the host {value!r}, so use {remedy}"
        elif kind == "hostregexp" and _PLACEHOLDER.search(value):
            yield f"has the rule {text!r}: {value!r} matches no host in Traefik 3, so use a regular expression"
        elif kind in ("path", "pathprefix") and _PLACEHOLDER.search(value):
            yield f"has the rule {text!r}: Traefik 3 takes {value!r} literally, so use PathRegexp"


def normal(rule: str) -> str:
    """A rule in one spelling, so that two that mean the same look alike: without blanks, in back-quotes.

    Matchers and host names are in lower case; paths, headers and regular expressions tell cases apart.
    """
    parts: list[str] = []
    for part in _PARTS.findall(rule):
        if part[0] in '`"':
            of_host = bool(parts) and parts[-1].endswith(("host(", "hostsni("))
            parts.append(f"`{part[1:-1].lower() if of_host else part[1:-1]}`")
        elif not part.isspace():
            parts.append(part.lower())
    text = "".join(parts)
    return text[1:-1] if _wraps(text) else text


def _wraps(text: str) -> bool:
    """Whether the first parenthesis closes at the very end."""
    if not text.startswith("(") or not text.endswith(")"):
        return False
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place == len(text) - 1
    return False


def hosts_only(rule: str) -> tuple[str, ...]:
    """The host names of a rule that asks for nothing else, ``Host(`a`) || Host(`b`)``; none for any other rule."""
    found = []
    for part in normal(rule).split("||"):
        match = re.fullmatch(r"host\(`([^`]+)`\)", part)
        if match is None:
            return ()
        found.append(match[1].removesuffix("."))
    return tuple(found)


def names_a_host(rule: str) -> bool:
    """Whether Traefik finds a name to order a certificate for in a rule."""
    return any(matcher.lower() in ("host", "hostsni") for matcher, *_ in _CALL.findall(rule))


@dataclass
class Taken:
    """Rules and host names that routers have taken so far, by entry point.

    Attributes:
        rules: (rule in one spelling, entry point) → router.
        hosts: (host name, entry point) → router and what it does, of those whose rule asks for host names only.
    """

    rules: dict[tuple[str, str], str] = field(default_factory=dict)
    hosts: dict[tuple[str, str], tuple[str, Any]] = field(default_factory=dict)

    def by_others(self, name: str, router: Mapping[str, Any], entry_point: str) -> Iterator[str]:
        """Take what a router asks for; a phrase for each part that another has."""
        text = str(router["rule"])
        other = self.rules.setdefault((normal(text), entry_point), name)
        if other != name:
            yield f"has the same rule as {other}: Traefik would take the first in the alphabet and say nothing"
            return
        for host in hosts_only(text) if router.get("priority") is None else ():
            # Several routers with one certificate each may do the same.
            does = (router.get("service"), router.get("middlewares"))
            other, others = self.hosts.setdefault((host, entry_point), (name, does))
            if others != does:
                yield f"answers for {host}, as {other} does: Traefik would take the longer rule and say nothing"
