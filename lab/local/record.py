"""The lab's own record, ``lab.json``: what was started, where, and for which inventory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.errors import LabDownError, LabError
from lab.local.authority import write_private
from lab.local.processes import Process

VERSION = 1


def read(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        LabDownError: there is none, so no lab is up.
        LabError: it is damaged, or of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabDownError(f"no lab is up in {path.parent}: start it with bin/lab up.") from None
    except (OSError, ValueError) as error:
        raise LabError(f"{path} cannot be read ({error}): run bin/lab down.") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise LabError(f"{path} was not written by this version of the lab: run bin/lab down.")
    return content


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record; only its owner can read it, and no reader ever sees half of it."""
    staged = path.with_name(path.name + ".new")
    write_private(staged, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
    staged.replace(path)


def processes(record: dict[str, Any]) -> list[Process]:
    """The background processes that a record names."""
    return [Process(**each) for each in record.get("processes", [])]
