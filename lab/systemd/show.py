"""What ``systemctl show``, ``status``, ``cat`` and the lists print."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from lab.systemd import journal, spawn
from lab.systemd.manager import Manager
from lab.systemd.service import Service
from lab.systemd.sockets import SocketUnit
from lab.systemd.unit import Unit

_DOTS = {"active": "●", "reloading": "↻", "inactive": "○", "failed": "×", "activating": "●", "deactivating": "●"}


def _when(moment: float) -> str:
    return time.strftime("%a %Y-%m-%d %H:%M:%S %Z", time.localtime(moment)) if moment else ""


def _span(seconds: float) -> str:
    if math.isinf(seconds):
        return "infinity"
    if seconds == 0:
        return "0"
    parts = []
    rest = round(seconds * 1_000_000)
    for size, name in (
        (86_400_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "min"),
        (1_000_000, "s"),
        (1_000, "ms"),
    ):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts) or "0"


def _bool(value: object) -> str:
    return "yes" if value else "no"


def _exec(unit: Service, name: str) -> str:
    return " ".join(
        f"{{ path={each.path} ; argv[]={' '.join(each.arguments)} ; ignore_errors={_bool(each.ignore_failure)} }}"
        for each in getattr(unit.settings, name)
    )


def properties(manager: Manager, unit: Unit) -> dict[str, str]:
    """The properties of a unit, by their D-Bus names, as ``systemctl show`` prints them."""
    definition = unit.definition
    moments = unit.moments
    found = _of_kind(manager, unit) | {
        "Id": unit.name,
        "Names": unit.name,
        "Description": definition.description or unit.name,
        "LoadState": definition.load_state,
        "ActiveState": unit.active_state,
        "SubState": unit.sub_state,
        "FragmentPath": str(definition.path or ""),
        "DropInPaths": " ".join(map(str, definition.drop_ins)),
        "UnitFileState": "" if definition.load_state == "not-found" else manager.installer.state(unit.name),
        "UnitFilePreset": "" if definition.load_state == "not-found" else "enabled",
        "NeedDaemonReload": _bool(manager.needs_reload(unit)),
        "Wants": " ".join(definition.wants),
        "Requires": " ".join(definition.requires),
        "After": " ".join(definition.after),
        "Before": " ".join(definition.before),
        "CanStart": _bool(definition.load_state == "loaded"),
        "CanStop": _bool(definition.load_state == "loaded"),
        "CanReload": _bool(manager.can_reload(unit)),
        "StartLimitIntervalUSec": _span(definition.start_limit_interval),
        "StartLimitBurst": str(definition.start_limit_burst),
    }
    for key in ("StateChange", "InactiveExit", "ActiveEnter", "ActiveExit", "InactiveEnter"):
        moment = moments.get(key, 0.0)
        found[f"{key}Timestamp"] = _when(moment)
        found[f"{key}TimestampMonotonic"] = str(_monotonic(moment))
    if definition.load_error:
        error = "NoSuchUnit" if definition.load_state == "not-found" else "BadUnitSetting"
        found["LoadError"] = f'org.freedesktop.systemd1.{error} "{definition.load_error}"'
    return found


def _of_kind(manager: Manager, unit: Unit) -> dict[str, str]:
    if isinstance(unit, Service):
        return _service_properties(manager, unit)
    if isinstance(unit, SocketUnit):
        settings = unit.settings
        listen = [*(f"{each} (Stream)" for each in settings.streams)]
        listen += [f"{each} (Datagram)" for each in settings.datagrams]
        return {
            "Backlog": str(settings.backlog),
            "ReusePort": _bool(settings.reuse_port),
            "Listen": " ".join(listen),
            "FileDescriptorName": settings.descriptor_name,
            "Result": unit.result,
            "Triggers": settings.service,
        }
    return {}


def _monotonic(moment: float) -> int:
    return round((time.monotonic() - (time.time() - moment)) * 1_000_000) if moment else 0


def _service_properties(manager: Manager, unit: Service) -> dict[str, str]:
    settings, execution = unit.settings, unit.execution
    status = execution.exec_main_status
    signaled = status is not None and os.WIFSIGNALED(status)
    code = "0" if status is None else ("2" if signaled else "1")
    number = 0 if status is None else (os.WTERMSIG(status) if signaled else os.WEXITSTATUS(status))
    triggered_by = [
        each.name
        for each in manager.units.values()
        if isinstance(each, SocketUnit) and each.settings.service == unit.name
    ]
    return {
        "Type": settings.type,
        "Restart": settings.restart,
        "NotifyAccess": settings.notify_access,
        "RestartUSec": _span(settings.restart_delay),
        "TimeoutStartUSec": _span(settings.start_timeout),
        "TimeoutStopUSec": _span(settings.stop_timeout),
        "RuntimeMaxUSec": _span(settings.runtime_limit),
        "WatchdogUSec": _span(settings.watchdog or math.inf),
        "RemainAfterExit": _bool(settings.remain_after_exit),
        "MainPID": str(execution.main_pid),
        "ControlPID": str(execution.control_pid),
        "StatusText": unit.status_text,
        "Result": unit.result,
        "ReloadResult": unit.reload_result,
        "NRestarts": str(unit.restarts),
        "ExecMainStartTimestamp": _when(execution.exec_main_start),
        "ExecMainStartTimestampMonotonic": str(_monotonic(execution.exec_main_start)),
        "ExecMainExitTimestamp": _when(execution.exec_main_exit),
        "ExecMainPID": str(execution.exec_main_pid),
        "ExecMainCode": code,
        "ExecMainStatus": str(number),
        "ExecStartPre": _exec(unit, "start_pre"),
        "ExecStart": _exec(unit, "start"),
        "ExecReload": _exec(unit, "reload"),
        "ExecStop": _exec(unit, "stop"),
        "TasksCurrent": str(len(spawn.members(execution.invocation))) if execution.main_pid else "[not set]",
        "Environment": " ".join(f"{key}={value}" for key, value in settings.environment.items()),
        "EnvironmentFiles": " ".join(
            f"{path} (ignore_errors={_bool(optional)})" for path, optional in settings.environment_files
        ),
        "UMask": f"{settings.umask:04o}",
        "WorkingDirectory": settings.working_directory,
        "StandardOutput": settings.output,
        "StandardError": settings.error,
        "User": settings.user,
        "Group": settings.group,
        "KillMode": settings.kill_mode,
        "KillSignal": str(settings.kill_signal),
        "TriggeredBy": " ".join(triggered_by),
        "InvocationID": execution.invocation,
    }


def manager_properties(manager: Manager) -> dict[str, str]:
    """The properties of the manager itself."""
    failed = sum(unit.active_state == "failed" for unit in manager.units.values())
    return {
        "Version": "255 (phoenix lab)",
        "SystemState": manager.system_state(),
        "NFailedUnits": str(failed),
        "UnitPath": " ".join(map(str, manager.directories)),
        "UserspaceTimestamp": _when(manager.started),
    }


def status(manager: Manager, unit: Unit, lines: int) -> str:
    """What ``systemctl status`` prints about a unit."""
    definition = unit.definition
    title = f" - {definition.description}" if definition.description not in {"", unit.name} else ""
    out = [f"{_DOTS.get(unit.active_state, '●')} {unit.name}{title}"]
    if definition.load_state == "loaded" and definition.path:
        out.append(f"     Loaded: loaded ({definition.path}; {manager.installer.state(unit.name)}; preset: enabled)")
    else:
        out.append(f"     Loaded: {definition.load_state} (Reason: {definition.load_error})")
    if definition.drop_ins:
        out.append(f"    Drop-In: {', '.join(map(str, definition.drop_ins))}")
    result = f" (Result: {unit.result})" if unit.result != "success" else ""
    since = unit.moments.get(
        {"active": "ActiveEnter", "inactive": "InactiveEnter"}.get(unit.active_state, "StateChange"), 0.0
    )
    ago = f" since {_when(since)}; {_span(max(0, int(time.time() - since)))} ago" if since else ""
    out.append(f"     Active: {unit.active_state} ({unit.sub_state}){result}{ago}")
    if isinstance(unit, Service):
        out += _service_status(unit)
    if isinstance(unit, SocketUnit):
        out.append(f"   Triggers: {unit.settings.service}")
        out += [f"     Listen: {each} (Stream)" for each in unit.settings.streams]
    records = journal.tail(manager.journal.path, frozenset({unit.name}), lines) if lines else []
    if records:
        host = os.uname().nodename
        out += ["", *(record.short(host) for record in records)]
    return "\n".join(out) + "\n"


def _service_status(unit: Service) -> list[str]:
    out = []
    if unit.execution.exec_main_status is not None and not unit.execution.main_pid:
        shown = os.waitstatus_to_exitcode(unit.execution.exec_main_status)
        code = "killed" if shown < 0 else "exited"
        out.append(f"   Main PID: {unit.execution.exec_main_pid} (code={code}, status={abs(shown)})")
    if unit.execution.main_pid:
        out.append(f"   Main PID: {unit.execution.main_pid} ({spawn.comm(unit.execution.main_pid)})")
    if unit.status_text:
        out.append(f'     Status: "{unit.status_text}"')
    pids = spawn.members(unit.execution.invocation) if unit.execution.main_pid else []
    if pids:
        out.append(f"      Tasks: {len(pids)}")
        out += [f"             {'└─' if pid == pids[-1] else '├─'}{pid} {_command_line(pid)}" for pid in pids]
    return out


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def listing(manager: Manager, chosen: Callable[[Unit], bool], *, plain: bool) -> str:
    """Lines of ``systemctl list-units``; ``plain`` is without the dots at their begin."""
    units = [unit for unit in sorted(manager.units.values(), key=lambda each: each.name) if chosen(unit)]
    rows = [(each.name, each.definition.load_state, each.active_state, each.sub_state) for each in units]
    widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
    lines = []
    for unit, row in zip(units, rows, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        dot = "" if plain else ("● " if unit.active_state == "failed" else "  ")
        lines.append(f"{dot}{' '.join(cells)} {unit.definition.description}\n")
    return "".join(lines)


def unit_files(manager: Manager) -> str:
    """Lines of ``systemctl list-unit-files``."""
    names = sorted(
        {
            path.name
            for base in manager.directories
            for path in (base.iterdir() if base.is_dir() else ())
            if path.suffix in {".service", ".socket", ".target"} and not path.is_dir()
        }
    )
    return "".join(f"{name:<40} {manager.installer.state(name):<10} enabled\n" for name in names)
