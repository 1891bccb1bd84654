"""The processes of a service: how they are started, what they inherit, and how they are ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from lab.systemd import outcome, spawn
from lab.systemd.definition import account
from lab.systemd.directives import DIRECTORIES
from lab.systemd.notify import NotifySocket
from lab.systemd.output import JournalPipe, open_target
from lab.systemd.settings import ServiceSettings
from lab.systemd.unit import Unit
from lab.systemd.unit_file import Command
from lab.systemd.waiting import Alarm


class Execution:
    """The main and control processes of one service, run after run.

    Args:
        unit: the service; its definition is read anew at each start.
        alarm: rung when something happened that a waiting task has to look at.
        notified: takes a message from the notification socket: the sender's pid and its assignments.

    Attributes:
        main: the wait status of the main process, once it ended; None while there was none in this run.
        exec_main_status: wait status of the last main process; None while it runs.
    """

    def __init__(self, unit: Unit, alarm: Alarm, notified: Callable[[int, dict[str, str]], None]) -> None:
        self._unit = unit
        self._alarm = alarm
        self._notified = notified
        self._notify: NotifySocket | None = None
        self._pipes: list[JournalPipe] = []
        self.main: asyncio.Future[int] | None = None
        self.main_pid = 0
        self.control_pid = 0
        self.exec_main_pid = 0
        self.exec_main_status: int | None = None
        self.exec_main_start = 0.0
        self.exec_main_exit = 0.0
        self.invocation = ""

    @property
    def settings(self) -> ServiceSettings:
        """The service's settings as loaded now."""
        return self._unit.definition.service

    def begin(self) -> None:
        """Forget the last run."""
        self.invocation = uuid.uuid4().hex
        self.main = None
        self.main_pid = 0
        self.exec_main_status = None

    def set_up(self) -> None:
        """Make the directories and the notification socket.

        Raises:
            OSError: one cannot be made.
            KeyError: there is no such user.
        """
        settings = self.settings
        uid, gid = os.geteuid(), os.getegid()
        with contextlib.suppress(KeyError):
            # An unknown user is the program's failure, 217/USER, as under systemd.
            uid, gid, _ = account(settings.user, settings.group)
        for key, (names, mode) in settings.directories.items():
            for name in names:
                path = self._unit.keeper.root / DIRECTORIES[key][0] / name
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(mode)
                if os.geteuid() == 0 and key != "ConfigurationDirectory":
                    os.chown(path, uid, gid)
        if settings.notify_access != "none":
            self._notify = NotifySocket(self._unit.keeper.runtime / f"n-{self.invocation[:12]}", self._notified)

    def release(self) -> None:
        """Close what one run needed."""
        if self._notify is not None:
            self._notify.close()
            self._notify = None
        self.drain()
        self._pipes = []

    def drain(self) -> None:
        """Bring the processes' last words into the journal."""
        for pipe in self._pipes:
            pipe.drain()

    # Starting.

    def start(self, command: Command, *, main: bool) -> asyncio.Future[bool]:
        """Start a command; the future tells, once known, whether the program could be run.

        Raises:
            OSError: an output or an environment file cannot be opened.
        """
        settings, keeper = self.settings, self._unit.keeper
        environment = self._environment(main=main)
        pid_of: list[int] = []
        stdout, stderr, opened, pipes = self._outputs(command, pid_of)
        try:
            pid, failure = spawn.start(
                spawn.Program(
                    path=command.path,
                    arguments=command.expanded(environment),
                    environment=environment,
                    directory=settings.working_directory,
                    directory_optional=settings.working_directory_optional,
                    identity=self._identity(command),
                    umask=settings.umask,
                    open_files=settings.open_files,
                    stdout=stdout,
                    stderr=stderr,
                    descriptors=keeper.descriptors(self._unit.name) if main else [],
                )
            )
        finally:
            for number in opened:
                os.close(number)
            for pipe in pipes:
                pipe.release()
        pid_of.append(pid)
        self._pipes += pipes
        ended = keeper.watch(pid)
        if main:
            self.main, self.main_pid, self.exec_main_pid = ended, pid, pid
            self.exec_main_start, self.exec_main_status = time.time(), None
        else:
            self.control_pid = pid
        return self._watch_exec(failure, command)

    def _identity(self, command: Command) -> tuple[int, int, str] | None:
        settings = self.settings
        if command.as_manager or not (settings.user or settings.group):
            return None
        try:
            return account(settings.user, settings.group)
        except KeyError:
            return (spawn.NO_SUCH_USER, spawn.NO_SUCH_USER, settings.user)

    def _environment(self, *, main: bool) -> dict[str, str]:
        settings, keeper = self.settings, self._unit.keeper
        found = {**keeper.environment, "INVOCATION_ID": self.invocation, "SYSTEMD_EXEC_PID": str(os.getpid())}
        if settings.user:
            found |= {"USER": settings.user, "LOGNAME": settings.user}
        for key, (names, _) in settings.directories.items():
            base, variable = DIRECTORIES[key]
            found[variable] = ":".join(str(keeper.root / base / name) for name in names)
        found |= settings.variables()
        if self._notify is not None:
            found["NOTIFY_SOCKET"] = str(self._notify.path)
        if main and settings.watchdog:
            found["WATCHDOG_USEC"] = str(int(settings.watchdog * 1e6))
        if self.main_pid:
            found["MAINPID"] = str(self.main_pid)
        return found

    def _outputs(
        self, command: Command, pid_of: list[int]
    ) -> tuple[int | None, int | None, list[int], list[JournalPipe]]:
        settings, name, journal = self.settings, self._unit.name, self._unit.keeper.journal
        identifier = settings.identifier or Path(command.path).name
        opened: list[int] = []
        pipes: list[JournalPipe] = []

        def target(kind: str, inherited: int | None) -> int | None:
            if kind == "inherit":
                return inherited
            if kind == "null":
                return None
            number = open_target(kind)
            if number is not None:
                opened.append(number)
                return number
            pipe = JournalPipe(lambda line: journal.write(name, identifier, pid_of[0] if pid_of else 0, line))
            pipes.append(pipe)
            return pipe.descriptor

        stdout = target("null" if settings.output == "inherit" else settings.output, None)
        return stdout, target(settings.error, stdout), opened, pipes

    def _watch_exec(self, pipe: int, command: Command) -> asyncio.Future[bool]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def readable() -> None:
            try:
                data = os.read(pipe, 4096)
            except BlockingIOError:
                return
            loop.remove_reader(pipe)
            os.close(pipe)
            if data:
                status, _, reason = data.decode(errors="replace").partition(" ")
                step = spawn.STEPS.get(int(status) if status.isdigit() else 0, "EXEC")
                self._unit.log(f"{self._unit.name}: Failed at step {step} spawning {command.path}: {reason}")
            if not done.done():
                done.set_result(not data)

        loop.add_reader(pipe, readable)
        return done

    async def control(self, command: Command, timeout: float, canceled: Callable[[], bool]) -> str:
        """Run one command to its end.

        Args:
            command: what to run.
            timeout: seconds after which it is killed.
            canceled: looked at whenever the alarm rings; True kills the command.

        Returns:
            ``success``, or the result it failed with.
        """
        log, name = self._unit.log, self._unit.name
        deadline = time.monotonic() + timeout
        try:
            self.start(command, main=False)
        except OSError as error:
            log(f"{name}: Failed to run {command.path}: {error}")
            return "success" if command.ignore_failure else "resources"
        pid, ended = self.control_pid, self._unit.keeper.watch(self.control_pid)
        while not ended.done():
            await self._alarm.wait(deadline - time.monotonic(), ended)
            late = time.monotonic() >= deadline
            if ended.done() or not (late or canceled()):
                continue
            if late:
                log(f"{name}: Control process {command.path} timed out. Killing.")
            send(pid, signal.SIGKILL)
            await ended
            self.control_pid = 0
            return "timeout" if late else "success"
        self.control_pid = 0
        self.drain()
        result = outcome.result_of(ended.result(), self.settings)
        if result != "success":
            log(f"{name}: Control process exited, {outcome.describe(ended.result())}")
        return "success" if command.ignore_failure else result

    # Ending.

    @property
    def main_done(self) -> bool:
        """Whether no main process runs."""
        return self.main is None or self.main.done()

    def adopt(self, pid: int) -> None:
        """Take another process of the service as its main process (``MAINPID=``)."""
        if pid == self.main_pid or pid not in spawn.members(self.invocation):
            return
        self._unit.log(f"{self._unit.name}: Supervising process {pid} from now on.")
        self.main_pid = self.exec_main_pid = pid
        self.main = self._unit.keeper.watch(pid)

    def take_exit(self) -> int | None:
        """The main process' wait status, once; None when it runs or was taken before."""
        if self.main is None or not self.main.done() or self.exec_main_status is not None:
            return None
        self.drain()
        self.exec_main_status = self.main.result()
        self.exec_main_exit = time.time()
        self.main_pid = 0
        return self.exec_main_status

    def living(self, *, everyone: bool) -> list[int]:
        """Process ids that still run: the main process and, for ``everyone``, all that came from it."""
        pids = [self.main_pid] if self.main_pid and not self.main_done else []
        if everyone and self.invocation:
            pids += [pid for pid in spawn.members(self.invocation) if pid not in pids]
        return pids

    async def gone(self, timeout: float, *, everyone: bool) -> bool:
        """Wait until nothing runs any more; False after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        pause = 0.002
        while self.living(everyone=everyone):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self.main is not None and not self.main.done():
                await asyncio.wait({self.main}, timeout=min(left, 1.0))
            else:
                # No signal tells of the end of processes that are not our children: look again and again.
                await asyncio.sleep(min(left, pause))
                pause = min(pause * 2, 0.1)
        return True

    async def end(self, number: int, expired: Callable[[], None], enter: Callable[[bool], None]) -> None:
        """Send ``number`` to the processes that ``KillMode=`` names, and SIGKILL to those that stay.

        Args:
            number: the first signal.
            expired: called when ``TimeoutStopSec=`` ran out.
            enter: called before signals are sent: with False for the first, with True for SIGKILL.
        """
        settings = self.settings
        if settings.kill_mode == "none":
            return
        everyone = settings.kill_mode == "control-group"
        pids = self.living(everyone=everyone)
        if pids:
            enter(False)
            for pid in pids:
                send(pid, number)
                if number not in {signal.SIGKILL, signal.SIGCONT}:
                    send(pid, signal.SIGCONT)
                if settings.send_hangup:
                    send(pid, signal.SIGHUP)
            if not await self.gone(settings.stop_timeout, everyone=everyone):
                expired()
        left = self.living(everyone=settings.kill_mode != "process")
        if left and settings.send_kill:
            enter(True)
            for pid in left:
                self._unit.log(
                    f"{self._unit.name}: Killing process {pid} ({spawn.comm(pid)}) with signal "
                    f"{outcome.signal_name(settings.final_signal)}."
                )
                send(pid, settings.final_signal)
            await self.gone(settings.stop_timeout, everyone=settings.kill_mode != "process")


def send(pid: int, number: int) -> bool:
    """Send a signal; whether there was somebody to take it. Never to init or a process group."""
    if pid <= 1:
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
