"""The workflow of ``sync all`` and ``sync stack``: each step only after the one before it holds.

What a step needs of the world comes through :class:`World`, so that the whole workflow runs in tests against a
stand-in server. Each step has an exit code of its own (:data:`EXIT_CODES`), which tells a script what failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import SecretStr

from phoenix.errors import InputError, PhoenixError, PortainerError
from phoenix.portainer.api import Portainer
from phoenix.portainer.carry_out import Outcome, carry_out
from phoenix.portainer.contract import Outputs
from phoenix.portainer.declared import Declared, declare
from phoenix.portainer.errors import (
    NotFoundError,
    SetupExpiredError,
    StepError,
    UnavailableError,
    UncertainError,
)
from phoenix.portainer.observe import Observed, observe
from phoenix.portainer.plan import Plan, plan
from phoenix.portainer.readiness import Result, problems
from phoenix.portainer.report import Progress, Report
from phoenix.portainer.session import Session
from phoenix.portainer.target import ApiKey, Clock, Login

StepName = Literal[
    "inventory",
    "readiness",
    "pulumi",
    "outputs",
    "lock",
    "portainer",
    "first user",
    "login",
    "plan",
    "environments",
    "stacks",
    "verify",
    "health",
]

#: What a run exits with when the step fails; wrong input of any kind exits with 2.
EXIT_CODES: dict[StepName, int] = {
    "inventory": 2,
    "readiness": 10,
    "pulumi": 11,
    "outputs": 12,
    "lock": 13,
    "portainer": 14,
    "first user": 15,
    "login": 16,
    "plan": 17,
    "environments": 18,
    "stacks": 19,
    "verify": 20,
    "health": 21,
}

_START_POLL = 2.0


@dataclass(frozen=True)
class Access:
    """The secrets of a run; they mask themselves.

    Attributes:
        password: of Portainer's first user.
        api_key: in place of a login.
        setup_token: for the first user, from 2.43 on.
    """

    password: SecretStr | None = None
    api_key: SecretStr | None = None
    setup_token: SecretStr | None = None


class World(Protocol):
    """What the workflow needs of the world."""

    @property
    def stack(self) -> str:
        """The Pulumi stack's name."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    @property
    def start_timeout(self) -> float:
        """Seconds to wait until Portainer answers."""
        ...

    def intended(self) -> Outputs:
        """The outputs that the inventory and the settings lead to, computed without any target."""
        ...

    def ready(self, report: Callable[[int, list[Result]], None]) -> list[Result]:
        """Wait until the system is ready; the results of the last round of checks."""
        ...

    def probe(self) -> list[Result]:
        """Make every check of readiness once."""
        ...

    def pulumi(self, *, preview: bool) -> None:
        """Run ``pulumi up``, or ``pulumi preview``."""
        ...

    def outputs(self) -> Outputs:
        """The stack's outputs, read from its state."""
        ...

    def read(self, path: str) -> bytes:
        """A compose file or a stack's file."""
        ...

    def access(self) -> Access:
        """The run's secrets."""
        ...

    def session(self, outputs: Outputs) -> Session:
        """The connection that Portainer's API is spoken over."""
        ...

    def gateway_session(self, outputs: Outputs, session: Session) -> Session:
        """The connection that users take, with the login of ``session``."""
        ...

    def restart_server(self) -> bool:
        """Restart Portainer on its machine; whether that is possible."""
        ...

    def lock(self, hostname: str) -> AbstractContextManager[None]:
        """Keep a second run away from the same Portainer."""
        ...


@dataclass(frozen=True)
class Options:
    """What a run is asked for.

    Attributes:
        dry_run: show, and write nothing.
        prune: also delete what is no longer declared.
        skip_pulumi: take the outputs as they are.
    """

    dry_run: bool = False
    prune: bool = False
    skip_pulumi: bool = False


def sync_all(world: World, options: Options, progress: Progress, report: Report) -> None:
    """Bring everything up to what is declared.

    Args:
        world: what the run needs.
        options: what is asked for.
        progress: shows the run.
        report: filled in.

    Raises:
        InputError: the inventory, the settings or a compose file is wrong; nothing was touched.
        StepError: a step failed; its exit code says which.
    """
    Run(world, options, progress, report).everything()


def sync_stack(world: World, name: str, vmid: int, options: Options, progress: Progress, report: Report) -> None:
    """Bring one Docker stack up to what is declared; ``pulumi up`` is not run.

    Args:
        world: what the run needs.
        name: the stack's name in the inventory.
        vmid: the machine.
        options: what is asked for.
        progress: shows the run.
        report: filled in.

    Raises:
        InputError: the stack is not declared there, or its compose file is wrong.
        StepError: a step failed; its exit code says which.
    """
    Run(world, options, progress, report).one_stack(name, vmid)


