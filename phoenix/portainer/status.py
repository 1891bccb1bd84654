"""``phoenix status``: what is ready, healthy and as declared. Reads only."""

from __future__ import annotations

from collections.abc import Callable

from phoenix.errors import PortainerError
from phoenix.portainer.api import Portainer
from phoenix.portainer.contract import Outputs
from phoenix.portainer.declared import declare
from phoenix.portainer.errors import StepError
from phoenix.portainer.readiness import problems
from phoenix.portainer.report import Progress, Report
from phoenix.portainer.sync import Options, Run, StepName, World


def show_status(world: World, progress: Progress, report: Report) -> None:
    """Make every check once, compare Portainer with the outputs and ask it through the gateway.

    Args:
        world: the stack.
        progress: shows it.
        report: filled in.

    Raises:
        InputError: the outputs, the settings or a compose file is wrong.
        StepError: something is not well; the exit code is that of the first step that found it.
    """
    _Status(world, progress, report).show()


class _Status:
    def __init__(self, world: World, progress: Progress, report: Report) -> None:
        self.run = Run(world, Options(dry_run=True), progress, report)
        self.world = world
        self.progress = progress
        self.report = report
        self.failures: list[StepError] = []

    def show(self) -> None:
        with self.run.step("outputs", "reading the outputs"):
            outputs = self.world.outputs()
        self.attempt("readiness", "making every check once", self.readiness)
        if outputs.portainer is not None:
            with self.world.session(outputs) as session:
                self.portainer(Portainer(session), outputs)
        if self.failures:
            first = self.failures[0]
            self.report.failed, self.report.message = first.step, " ".join(str(error) for error in self.failures)
            raise StepError(first.step, first.exit_code, self.report.message)

    def attempt(self, name: StepName, what: str, work: Callable[[], None]) -> bool:
        try:
            with self.run.step(name, what):
                work()
        except StepError as error:
            self.failures.append(error)
            return False
        return True

    def readiness(self) -> None:
        results = self.world.probe()
        self.report.readiness = results
        self.progress.readiness(1, results)
        wrong = problems(results)
        if wrong:
            raise PortainerError(f"Not ready: {'; '.join(wrong)}.")
        self.run.detail = f"{len(results)} checks"

    def portainer(self, api: Portainer, outputs: Outputs) -> None:
        def answers() -> None:
            self.report.server = self.run.answering(api)
            self.run.detail = f"version {self.report.server}"

        def user() -> None:
            if not self.run.first_user(api, outputs, may_make=False):
                raise PortainerError("Portainer has no first user yet: run 'phoenix sync all'.")

        def as_declared() -> None:
            declared = declare(outputs, self.world.read)
            planned = self.run.make_plan(api, declared, there=True, partial=False)
            if planned.changes:
                raise PortainerError(
                    f"Portainer differs from what is declared in {len(planned.changes)} places: run 'phoenix sync all'."
                )

        steps: tuple[tuple[StepName, str, Callable[[], None]], ...] = (
            ("portainer", f"asking {api.session.target.describe()}", answers),
            ("first user", "looking for Portainer's first user", user),
            ("login", "logging in", lambda: self.run.log_in(api, outputs)),
            ("plan", "comparing", as_declared),
            ("health", "asking Portainer as users do", lambda: self.run.health(api, outputs)),
        )
        for name, what, work in steps:
            # A difference keeps nothing from being healthy; every other failure keeps the next step from working.
            if not self.attempt(name, what, work) and name != "plan":
                return
