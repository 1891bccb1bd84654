"""What is in Portainer: one list call for each kind, then only what the comparison needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from phoenix.errors import PortainerError
from phoenix.portainer.api import Portainer
from phoenix.portainer.declared import Declared
from phoenix.portainer.errors import DeploymentError
from phoenix.portainer.matching import match_environments, match_stacks
from phoenix.portainer.records import COMPOSE, DEPLOYING, ContainerRecord, EnvironmentRecord, StackRecord

K = TypeVar("K")
V = TypeVar("V")

_WORKERS = 6
_CONTAINERS_TIMEOUT = 15.0


@dataclass(frozen=True)
class Observed:
    """What is in Portainer.

    Attributes:
        environments: every environment.
        stacks: every stack.
        texts: compose texts by stack id, of every stack that is compared.
        containers: by environment id, of every environment with a declared stack; none where it cannot be reached.
    """

    environments: tuple[EnvironmentRecord, ...] = ()
    stacks: tuple[StackRecord, ...] = ()
    texts: Mapping[int, str] = field(default_factory=dict, repr=False)
    containers: Mapping[int, tuple[ContainerRecord, ...] | None] = field(default_factory=dict)


def observe(api: Portainer, declared: Declared, *, partial: bool = False) -> Observed:
    """Read what :func:`phoenix.portainer.plan.plan` compares. Sends ``GET`` only.

    Args:
        api: the server.
        declared: what should be there.
        partial: only the declared stacks are of interest, not what else is there.

    Raises:
        PortainerError: the server cannot be read.
    """
    environments = api.environments()
    stacks = api.stacks()
    matched = match_environments(declared.environments, environments)
    matches = match_stacks(declared.stacks, matched, environments, stacks)
    records = {match.record.id: match.record for match in matches.values()}
    for record in list(records.values()):
        if record.status == DEPLOYING:
            records[record.id] = _settled(api, record)
    stacks = [records.get(record.id, record) for record in stacks]
    wanted = set(records)
    if not partial:
        known = {match.record.id for match in matched.values()}
        wanted |= {record.id for record in stacks if record.type == COMPOSE and record.endpoint_id in known}
        wanted |= _below(declared.internal_domain, environments, stacks)
    texts = _each(sorted(wanted), api.stack_text)
    places = sorted({match.record.endpoint_id for match in matches.values() if not match.orphaned})
    return Observed(tuple(environments), tuple(stacks), texts, _each(places, lambda place: _containers(api, place)))


def _below(domain: str, environments: Iterable[EnvironmentRecord], stacks: Iterable[StackRecord]) -> set[int]:
    places = {record.id for record in environments if is_below(domain, record)}
    return {record.id for record in stacks if record.type == COMPOSE and record.endpoint_id in places}


def is_below(domain: str, record: EnvironmentRecord) -> bool:
    """Whether an environment's agent has a name below the installation's internal domain."""
    host = record.url.lower().rpartition("://")[2].partition("/")[0].partition(":")[0]
    return host.endswith(f".{domain.lower()}")


def _settled(api: Portainer, record: StackRecord) -> StackRecord:
    try:
        return api.settled(record)
    except DeploymentError:
        return api.stack(record.id)


def _containers(api: Portainer, environment: int) -> tuple[ContainerRecord, ...] | None:
    try:
        return tuple(api.containers(environment, timeout=_CONTAINERS_TIMEOUT))
    except PortainerError:
        # An agent that is down is a finding of the plan, not the end of the run.
        return None


def _each(keys: list[K], read: Callable[[K], V]) -> dict[K, V]:
    if len(keys) < 2:
        return {key: read(key) for key in keys}
    with ThreadPoolExecutor(max_workers=min(_WORKERS, len(keys))) as pool:
        return dict(zip(keys, pool.map(read, keys), strict=True))