class Run:
    """The steps of a run, each of which ends in a :class:`StepError` of its own."""

    def __init__(self, world: World, options: Options, progress: Progress, report: Report) -> None:
        self.world = world
        self.options = options
        self.progress = progress
        self.report = report
        self.detail = ""

    @contextmanager
    def step(self, name: StepName, what: str) -> Iterator[None]:
        """Show and time a step.

        Raises:
            InputError: unchanged.
            StepError: in place of any other error of the product.
        """
        self.detail = ""
        self.progress.begin(name, what)
        start = self.world.clock.now()
        try:
            yield
        except PhoenixError as error:
            self.progress.fail(name, self.world.clock.now() - start)
            self.report.failed, self.report.message = name, str(error)
            if isinstance(error, InputError):
                raise
            raise StepError(name, EXIT_CODES[name], str(error)) from None
        seconds = self.world.clock.now() - start
        self.report.steps.append((name, seconds))
        self.progress.end(name, seconds, self.detail)

    # -- the two workflows -------------------------------------------------------------------------------------

    def everything(self) -> None:
        """See :func:`sync_all`."""
        with self.step("inventory", "checking the inventory and the compose files"):
            # Before anything is touched: a mistake in a compose file must not stop a run half-way.
            intended = self.world.intended()
            checked = declare(intended, self.world.read)
            if not self.options.dry_run:
                self.world.access()
        with self.step("readiness", "waiting until the system is ready"):
            self.ready()
        if not self.options.skip_pulumi:
            with self.step("pulumi", "pulumi preview" if self.options.dry_run else "pulumi up"):
                self.world.pulumi(preview=self.options.dry_run)
        if self.options.dry_run:
            # The outputs in the state are those of the last run; the ones to come are what a real run would use.
            outputs = intended
        else:
            with self.step("outputs", "reading the outputs"):
                outputs = self.world.outputs()
        declared = checked if outputs == intended else declare(outputs, self.world.read)
        self.portainer(outputs, declared, partial=False)

    def one_stack(self, name: str, vmid: int) -> None:
        """See :func:`sync_stack`."""
        with self.step("outputs", "reading the outputs"):
            outputs = self.world.outputs()
            declared = declare(outputs, self.world.read, only=(name, vmid))
        self.portainer(outputs, declared, partial=True)

    # -- steps -------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Wait until every check holds."""
        results = self.world.ready(self.progress.readiness)
        self.report.readiness = results
        wrong = problems(results)
        if wrong:
            raise PortainerError(f"The system is not ready: {'; '.join(wrong)}.")
        self.detail = f"{len(results)} checks"

    def portainer(self, outputs: Outputs, declared: Declared, *, partial: bool) -> None:
        """Everything that goes over Portainer's API."""
        if outputs.portainer is None:
            raise InputError(
                [
                    f"Stack {self.world.stack!r}: no VM has portainer_role 'primary': give one that role "
                    "in the inventory."
                ]
            )
        with self.locked(outputs.portainer.hostname), self.world.session(outputs) as session:
            self.work(Portainer(session), outputs, declared, partial=partial)

    @contextmanager
    def locked(self, hostname: str) -> Iterator[None]:
        """Keep other runs away, unless nothing is written."""
        if self.options.dry_run:
            yield
            return
        holder = self.world.lock(hostname)
        with self.step("lock", f"locking {hostname}"):
            holder.__enter__()
        try:
            yield
        finally:
            holder.__exit__(None, None, None)

    def work(self, api: Portainer, outputs: Outputs, declared: Declared, *, partial: bool) -> None:
        """From the first answer to the health check."""
        there = self.start(api)
        if there:
            with self.step("first user", "looking for Portainer's first user"):
                there = self.first_user(api, outputs, may_make=not partial)
        if there:
            with self.step("login", "logging in"):
                self.log_in(api, outputs)
        with self.step("plan", "comparing"):
            planned = self.make_plan(api, declared, there=there, partial=partial)
        if self.options.dry_run:
            return
        self.carry_out(planned, api)
        if planned.changes:
            with self.step("verify", "looking again"):
                self.verify(api, declared, partial=partial)
        with self.step("health", f"asking {outputs.portainer.url if outputs.portainer else ''} as users do"):
            self.health(api, outputs)

    def start(self, api: Portainer) -> bool:
        """Wait until Portainer answers; on a dry run it need not be there yet."""
        try:
            with self.step("portainer", f"waiting for {api.session.target.describe()}"):
                self.report.server = self.answering(api)
                self.detail = f"version {self.report.server}"
        except StepError as error:
            if not self.options.dry_run:
                raise
            self.report.failed = self.report.message = ""
            self.note(f"Portainer does not answer yet, so that the plan takes it as empty. ({error})")
            return False
        return True

    def answering(self, api: Portainer) -> str:
        """The server's version, waited for; empty where it closed its set-up."""
        clock = self.world.clock
        deadline = clock.now() + (0 if self.options.dry_run else self.world.start_timeout)
        while True:
            try:
                return api.status(timeout=10.0).version
            except SetupExpiredError:
                return ""
            except (UnavailableError, UncertainError, NotFoundError):
                # Not started, not routed yet, or its certificate is still being issued.
                if clock.now() + _START_POLL > deadline:
                    raise
            clock.sleep(_START_POLL)

    def first_user(self, api: Portainer, outputs: Outputs, *, may_make: bool) -> bool:
        """Whether the first user exists, made now if need be."""
        try:
            initialised = api.initialised()
        except SetupExpiredError:
            if self.options.dry_run or not self.world.restart_server():
                raise
            self.note("Portainer had closed its set-up and was restarted.")
            self.report.server = self.answering(api)
            initialised = api.initialised()
        if initialised:
            self.detail = "is there"
            return True
        if self.options.dry_run:
            self.note("Portainer has no first user yet, so that the plan takes it as empty.")
            return False
        if not may_make:
            raise PortainerError("Portainer has no first user yet: run 'phoenix sync all' first.")
        access = self.world.access()
        if access.password is None:
            raise PortainerError(
                "Portainer has no first user, and no password is given for one: put it into a file (chmod "
                "600) and name "
                "that with --password-file or as portainer.api.passwordFile."
            )
        assert outputs.portainer is not None  # noqa: S101 - portainer() saw to it
        api.initialise(outputs.portainer.admin_user, access.password, setup_token=access.setup_token)
        self.detail = f"made {outputs.portainer.admin_user}"
        return True

    def log_in(self, api: Portainer, outputs: Outputs) -> None:
        """Use the API key, or log in once."""
        access = self.world.access()
        assert outputs.portainer is not None  # noqa: S101 - portainer() saw to it
        if access.api_key is not None:
            api.session.use(ApiKey(access.api_key))
            self.detail = f"API key of {api.current_user()}"
        elif access.password is not None:
            api.session.use(Login(outputs.portainer.admin_user, access.password))
            api.session.login()
            self.detail = outputs.portainer.admin_user
        else:
            raise PortainerError(
                "No password and no API key is given: put one into a file (chmod 600) and name that with "
                "--password-file "
                "or --api-key-file, or as portainer.api.passwordFile or portainer.api.keyFile."
            )

    def make_plan(self, api: Portainer, declared: Declared, *, there: bool, partial: bool) -> Plan:
        """Compare; where Portainer is not there yet, with nothing."""
        observed = observe(api, declared, partial=partial) if there else Observed()
        planned = plan(declared, observed, prune=self.options.prune, partial=partial)
        self.report.plan = planned
        self.progress.plan(planned)
        if planned.conflicts:
            raise PortainerError(" ".join(finding.message for finding in planned.conflicts))
        counts = planned.count()
        self.detail = ", ".join(f"{number} {action}" for action, number in counts.items() if number) or "nothing"
        return planned

    def carry_out(self, planned: Plan, api: Portainer) -> None:
        """Carry the plan out and say which kind of step failed."""
        outcomes: list[Outcome] = []

        def add(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if outcome.step.action != "unchanged" or outcome.result != "done":
                self.progress.outcome(outcome)

        self.report.outcomes = outcomes
        carry_out(planned, api, add)
        for name, kind in (("environments", "environment"), ("stacks", "stack")):
            mine = [outcome for outcome in outcomes if outcome.step.kind == kind]
            failed = [outcome for outcome in mine if outcome.result != "done"]
            seconds = sum(outcome.seconds for outcome in mine)
            if failed:
                message = " ".join(
                    f"{outcome.step.kind.capitalize()} {outcome.step.name!r}: {outcome.message}" for outcome in failed
                )
                self.report.failed, self.report.message = name, message
                raise StepError(name, EXIT_CODES[name], message)  # type: ignore[index]
            self.report.steps.append((name, seconds))
            done = sum(outcome.step.action != "unchanged" for outcome in mine)
            self.progress.end(name, seconds, f"{done} changed, {len(mine) - done} unchanged")

    def verify(self, api: Portainer, declared: Declared, *, partial: bool) -> None:
        """Compare again: nothing may be left to do."""
        left = plan(declared, observe(api, declared, partial=partial), partial=partial)
        if left.changes:
            what = "; ".join(
                f"{step.kind} {step.name!r} ({step.action}): {', '.join(step.reasons)}" for step in left.changes
            )
            raise PortainerError(
                f"Portainer is not as declared after the run: {what}. Run again to see whether it stays."
            )
        self.detail = "as declared"

    def health(self, api: Portainer, outputs: Outputs) -> None:
        """Ask Portainer through the gateway, publicly and logged in."""
        with self.world.gateway_session(outputs, api.session) as session:
            through = Portainer(session)
            version = through.status().version
            user = through.current_user()
        self.detail = f"200, version {version}, {user} let in"

    def note(self, text: str) -> None:
        """Show and keep a sentence."""
        self.report.notes.append(text)
        self.progress.note(text)


__all__ = [
    "EXIT_CODES",
    "Access",
    "Options",
    "World",
    "sync_all",
    "sync_stack",
]
