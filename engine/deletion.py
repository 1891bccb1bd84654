"""Deletes resources in reverse dependency order: what the program no longer has, or all of a stack."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from engine.checkpoint import Resource
from engine.deployment import Deployment
from engine.errors import EngineError
from engine.steps import Aborted


def delete(deployment: Deployment, *, everything: bool) -> None:
    """Delete what no step stands for, or everything.

    Args:
        deployment: the operation.
        everything: delete the whole stack (or all targets), not just what the program dropped.
    """
    candidates = [
        item
        for item in deployment.base
        if everything or item.delete or (id(item) not in deployment.handled and item.urn not in deployment.registered)
    ]
    allowed = _allowed(deployment)
    condemned = [item for item in candidates if item.delete or item.urn in allowed]
    if deployment.targets:
        chosen = {id(item) for item in condemned}
        for item in deployment.base:
            if id(item) not in chosen and id(item) not in deployment.handled and not item.delete:
                deployment.handled.add(id(item))
                deployment.keep_dependencies(item)
                deployment.steps.same(item, item)
        if _refuses(deployment, condemned):
            return
    urns = {item.urn for item in condemned}

    def act(item: Resource) -> None:
        if item.pending_replacement and not item.delete:
            deployment.manager.drop(item)
            return
        operation = "discard" if item.external else "delete-replaced" if item.delete else "delete"
        deployment.steps.delete(
            item, operation=operation, with_another=bool(item.deleted_with) and item.deleted_with in urns
        )

    with ThreadPoolExecutor(max_workers=max(1, deployment.options.parallel)) as pool:
        for level in levels(condemned):
            if deployment.control.stop.is_set():
                return
            # A level is finished even where one of it fails; an interrupt ends it.
            for future in [pool.submit(act, item) for item in level]:
                try:
                    future.result()
                except Aborted:
                    continue
                except EngineError as error:
                    deployment.steps.give_up(error, level[0].urn)


def levels(items: list[Resource]) -> list[list[Resource]]:
    """Order resources for deletion: each level may go at once, after the levels before it."""
    position = {id(item): number for number, item in enumerate(items)}
    by_urn: dict[str, list[Resource]] = {}
    for item in items:
        by_urn.setdefault(item.urn, []).append(item)
    depth: dict[int, int] = {}
    for item in items:  # the state's order: what an item depends on stands before it
        needed = [
            depth[id(other)]
            for urn in item.depends_on()
            for other in by_urn.get(urn, ())
            if position[id(other)] < position[id(item)]
        ]
        depth[id(item)] = max(needed, default=-1) + 1
    ordered: list[list[Resource]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for item in items:
        ordered[depth[id(item)]].append(item)
    return list(reversed(ordered))


def _allowed(deployment: Deployment) -> set[str]:
    """List what ``--target`` lets be deleted: what is named, and what depends on it."""
    if not deployment.targets:
        return {item.urn for item in deployment.base}
    closure = {found.urn for found in deployment.base if deployment.targets.match(found.urn)}
    for other in deployment.base:
        if other.depends_on() & closure:
            closure.add(other.urn)
    return closure


def _refuses(deployment: Deployment, condemned: list[Resource]) -> bool:
    """Refuse deletions the user did not name; tell whether there are any."""
    if deployment.options.target_dependents:
        return False
    unnamed = [item for item in condemned if not deployment.targets.match(item.urn)]
    for item in unnamed:
        deployment.steps.say(
            "error",
            f"Resource '{item.urn}' will be destroyed but was not specified in --target list.\n"
            "Either include resource in --target list or pass --target-dependents to proceed.",
            item.urn,
        )
    if unnamed:
        deployment.steps.step_failed = True
        deployment.control.stop.set()
    return bool(unnamed)
