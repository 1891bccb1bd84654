"""The JSON forms: the digest of ``preview --json``, and the event log, one JSON document a line."""

from __future__ import annotations

import json
import time
from typing import Any, Final, TextIO

from engine.checkpoint import Resource, resource_to_json
from engine.display.summary import is_stack
from engine.display.view import View
from engine.events import DiagnosticEvent, OutputsEvent, PreludeEvent, StepEvent, SummaryEvent
from engine.values import SECRET_SIGNATURE, SIGNATURE, Secret, to_json

_PREFIXES: Final = {"error": "error: ", "warning": "warning: "}
_HIDDEN: Final = {SIGNATURE: SECRET_SIGNATURE, "ciphertext": "[secret]"}


class Digest(View):
    """Collects a preview and prints it as one document."""

    def __init__(self, out: TextIO, *, show_secrets: bool = False, show_sames: bool = False) -> None:
        super().__init__()
        self._out = out
        self._show_sames = show_sames
        self._show_secrets = show_secrets
        self._steps: list[dict[str, Any]] = []
        self._diagnostics: list[dict[str, Any]] = []
        self._config: dict[str, str] = {}

    def _secret(self, secret: Secret) -> Any:
        return to_json(secret.value, self._secret) if self._show_secrets else "[secret]"

    def begin(self, event: PreludeEvent) -> None:
        """Take the configuration."""
        self._config = event.config

    def diagnostic(self, event: DiagnosticEvent) -> None:
        """Collect a message."""
        if not event.ephemeral:
            message = _PREFIXES.get(event.severity, "") + event.message
            entry = {"urn": event.urn, "message": message, "severity": event.severity}
            self._diagnostics.append({key: value for key, value in entry.items() if value})

    def step(self, event: StepEvent) -> None:
        """Collect a step, with the states as they are before it is made."""
        resource, old, new = event.resource, event.old, event.new
        if event.phase != "pre" or resource.is_default_provider:
            return
        protection_changed = old is not None and new is not None and old.protect != new.protect
        if event.operation in ("create-replacement", "delete-replaced") or (
            event.operation == "same" and not (self._show_sames or is_stack(event.urn) or protection_changed)
        ):
            return
        step: dict[str, Any] = {"op": event.operation, "urn": event.urn}
        if resource.provider:
            step["provider"] = resource.provider
        if old is not None:
            step["oldState"] = resource_to_json(old, self._secret)
        if new is not None:
            unmade = {"create": ("id", "outputs", "created", "modified"), "same": ("id", "outputs"),
                      "update": ("id", "outputs")}.get(event.operation, ())  # fmt: skip
            state = resource_to_json(new, self._secret)
            step["newState"] = {key: value for key, value in state.items() if key not in unmade}
        if event.diff is not None:
            reasons = (("diffReasons", event.diff.changed_keys), ("replaceReasons", event.diff.replace_keys))
            step |= {name: keys for name, keys in reasons if keys}
        step["detailedDiff"] = _detailed(event)
        self._steps.append(step)

    def finish(self, event: SummaryEvent) -> None:
        """Print the document."""
        document = {
            **({"config": self._config} if self._config else {}),
            "steps": self._steps,
            **({"diagnostics": self._diagnostics} if self._diagnostics else {}),
            "duration": int(event.seconds * 1e9),
            "changeSummary": event.changes,
        }
        print(json.dumps(document, indent=2, ensure_ascii=False), file=self._out, flush=True)


def _detailed(event: StepEvent) -> dict[str, Any] | None:
    if event.diff is None or event.diff.detailed is None:
        return None
    of_inputs = event.diff.of_inputs
    return {path: {"kind": kind, "inputDiff": of_inputs} for path, kind in sorted(event.diff.detailed.items())}


class EventLog(View):
    """Writes every event as one line of JSON, in the official engine's shapes."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._sequence = 0

    def _emit(self, kind: str, body: dict[str, Any]) -> None:
        self._sequence += 1
        line = {"sequence": self._sequence, "timestamp": int(time.time()), kind: body}
        print(json.dumps(line, ensure_ascii=False, separators=(",", ":")), file=self._out, flush=True)

    def begin(self, event: PreludeEvent) -> None:
        """Write the configuration."""
        self._emit("preludeEvent", {"config": event.config})

    def diagnostic(self, event: DiagnosticEvent) -> None:
        """Write a message."""
        body: dict[str, Any] = {"urn": event.urn} if event.urn else {}
        if event.severity in _PREFIXES:
            body["prefix"] = _PREFIXES[event.severity]
        body |= {"message": event.message, "color": "never", "severity": event.severity}
        self._emit("diagnosticEvent", body | ({"ephemeral": True} if event.ephemeral else {}))

    def step(self, event: StepEvent) -> None:
        """Write a step's beginning or end; default providers are the engine's own affair."""
        if event.resource.is_default_provider:
            return
        metadata = {"metadata": _metadata(event.operation, event.old, event.new, event)}
        if event.phase == "failed":
            self._emit("resOpFailedEvent", {**metadata, "status": 0, "steps": 0})
        else:
            self._emit("resourcePreEvent" if event.phase == "pre" else "resOutputsEvent", metadata)

    def outputs_event(self, event: OutputsEvent) -> None:
        """Write a component's end."""
        self._emit("resOutputsEvent", {"metadata": _metadata(event.operation, event.old, event.resource, None)})

    def finish(self, event: SummaryEvent) -> None:
        """Write the summary."""
        body = {
            "maybeCorrupt": False,
            "durationSeconds": int(event.seconds),
            "resourceChanges": event.changes,
            "PolicyPacks": {},
            "isPreview": event.preview,
            "result": "failed" if event.failed else "succeeded",
        }
        self._emit("summaryEvent", body)
        self._emit("cancelEvent", {})


def _metadata(operation: str, old: Resource | None, new: Resource | None, step: StepEvent | None) -> dict[str, Any]:
    shown = new or old or Resource("", "")
    return {
        "op": operation,
        "urn": shown.urn,
        "type": shown.type,
        "old": _event_state(old),
        "new": _event_state(new),
        "detailedDiff": _detailed(step) if step is not None else None,
        **({"logical": True} if step is None or step.logical else {}),
        "provider": shown.provider,
    }


def _event_state(resource: Resource | None) -> dict[str, Any] | None:
    if resource is None:
        return None
    flags = ("custom", "delete", "protect")
    return {
        "type": resource.type,
        "urn": resource.urn,
        **{name: True for name in flags if getattr(resource, name)},
        "id": resource.id,
        "parent": resource.parent,
        "inputs": to_json(resource.inputs, lambda _secret: dict(_HIDDEN)),
        "outputs": to_json(resource.outputs, lambda _secret: dict(_HIDDEN)),
        "provider": resource.provider,
    }
