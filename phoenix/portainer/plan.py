"""What has to be done so that what is declared is in Portainer. Pure: declared + observed → plan.

The plan that is shown is the plan that :mod:`phoenix.portainer.carry_out` carries out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from phoenix.portainer.declared import Declared, DeclaredEnvironment, DeclaredStack, owner_of, without_mark
from phoenix.portainer.matching import (
    EnvironmentMatch,
    StackMatch,
    match_environments,
    match_stacks,
    normal_url,
)
from phoenix.portainer.observe import Observed, is_below
from phoenix.portainer.records import (
    COMPOSE,
    DEPLOYING,
    DOCKER_AGENT,
    FAILED,
    INACTIVE,
    ContainerRecord,
    EnvironmentRecord,
    StackRecord,
)

Action = Literal["create", "update", "adopt", "unchanged", "delete"]
Kind = Literal["environment", "stack"]
FindingKind = Literal["conflict", "duplicate", "orphan", "drift", "unreachable", "warning"]

#: Container states in which a service that should stay up is not.
_STOPPED = frozenset({"exited", "dead", "created", "removing"})


@dataclass(frozen=True)
class Step:
    """One thing to do, or to leave.

    Attributes:
        kind: environment or stack.
        action: what to do.
        name: in Portainer.
        environment: the name of its environment; its own for an environment.
        id: Portainer's number; none before it exists.
        environment_id: the number of its environment; none before that exists.
        reasons: why, a phrase each; never a secret.
        declared: what it should be; none for a deletion.
        former: the text and record that an update replaces.
    """

    kind: Kind
    action: Action
    name: str
    environment: str
    id: int | None = None
    environment_id: int | None = None
    reasons: tuple[str, ...] = ()
    declared: DeclaredEnvironment | DeclaredStack | None = field(default=None, repr=False)
    former: tuple[StackRecord, str] | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, object]:
        """The step for machines."""
        return {
            "kind": self.kind,
            "action": self.action,
            "name": self.name,
            "environment": self.environment,
            "id": self.id,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class Finding:
    """Something to know that no step mends, a whole sentence."""

    kind: FindingKind
    message: str

    def as_json(self) -> dict[str, object]:
        """The finding for machines."""
        return {"kind": self.kind, "message": self.message}


@dataclass(frozen=True)
class Plan:
    """Every step in the order it is carried out, and what was found besides."""

    steps: tuple[Step, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that write."""
        return tuple(step for step in self.steps if step.action != "unchanged")

    @property
    def conflicts(self) -> tuple[Finding, ...]:
        """What keeps the plan from being carried out."""
        return tuple(finding for finding in self.findings if finding.kind == "conflict")

    def count(self) -> dict[Action, int]:
        """How many steps of each action."""
        counts: dict[Action, int] = {"create": 0, "update": 0, "adopt": 0, "unchanged": 0, "delete": 0}
        for step in self.steps:
            counts[step.action] += 1
        return counts

    def as_json(self) -> dict[str, object]:
        """The plan for machines."""
        return {
            "steps": [step.as_json() for step in self.steps],
            "findings": [finding.as_json() for finding in self.findings],
            "summary": dict(self.count()),
        }


def plan(declared: Declared, observed: Observed, *, prune: bool = False, partial: bool = False) -> Plan:
    """Compare what should be with what is.

    Args:
        declared: what should be there.
        observed: what is there.
        prune: also delete what this installation made and no longer declares.
        partial: ``declared`` is only a part of what should be there, so that nothing else is judged.
    """
    planner = _Planner(declared, observed, prune=prune, partial=partial)
    return planner.plan()


