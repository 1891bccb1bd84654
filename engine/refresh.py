"""Brings the recorded state to what providers find."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

from engine.checkpoint import Resource, now
from engine.deployment import Deployment
from engine.diff import DiffResult
from engine.errors import EngineError, ProviderError
from engine.events import StepEvent
from engine.steps import Aborted
from engine.values import carry_ciphertexts, same


def refresh(deployment: Deployment, *, alone: bool) -> None:
    """Read every resource; changed ones are changed in place, vanished ones dropped from the state.

    Args:
        deployment: the operation.
        alone: this is ``pulumi refresh``, not an update that refreshes first: its results count.
    """
    items = [item for item in deployment.base if not item.delete]
    chosen = [item for item in items if not deployment.targets or deployment.targets.match(item.urn)]
    with ThreadPoolExecutor(max_workers=max(1, deployment.options.parallel)) as pool:
        results = list(pool.map(lambda item: _refresh(deployment, item, alone=alone), chosen))
    if deployment.steps.step_failed:
        deployment.control.stop.set()
    gone = {id(item) for item, lost in zip(chosen, results, strict=True) if lost}
    if not gone:
        return
    lost = {item.urn for item in chosen if id(item) in gone}
    for item in deployment.base:
        if id(item) in gone:
            deployment.manager.drop(item)
            deployment.olds.pop(item.urn, None)
        elif item.depends_on() & lost:
            item.dependencies = [urn for urn in item.dependencies if urn not in lost]
            item.property_dependencies = {
                key: [urn for urn in urns if urn not in lost] for key, urns in item.property_dependencies.items()
            }
            item.deleted_with = "" if item.deleted_with in lost else item.deleted_with
            item.replace_with = [urn for urn in item.replace_with if urn not in lost]
            item.parent = "" if item.parent in lost else item.parent
            deployment.manager.change(item)
    deployment.base = [item for item in deployment.base if id(item) not in gone]


def _refresh(deployment: Deployment, item: Resource, *, alone: bool) -> bool:
    """Refresh one resource; tell whether it is gone."""
    if deployment.control.stop.is_set():
        return False
    steps = deployment.steps
    event = StepEvent("pre", "refresh", item.urn, dataclasses.replace(item), item, logical=False)
    steps.events(event)
    diff: DiffResult | None = None
    operation = "same"
    if item.custom and not item.is_provider and item.id and not item.external and not item.pending_replacement:
        try:
            operation, diff = _read(deployment, item)
        except Aborted:
            return False
        except Exception as error:  # noqa: BLE001 - a provider may raise anything
            told = error if isinstance(error, EngineError) else ProviderError(f"{type(error).__name__}: {error}")
            steps.say("error", str(told), item.urn)  # the others are read all the same
            steps.step_failed = True
            steps.events(dataclasses.replace(event, phase="failed"))
            return False
    if alone:
        steps.count(operation, item)
    done = dataclasses.replace(event, phase="done", operation=operation if alone else "refresh", diff=diff)
    done.result = operation
    if operation == "delete":
        done.new = None
    steps.events(done)
    return operation == "delete"


def _read(deployment: Deployment, item: Resource) -> tuple[str, DiffResult | None]:
    """Read a resource into its state entry; return same, update or delete."""
    found = deployment.steps.read(item)
    if not found.id:
        return "delete", None
    before = item.inputs
    inputs = before if found.inputs is None else found.inputs
    carry_ciphertexts(inputs, before)
    carry_ciphertexts(found.outputs, item.outputs)
    if not (same(item.outputs, found.outputs) and same(before, inputs) and item.id == found.id):
        item.outputs, item.inputs, item.id, item.modified = found.outputs, inputs, found.id, now()
        deployment.manager.change(item)
    # What an update would now do to come back to what was wanted, told the other way round.
    diff = deployment.diff_with_provider(item, item.id, inputs, found.outputs, before)
    return ("update" if diff.changes else "same"), diff
