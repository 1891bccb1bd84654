"""``systemctl``: reads its command line, does what it asks, answers with systemctl's words and exit codes."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lab.systemd import show
from lab.systemd.command_line import CommandLine, UsageError, read
from lab.systemd.install import Changes, InstallError
from lab.systemd.manager import Manager, UnitError
from lab.systemd.reader import signal_number
from lab.systemd.service import Service
from lab.systemd.sockets import SocketUnit
from lab.systemd.unit import CANCELED, DEPENDENCY, DONE, INACTIVE_STATES, INVALID, SKIPPED, TIMEOUT, Unit
from lab.systemd.unit_file import UnitSyntaxError

_REASONS = {
    "exit-code": "the control process exited with error code",
    "signal": "a fatal signal was delivered to the control process",
    "core-dump": "a fatal signal was delivered causing the control process to dump core",
    "watchdog": "the service failed to send watchdog ping",
    "timeout": "a timeout was exceeded",
    "resources": "of unavailable resources or another system error",
    "protocol": "the service did not take the steps required by its unit configuration",
    "start-limit-hit": "start of the service was attempted too often",
}


@dataclass
class Reply:
    """What the command prints, and its exit code."""

    code: int = 0
    out: str = ""
    err: str = ""


class Systemctl:
    """Answers systemctl's commands for one manager."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        # What runs on after its command was answered: --no-block.
        self._kept: set[asyncio.Future[Reply]] = set()
        self._verbs: dict[str, Callable[[CommandLine], Awaitable[Reply]]] = {
            "daemon-reload": self._daemon_reload,
            "daemon-reexec": self._daemon_reload,
            "is-active": self._is_active,
            "is-failed": self._is_failed,
            "is-enabled": self._is_enabled,
            "is-system-running": self._is_system_running,
            "show": self._show,
            "status": self._status,
            "cat": self._cat,
            "reset-failed": self._reset_failed,
            "kill": self._kill,
            "list-units": self._list_units,
            "list-unit-files": self._list_unit_files,
            "enable": self._install,
            "disable": self._install,
            "reenable": self._install,
            "mask": self._install,
            "unmask": self._install,
        }
        for verb in (
            "start", "stop", "restart", "try-restart", "condrestart", "reload",
            "reload-or-restart", "try-reload-or-restart", "force-reload",
        ):  # fmt: skip
            self._verbs[verb] = self._job

    async def run(self, arguments: list[str]) -> Reply:
        """Do one command line."""
        if "--version" in arguments:
            return Reply(0, "systemd 255 (phoenix lab stand-in)\n")
        if "--user" in arguments:
            return Reply(1, "", "Failed to connect to bus: the lab has no user manager\n")
        try:
            line = read(arguments)
        except UsageError as error:
            return Reply(1, "", f"systemctl: {error}\n")
        handler = self._verbs.get(line.verb)
        if handler is None:
            return Reply(1, "", f"Unknown command verb '{line.verb}'.\n")
        reply = await handler(line)
        if "quiet" in line.flags and line.verb in {"is-active", "is-failed", "is-enabled"}:
            reply.out = ""
        return reply

    def _names(self, line: CommandLine) -> list[str]:
        found: list[str] = []
        for name in line.names:
            if "*" in name or "?" in name:
                found += [each for each in sorted(self.manager.units) if fnmatch.fnmatch(each, name)]
            else:
                found.append(name)
        return found

    # Jobs.

    async def _job(self, line: CommandLine) -> Reply:
        names = self._names(line)
        if not names:
            return Reply(1, "", "Too few arguments.\n")
        if "no-block" in line.flags:
            for name in names:
                task = asyncio.ensure_future(self._one_job(line.verb, name))
                self._kept.add(task)
                task.add_done_callback(self._kept.discard)
            return Reply()
        replies = await asyncio.gather(*(self._one_job(line.verb, name) for name in names))
        return Reply(
            max((reply.code for reply in replies), default=0),
            "".join(reply.out for reply in replies),
            "".join(reply.err for reply in replies),
        )

    async def _one_job(self, verb: str, name: str) -> Reply:
        manager = self.manager
        verb = {"condrestart": "try-restart", "force-reload": "try-reload-or-restart"}.get(verb, verb)
        warning = ""
        known = manager.unit(name)
        if known.definition.load_state != "not-found" and manager.needs_reload(known):
            warning = (
                f"Warning: The unit file, source configuration file or drop-ins of {name} changed on disk. "
                "Run 'systemctl daemon-reload' to reload units.\n"
            )
        actions = {"start": manager.start, "stop": manager.stop, "restart": manager.restart, "reload": manager.reload}
        try:
            effective = self._effective(verb, known)
            outcome = SKIPPED if effective is None else await actions[effective](name)
        except UnitError as error:
            text = f"Failed to {verb} {name}: {error}\n"
            if error.see_logs:
                text += f"See system logs and 'systemctl status {name}' for details.\n"
            return Reply(error.code, "", text)
        reply = self._explain(manager.unit(name), outcome)
        reply.err = warning + reply.err
        if verb == "stop" and isinstance(known, Service):
            reply.err += self._still_triggered(known)
        return reply

    def _effective(self, verb: str, unit: Unit) -> str | None:
        """What a verb comes to for a unit in its present state; None for nothing."""
        running = unit.active_state not in INACTIVE_STATES
        if not running and unit.definition.load_state == "not-found" and verb != "stop":
            raise UnitError(f"Unit {unit.name} not found.", 5)
        if verb.startswith("try-") and not running:
            return None
        if verb in {"reload-or-restart", "try-reload-or-restart"}:
            return "reload" if unit.active_state == "active" and self.manager.can_reload(unit) else "restart"
        return verb.removeprefix("try-")

    def _still_triggered(self, unit: Service) -> str:
        active = [
            each.name
            for each in self.manager.units.values()
            if isinstance(each, SocketUnit) and each.settings.service == unit.name and each.active_state == "active"
        ]
        if not active:
            return ""
        return f"Stopping '{unit.name}', but its triggering units are still active:\n{', '.join(active)}\n"

    def _explain(self, unit: Unit, outcome: str) -> Reply:
        name = unit.name
        if outcome in {DONE, SKIPPED}:
            return Reply()
        words = {
            INVALID: f"{name} is not active, cannot reload.\n",
            CANCELED: f"Job for {name} canceled.\n",
            DEPENDENCY: f"A dependency job for {name} failed. See 'journalctl -xe' for details.\n",
            TIMEOUT: f"Job for {name} timed out.\n",
        }.get(outcome)
        if words is None:
            words = self._why(unit) if isinstance(unit, Service) else 'Job failed. See "journalctl -xe" for details.\n'
        return Reply(1, "", words)

    def _why(self, unit: Service) -> str:
        name, reason = unit.name, _REASONS.get(unit.result)
        # Also for a reload systemctl looks at the service's own result, so that it gives no reason there.
        text = f"Job for {name} failed because {reason}.\n" if reason else f"Job for {name} failed.\n"
        text += f'See "systemctl status {name}" and "journalctl -xeu {name}" for details.\n'
        if unit.result == "start-limit-hit":
            text += (
                f'To force a start use "systemctl reset-failed {name}"\nfollowed by "systemctl start {name}" again.\n'
            )
        return text

    # States.

    async def _daemon_reload(self, line: CommandLine) -> Reply:
        del line
        self.manager.daemon_reload()
        return Reply()

    def _check(self, line: CommandLine, good: set[str], code: int) -> Reply:
        reply = Reply(code)
        found = False
        for name in self._names(line):
            unit = self.manager.unit(name)
            reply.out += f"{unit.active_state}\n"
            found = found or unit.definition.load_state != "not-found" or unit.active_state not in INACTIVE_STATES
            if unit.active_state in good:
                reply.code = 0
        if not found:
            reply.code = 4
        return reply

    async def _is_active(self, line: CommandLine) -> Reply:
        if not line.names:
            return Reply(1, "", "Too few arguments.\n")
        return self._check(line, {"active", "reloading"}, 3)

    async def _is_failed(self, line: CommandLine) -> Reply:
        if not line.names:
            state = self.manager.system_state()
            return Reply(0 if state == "degraded" else 1, state + "\n")
        return self._check(line, {"failed"}, 1)

    async def _is_enabled(self, line: CommandLine) -> Reply:
        if not line.names:
            return Reply(1, "", "Too few arguments.\n")
        states = [self.manager.installer.state(name) for name in self._names(line)]
        good = any(state in {"enabled", "static", "indirect", "alias"} for state in states)
        code = 0 if good else (4 if all(state == "not-found" for state in states) else 1)
        return Reply(code, "".join(f"{state}\n" for state in states))

    async def _is_system_running(self, line: CommandLine) -> Reply:
        del line
        state = self.manager.system_state()
        return Reply(0 if state == "running" else 1, state + "\n")

    async def _reset_failed(self, line: CommandLine) -> Reply:
        reply = Reply()
        if not line.names:
            for unit in self.manager.units.values():
                unit.reset_failed()
        for name in self._names(line):
            known = self.manager.units.get(name)
            if known is None:
                reply.code = 1
                reply.err += f"Failed to reset failed state of unit {name}: Unit {name} not loaded.\n"
            else:
                known.reset_failed()
        return reply

    async def _kill(self, line: CommandLine) -> Reply:
        reply = Reply()
        try:
            number = signal_number(line.value("signal", "SIGTERM"))
        except UnitSyntaxError:
            return Reply(1, "", f"Failed to parse signal string {line.value('signal')}.\n")
        whom = line.value("whom", "all")
        if whom not in {"main", "control", "all"}:
            return Reply(1, "", f"Failed to parse --kill-whom= argument: {whom}\n")
        for name in self._names(line):
            unit = self.manager.unit(name)
            if not isinstance(unit, Service) or not self.manager.keeps(unit):
                reply.code, text = 1, f"Unit {name} not loaded."
            elif unit.kill(number, whom=whom) or whom == "all":
                continue
            else:
                reply.code, text = 1, f"No {whom} process to kill"
            reply.err += f"Failed to kill unit {name}: {text}\n"
        return reply

    # Views.

    async def _show(self, line: CommandLine) -> Reply:
        wanted = [key for option in line.values.get("property", []) for key in option.split(",")]
        only = [key for option in line.values.get("value-of", []) for key in option.split(",")]
        wanted += only
        bare = "value" in line.flags or bool(only)
        groups = [show.properties(self.manager, self.manager.unit(name)) for name in self._names(line)]
        if not line.names:
            groups = [show.manager_properties(self.manager)]
        blocks = []
        for found in groups:
            # systemctl prints in its own order, not in that of the option.
            keys = [key for key in found if not wanted or key in wanted]
            blocks.append("".join(f"{found[key]}\n" if bare else f"{key}={found[key]}\n" for key in keys))
        return Reply(0, "\n".join(blocks))

    async def _status(self, line: CommandLine) -> Reply:
        if not line.names:
            return Reply(0, f"● lab\n    State: {self.manager.system_state()}\n")
        reply = Reply()
        lines = int(line.value("lines", "10")) if line.value("lines", "10").isdigit() else 10
        blocks = []
        for name in self._names(line):
            unit = self.manager.unit(name)
            if unit.definition.load_state == "not-found" and unit.active_state in INACTIVE_STATES:
                reply.code = reply.code or 4
                reply.err += f"Unit {name} could not be found.\n"
                continue
            if self.manager.needs_reload(unit):
                reply.err += (
                    f"Warning: The unit file, source configuration file or drop-ins of {name} changed on disk. "
                    "Run 'systemctl daemon-reload' to reload units.\n"
                )
            blocks.append(show.status(self.manager, unit, lines))
            if unit.active_state in INACTIVE_STATES:
                reply.code = reply.code or 3
        reply.out = "\n".join(blocks)
        return reply

    async def _cat(self, line: CommandLine) -> Reply:
        reply = Reply()
        blocks = []
        for name in self._names(line):
            definition = self.manager.unit(name).definition
            if definition.path is None:
                reply.code = 1
                reply.err += f"No files found for {name}.\n"
                continue
            for path in [definition.path, *definition.drop_ins]:
                blocks.append(f"# {path}\n{path.read_text()}")
        reply.out = "\n".join(blocks)
        return reply

    async def _list_units(self, line: CommandLine) -> Reply:
        names = self._names(line)
        states = {each for value in line.values.get("state", []) for each in value.split(",")}
        if "failed" in line.flags:
            states.add("failed")
        types = {each for value in line.values.get("type", []) for each in value.split(",")}

        def chosen(unit: Unit) -> bool:
            return (
                (not names or unit.name in names)
                and (not types or unit.name.rpartition(".")[2] in types)
                and (not states or unit.active_state in states or unit.sub_state in states)
                and (bool(states) or "all" in line.flags or unit.active_state != "inactive")
            )

        return Reply(0, show.listing(self.manager, chosen, plain="plain" in line.flags))

    async def _list_unit_files(self, line: CommandLine) -> Reply:
        del line
        return Reply(0, show.unit_files(self.manager))

    # Installation.

    async def _install(self, line: CommandLine) -> Reply:
        names = self._names(line)
        if not names:
            return Reply(1, "", "Too few arguments.\n")
        installer = self.manager.installer
        try:
            if line.verb == "reenable":
                installer.disable(names)
                changes = installer.enable(names)
            else:
                work: Callable[[list[str]], Changes] = getattr(installer, line.verb)
                changes = work(names)
        except InstallError as error:
            return Reply(1, "", f"{error}\n")
        reply = Reply(0, "", "".join(f"{text}\n" for text in changes.lines))
        if "quiet" in line.flags:
            reply.err = ""
        elif changes.without_install:
            reply.err += (
                "The unit files have no installation config (WantedBy=, RequiredBy=, UpheldBy=,\n"
                "Also=, or Alias= settings in the [Install] section, and DefaultInstance= for\n"
                "template units). This means they are not meant to be enabled or disabled using systemctl.\n"
            )
        self.manager.daemon_reload()
        if "now" in line.flags:
            verb = "start" if line.verb in {"enable", "reenable"} else "stop"
            job = await self._job(CommandLine(verb, names))
            reply.code = reply.code or job.code
            reply.err += job.err
        return reply
