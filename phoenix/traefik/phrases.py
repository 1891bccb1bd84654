"""What the checks of both files share: reading data of any shape, and naming what is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mapping_of(data: Any) -> Mapping[str, Any]:
    """``data`` where it is a mapping, else an empty one."""
    return data if isinstance(data, Mapping) else {}


def has(known: Any, value: Any) -> bool:
    """Whether ``value`` is one of the names that are known."""
    return isinstance(value, str) and value in known


def list_of(value: Any) -> list[Any]:
    """``value`` as a list: nothing is none, one is one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def listed(known: Any) -> str:
    """Names for a message, sorted."""
    return ", ".join(sorted(map(str, known))) or "none"


def none_of(value: Any, kind: str, known: Any) -> str:
    """A name that is none of a kind, and those that are."""
    return f"{value!r}, which is no {kind} (there are: {listed(known)})"


def undefined(value: Any, known: Any) -> str:
    """A name that the static configuration does not define, and those that it does."""
    return f"{value!r}, which the static configuration does not define (it defines: {listed(known)})"