class _Planner:
    def __init__(self, declared: Declared, observed: Observed, *, prune: bool, partial: bool) -> None:
        self.declared = declared
        self.observed = observed
        self.prune = prune
        self.partial = partial
        self.environments = match_environments(declared.environments, observed.environments)
        self.stacks = match_stacks(declared.stacks, self.environments, observed.environments, observed.stacks)
        self.findings: list[Finding] = [Finding("warning", text) for text in declared.warnings]

    def plan(self) -> Plan:
        environments = [self._environment(item) for item in self.declared.environments]
        duplicates = list(self._duplicate_stacks())
        stacks = [self._stack(item) for item in self.declared.stacks]
        gone: list[Step] = []
        if not self.partial:
            gone += self._orphan_stacks()
            gone += self._orphan_environments({step.id for step in (*gone, *duplicates)})
        return Plan((*environments, *duplicates, *stacks, *gone), tuple(self.findings))

    def _find(self, kind: FindingKind, message: str) -> None:
        self.findings.append(Finding(kind, message))

    # -- environments ------------------------------------------------------------------------------------------

    def _environment(self, item: DeclaredEnvironment) -> Step:
        match = self.environments.get(item.name)
        if match is None:
            reason = f"does not exist (agent {item.url})"
            return Step("environment", "create", item.name, item.name, reasons=(reason,), declared=item)
        record = match.record
        if record.type != item.type:
            wanted = "Docker agent" if item.type == DOCKER_AGENT else "Docker engine of the server's own machine"
            self._find(
                "conflict",
                f"Environment {record.name!r} (id {record.id}) exists and is no {wanted} (type {record.type}): "
                f"rename it in Portainer, or give VM {item.vmid} another portainer_environment_name.",
            )
        reasons = []
        if record.name != item.name:
            reasons.append(f"is called {record.name!r}")
        if normal_url(record.url) != normal_url(item.url):
            reasons.append(f"its agent is {record.url or 'not set'}, should be {item.url}")
        action: Action = "adopt" if record.name != item.name else "update" if reasons else "unchanged"
        return Step("environment", action, item.name, item.name, record.id, record.id, tuple(reasons), item)

    # -- stacks ------------------------------------------------------------------------------------------------

    def _duplicate_stacks(self) -> Iterable[Step]:
        for (environment, name), match in self.stacks.items():
            for record in match.duplicates:
                self._find(
                    "duplicate",
                    f"Stack {name!r} stands more than once in environment {environment!r}: id "
                    f"{match.record.id} is used, "
                    f"id {record.id} is not" + (" and is deleted." if self.prune else ": --prune deletes it."),
                )
                if self.prune:
                    yield Step(
                        "stack",
                        "delete",
                        record.name,
                        environment,
                        record.id,
                        record.endpoint_id,
                        (f"is a duplicate of id {match.record.id}",),
                    )

    def _stack(self, item: DeclaredStack) -> Step:
        match = self.stacks.get((item.environment, item.name))
        place = self.environments.get(item.environment)
        place_id = place.record.id if place else None
        if match is None:
            reason = f"does not exist on VM {item.vmid}"
            return Step("stack", "create", item.name, item.environment, None, place_id, (reason,), declared=item)
        record = match.record
        if record.type != COMPOSE:
            self._find(
                "conflict",
                f"Stack {record.name!r} (id {record.id}) in environment {item.environment!r} exists and is no compose "
                f"stack (type {record.type}): remove or rename it in Portainer.",
            )
        text = self.observed.texts.get(record.id, "")
        taken, changed = self._taken_over(item, match, text), self._changed(item, match, text)
        action: Action = "adopt" if taken else "update" if changed else "unchanged"
        return Step(
            "stack",
            action,
            item.name,
            item.environment,
            record.id,
            place_id,
            (*taken, *changed),
            item,
            (record, text),
        )

    def _taken_over(self, item: DeclaredStack, match: StackMatch, text: str) -> tuple[str, ...]:
        reasons = []
        if match.orphaned:
            reasons.append(f"its environment (id {match.record.endpoint_id}) was deleted")
        if match.record.from_git:
            reasons.append("was deployed from a Git repository")
        elif owner_of(text) is None:
            reasons.append("was not made by the portainer manager")
        elif owner_of(text) != self.declared.owner:
            reasons.append(f"was made for {owner_of(text)}")
        return tuple(reasons)

    def _changed(self, item: DeclaredStack, match: StackMatch, text: str) -> tuple[str, ...]:
        record = match.record
        reasons = []
        reasons += _text_changes(without_mark(text), without_mark(item.text))
        reasons += _variable_changes(item, record)
        if record.status == FAILED:
            reasons.append("its last deployment failed")
        elif record.status == INACTIVE:
            reasons.append("is stopped")
        elif record.status == DEPLOYING:
            reasons.append("is still being deployed")
        reasons += self._drift(item, match)
        if match.duplicates and self.prune:
            reasons.append("its containers go with its duplicate")
        return tuple(reasons)

    def _drift(self, item: DeclaredStack, match: StackMatch) -> list[str]:
        if match.orphaned:
            return []
        containers = self.observed.containers.get(match.record.endpoint_id)
        if containers is None:
            message = f"Environment {item.environment!r} cannot be reached, so that its containers are not known"
            if not any(finding.message.startswith(message) for finding in self.findings):
                self._find("unreachable", f"{message}: look whether its VM and the agent run.")
            return []
        found = drift(item, containers)
        for text in found:
            self._find("drift", f"Stack {item.name!r} in environment {item.environment!r}: {text}.")
        return found

    # -- what else is there ------------------------------------------------------------------------------------

    def _orphan_stacks(self) -> list[Step]:
        used = {match.record.id for match in self.stacks.values()}
        used |= {record.id for match in self.stacks.values() for record in match.duplicates}
        names = {record.id: record.name for record in self.observed.environments}
        steps = []
        for record in sorted(self.observed.stacks, key=lambda item: item.id):
            owner = owner_of(self.observed.texts.get(record.id, ""))
            if record.id in used or owner != self.declared.owner:
                if record.id not in used and record.endpoint_id not in names:
                    self._find(
                        "orphan",
                        f"Stack {record.name!r} (id {record.id}) belongs to environment id "
                        f"{record.endpoint_id}, which was "
                        "deleted: remove it in Portainer.",
                    )
                continue
            place = names.get(record.endpoint_id, str(record.endpoint_id))
            self._find(
                "orphan",
                f"Stack {record.name!r} (id {record.id}) in environment {place!r} is no longer declared"
                + (" and is deleted." if self.prune else ": --prune deletes it."),
            )
            if self.prune:
                steps.append(
                    Step(
                        "stack",
                        "delete",
                        record.name,
                        place,
                        record.id,
                        record.endpoint_id,
                        ("is no longer declared",),
                    )
                )
        return steps

    def _orphan_environments(self, deleted: set[int | None]) -> list[Step]:
        used = {match.record.id for match in self.environments.values()}
        duplicates = {record.id: match for match in self.environments.values() for record in match.duplicates}
        steps = []
        for record in sorted(self.observed.environments, key=lambda item: item.id):
            if record.id in used:
                continue
            match = duplicates.get(record.id)
            if match is None and not (record.type == DOCKER_AGENT and is_below(self.declared.internal_domain, record)):
                continue
            left = [
                stack.name
                for stack in self.observed.stacks
                if stack.endpoint_id == record.id and stack.id not in deleted
            ]
            steps += self._orphan_environment(record, match, left)
        return steps

    def _orphan_environment(
        self, record: EnvironmentRecord, match: EnvironmentMatch | None, left: list[str]
    ) -> list[Step]:
        why = f"is a duplicate of id {match.record.id}" if match else "is no longer declared"
        kind: FindingKind = "duplicate" if match else "orphan"
        start = f"Environment {record.name!r} (id {record.id}) {why}"
        if left:
            self._find(kind, f"{start}, but holds stacks ({', '.join(sorted(left))}): remove them first.")
            return []
        self._find(kind, start + (" and is deleted." if self.prune else ": --prune deletes it."))
        if not self.prune:
            return []
        return [Step("environment", "delete", record.name, record.name, record.id, record.id, (why,))]


