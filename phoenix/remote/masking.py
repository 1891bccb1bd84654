"""Keeping secrets out of what people read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "[secret]"

SHORTEST = 4
"""Shorter values are not searched for: they would blot out half of a text by accident."""

_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_PASSWORD_HASH = re.compile(r"\$(?:apr1|1|2[abxy]|5|6|y)\$[./A-Za-z0-9$=,]{8,}")
_BASIC_SHA = re.compile(r"\{SHA\}[A-Za-z0-9+/=]{20,}")
_NAMED = re.compile(
    r"(?im)(?P<before>\b[\w.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?)"
    r"[\"']?[ \t]*[:=][ \t]*)(?P<value>\S.*)$"
)
_URL_LOGIN = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)", re.IGNORECASE)


class Secret:
    """Text that masks itself in ``str`` and ``repr``; :meth:`reveal` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __str__(self) -> str:
        return MASK

    __repr__ = __str__

    def __format__(self, specification: str) -> str:
        return format(MASK, specification)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not pickled: it would leave this process in clear")


def mask(text: str, values: Iterable[str | Secret] = ()) -> str:
    """Replace known secret values, and what looks like a secret, by ``[secret]``.

    Args:
        text: any text.
        values: secrets to find wherever they are, each line of them on its own too; shorter than 4 characters: ignored.

    What looks like a secret: private key blocks, password hashes, the value behind a name such as ``password:``, and
    a password within a URL.
    """
    known: set[str] = set()
    for value in values:
        plain = value.reveal() if isinstance(value, Secret) else value
        known.update(part for part in (plain, *plain.splitlines()) if len(part.strip()) >= SHORTEST)
    for part in sorted(known, key=len, reverse=True):
        text = text.replace(part, MASK)
    text = _KEY_BLOCK.sub(MASK, text)
    text = _PASSWORD_HASH.sub(MASK, text)
    text = _BASIC_SHA.sub(MASK, text)
    text = _URL_LOGIN.sub(rf"\g<before>{MASK}", text)
    return _NAMED.sub(rf"\g<before>{MASK}", text)


def printable(line: str) -> str:
    """Return a line that a terminal shows as it is: control characters come out as their Python escapes."""
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode() for char in line
    )
