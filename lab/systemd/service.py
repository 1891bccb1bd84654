"""Supervises one service: systemd.service(5)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque

from lab.systemd import outcome, spawn
from lab.systemd.conditions import unmet
from lab.systemd.execution import Execution, send
from lab.systemd.settings import Definition, ServiceSettings
from lab.systemd.unit import CANCELED, DONE, FAILED, INVALID, SKIPPED, Keeper, Unit
from lab.systemd.unit_file import Command
from lab.systemd.waiting import Alarm

_POLL_SECONDS = 0.02


class Service(Unit):
    """A service and its processes.

    One task lives as long as the service is not dead: it starts, watches, stops and, where ``Restart=`` says
    so, starts again. Commands only set what it waits for.
    """

    def __init__(self, definition: Definition, keeper: Keeper) -> None:
        super().__init__(definition, keeper)
        self._alarm = Alarm()
        self.execution = Execution(self, self._alarm, self._notified)
        self.restarts = 0
        self.reload_result = "success"
        self.status_text = ""
        self._task: asyncio.Task[None] | None = None
        self._job: asyncio.Future[str] | None = None
        self._stopping = False
        self._start_now = False
        self._restart_job = False
        self._ready = False
        self._reloading = False
        self._last_ping = 0.0
        self._watchdog = 0.0
        self._starts: deque[float] = deque()

    @property
    def settings(self) -> ServiceSettings:
        """The ``[Service]`` section as loaded."""
        return self.definition.service

    # Jobs.

    async def start(self) -> str:
        """Start, and wait until the service is up as its ``Type=`` defines it."""
        while self.active_state == "deactivating" and self._task is not None:
            await asyncio.wait({self._task}, timeout=_POLL_SECONDS)
        if self.active_state in {"active", "reloading"}:
            return DONE
        if self._job is None or self._job.done():
            self._job = asyncio.get_running_loop().create_future()
        job = self._job
        if self.sub_state == "auto-restart":
            self._start_now = True
            self._alarm.ring()
        elif self._task is None or self._task.done():
            self.restarts = 0
            self._stopping = False
            self._task = asyncio.create_task(self._live())
        return await asyncio.shield(job)

    async def stop(self) -> str:
        """Stop, and wait until nothing of the service runs."""
        task = self._task
        if task is None or task.done():
            return DONE
        self._stopping = True
        self._alarm.ring()
        await asyncio.wait({task})
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
            if self.settings.type == "notify-reload":
                await self._signal_reload()
            for command in self.settings.reload:
                result = await self.execution.control(command, self.settings.start_timeout, lambda: self._stopping)
                if result != "success":
                    self.reload_result = result
                    break
        finally:
            self._reloading = False
        if self.active_state == "reloading":
            self.set_state("active", "running")
        self._alarm.ring()
        if self.reload_result != "success":
            self.log(f"Reload failed for {self.label}.")
            return FAILED
        self.log(f"Reloaded {self.label}.")
        return DONE

    async def _signal_reload(self) -> None:
        self._ready = False
        send(self.execution.main_pid, self.settings.reload_signal)
        deadline = time.monotonic() + self.settings.start_timeout
        while not (self._ready or self.execution.main_done or self._stopping):
            if time.monotonic() > deadline:
                self.reload_result = "timeout"
                return
            await self._alarm.wait(deadline - time.monotonic(), self.execution.main)

    def reset_failed(self) -> None:
        """Forget a failure and the starts counted so far."""
        self._starts.clear()
        self.restarts = 0
        super().reset_failed()

    def kill(self, number: int, *, whom: str) -> bool:
        """Send a signal to ``main``, ``control`` or ``all`` of its processes. Returns whether there was one."""
        execution = self.execution
        pids = {
            "main": [execution.main_pid],
            "control": [execution.control_pid],
            "all": execution.living(everyone=True),
        }[whom]
        return sum(send(pid, number) for pid in pids) > 0

    # One life.

    async def _live(self) -> None:
        while True:
            refused = not self._within_start_limit()
            if refused:
                self.log(f"{self.name}: Start request repeated too quickly.")
                self._failed("start-limit-hit")
            else:
                await self._run()
            again = not (refused or self._stopping) and outcome.wants_restart(
                self.settings, self.result, self.execution.exec_main_status
            )
            self._announce_end()
            if not again:
                break
            self.set_state("activating", "auto-restart")
            self._finish_job(FAILED if self.result != "success" else DONE)
            await self._sleep_before_restart()
            if self._stopping:
                self.log(f"Stopped {self.label}.")
                break
            self.restarts += 1
            self.log(f"{self.name}: Scheduled restart job, restart counter is at {self.restarts}.")
        # The service is over before its state says so: who sees the state may start it again.
        self._task = None
        if self.result in {"success", "exec-condition"}:
            self.set_state("inactive", "dead")
            self._finish_job(CANCELED if self._stopping else DONE)
        else:
            self.set_state("failed", "failed")
            self._finish_job(FAILED)

    async def _sleep_before_restart(self) -> None:
        self._start_now = False
        deadline = time.monotonic() + self.settings.restart_delay
        while not (self._stopping or self._start_now) and (left := deadline - time.monotonic()) > 0:
            await self._alarm.wait(left)

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

    def _announce_end(self) -> None:
        if self.result == "success":
            self.log(f"{self.name}: Deactivated successfully.")
        else:
            self.log(f"{self.name}: Failed with result '{self.result}'.")
        if self._stopping:
            self.log(f"Stopped {self.label}.")
        elif self._job is not None and not self._job.done() and self.result != "success":
            self.log(f"Failed to start {self.label}.")

    def _finish_job(self, result: str) -> None:
        if self._job is not None and not self._job.done():
            self._job.set_result(result)

    async def _run(self) -> None:
        self.result = "success"
        self.status_text = ""
        self._ready = False
        self.execution.begin()
        self.set_state("activating", "start-pre" if self.settings.start_pre else "start")
        condition = unmet(self.definition.conditions)
        if condition is not None:
            self.log(f"{self.label} was skipped because of an unmet condition check ({'='.join(condition)}).")
            if condition[0].startswith("Assert"):
                self._failed("assert")
            self._finish_job(SKIPPED if self.result == "success" else FAILED)
            return
        if self.settings.type != "simple":
            self.log(f"Starting {self.label}...")
        try:
            if await self._activate():
                await self._serve()
            await self._deactivate()
        finally:
            self.execution.release()

    async def _activate(self) -> bool:
        """Start the service. Returns whether it is up; if not, ``result`` says why."""
        settings = self.settings
        deadline = time.monotonic() + settings.start_timeout
        try:
            self.execution.set_up()
        except OSError as error:
            return self._failed("resources", f"{self.name}: Failed to set up the service: {error}")
        return (
            await self._conditions(deadline)
            and await self._steps(settings.start_pre, deadline, "start-pre")
            and await self._start_main(deadline)
            and await self._steps(settings.start_post, deadline, "start-post")
            and self._is_up()
        )

    def _is_up(self) -> bool:
        if self.settings.type == "oneshot":
            self.log(f"Finished {self.label}.")
            return self.settings.remain_after_exit
        return not self._stopping

    async def _conditions(self, deadline: float) -> bool:
        for command in self.settings.condition:
            self.set_state("activating", "condition")
            left = deadline - time.monotonic()
            result = await self.execution.control(command, left, lambda: self._stopping)
            if result == "exit-code":
                self._finish_job(SKIPPED)
                return self._failed("exec-condition")
            if result != "success":
                return self._failed(result)
        return True

    async def _steps(self, commands: list[Command], deadline: float, state: str) -> bool:
        for command in commands:
            self.set_state("activating", state)
            left = deadline - time.monotonic()
            result = await self.execution.control(command, left, lambda: self._stopping)
            if result != "success":
                return self._failed(result)
        return not self._stopping

    async def _start_main(self, deadline: float) -> bool:
        settings = self.settings
        self.set_state("activating", "start")
        try:
            if settings.type == "oneshot":
                return await self._oneshot(deadline)
            runs = self.execution.start(settings.start[0], main=True)
        except OSError as error:
            return self._failed("resources", f"{self.name}: Failed to run 'start' task: {error}")
        self._last_ping = time.monotonic()
        if settings.type == "simple":
            return True
        if not await runs:
            if self.execution.main is not None:
                await self.execution.main
            self._take_exit()
            return False
        return not settings.type.startswith("notify") or await self._wait_for_ready(deadline)

    async def _oneshot(self, deadline: float) -> bool:
        for command in self.settings.start:
            self.execution.start(command, main=True)
            while not (self.execution.main_done or self._stopping) and time.monotonic() < deadline:
                await self._alarm.wait(deadline - time.monotonic(), self.execution.main)
            if not self.execution.main_done:
                return not self._stopping and self._timed_out()
            self._take_exit(ignore=command.ignore_failure)
            if self.result != "success":
                return False
        return True

    async def _wait_for_ready(self, deadline: float) -> bool:
        while not self._ready:
            if self.execution.main_done:
                self._take_exit()
                return self._failed("protocol") if self.result == "success" else False
            if self._stopping:
                return False
            left = deadline - time.monotonic()
            if left <= 0:
                return self._timed_out()
            await self._alarm.wait(left, self.execution.main)
        return True

    def _timed_out(self) -> bool:
        return self._failed("timeout", f"{self.name}: start operation timed out. Terminating.")

    def _failed(self, result: str, message: str = "") -> bool:
        """Note the first failure of a run. Always False, for returning."""
        if message:
            self.log(message)
        if self.result == "success":
            self.result = result
        return False

    async def _serve(self) -> None:
        settings, execution = self.settings, self.execution
        self.set_state("active", "exited" if settings.type == "oneshot" else "running")
        if settings.type != "oneshot":
            self.log(f"Started {self.label}.")
        self._finish_job(DONE)
        self._watchdog = settings.watchdog
        end = time.monotonic() + settings.runtime_limit
        while not self._stopping:
            if execution.main_done and not self._reloading and self.sub_state != "exited":
                self._take_exit()
                if not (self.settings.remain_after_exit and self.result == "success"):
                    return
                self.set_state("active", "exited")
            alive = not execution.main_done
            ping = self._last_ping + self._watchdog if self._watchdog and alive else math.inf
            if min(ping, end) <= time.monotonic():
                await self._expire(watchdog=ping <= end)
                return
            await self._alarm.wait(min(ping, end) - time.monotonic(), execution.main if alive else None)

    async def _expire(self, *, watchdog: bool) -> None:
        if not watchdog:
            self._failed("timeout", f"{self.name}: Service reached runtime time limit. Stopping.")
            self.set_state("deactivating", "stop-sigterm")
            return
        limit = f"{self._watchdog:g}s" if self._watchdog >= 1 else f"{self._watchdog * 1000:g}ms"
        self._failed("watchdog", f"{self.name}: Watchdog timeout (limit {limit})!")
        execution, number = self.execution, self.settings.watchdog_signal
        self.log(
            f"{self.name}: Killing process {execution.main_pid} ({spawn.comm(execution.main_pid)}) with signal "
            f"{outcome.signal_name(number)}."
        )
        self.set_state("deactivating", "stop-watchdog")
        send(execution.main_pid, number)
        if execution.main is not None:
            limit_seconds = self.settings.abort_timeout
            await asyncio.wait({execution.main}, timeout=None if math.isinf(limit_seconds) else limit_seconds)

    async def _deactivate(self) -> None:
        settings = self.settings
        if self._stopping:
            self.log(f"Stopping {self.label}...")
        if self.active_state in {"active", "reloading"}:
            for command in settings.stop:
                self.set_state("deactivating", "stop")
                await self._stop_step(command)
        await self._end_processes("stop-sigterm", "stop-sigkill")
        for command in settings.stop_post:
            self.set_state("deactivating", "stop-post")
            await self._stop_step(command)
        if settings.stop_post:
            await self._end_processes("final-sigterm", "final-sigkill")

    async def _stop_step(self, command: Command) -> None:
        result = await self.execution.control(command, self.settings.stop_timeout, lambda: False)
        if result != "success":
            self._failed(result)

    async def _end_processes(self, term_state: str, kill_state: str) -> None:
        settings = self.settings
        number = settings.kill_signal
        if self._restart_job and settings.restart_kill_signal is not None:
            number = settings.restart_kill_signal

        def expired() -> None:
            action = "Killing" if settings.send_kill else "Skipping SIGKILL"
            self._failed("timeout", f"{self.name}: State '{term_state}' timed out. {action}.")

        await self.execution.end(
            number, expired, lambda hard: self.set_state("deactivating", kill_state if hard else term_state)
        )
        self._take_exit(ended_with=number)

    def _take_exit(self, *, ended_with: int = 0, ignore: bool = False) -> None:
        """Note how the main process ended; a death by the signal ``ended_with`` is no failure."""
        status = self.execution.take_exit()
        if status is None:
            return
        clean = frozenset() if self.settings.type == "oneshot" and not ended_with else outcome.CLEAN_SIGNALS
        result = outcome.result_of(status, self.settings, clean | {ended_with})
        if result != "success":
            self.log(f"{self.name}: Main process exited, {outcome.describe(status)}")
        if not ignore and result != "success":
            self._failed(result)

    # Notifications.

    def _notified(self, pid: int, message: dict[str, str]) -> None:
        access, execution = self.settings.notify_access, self.execution
        allowed = {"main": {execution.main_pid}, "exec": {execution.main_pid, execution.control_pid}}.get(access)
        if access == "none" or (allowed is not None and pid not in allowed):
            self.log(
                f"{self.name}: Got notification message from PID {pid}, but reception only permitted for main PID "
                f"{execution.main_pid}"
            )
            return
        if message.get("MAINPID", "").isdigit():
            execution.adopt(int(message["MAINPID"]))
        self.status_text = message.get("STATUS", self.status_text)
        if message.get("READY") == "1":
            self._ready = True
            if self.active_state == "reloading" and not self._reloading:
                self.set_state("active", "running")
        elif message.get("RELOADING") == "1" and self.active_state == "active":
            self.set_state("reloading", "reload-notify")
        self._watchdog_message(message)
        self._alarm.ring()

    def _watchdog_message(self, message: dict[str, str]) -> None:
        if message.get("WATCHDOG") == "1":
            self._last_ping = time.monotonic()
        elif message.get("WATCHDOG") == "trigger":
            self._last_ping = -math.inf
        with contextlib.suppress(KeyError, ValueError):
            self._watchdog = int(message["WATCHDOG_USEC"]) / 1e6
            self._last_ping = time.monotonic()
