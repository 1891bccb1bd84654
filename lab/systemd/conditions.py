"""``Condition…=`` and ``Assert…=`` of systemd.unit(5), those about paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

_TESTS: dict[str, Callable[[Path], bool]] = {
    "PathExists": Path.exists,
    "PathIsDirectory": Path.is_dir,
    "FileNotEmpty": lambda path: path.is_file() and path.stat().st_size > 0,
    "FileIsExecutable": lambda path: path.is_file() and os.access(path, os.X_OK),
}


def unmet(conditions: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The first condition that does not hold, as key and value; those of other kinds hold."""
    for key, value in conditions:
        test = _TESTS.get(key.removeprefix("Condition").removeprefix("Assert"))
        negated = value.lstrip("|").startswith("!")
        if test is not None and test(Path(value.lstrip("|!"))) is negated:
            return key, value
    return None