def _text_changes(former: str, wanted: str) -> list[str]:
    if former == wanted:
        return []
    changed = sum(
        max(former_end - former_start, end - start)
        for tag, former_start, former_end, start, end in difflib.SequenceMatcher(
            None, former.splitlines(), wanted.splitlines(), autojunk=False
        ).get_opcodes()
        if tag != "equal"
    )
    lines = f"{changed} line{'s' if changed > 1 else ''}" if changed else "line ends only"
    return [f"its compose text changed ({lines})"]


def _variable_changes(item: DeclaredStack, record: StackRecord) -> list[str]:
    former = {pair.name: pair.value.get_secret_value() for pair in record.env}
    wanted = {name: value.get_secret_value() for name, value in item.variables.items()}
    added = sorted(wanted.keys() - former.keys())
    removed = sorted(former.keys() - wanted.keys())
    changed = sorted(name for name in wanted.keys() & former.keys() if wanted[name] != former[name])
    reasons = [
        f"variable{'s' if len(names) > 1 else ''} {', '.join(names)} {verb}"
        for names, verb in ((added, "added"), (changed, "changed"), (removed, "removed"))
        if names
    ]
    if not reasons and len(record.env) != len(former):
        reasons.append("a variable stands twice")
    return reasons


def drift(item: DeclaredStack, containers: Iterable[ContainerRecord]) -> list[str]:
    """How a stack's containers differ from its services; Portainer's own ``Status`` does not tell.

    Args:
        item: the stack.
        containers: of its environment, stopped ones too.
    """
    mine: dict[str, list[ContainerRecord]] = {}
    for container in containers:
        if container.project == item.name and container.service and not container.one_off:
            mine.setdefault(container.service, []).append(container)
    found = []
    for service in item.services.values():
        if not service.wanted:
            continue
        states = [container.state for container in mine.get(service.name, [])]
        if not states:
            found.append(f"service {service.name!r} has no container")
        elif service.stays_up and all(state in _STOPPED for state in states):
            found.append(f"service {service.name!r} is not running ({', '.join(sorted(set(states)))})")
    return found
