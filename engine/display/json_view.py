"""The JSON forms: the digest of ``preview --json``, and the event log, one JSON document a line."""

from __future__ import annotations

import json
import threading
import time
from typing import Any, Final, TextIO

from engine.checkpoint import Resource, resource_to_json
from engine.display.lines import changes
from engine.display.summary import is_stack
from engine.events import DiagnosticEvent, OutputsEvent, PreludeEvent, StepEvent, SummaryEvent
from engine.values import SECRET_SIGNATURE, SIGNATURE, Secret

_HIDDEN: Final = {SIGNATURE: SECRET_SIGNATURE, "ciphertext": "[secret]"}


class Digest:
    """Collects a preview and prints it as one document."""

    def __init__(self, out: TextIO, *, show_secrets: bool = False, show_sames: bool = False) -> None:
        self._out = out
        self._show_sames = show_sames
        self._show_secrets = show_secrets
        self._steps: list[dict[str, Any]] = []
        self._diagnostics: list[dict[str, Any]] = []
        self._config: dict[str, str] = {}
        self._lock = threading.Lock()
        self._by_urn: dict[str, dict[str, Any]] = {}
        self.changed_urns: list[tuple[str, str]] = []

    def _secret(self, secret: Secret) -> Any:
        if self._show_secrets:
            from engine.values import to_json

            return to_json(secret.value, self._secret)
        return "[secret]"

    def _state(self, resource: Resource) -> dict[str, Any]:
        return resource_to_json(resource, self._secret)

    def __call__(self, event: object) -> None:
        """Take an event."""
        with self._lock:
            if isinstance(event, PreludeEvent):
                self._config = event.config
            elif isinstance(event, DiagnosticEvent):
                if not event.ephemeral and event.severity != "debug":
                    entry: dict[str, Any] = {"message": event.message, "severity": event.severity}
                    if event.urn:
                        entry["urn"] = event.urn
                    self._diagnostics.append(entry)
            elif isinstance(event, StepEvent):
                self._step(event)
            elif isinstance(event, OutputsEvent):
                step = self._by_urn.get(event.resource.urn)
                if step is not None and "newState" in step:
                    step["newState"] = self._state(event.resource)
            elif isinstance(event, SummaryEvent):
                self._print(event)

    def _step(self, event: StepEvent) -> None:
        resource = event.resource
        if resource.is_default_provider or event.operation in ("create-replacement", "delete-replaced"):
            return
        if event.operation == "refresh" and event.phase == "pre":
            return
        if event.operation == "same" and not (self._show_sames or is_stack(event.urn) or _protect_changed(event)):
            return
        step = self._by_urn.get(event.urn)
        if event.phase == "pre" or step is None:
            step = {"op": event.operation, "urn": event.urn}
            if resource.provider:
                step["provider"] = resource.provider
            self._steps.append(step)
            self._by_urn[event.urn] = step
            if changes(event):
                self.changed_urns.append((event.operation, event.urn))
        if event.old is not None:
            step["oldState"] = self._state(event.old)
        if event.new is not None:
            step["newState"] = self._state(event.new)
        if event.diff is not None:
            reasons = sorted({*event.diff.changed_keys, *event.diff.replace_keys})
            if reasons:
                step["diffReasons"] = reasons
            if event.diff.replace_keys:
                step["replaceReasons"] = event.diff.replace_keys
        step["detailedDiff"] = _detailed(event)

    def _print(self, event: SummaryEvent) -> None:
        document = {
            "config": self._config,
            "steps": self._steps,
            "diagnostics": self._diagnostics,
            "duration": int(event.seconds * 1e9),
            "changeSummary": event.changes,
        }
        if not self._diagnostics:
            del document["diagnostics"]
        print(json.dumps(document, indent=2, ensure_ascii=False), file=self._out, flush=True)


def _protect_changed(event: StepEvent) -> bool:
    return event.old is not None and event.new is not None and event.old.protect != event.new.protect


def _detailed(event: StepEvent) -> dict[str, Any] | None:
    if event.diff is None or event.diff.detailed is None:
        return None
    return {path: {"kind": kind, "inputDiff": False} for path, kind in sorted(event.diff.detailed.items())}


class EventLog:
    """Writes every event as one line of JSON, in the official engine's shapes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._sequence = 0
        self._lock = threading.Lock()
        self.changed_urns: list[tuple[str, str]] = []

    def __call__(self, event: object) -> None:
        """Take an event."""
        body = self._body(event)
        if body is None:
            return
        with self._lock:
            self._emit(body)
            if isinstance(event, SummaryEvent):
                self._emit({"cancelEvent": {}})

    def _emit(self, body: dict[str, Any]) -> None:
        self._sequence += 1
        line = {"sequence": self._sequence, "timestamp": int(time.time()), **body}
        print(json.dumps(line, ensure_ascii=False), file=self._out, flush=True)

    def _body(self, event: object) -> dict[str, Any] | None:  # noqa: PLR0911 - one case a kind of event
        if isinstance(event, PreludeEvent):
            return {"preludeEvent": {"config": event.config}}
        if isinstance(event, DiagnosticEvent):
            body: dict[str, Any] = {"urn": event.urn} if event.urn else {}
            body |= {"message": event.message, "color": "never", "severity": event.severity}
            if event.ephemeral:
                body["ephemeral"] = True
            return {"diagnosticEvent": body}
        if isinstance(event, SummaryEvent):
            return {
                "summaryEvent": {
                    "maybeCorrupt": False,
                    "durationSeconds": int(event.seconds),
                    "resourceChanges": event.changes,
                    "PolicyPacks": {},
                    "isPreview": event.preview,
                    "result": "failed" if event.failed else "succeeded",
                }
            }
        if isinstance(event, OutputsEvent):
            urn = event.resource.urn
            metadata = _metadata(event.operation, urn, event.old, event.resource, None, logical=True)
            return {"resOutputsEvent": {"metadata": metadata}}
        if isinstance(event, StepEvent):
            if changes(event):
                self.changed_urns.append((event.operation, event.urn))
            metadata = _metadata(
                event.operation, event.urn, event.old, event.new, _detailed(event), logical=event.logical
            )
            if event.phase == "failed":
                return {"resOpFailedEvent": {"metadata": metadata, "status": 0, "steps": 0}}
            return {("resourcePreEvent" if event.phase == "pre" else "resOutputsEvent"): {"metadata": metadata}}
        return None


def _metadata(
    operation: str,
    urn: str,
    old: Resource | None,
    new: Resource | None,
    detailed: dict[str, Any] | None,
    *,
    logical: bool,
) -> dict[str, Any]:
    shown = new or old
    return {
        "op": operation,
        "urn": urn,
        "type": shown.type if shown else "",
        "old": _event_state(old),
        "new": _event_state(new),
        "detailedDiff": detailed,
        **({"logical": True} if logical else {}),
        "provider": shown.provider if shown else "",
    }


def _event_state(resource: Resource | None) -> dict[str, Any] | None:
    if resource is None:
        return None
    from engine.values import to_json

    state: dict[str, Any] = {"type": resource.type, "urn": resource.urn}
    if resource.custom:
        state["custom"] = True
    if resource.delete:
        state["delete"] = True
    state["id"] = resource.id
    state["parent"] = resource.parent
    if resource.protect:
        state["protect"] = True
    state["inputs"] = to_json(resource.inputs, _hide)
    state["outputs"] = to_json(resource.outputs, _hide)
    state["provider"] = resource.provider
    return state


def _hide(_secret: Secret) -> Any:
    return dict(_HIDDEN)
