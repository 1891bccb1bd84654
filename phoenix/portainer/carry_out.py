"""Carrying a plan out, one write at a time.

Portainer deploys one stack at a time, and four creates of one name at once make four records. So: nothing in
parallel; after an answer that got lost, look before sending again; a name that is taken is adopted, not an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from phoenix.errors import PortainerError
from phoenix.portainer.api import Portainer
from phoenix.portainer.declared import DeclaredEnvironment, DeclaredStack
from phoenix.portainer.errors import (
    ConflictError,
    DeploymentError,
    ServerFailedError,
    UnavailableError,
    UncertainError,
)
from phoenix.portainer.matching import normal_url
from phoenix.portainer.plan import Plan, Step
from phoenix.portainer.records import FAILED, EnvironmentRecord, StackRecord, normal_stack_name

R = TypeVar("R", EnvironmentRecord, StackRecord)
T = TypeVar("T")

TRIES = 5

#: What servers that deploy before they answer say when Compose refused: trying again cannot help.
_DEPLOYMENT_FAILED = "failed to deploy"


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes:
        step: the step.
        result: done, failed, or skipped because its environment failed.
        seconds: how long it took.
        message: for a failure, a whole sentence.
    """

    step: Step
    result: Literal["done", "failed", "skipped"]
    seconds: float = 0.0
    message: str = ""


Report = Callable[[Outcome], None]


def carry_out(plan: Plan, api: Portainer, report: Report = lambda _: None) -> list[Outcome]:
    """Carry every step of a plan out; a failed one does not keep others from being tried.

    Args:
        plan: what :func:`phoenix.portainer.plan.plan` gave, without conflicts.
        api: the server.
        report: called after each step.

    Raises:
        PortainerError: the plan has conflicts, so that nothing was done.
    """
    if plan.conflicts:
        raise PortainerError("\n".join(finding.message for finding in plan.conflicts))
    return _Worker(api, report).work(plan)


