"""``pulumi stack history``: past updates as text or JSON."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from engine.configuration import decrypt_setting, to_text
from engine.session import Session, open_session
from engine.stack_command import say


def show(arguments: argparse.Namespace) -> None:
    """Print a page of the history, the newest first."""
    session = open_session(arguments)
    records = session.store.history()
    first = (max(arguments.page, 1) - 1) * arguments.page_size
    numbered = [
        (len(records) - first - offset, record)
        for offset, record in enumerate(records[first : first + arguments.page_size])
    ]
    if arguments.json:
        say(json.dumps([_entry(*item, session, arguments.show_secrets) for item in numbered], indent=2))
    else:
        say("\n\n".join(_text(*item) for item in numbered) or "Stack has never been updated")


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _entry(number: int, record: dict[str, Any], session: Session, show_secrets: bool) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, entry in (record.get("config") or {}).items():
        value, secret = entry.get("value"), bool(entry.get("secret"))
        if secret and show_secrets:
            raw = json.loads(value) if entry.get("object") else {"secure": value}
            value = to_text(decrypt_setting(raw, session.manager().decrypt_text)[0])
        shown: dict[str, Any] = {} if secret and not show_secrets else {"value": value}
        if shown and entry.get("object"):
            shown["objectValue"] = json.loads(value)
        config[key] = {**shown, "secret": secret}
    return {
        "kind": record.get("kind"),
        "startTime": _time(record.get("startTime", 0)),
        "message": record.get("message", ""),
        "environment": record.get("environment") or {},
        "config": config,
        "result": record.get("result"),
        "endTime": _time(record.get("endTime", 0)),
        "resourceChanges": record.get("resourceChanges") or {},
        "version": number,
    }


def _text(number: int, record: dict[str, Any]) -> str:
    changes = " ".join(f"{name}:{count}" for name, count in sorted((record.get("resourceChanges") or {}).items()))
    started = record.get("startTime", 0)
    return (
        f"Version: {number}\n"
        f"UpdateKind: {record.get('kind')}\n"
        f"Status: {' '.join(filter(None, (record.get('result'), record.get('message'))))}\n"
        f"Resource changes: {changes or 'none'}\n"
        f"Updated {_time(started)} took {record.get('endTime', 0) - started}s"
    )
