"""Which record in Portainer is the one that is declared. Pure.

Names decide, since they are what people see: an environment by its exact name, else by the name in another spelling,
else by its agent's address (it was renamed in the inventory); a stack by its name in its environment, else by its
name among the stacks whose environment was deleted. So nothing is made twice, and nothing is deleted to be made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from phoenix.portainer.declared import DeclaredEnvironment, DeclaredStack
from phoenix.portainer.records import COMPOSE, EnvironmentRecord, StackRecord, normal_stack_name


@dataclass(frozen=True)
class EnvironmentMatch:
    """An environment's record, and others that have the same name."""

    record: EnvironmentRecord
    duplicates: tuple[EnvironmentRecord, ...] = ()


@dataclass(frozen=True)
class StackMatch:
    """A stack's record, and others of the same name in the same environment.

    Attributes:
        orphaned: the record's environment is gone.
    """

    record: StackRecord
    duplicates: tuple[StackRecord, ...] = ()
    orphaned: bool = False


def normal_url(url: str) -> str:
    """An agent's address in one spelling, ``tcp://host:port``."""
    lowered = url.strip().lower().rstrip("/")
    return lowered if "://" in lowered else f"tcp://{lowered}"


def folded(name: str) -> str:
    """An environment's name without what people overlook: case and outer blanks."""
    return name.strip().casefold()


def match_environments(
    declared: Sequence[DeclaredEnvironment], records: Iterable[EnvironmentRecord]
) -> dict[str, EnvironmentMatch]:
    """The record of each declared environment that has one, by its declared name."""
    free = {record.id: record for record in sorted(records, key=lambda item: item.id)}
    found: dict[str, EnvironmentMatch] = {}

    def take(item: DeclaredEnvironment, candidates: list[EnvironmentRecord]) -> None:
        # Of several the one at the right address, else the oldest: what refers to it by number stays right.
        best = min(candidates, key=lambda record: (normal_url(record.url) != normal_url(item.url), record.id))
        found[item.name] = EnvironmentMatch(best, tuple(other for other in candidates if other is not best))
        for candidate in candidates:
            del free[candidate.id]

    for item in declared:
        exact = [record for record in free.values() if record.name == item.name]
        if exact:
            take(item, exact)
    for item in declared:
        alike = [record for record in free.values() if folded(record.name) == folded(item.name)]
        if item.name not in found and alike:
            take(item, alike)
        elif alike:
            match = found[item.name]
            found[item.name] = EnvironmentMatch(match.record, (*match.duplicates, *alike))
            for record in alike:
                del free[record.id]
    for item in declared:
        same = [
            record
            for record in free.values()
            if record.type == item.type and normal_url(record.url) == normal_url(item.url)
        ]
        if item.name not in found and len(same) == 1:
            take(item, same)
    return found


def match_stacks(
    declared: Sequence[DeclaredStack],
    environments: Mapping[str, EnvironmentMatch],
    environment_records: Iterable[EnvironmentRecord],
    records: Iterable[StackRecord],
) -> dict[tuple[str, str], StackMatch]:
    """The record of each declared stack that has one, by environment and name."""
    existing = {record.id for record in environment_records}
    by_place: dict[tuple[int, str], list[StackRecord]] = {}
    orphaned: dict[str, list[StackRecord]] = {}
    for record in sorted(records, key=lambda item: item.id):
        name = normal_stack_name(record.name)
        by_place.setdefault((record.endpoint_id, name), []).append(record)
        if record.endpoint_id not in existing and record.type == COMPOSE:
            orphaned.setdefault(name, []).append(record)
    found: dict[tuple[str, str], StackMatch] = {}
    for item in declared:
        match = environments.get(item.environment)
        here = by_place.get((match.record.id, item.name), []) if match else []
        if here:
            found[item.environment, item.name] = StackMatch(here[0], tuple(here[1:]))
        elif orphaned.get(item.name):
            found[item.environment, item.name] = StackMatch(orphaned[item.name].pop(0), orphaned=True)
    return found
