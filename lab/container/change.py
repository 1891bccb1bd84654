"""A lab that runs follows a changed inventory: backends come and go, the guests stay as they are."""

from __future__ import annotations

import signal
from pathlib import Path

from lab.container import backend_process, guest_config, settings, state
from lab.container.errors import ContainerLabError
from lab.container.host import Report
from lab.container.machines import Runtime
from lab.container.plan import BACKENDS, Plan, load
from lab.container.processes import run, wait_until


def apply(runtime: Runtime, plan: Plan, directory: Path, known: state.State, report: Report) -> bool:
    """Bring the running lab in line with a plan; True when something was to do.

    Raises:
        ContainerLabError: a guest changed that has a system of its own; the message names it.
    """
    running = load(directory / "inventory", runtime.network)
    if running.texts == plan.texts:
        return False
    _check_machines(running, plan)
    settings.write_inventory(directory, plan)
    if running.backends != plan.backends:
        report("the backends follow the changed inventory")
        _replace_backends(runtime, running, plan, known)
    return True


def _check_machines(running: Plan, plan: Plan) -> None:
    before = {machine.number: machine for machine in running.machines}
    after = {machine.number: machine for machine in plan.machines}
    for number in sorted(before.keys() | after.keys(), key=int):
        old, new = before.get(number), after.get(number)
        if old is None or new is None or (old.address, old.role, old.name) != (new.address, new.role, new.name):
            raise ContainerLabError(
                f"inventory: guest {number} was added, removed, renamed or moved: run down, then up, to change guests."
            )
    if (running.domain, running.portainer_hostname) != (plan.domain, plan.portainer_hostname):
        raise ContainerLabError("inventory: the domain or Portainer's host name changed: run down, then up.")


def _replace_backends(runtime: Runtime, running: Plan, plan: Plan, known: state.State) -> None:
    """End the process that plays the services, move its addresses, start it anew."""
    space = runtime.network.namespace(BACKENDS)
    if BACKENDS in known["guests"]:
        process = state.process(known["guests"].pop(BACKENDS))
        process.signal(signal.SIGKILL)
        wait_until(lambda: not process.alive, 10)
        process.reap()
    old = {backend.address for backend in running.backends}
    new = {backend.address for backend in plan.backends}
    lines = [f"addr delete {address}/24 dev eth0" for address in sorted(old - new)]
    lines += [f"addr add {address}/24 dev eth0" for address in sorted(new - old)]
    run(["ip", "-netns", space, "-batch", "-"], stdin="".join(f"{line}\n" for line in lines))
    known["stubs"] = guest_config.stubs(plan)
    if plan.backends:
        known["guests"][BACKENDS] = backend_process.launch(runtime, plan)
    state.write(runtime, known)
