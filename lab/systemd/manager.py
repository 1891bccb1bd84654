"""Loads units, runs their jobs and reaps what they leave: what PID 1 does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from lab.systemd import spawn
from lab.systemd.definition import files_of, load, stamp
from lab.systemd.install import Installer
from lab.systemd.journal import Journal
from lab.systemd.service import Service
from lab.systemd.settings import Definition
from lab.systemd.sockets import SocketUnit
from lab.systemd.unit import DEPENDENCY, DONE, FAILED, INACTIVE_STATES, SKIPPED, Target, Unit

# Reached as soon as the lab is up, as in a booted container.
REACHED = (
    "sysinit.target", "basic.target", "local-fs.target", "network.target", "network-online.target", "nss-lookup.target",
    "sockets.target", "timers.target", "paths.target", "slices.target", "time-sync.target", "multi-user.target",
    "graphical.target", "default.target", "remote-fs.target", "network-pre.target",
)  # fmt: skip


class UnitError(Exception):
    """A job cannot be made; the text and the exit code are systemctl's."""

    def __init__(self, message: str, code: int, *, see_logs: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.see_logs = see_logs


class Manager:
    """The service manager of one host.

    Args:
        root: the directory that stands for ``/``; unit files are under ``etc/systemd/system``.
        runtime: a directory with a short path for notification sockets.
        journal: the journal's file.
    """

    def __init__(self, root: Path, runtime: Path, journal: Path) -> None:
        self.root = root
        self.runtime = runtime
        self.journal = Journal(journal)
        self.directories = [root / "etc/systemd/system", root / "run/systemd/system", root / "usr/lib/systemd/system"]
        for directory in self.directories[:1]:
            directory.mkdir(parents=True, exist_ok=True)
        self.installer = Installer(self.directories, root)
        self.environment: Mapping[str, str] = {
            "PATH": f"{root / 'bin'}:{root / 'usr/local/bin'}:{spawn.SEARCH_PATH}",
            "LANG": "C.UTF-8",
        }
        self.units: dict[str, Unit] = {}
        self.started = time.time()
        self._children: dict[int, asyncio.Future[int]] = {}
        self._wanted: frozenset[str] = frozenset()
        self._tasks: set[asyncio.Task[None]] = set()

    def boot(self) -> None:
        """Become the reaper of all that is started from here on, and reach the usual targets."""
        spawn.become_subreaper()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for name in REACHED:
            target = Target(Definition(name, "loaded", description=name), self)
            target.active_state = target.sub_state = "active"
            target.moments["ActiveEnter"] = self.started
            self.units[name] = target
        self.daemon_reload()

    async def start_enabled(self) -> None:
        """Start what is enabled, as a boot does; failures are in the journal."""
        for target in ("sockets.target", "basic.target", "multi-user.target", "default.target"):
            for name in self.installer.wanted_by(target):
                with contextlib.suppress(UnitError):
                    await self.start(name)

    async def shut_down(self) -> None:
        """Stop every unit, services before sockets."""
        units = sorted(self.units.values(), key=lambda unit: isinstance(unit, SocketUnit))
        for sockets in (False, True):
            await asyncio.gather(
                *(
                    unit.stop()
                    for unit in units
                    if not isinstance(unit, Target) and isinstance(unit, SocketUnit) is sockets
                )
            )
        self.journal.close()

    # The interface that units use.

    def watch(self, pid: int) -> asyncio.Future[int]:
        """A future of the wait status of ``pid``; for a process that is not our child its end counts as status 0."""
        future = self._children.get(pid)
        if future is None:
            future = self._children[pid] = asyncio.get_running_loop().create_future()
            if not _is_child(pid):
                self._watch_foreign(pid, future)
        return future

    def _watch_foreign(self, pid: int, future: asyncio.Future[int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            self._children.pop(pid, None)
            future.set_result(0)
            return

        def ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            if not future.done():
                self._children.pop(pid, None)
                future.set_result(0)

        loop.add_reader(descriptor, ended)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._children.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(status)

    def descriptors(self, service: str) -> list[tuple[int, str]]:
        """The sockets of all socket units that are active and belong to ``service``."""
        return [pair for unit in self._sockets_of(service) for pair in unit.named()]

    def changed(self, unit: Unit) -> None:
        """Pass a service's state on to its sockets, and start what ``OnFailure=`` names."""
        if isinstance(unit, Service):
            # One that merely inherits a socket (Sockets=) is not what the socket starts.
            for each in (each for each in self._sockets_of(unit.name) if each.settings.service == unit.name):
                each.service_changed(unit.active_state, unit.sub_state)
            if unit.active_state == "failed":
                for name in unit.definition.on_failure:
                    self._background(self._start_quietly(name))

    async def _start_quietly(self, name: str) -> None:
        with contextlib.suppress(UnitError):
            await self.start(name)

    def _background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sockets_of(self, service: str) -> list[SocketUnit]:
        named = set()
        owner = self.units.get(service)
        if isinstance(owner, Service):
            named = set(owner.settings.sockets)
        return [
            unit
            for unit in self.units.values()
            if isinstance(unit, SocketUnit) and (unit.settings.service == service or unit.name in named)
        ]

    # Units.

    def daemon_reload(self) -> None:
        """Read all unit files again; running services keep running under what they now say."""
        self._wanted = frozenset(
            name
            for base in self.directories
            for pattern in ("*.wants/*", "*.requires/*")
            for name in (path.name for path in base.glob(pattern))
        )
        for unit in list(self.units.values()):
            if isinstance(unit, Target):
                continue
            definition = load(unit.name, self.directories, self.root)
            if definition.load_state == "not-found" and unit.active_state in INACTIVE_STATES:
                if unit.active_state == "inactive":
                    del self.units[unit.name]
                    continue
            elif definition.load_state == "not-found":
                definition.service, definition.socket = unit.definition.service, unit.definition.socket
                definition.description = unit.definition.description
            unit.definition = definition
            self._report(definition)
        for path in self.directories[0].glob("*.socket"):
            self.unit(path.name)

    def unit(self, name: str) -> Unit:
        """A unit, loaded when it is not.

        A unit that is neither active, failed nor wanted by another is forgotten by systemd, so its file is read
        anew each time it is named; all others keep what was loaded until ``daemon-reload``.
        """
        known = self.units.get(name)
        if known is not None and self.keeps(known):
            return known
        definition = load(name, self.directories, self.root)
        if known is not None:
            del self.units[name]
            if (known.definition.stamp, known.definition.load_state) == (definition.stamp, definition.load_state):
                # Said before.
                definition.warnings = []
        made: Unit
        if name.endswith(".socket"):
            made = SocketUnit(definition, self, self._socket_triggered)
        elif name.endswith(".service"):
            made = Service(definition, self)
        else:
            made = Target(definition, self)
        if definition.load_state != "not-found":
            self.units[name] = made
            self._report(definition)
        return made

    def keeps(self, unit: Unit) -> bool:
        """Whether the unit stays loaded: it is active, failed, busy, or another unit needs it."""
        return (
            isinstance(unit, Target)
            or unit.active_state != "inactive"
            or unit.pins > 0
            or unit.lock.locked()
            or unit.name in self._wanted
            or any(unit.name in _references(other) for other in self.units.values() if other.active_state != "inactive")
        ) and self.units.get(unit.name) is unit

    def _report(self, definition: Definition) -> None:
        for warning in definition.warnings:
            self.journal.write(definition.name, "systemd", 1, f"{definition.name}: {warning}")
        if definition.load_state not in {"loaded", "not-found", "masked"}:
            self.journal.write(definition.name, "systemd", 1, f"{definition.name}: {definition.load_error}")

    def needs_reload(self, unit: Unit) -> bool:
        """Whether the unit's files are not those that were loaded."""
        definition = unit.definition
        if isinstance(unit, Target) and definition.path is None:
            return False
        path, drop_ins = files_of(unit.name, self.directories)
        if definition.load_state == "masked" or path is None:
            return (path is None) != (definition.path is None)
        return stamp([path, *drop_ins]) != definition.stamp

    # Jobs.

    async def start(self, name: str) -> str:
        """Start a unit and what it requires.

        Returns:
            How the job ended.

        Raises:
            UnitError: there is no such unit, or it cannot be started at all.
        """
        unit = self._startable(name)
        async with unit.lock:
            return await self._start(unit, set())

    def _startable(self, name: str) -> Unit:
        unit = self.unit(name)
        definition = unit.definition
        if definition.load_state == "not-found" and unit.active_state in INACTIVE_STATES:
            raise UnitError(f"Unit {name} not found.", 5)
        if definition.load_state == "masked":
            raise UnitError(f"Unit {name} is masked.", 1)
        if definition.load_state != "loaded" and unit.active_state in INACTIVE_STATES:
            what = (
                "has a bad unit file setting" if definition.load_state == "bad-setting" else "failed to load properly"
            )
            raise UnitError(f"Unit {name} {what}.", 1, see_logs=True)
        return unit

    async def _start(self, unit: Unit, seen: set[str]) -> str:
        if unit.active_state in {"active", "reloading"}:
            return DONE
        seen.add(unit.name)
        definition = unit.definition
        if isinstance(unit, SocketUnit):
            service = self.units.get(unit.settings.service)
            if service is not None and service.active_state not in INACTIVE_STATES and service.name not in seen:
                unit.log(f"{unit.name}: Socket service {service.name} already active, refusing.")
                return FAILED
        implied = definition.service.sockets if isinstance(unit, Service) else []
        required = [*definition.requires, *definition.binds_to]
        for name in [*required, *definition.wants, *implied]:
            if name in seen:
                continue
            if self.unit(name).definition.load_state == "not-found":
                if name in required:
                    raise UnitError(f"Unit {name} not found.", 5)
                continue
            try:
                outcome = await self._start(self._startable(name), seen)
            except UnitError:
                outcome = FAILED
            if outcome not in {DONE, SKIPPED} and name in required:
                unit.log(f"Dependency failed for {unit.label}.")
                unit.log(f"{unit.name}: Job {unit.name}/start failed with result 'dependency'.")
                return DEPENDENCY
        for name in definition.conflicts:
            other_unit = self.units.get(name)
            if other_unit is not None and other_unit.active_state not in INACTIVE_STATES:
                await other_unit.stop()
        unit.pins += 1
        try:
            return await unit.start()
        finally:
            unit.pins -= 1

    async def _socket_triggered(self, unit: SocketUnit) -> str:
        try:
            service = self._startable(unit.settings.service)
        except UnitError as error:
            unit.log(f"{unit.name}: Failed to queue service startup job: {error}")
            return "start-limit-hit"
        async with service.lock:
            outcome = await self._start(service, {unit.name})
        if outcome == FAILED and service.active_state == "failed":
            return "start-limit-hit"
        return outcome

    async def stop(self, name: str) -> str:
        """Stop a unit and what cannot be without it.

        Raises:
            UnitError: no such unit is loaded.
        """
        unit = self.unit(name)
        if unit.definition.load_state == "not-found" and name not in self.units:
            raise UnitError(f"Unit {name} not loaded.", 5)
        for other in list(self.units.values()):
            bound = {*other.definition.requires, *other.definition.binds_to, *other.definition.part_of}
            if name in bound and other.active_state not in INACTIVE_STATES and not isinstance(other, Target):
                await other.stop()
        # Not under the unit's lock: a stop overtakes a start that waits.
        return await unit.stop()

    async def restart(self, name: str) -> str:
        """Stop and start a unit.

        Raises:
            UnitError: it cannot be started.
        """
        unit = self._startable(name)
        if isinstance(unit, Service) and unit.active_state not in INACTIVE_STATES:
            outcome = await self._restart_running(unit)
        else:
            async with unit.lock:
                await unit.stop()
                outcome = await self._start(unit, set())
        for other in list(self.units.values()):
            bound = {*other.definition.requires, *other.definition.binds_to, *other.definition.part_of}
            if name in bound and other.active_state == "active" and not isinstance(other, Target):
                await self.restart(other.name)
        return outcome

    async def _restart_running(self, unit: Service) -> str:
        if unit.lock.locked():
            await unit.stop()
        async with unit.lock:
            return await unit.restart()

    async def reload(self, name: str) -> str:
        """Make a service read its configuration again.

        Raises:
            UnitError: there is no such unit, or it knows no reload.
        """
        unit = self._startable(name)
        if not (isinstance(unit, Service) and (unit.settings.reload or unit.settings.type == "notify-reload")):
            raise UnitError(f"Job type reload is not applicable for unit {name}.", 3)
        async with unit.lock:
            return await unit.reload()

    def can_reload(self, unit: Unit) -> bool:
        """Whether ``reload`` is possible."""
        return isinstance(unit, Service) and bool(unit.settings.reload or unit.settings.type == "notify-reload")

    def system_state(self) -> str:
        """``running``, or ``degraded`` once a unit has failed."""
        return "degraded" if any(unit.active_state == "failed" for unit in self.units.values()) else "running"


def _references(unit: Unit) -> set[str]:
    definition = unit.definition
    names = {*definition.wants, *definition.requires, *definition.binds_to, *definition.on_failure}
    if isinstance(unit, SocketUnit):
        names.add(unit.settings.service)
    if isinstance(unit, Service):
        names |= set(unit.settings.sockets)
    return names


def _is_child(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[1]) == os.getpid()
