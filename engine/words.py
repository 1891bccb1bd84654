"""A command line in the order that argparse takes: the command's words, its options, then what they are about.

The official CLI takes options anywhere, and flags as ``--flag=true`` too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

_VALUES: Final = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def arranged(
    words: Iterable[str], commands: Collection[str], flags: Collection[str], valued: Collection[str]
) -> list[str]:
    """Arrange a command line.

    Args:
        words: as they were given.
        commands: every command, its words with a blank between them.
        flags: spellings of options that take no value.
        valued: spellings of options that take the next word.
    """
    options: list[str] = []
    plain: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            plain += ["--", *rest]
        elif not word.startswith("-") or word == "-" or word[1].isdigit():
            plain.append(word)
        else:
            options += _option(word, flags)
            if _takes_next(word, flags, valued):
                options += [value for value in [next(rest, None)] if value is not None]
    count = 0
    while count < len(plain) and " ".join(plain[: count + 1]) in commands:
        count += 1
    return [*plain[:count], *options, *plain[count:]]


def _option(word: str, flags: Collection[str]) -> list[str]:
    name, separator, value = word.partition("=")
    if not separator or name not in flags or value.lower() not in _VALUES:
        return [word]
    return [name] if _VALUES[value.lower()] else []


def _takes_next(word: str, flags: Collection[str], valued: Collection[str]) -> bool:
    """Whether the next word is an option's value; of short ones in one word (``-ys``) the last one's."""
    if word in valued or word.startswith("--"):
        return word in valued
    *before, last = [f"-{letter}" for letter in word[1:]]
    return last in valued and all(letter in flags for letter in before)
