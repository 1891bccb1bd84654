"""Operations an earlier run began and did not see end: reported, and brought to their end.

What was being updated is updated again, though nothing seems changed. What was being deleted is
looked for, and dropped from the state where it is gone. What was being created is created (again)
when the program wants it; a creation with other inputs stays pending, since it may have left
something behind: ``pulumi refresh --clear-pending-creates`` forgets it.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.checkpoint import PendingOperation, Resource, Snapshot
from engine.deployment import Deployment
from engine.errors import EngineError
from engine.steps import Aborted


def set_aside(snapshot: Snapshot, *, clear_creations: bool = False) -> list[PendingOperation]:
    """Take the pending operations out of a state, creations apart, and return them all."""
    found = snapshot.pending
    snapshot.pending = [item for item in found if item.type == "creating" and not clear_creations]
    return found


def tell(operations: list[PendingOperation], warn: Callable[[str], None]) -> None:
    """Report them."""
    if not operations:
        return
    lines = [f"{len(operations)} operation(s) of an earlier run were interrupted and may have taken effect:"]
    lines += [f"  * {item.resource.urn}, interrupted while {item.type}" for item in operations]
    kept = any(item.type == "creating" for item in operations)
    rest = "; a creation the program no longer wants stays listed until `pulumi refresh --clear-pending-creates`"
    lines.append(f"This run brings them to their end{rest if kept else ''}.")
    warn("\n".join(lines))


def resolve(deployment: Deployment, operations: list[PendingOperation]) -> None:
    """Find out what became of interrupted updates and deletions."""
    for operation in operations:
        if operation.type not in ("updating", "deleting"):
            continue
        item = _entry(deployment, operation.resource)
        if item is None:
            continue
        if operation.type == "deleting" and _is_gone(deployment, item):
            deployment.manager.drop(item)
            deployment.forget(item)
            continue
        deployment.unsure.add(item.urn)


def _entry(deployment: Deployment, resource: Resource) -> Resource | None:
    same_urn = [item for item in deployment.base if item.urn == resource.urn]
    return next((item for item in same_urn if item.id == resource.id), same_urn[0] if same_urn else None)


def _is_gone(deployment: Deployment, item: Resource) -> bool:
    if not item.custom or item.is_provider or not item.id:
        return False
    try:
        return not deployment.steps.read(item).id
    except (EngineError, Aborted) as error:
        if isinstance(error, EngineError):
            deployment.steps.say("warning", f"could not be looked for: {error}", item.urn)
        return False
