"""Plain columns for terminals and pipes alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def use_colour() -> bool:
    """Whether stdout takes colour: a terminal, and NO_COLOR is not set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def render_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> str:
    """Left-aligned columns, two blanks apart, never cut; ``empty`` where there are no rows."""
    if not rows:
        return empty
    widths = [max(len(row[index]) for row in (headings, *rows)) for index in range(len(headings))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (headings, *rows)
    ]
    if use_colour():
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    return "\n".join(lines)
