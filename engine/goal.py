"""A resource as the program wants it, and how resources are named."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from engine.checkpoint import STACK_TYPE, Resource


@dataclass(eq=False, slots=True)
class Goal(Resource):
    """A resource as the program wants it: becomes the state's entry.

    Attributes:
        version: of the package it is from.
        former: the URNs it may have had before (its aliases).
        inherits: options the program leaves to the parent.
        delete_before_replace: what the program says of it, if anything.
    """

    version: str = ""
    former: list[str] = field(default_factory=list)
    inherits: tuple[str, ...] = ("protect", "retain_on_delete")
    delete_before_replace: bool | None = None


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
