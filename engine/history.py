"""``pulumi stack history``: past updates as text or JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def as_json(records: list[dict[str, Any]], newest: int, session: Any, show_secrets: bool) -> list[dict[str, Any]]:
    """Return the records in the official CLI's JSON shape; ``newest`` is the first one's version."""
    listed = []
    for offset, record in enumerate(records):
        config: dict[str, Any] = {}
        for key, entry in (record.get("config") or {}).items():
            value, secret = entry.get("value"), bool(entry.get("secret"))
            if secret and show_secrets:
                value = session.manager().decrypt_text(value)
            config[key] = {"secret": True} if secret and not show_secrets else {"value": value, "secret": secret}
        item: dict[str, Any] = {
            "kind": record.get("kind"),
            "startTime": _time(record.get("startTime", 0)),
            "message": record.get("message", ""),
            "environment": record.get("environment") or {},
            "config": config,
            "result": record.get("result"),
        }
        item["endTime"] = _time(record.get("endTime", 0))
        item["resourceChanges"] = record.get("resourceChanges") or {}
        item["version"] = newest - offset
        listed.append(item)
    return listed


def as_text(records: list[dict[str, Any]], newest: int) -> str:
    """Return the records as text, the newest first."""
    blocks = []
    for offset, record in enumerate(records):
        lines = [
            f"Version: {newest - offset}",
            f"UpdateKind: {record.get('kind')}",
            f"Status: {record.get('result')}",
        ]
        if record.get("message"):
            lines[-1] += f" {record['message']}"
        changes = record.get("resourceChanges") or {}
        listed = " ".join(f"{name}:{count}" for name, count in sorted(changes.items()))
        lines.append(f"Resource changes: {listed or 'none'}")
        duration = record.get("endTime", 0) - record.get("startTime", 0)
        lines.append(f"Updated {_time(record.get('startTime', 0))} took {duration}s")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
