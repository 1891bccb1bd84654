"""Drift in words: what was changed by hand on a target since it was deployed. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from phoenix.remote.file_model import DesiredFile, FileState, decide, differing_attributes
from phoenix.remote.masking import MASK, mask, printable

LINE_LIMIT = 200
"""Most lines of one file's diff that are shown."""


def explain_drift(
    recorded: DesiredFile, observed: FileState, *, secret: bool = False, secrets: Iterable[str] = ()
) -> list[str]:
    """Say how a live file differs from what was deployed.

    Args:
        recorded: what was deployed; an empty list is the answer when that is what is there.
        observed: what is there, with its content where that differs.
        secret: the whole content is secret: only numbers of lines are told.
        secrets: values to mask wherever they stand in the diff.

    Returns:
        One headline, and for content a unified diff, as lines without line ends, free of control characters.
    """
    decision = decide(recorded, observed)
    if decision.action == "nothing":
        return []
    if decision.action == "refuse":
        return [f"{recorded.path} was replaced by hand: {decision.reason}"]
    if decision.action == "create":
        return [f"{recorded.path} was removed by hand"]
    attributes = differing_attributes(recorded, observed)
    if decision.action == "attributes":
        return [f"{recorded.path} was changed by hand: {', '.join(attributes)}"]
    headline, body = _content_drift(recorded, observed, secret=secret, secrets=tuple(secrets))
    return [f"{recorded.path} was changed by hand: {', '.join([headline, *attributes])}", *body]


def _content_drift(
    recorded: DesiredFile, observed: FileState, *, secret: bool, secrets: tuple[str, ...]
) -> tuple[str, list[str]]:
    old, new = _text(recorded.content), None if observed.content is None else _text(observed.content)
    if old is None or new is None:
        return f"the content differs ({len(recorded.content)} bytes deployed, {observed.size} found)", []
    if not secret:
        old, new = mask(old, secrets), mask(new, secrets)
        if old == new:
            return f"a secret within the content differs {MASK}", []
    lines = list(
        difflib.unified_diff(
            old.splitlines(),
            new.splitlines(),
            f"{recorded.path} (deployed)",
            f"{recorded.path} (found)",
            lineterm="",
            n=2,
        )
    )
    added = sum(line.startswith("+") for line in lines[2:])
    removed = sum(line.startswith("-") for line in lines[2:])
    counts = f"+{added} -{removed} lines"
    if not lines:
        return "line ends differ", []
    if secret:
        return f"{counts} {MASK}", []
    shown = [printable(line) for line in lines[:LINE_LIMIT]]
    if len(lines) > LINE_LIMIT:
        shown.append(f"… {len(lines) - LINE_LIMIT} more lines of this diff")
    return counts, shown


def _text(content: bytes) -> str | None:
    """Decode, or None for what is no text."""
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
