"""Supervises one service: systemd.service(5)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
import uuid
from collections import deque
from typing import Any

from lab.systemd import spawn
from lab.systemd.definition import DIRECTORIES, Definition, ServiceSettings, account
from lab.systemd.notify import NotifySocket
from lab.systemd.output import JournalPipe, open_target
from lab.systemd.unit import CANCELED, DONE, FAILED, INVALID, SKIPPED, Keeper, Unit
from lab.systemd.unit_file import Command

_CLEAN_SIGNALS = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE})
_POLL_SECONDS = 0.02
_EXIT_NAMES = {0: "SUCCESS", 1: "FAILURE", 2: "INVALIDARGUMENT", 3: "NOTIMPLEMENTED", 5: "NOTINSTALLED"}


class Service(Unit):
    """A service and its processes.

    One task lives as long as the service is not dead: it starts, watches, stops and, where ``Restart=`` says
    so, starts again. Commands only set what it waits for.
    """

    def __init__(self, definition: Definition, keeper: Keeper) -> None:
        super().__init__(definition, keeper)
        self.main_pid = 0
        self.control_pid = 0
        self.exec_main_pid = 0
        self.exec_main_status: int | None = None
        self.exec_main_start = 0.0
        self.exec_main_exit = 0.0
        self.restarts = 0
        self.reload_result = "success"
        self.status_text = ""
        self.invocation = ""
        self._main: asyncio.Future[int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._job: asyncio.Future[str] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._stopping = False
        self._start_now = False
        self._restart_job = False
        self._ready = False
        self._reloading = False
        self._last_ping = 0.0
        self._watchdog = 0.0
        self._starts: deque[float] = deque()
        self._notify: NotifySocket | None = None
        self._pipes: list[JournalPipe] = []

    @property
    def settings(self) -> ServiceSettings:
        """The ``[Service]`` section as loaded."""
        return self.definition.service

    # Jobs.

    async def start(self) -> str:
        """Start, and wait until the service is up as its ``Type=`` defines it."""
        if self.active_state in {"active", "reloading"}:
            return DONE
        while self.active_state == "deactivating" and self._task is not None:
            await asyncio.wait({self._task}, timeout=_POLL_SECONDS)
        if self._job is None or self._job.done():
            self._job = asyncio.get_running_loop().create_future()
        job = self._job
        if self.sub_state == "auto-restart":
            self._start_now = True
            self._wake()
        elif self._task is None or self._task.done():
            self.restarts = 0
            self._stopping = False
            self._task = asyncio.create_task(self._live())
        return await asyncio.shield(job)

    async def stop(self) -> str:
        """Stop, and wait until nothing of the service runs."""
        if self._task is None or self._task.done():
            return DONE
        self._stopping = True
        self._wake()
        await asyncio.wait({self._task})
        return DONE

    async def restart(self) -> str:
        """Stop and start."""
        self._restart_job = True
        try:
            await self.stop()
        finally:
            self._restart_job = False
        return await self.start()

    async def reload(self) -> str:
        """Run ``ExecReload=`` (for ``notify-reload``: signal, and wait for ``READY=1``)."""
        if self.active_state not in {"active", "reloading"}:
            return INVALID
        self._reloading = True
        self.reload_result = "success"
        self.log(f"Reloading {self.label}...")
        self.set_state("reloading", "reload")
        try:
            if self.settings.type == "notify-reload" and self.main_pid:
                self._ready = False
                _signal(self.main_pid, self.settings.reload_signal)
                await self._until_ready()
            for command in self.settings.reload:
                outcome = await self._control(command, self.settings.start_timeout)
                if outcome != "success":
                    self.reload_result = outcome
                    self.log(f"{self.name}: Control process failed with result '{outcome}'.")
                    break
        finally:
            self._reloading = False
        if self.active_state == "reloading":
            self.set_state("active", "running")
        self._wake()
        if self.reload_result != "success":
            self.log(f"Reload failed for {self.label}.")
            return FAILED
        self.log(f"Reloaded {self.label}.")
        return DONE

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + self.settings.start_timeout
        while not self._ready and self.main_pid and not self._stopping:
            if time.monotonic() > deadline:
                self.reload_result = "timeout"
                return
            await asyncio.sleep(_POLL_SECONDS)

    def reset_failed(self) -> None:
        """Forget a failure and the starts counted so far."""
        self._starts.clear()
        self.restarts = 0
        super().reset_failed()

    def kill(self, number: int, *, whom: str) -> bool:
        """Send a signal to ``main``, ``control`` or ``all`` of its processes. Returns whether there was one."""
        pids = {
            "main": [self.main_pid],
            "control": [self.control_pid],
            "all": spawn.members(self.invocation) if self.invocation else [],
        }[whom]
        return any([_signal(pid, number) for pid in pids if pid])

    # One life.

    async def _live(self) -> None:
        while True:
            refused = not self._within_start_limit()
            if refused:
                self.log(f"{self.name}: Start request repeated too quickly.")
                if self.result == "success":
                    self.result = "start-limit-hit"
            else:
                await self._run()
            again = not refused and not self._stopping and self._wants_restart()
            self._announce_end()
            if not again:
                break
            self.set_state("activating", "auto-restart")
            self._finish_job(FAILED if self.result != "success" else DONE)
            await self._sleep_before_restart()
            if self._stopping:
                break
            self.restarts += 1
            self.log(f"{self.name}: Scheduled restart job, restart counter is at {self.restarts}.")
        # The service is over before its state says so: who sees the state may start it again.
        self._task = None
        if self.result == "success":
            self.set_state("inactive", "dead")
            self._finish_job(CANCELED if self._stopping else DONE)
        else:
            self.set_state("failed", "failed")
            self._finish_job(FAILED)

    async def _sleep_before_restart(self) -> None:
        self._start_now = False
        deadline = time.monotonic() + self.settings.restart_delay
        while not (self._stopping or self._start_now):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            await self._wait(left)

    def _within_start_limit(self) -> bool:
        interval, burst = self.definition.start_limit_interval, self.definition.start_limit_burst
        if interval <= 0 or burst <= 0:
            return True
        now = time.monotonic()
        while self._starts and self._starts[0] <= now - interval:
            self._starts.popleft()
        if len(self._starts) >= burst:
            return False
        self._starts.append(now)
        return True

    def _wants_restart(self) -> bool:
        settings = self.settings
        status = self.exec_main_status
        code = None if status is None else (-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
        if code is not None and code in settings.prevent_status:
            return False
        if code is not None and code in settings.force_status:
            return True
        return {
            "no": False,
            "always": self.result != "exec-condition",
            "on-success": self.result == "success",
            "on-failure": self.result not in {"success", "exec-condition"},
            "on-abnormal": self.result not in {"success", "exit-code", "exec-condition"},
            "on-watchdog": self.result == "watchdog",
            "on-abort": self.result in {"signal", "core-dump"},
        }[settings.restart]

    def _announce_end(self) -> None:
        if self.result == "success":
            self.log(f"{self.name}: Deactivated successfully.")
        else:
            self.log(f"{self.name}: Failed with result '{self.result}'.")
        if self._stopping:
            self.log(f"Stopped {self.label}.")
        elif self._job is not None and not self._job.done() and self.result != "success":
            self.log(f"Failed to start {self.label}.")

    def _finish_job(self, outcome: str) -> None:
        if self._job is not None and not self._job.done():
            self._job.set_result(outcome)

    async def _run(self) -> None:
        self.result = "success"
        self.status_text = ""
        self.invocation = uuid.uuid4().hex
        self.main_pid = 0
        self.exec_main_status = None
        self._main = None
        self._ready = False
        self.set_state("activating", "start-pre" if self.settings.start_pre else "start")
        if not self._conditions_hold():
            self._finish_job(SKIPPED)
            return
        self.log(f"Starting {self.label}...")
        try:
            if await self._activate():
                await self._serve()
            await self._deactivate()
        finally:
            self._release()

    def _conditions_hold(self) -> bool:
        for key, value in self.definition.conditions:
            negated = value.startswith("!")
            path = value.lstrip("!|")
            test = {
                "PathExists": os.path.exists,
                "PathIsDirectory": os.path.isdir,
                "FileNotEmpty": lambda each: os.path.isfile(each) and os.path.getsize(each) > 0,  # noqa: PTH113, PTH202
                "FileIsExecutable": lambda each: os.path.isfile(each) and os.access(each, os.X_OK),  # noqa: PTH113
            }.get(key.removeprefix("Condition").removeprefix("Assert"))
            if test is None or test(path) is not negated:
                continue
            self.log(f"{self.label} was skipped because of an unmet condition check ({key}={value}).")
            if key.startswith("Assert"):
                self.result = "assert"
            return False
        return True

    async def _activate(self) -> bool:
        settings = self.settings
        deadline = time.monotonic() + settings.start_timeout
        try:
            self._make_directories()
            self._open_outputs()
            if settings.type.startswith("notify") or settings.notify_access != "none":
                self._notify = NotifySocket(self.keeper.runtime / f"n-{self.invocation[:12]}", self._notified)
        except (OSError, KeyError) as error:
            return self._failed("resources", f"Failed to set up the service: {error}")
        for command in settings.start_pre:
            if not await self._step(command, deadline):
                return False
        self.set_state("activating", "start")
        if settings.type == "oneshot":
            return await self._oneshot(deadline)
        try:
            started = self._start_program(settings.start[0], main=True)
        except (OSError, KeyError) as error:
            return self._failed("resources", f"Failed to run 'start' task: {error}")
        self._last_ping = time.monotonic()
        if settings.type != "simple":
            await self._wait(deadline - time.monotonic(), started)
        if settings.type.startswith("notify") and not await self._wait_for_ready(deadline):
            return False
        for command in settings.start_post:
            self.set_state("activating", "start-post")
            if not await self._step(command, deadline):
                return False
        if settings.type != "simple" and not settings.remain_after_exit and self._main_done():
            self._classify_exit()
            return False
        return not self._stopping

    async def _oneshot(self, deadline: float) -> bool:
        for command in self.settings.start:
            self._start_program(command, main=True)
            while not self._main_done() and not self._stopping and time.monotonic() < deadline:
                await self._wait(deadline - time.monotonic(), self._main)
            if not self._main_done():
                return (
                    False
                    if self._stopping
                    else self._failed("timeout", f"{self.name}: start operation timed out. Terminating.")
                )
            self._classify_exit(ignore=command.ignore_failure)
            if self.result != "success":
                return False
        for command in self.settings.start_post:
            if not await self._step(command, deadline):
                return False
        self.log(f"Finished {self.label}.")
        return self.settings.remain_after_exit

    async def _step(self, command: Command, deadline: float) -> bool:
        outcome = await self._control(command, deadline - time.monotonic())
        if outcome == "success":
            return not self._stopping
        return self._failed(outcome)

    async def _wait_for_ready(self, deadline: float) -> bool:
        while not self._ready:
            if self._main_done():
                self._classify_exit()
                if self.result == "success":
                    return self._failed("protocol", f"{self.name}: Main process exited without sending READY=1.")
                return False
            if self._stopping:
                return False
            left = deadline - time.monotonic()
            if left <= 0:
                return self._failed("timeout", f"{self.name}: start operation timed out. Terminating.")
            await self._wait(left, self._main)
        return True

    def _failed(self, result: str, message: str = "") -> bool:
        if message:
            self.log(message)
        if self.result == "success":
            self.result = result
        return False

    async def _serve(self) -> None:
        settings = self.settings
        self.set_state("active", "exited" if self._main is None or settings.type == "oneshot" else "running")
        self.log(f"Started {self.label}.")
        self._finish_job(DONE)
        self._watchdog = settings.watchdog
        end = time.monotonic() + settings.runtime_limit
        while not self._stopping:
            if self._main_done() and not self._reloading and self.sub_state != "exited":
                self._classify_exit()
                if not (settings.remain_after_exit and self.result == "success"):
                    return
                self.set_state("active", "exited")
            alive = not self._main_done()
            ping = self._last_ping + self._watchdog if self._watchdog and alive else math.inf
            left = min(ping, end) - time.monotonic()
            if left <= 0:
                await self._expire(watchdog=ping <= end)
                return
            await self._wait(left, self._main if alive else None)

    async def _expire(self, *, watchdog: bool) -> None:
        if not watchdog:
            self._failed("timeout", f"{self.name}: Service reached runtime time limit. Stopping.")
            return
        self._failed("watchdog", f"{self.name}: Watchdog timeout (limit {_span(self._watchdog)})!")
        number = self.settings.watchdog_signal
        self.log(
            f"{self.name}: Killing process {self.main_pid} ({spawn.comm(self.main_pid)}) with signal {_name(number)}."
        )
        self.set_state("deactivating", "stop-watchdog")
        _signal(self.main_pid, number)
        with contextlib.suppress(TimeoutError):
            if self._main is not None:
                await asyncio.wait_for(asyncio.shield(self._main), _finite(self.settings.abort_timeout))

    async def _deactivate(self) -> None:
        settings = self.settings
        served = "ActiveEnter" in self.moments and self.active_state in {"active", "reloading"}
        if self._stopping:
            self.log(f"Stopping {self.label}...")
        if served:
            for command in settings.stop:
                self.set_state("deactivating", "stop")
                outcome = await self._control(command, settings.stop_timeout)
                if outcome != "success":
                    self._failed(outcome)
        await self._end_processes("stop-sigterm", "stop-sigkill")
        if self._main is not None and self._main_done() and self.exec_main_status is None:
            self._classify_exit(stopping=True)
        for command in settings.stop_post:
            self.set_state("deactivating", "stop-post")
            outcome = await self._control(command, settings.stop_timeout)
            if outcome != "success":
                self._failed(outcome)
        if settings.stop_post:
            await self._end_processes("final-sigterm", "final-sigkill")
        self.main_pid = 0

    async def _end_processes(self, term_state: str, kill_state: str) -> None:
        settings = self.settings
        if settings.kill_mode == "none":
            return
        everyone = settings.kill_mode == "control-group"
        first = (
            settings.restart_kill_signal if self._restart_job and settings.restart_kill_signal else settings.kill_signal
        )
        pids = self._living(everyone=everyone)
        if pids:
            self.set_state("deactivating", term_state)
            for pid in pids:
                _signal(pid, first)
                if first not in {signal.SIGKILL, signal.SIGCONT}:
                    _signal(pid, signal.SIGCONT)
                if settings.send_hangup:
                    _signal(pid, signal.SIGHUP)
            if not await self._gone(settings.stop_timeout, everyone=everyone):
                self.log(
                    f"{self.name}: State '{term_state}' timed out. {'Killing' if settings.send_kill else 'Skipping SIGKILL'}."
                )
                self._failed("timeout")
        leftovers = self._living(everyone=settings.kill_mode != "process")
        if leftovers and settings.send_kill:
            self.set_state("deactivating", kill_state)
            for pid in leftovers:
                self.log(
                    f"{self.name}: Killing process {pid} ({spawn.comm(pid)}) with signal {_name(settings.final_signal)}."
                )
                _signal(pid, settings.final_signal)
            await self._gone(settings.stop_timeout, everyone=settings.kill_mode != "process")

    def _living(self, *, everyone: bool) -> list[int]:
        pids = [self.main_pid] if self.main_pid and not self._main_done() else []
        if everyone:
            pids += [pid for pid in spawn.members(self.invocation) if pid not in pids]
        return pids

    async def _gone(self, timeout: float, *, everyone: bool) -> bool:
        deadline = time.monotonic() + timeout
        pause = 0.002
        while self._living(everyone=everyone):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._main is not None and not self._main.done():
                await asyncio.wait({self._main}, timeout=min(left, 1.0))
            else:
                # Only what is left of the service's other processes has to be looked for again and again.
                await asyncio.sleep(min(left, pause))
                pause = min(pause * 2, 0.1)
        return True

    # Processes.

    def _environment(self, *, main: bool) -> dict[str, str]:
        settings = self.settings
        found = {
            **self.keeper.environment,
            "INVOCATION_ID": self.invocation,
            "SYSTEMD_EXEC_PID": str(os.getpid()),
        }
        if settings.user:
            found |= {"USER": settings.user, "LOGNAME": settings.user}
        for key, (names, _) in settings.directories.items():
            base, variable = DIRECTORIES[key]
            found[variable] = ":".join(str(self.keeper.root / base / name) for name in names)
        found |= settings.variables()
        if self._notify is not None:
            found["NOTIFY_SOCKET"] = str(self._notify.path)
        if main and settings.watchdog:
            found["WATCHDOG_USEC"] = str(int(settings.watchdog * 1e6))
        if self.main_pid:
            found["MAINPID"] = str(self.main_pid)
        return found

    def _make_directories(self) -> None:
        settings = self.settings
        uid, gid, _ = account(settings.user, settings.group)
        for key, (names, mode) in settings.directories.items():
            for name in names:
                path = self.keeper.root / DIRECTORIES[key][0] / name
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(mode)
                if os.geteuid() == 0 and key != "ConfigurationDirectory":
                    os.chown(path, uid, gid)

    def _open_outputs(self) -> None:
        self._pipes = []

    def _output(
        self, command: Command, pid_of: list[int]
    ) -> tuple[int | None, int | None, list[int], list[JournalPipe]]:
        settings = self.settings
        identifier = settings.identifier or os.path.basename(command.path)  # noqa: PTH119
        journal = self.keeper.journal
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
            pipe = JournalPipe(lambda line: journal.write(self.name, identifier, pid_of[0] if pid_of else 0, line))
            pipes.append(pipe)
            return pipe.descriptor

        stdout = target("null" if settings.output == "inherit" else settings.output, None)
        return stdout, target(settings.error, stdout), opened, pipes

    def _start_program(self, command: Command, *, main: bool) -> asyncio.Future[None]:
        """Start a command; the future ends when the program runs, or could not be run."""
        settings = self.settings
        environment = self._environment(main=main)
        pid_of: list[int] = []
        stdout, stderr, opened, pipes = self._output(command, pid_of)
        identity = None
        if not command.as_manager and (settings.user or settings.group):
            try:
                identity = account(settings.user, settings.group)
            except KeyError:
                # Start it all the same: it ends with 217/USER, as under systemd.
                identity = (-2, -2, settings.user)
        try:
            pid, failure = spawn.start(
                spawn.Program(
                    path=command.path,
                    arguments=command.expanded(environment),
                    environment=environment,
                    directory=settings.working_directory,
                    directory_optional=settings.working_directory_optional,
                    identity=identity,
                    umask=settings.umask,
                    open_files=settings.open_files,
                    stdout=stdout,
                    stderr=stderr,
                    descriptors=self.keeper.descriptors(self.name) if main else [],
                )
            )
        finally:
            for number in opened:
                os.close(number)
            for pipe in pipes:
                pipe.release()
        pid_of.append(pid)
        self._pipes += pipes
        ended = self.keeper.watch(pid)
        if main:
            self.main_pid = self.exec_main_pid = pid
            self.exec_main_start = time.time()
            self.exec_main_status = None
            self._main = ended
        else:
            self.control_pid = pid
        return self._watch_exec(failure, command)

    def _watch_exec(self, pipe: int, command: Command) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def readable() -> None:
            with contextlib.suppress(BlockingIOError):
                data = os.read(pipe, 4096)
                loop.remove_reader(pipe)
                os.close(pipe)
                if data:
                    status, _, reason = data.decode(errors="replace").partition(" ")
                    step = spawn.STEPS.get(int(status), "EXEC") if status.isdigit() else "EXEC"
                    self.log(f"{self.name}: Failed at step {step} spawning {command.path}: {reason}")
                if not done.done():
                    done.set_result(None)

        loop.add_reader(pipe, readable)
        return done

    async def _control(self, command: Command, timeout: float) -> str:
        """Run one command to its end. Returns ``success`` or the result it failed with."""
        try:
            self._start_program(command, main=False)
        except (OSError, KeyError) as error:
            self.log(f"{self.name}: Failed to run {command.path}: {error}")
            return "success" if command.ignore_failure else "resources"
        pid = self.control_pid
        ended = self.keeper.watch(pid)
        deadline = time.monotonic() + timeout
        starting = self.active_state == "activating"
        outcome = ""
        while not ended.done() and not outcome:
            await self._wait(deadline - time.monotonic(), ended)
            if ended.done():
                break
            if time.monotonic() >= deadline:
                self.log(f"{self.name}: Control process {command.path} timed out. Killing.")
                outcome = "timeout"
            elif starting and self._stopping:
                outcome = "canceled"
        if outcome:
            _signal(pid, signal.SIGKILL)
            await ended
        self.control_pid = 0
        if outcome == "timeout":
            return outcome
        status = ended.result()
        for pipe in self._pipes:
            pipe.drain()
        outcome = "success" if outcome else self._outcome(status, clean_signals=frozenset())
        if outcome != "success":
            self.log(f"{self.name}: Control process exited, {_describe(status)}")
        return "success" if command.ignore_failure else outcome

    def _main_done(self) -> bool:
        return self._main is None or self._main.done()

    def _outcome(self, status: int, clean_signals: frozenset[signal.Signals]) -> str:
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number in clean_signals or -number in self.settings.success_status:
                return "success"
            return "core-dump" if os.WCOREDUMP(status) else "signal"
        code = os.WEXITSTATUS(status)
        return "success" if code == 0 or code in self.settings.success_status else "exit-code"

    def _classify_exit(self, *, stopping: bool = False, ignore: bool = False) -> None:
        if self._main is None or not self._main.done():
            return
        for pipe in self._pipes:
            pipe.drain()
        status = self._main.result()
        self.exec_main_status = status
        self.exec_main_exit = time.time()
        self.main_pid = 0
        clean = frozenset() if self.settings.type == "oneshot" and not stopping else _CLEAN_SIGNALS
        killed_by_us = (
            stopping
            and os.WIFSIGNALED(status)
            and os.WTERMSIG(status)
            in {
                self.settings.kill_signal,
                self.settings.restart_kill_signal,
            }
        )
        outcome = "success" if killed_by_us else self._outcome(status, clean)
        if ignore:
            outcome = "success"
        if outcome != "success" or not stopping:
            self.log(f"{self.name}: Main process exited, {_describe(status)}")
        if self.result == "success":
            self.result = outcome

    def _release(self) -> None:
        if self._notify is not None:
            self._notify.close()
            self._notify = None
        for pipe in self._pipes:
            pipe.drain()
        self._pipes = []

    # Notifications.

    def _notified(self, pid: int, message: dict[str, str]) -> None:
        access = self.settings.notify_access
        allowed = {"main": {self.main_pid}, "exec": {self.main_pid, self.control_pid}}.get(access)
        if access == "none" or (allowed is not None and pid not in allowed):
            self.log(
                f"{self.name}: Got notification message from PID {pid}, but reception only permitted for main PID {self.main_pid}"
            )
            return
        if "MAINPID" in message and message["MAINPID"].isdigit():
            self._adopt(int(message["MAINPID"]))
        if "STATUS" in message:
            self.status_text = message["STATUS"]
        if message.get("READY") == "1":
            self._ready = True
            if self.active_state == "reloading" and not self._reloading:
                self.set_state("active", "running")
        elif message.get("RELOADING") == "1" and self.active_state == "active":
            self.set_state("reloading", "reload-notify")
        if message.get("STOPPING") == "1" and self.active_state in {"active", "reloading"}:
            self.sub_state = "running"
        watchdog = message.get("WATCHDOG")
        if watchdog == "1":
            self._last_ping = time.monotonic()
        elif watchdog == "trigger":
            self._last_ping = -math.inf
        if message.get("WATCHDOG_USEC", "").isdigit():
            self._watchdog = int(message["WATCHDOG_USEC"]) / 1e6
            self._last_ping = time.monotonic()
        self._wake()

    def _adopt(self, pid: int) -> None:
        if pid == self.main_pid or pid not in spawn.members(self.invocation):
            return
        self.log(f"{self.name}: Supervising process {pid} from now on.")
        self.main_pid = self.exec_main_pid = pid
        self._main = self.keeper.watch(pid)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self, timeout: float, future: asyncio.Future[Any] | None = None) -> None:
        """Wait until something happens that the service's task has to look at, or ``timeout`` seconds passed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait(
                {waiter, future} if future is not None else {waiter},
                timeout=_finite(max(timeout, 0.0)),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._waiters.discard(waiter)


def _signal(pid: int, number: int) -> bool:
    if pid <= 1:
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds


def _name(number: int) -> str:
    return signal.Signals(number).name


def _span(seconds: float) -> str:
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        code = "dumped" if os.WCOREDUMP(status) else "killed"
        return f"code={code}, status={number}/{_name(number).removeprefix('SIG')}"
    code_number = os.WEXITSTATUS(status)
    name = _EXIT_NAMES.get(code_number) or spawn.STEPS.get(code_number) or "n/a"
    return f"code=exited, status={code_number}/{name}"
