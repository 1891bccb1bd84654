"""A resource as the program wants it, and how resources are named."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from engine.checkpoint import STACK_TYPE
from engine.values import Properties


@dataclass
class Goal:
    """A resource as the program wants it."""

    type: str
    name: str
    custom: bool
    inputs: Properties
    parent: str = ""
    provider: str = ""
    version: str = ""
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    protect: bool | None = None
    retain_on_delete: bool | None = None
    delete_before_replace: bool | None = None
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    ignore_changes: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    custom_timeouts: dict[str, float] = field(default_factory=dict)


def make_urn(stack: str, project: str, parent: str, kind: str, name: str) -> str:
    """Compose a URN; the stack's own type is left out of the chain."""
    chain = parent.split("::")[2] if parent else ""
    if chain == STACK_TYPE:
        chain = ""
    return f"urn:pulumi:{stack}::{project}::{chain + '$' if chain else ''}{kind}::{name}"


class Targets:
    """The ``--target`` patterns: ``**`` matches anything, ``*`` anything but a colon."""

    def __init__(self, patterns: list[str]) -> None:
        self.literals = [text for text in patterns if "*" not in text]
        self._patterns = [_compile(text) for text in patterns]
        self.actual: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def match(self, urn: str) -> bool:
        """Tell whether a URN is named, or was found to be one of them (``actual``)."""
        return urn in self.actual or any(pattern.fullmatch(urn) for pattern in self._patterns)


def _compile(text: str) -> re.Pattern[str]:
    parts = ("[^:]*".join(map(re.escape, segment.split("*"))) for segment in text.split("**"))
    return re.compile(".*".join(parts), re.DOTALL)