class _Worker:
    def __init__(self, api: Portainer, report: Report) -> None:
        self.api = api
        self.session = api.session
        self.clock = api.session.clock
        self.report = report
        self.places: dict[str, int] = {}
        self.broken: set[str] = set()
        self.touched: set[str] = set()

    def work(self, plan: Plan) -> list[Outcome]:
        outcomes = []
        for step in plan.steps:
            outcome = self._one(step)
            self.report(outcome)
            outcomes.append(outcome)
        return outcomes

    def _one(self, step: Step) -> Outcome:
        start = self.clock.now()
        if step.kind == "stack" and step.environment in self.broken:
            return Outcome(step, "skipped", 0.0, f"environment {step.environment!r} failed")
        try:
            if step.kind == "environment":
                self._environment(step)
            else:
                self._stack(step)
        except PortainerError as error:
            if step.kind == "environment" and step.action != "delete":
                self.broken.add(step.name)
            return Outcome(step, "failed", self.clock.now() - start, str(error))
        return Outcome(step, "done", self.clock.now() - start)

    # -- environments ------------------------------------------------------------------------------------------

    def _environment(self, step: Step) -> None:
        if step.action == "delete":
            self._again(lambda: self.api.delete_environment(_number(step.id)))
            return
        wanted = step.declared
        assert isinstance(wanted, DeclaredEnvironment)  # noqa: S101 - plan() gives every other step one
        if step.action == "create":
            record = self._make(
                lambda: self.api.create_environment(wanted.name, wanted.url, wanted.type),
                lambda: self._find_environment(wanted),
            )
            if normal_url(record.url) != normal_url(wanted.url):
                self._again(
                    lambda: self.api.update_environment(record.id, name=wanted.name, url=wanted.url, kind=wanted.type)
                )
            self.places[step.name] = record.id
            return
        self.places[step.name] = _number(step.id)
        if step.action != "unchanged":
            self._again(
                lambda: self.api.update_environment(
                    _number(step.id), name=wanted.name, url=wanted.url, kind=wanted.type
                )
            )

    def _find_environment(self, wanted: DeclaredEnvironment) -> EnvironmentRecord | None:
        found = [record for record in self.api.environments() if record.name == wanted.name]
        return min(found, key=lambda record: record.id, default=None)

    # -- stacks ------------------------------------------------------------------------------------------------

    def _stack(self, step: Step) -> None:
        if step.action == "unchanged":
            return
        if step.action == "delete":
            self._again(lambda: self.api.delete_stack(_number(step.id), _number(step.environment_id)))
            return
        wanted = step.declared
        assert isinstance(wanted, DeclaredStack)  # noqa: S101 - plan() gives every other step one
        place = self.places.get(step.environment, step.environment_id)
        if place is None:
            raise PortainerError(f"Stack {step.name!r}: its environment {step.environment!r} does not exist.")
        if step.action == "create":
            self._create(wanted, place)
        else:
            self._update(_number(step.id), place, wanted, step.former)

    def _create(self, wanted: DeclaredStack, place: int) -> None:
        variables = tuple(wanted.variables.items())
        made = False

        def create() -> StackRecord:
            nonlocal made
            record = self.api.create_stack(place, wanted.name, wanted.text, variables)
            made = True
            return record

        record = self._make(create, lambda: self._find_stack(wanted, place))
        if made:
            self.api.settled(record)
            return
        # It was there: made by a request whose answer got lost, or by somebody else meanwhile.
        record = self._wait(record)
        if record.status == FAILED or not self._is_as_wanted(record, wanted):
            self._update(record.id, place, wanted, None)

    def _find_stack(self, wanted: DeclaredStack, place: int) -> StackRecord | None:
        found = [
            record
            for record in self.api.stacks()
            if record.endpoint_id == place and normal_stack_name(record.name) == wanted.name
        ]
        return min(found, key=lambda record: record.id, default=None)

    def _is_as_wanted(self, record: StackRecord, wanted: DeclaredStack) -> bool:
        variables = {pair.name: pair.value.get_secret_value() for pair in record.env}
        return (
            variables == {name: value.get_secret_value() for name, value in wanted.variables.items()}
            and self.api.stack_text(record.id) == wanted.text
        )

    def _wait(self, record: StackRecord) -> StackRecord:
        try:
            return self.api.settled(record)
        except DeploymentError:
            return self.api.stack(record.id)

    def _update(
        self, identifier: int, place: int, wanted: DeclaredStack, former: tuple[StackRecord, str] | None
    ) -> None:
        variables = tuple(wanted.variables.items())

        def put() -> StackRecord:
            try:
                return self.api.update_stack(identifier, place, wanted.text, variables)
            except ConflictError:
                self._wait(self.api.stack(identifier))
                raise

        try:
            self.api.settled(self._again(put))
        except DeploymentError as error:
            self._put_back(identifier, place, former, error)

    def _put_back(
        self, identifier: int, place: int, former: tuple[StackRecord, str] | None, error: DeploymentError
    ) -> None:
        """Deploy what was there before, since a failed update takes the stack's containers with it."""
        if former is None or not former[1]:
            raise error
        record, text = former
        try:
            variables = tuple((pair.name, pair.value) for pair in record.env)
            self.api.settled(self._again(lambda: self.api.update_stack(identifier, place, text, variables)))
        except PortainerError:
            raise DeploymentError(f"{error} What ran before could not be put back either.") from None
        raise DeploymentError(f"{error} What ran before was put back.")

    # -- trying again ------------------------------------------------------------------------------------------

    def _make(self, create: Callable[[], R], find: Callable[[], R | None]) -> R:
        """Create a record once, however often it takes; what is there already is taken."""
        for attempt in range(1, TRIES + 1):
            restarts = self.session.restarts
            try:
                return create()
            except UnavailableError:
                if attempt == TRIES:
                    raise
            except ConflictError:
                existing = find()
                if existing is None:
                    raise
                return existing
            except ServerFailedError as error:
                existing = find()
                if existing is not None:
                    return existing
                self._give_up_if_deployment_failed(error)
                if attempt == TRIES:
                    raise
            except UncertainError:
                existing = self._appears(find, restarts)
                if existing is not None:
                    return existing
                if self.session.restarts == restarts or attempt == TRIES:
                    # It may still be under way: a second create would make a second record.
                    raise
            self.clock.sleep(min(0.5 * 2**attempt, 8.0))
        raise AssertionError("the last try returns or raises")

    def _appears(self, find: Callable[[], R | None], restarts: int) -> R | None:
        """Wait for the effect of a request whose answer got lost; a restart of the server ends the wait."""
        deadline = self.clock.now() + self.session.timeouts.settle
        while True:
            existing = find()
            if existing is not None or self.session.restarts > restarts or self.clock.now() >= deadline:
                return existing
            self.clock.sleep(self.session.timeouts.poll)

    def _again(self, write: Callable[[], T]) -> T:
        """Send what may be sent twice without harm until it is carried out."""
        for attempt in range(1, TRIES + 1):
            try:
                return write()
            except (UnavailableError, UncertainError, ServerFailedError, ConflictError) as error:
                if isinstance(error, ServerFailedError):
                    self._give_up_if_deployment_failed(error)
                if attempt == TRIES:
                    raise
            self.clock.sleep(min(0.5 * 2**attempt, 8.0))
        raise AssertionError("the last try returns or raises")

    def _give_up_if_deployment_failed(self, error: ServerFailedError) -> None:
        if _DEPLOYMENT_FAILED in error.said.lower():
            raise DeploymentError(
                f"{self.session.target.describe()}: Portainer could not deploy the stack ({error.said}): "
                "correct its compose "
                "file, image or variables and run again."
            ) from None


def _number(value: int | None) -> int:
    assert value is not None  # noqa: S101 - plan() numbers every step but a create
    return value
