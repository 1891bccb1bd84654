"""Reads the values of a unit into typed settings: systemd.service(5), systemd.exec(5), systemd.socket(5)."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lab.systemd.directives import DIRECTORIES
from lab.systemd.settings import ServiceSettings, SocketSettings
from lab.systemd.unit_file import Command, UnitSyntaxError, UnitText, boolean, commands, duration, split_words

_T = TypeVar("_T")

SERVICE_TYPES = ("simple", "exec", "notify", "notify-reload", "oneshot")
RESTARTS = ("no", "always", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort")


class Reader:
    """Typed access to a unit's values; a value that cannot be read is a warning and leaves the default."""

    def __init__(self, text: UnitText, expand: Callable[[str], str]) -> None:
        self.text = text
        self.expand = expand
        self.warnings: list[str] = list(text.warnings)

    def value(self, section: str, key: str, convert: Callable[[str], _T], default: _T) -> _T:
        """The last value of ``key``, converted."""
        raw = self.text.last(section, key)
        if raw is None:
            return default
        try:
            return convert(self.expand(raw))
        except (UnitSyntaxError, ValueError) as error:
            self.warnings.append(f"Failed to parse {key}= value, ignoring: {raw} ({error})")
            return default

    def words(self, section: str, *keys: str) -> list[str]:
        """All words of ``keys``, in order."""
        return [self.expand(word) for key in keys for word in self.text.words(section, key)]

    def commands(self, key: str) -> list[Command]:
        """The command lines of an ``Exec…=`` key.

        Raises:
            UnitSyntaxError: one cannot be parsed; systemd then refuses the unit (``bad-setting``).
        """
        return [item for line in self.text.every("Service", key) for item in commands(self.expand(line))]


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in allowed:
            raise UnitSyntaxError(f"none of {', '.join(allowed)}")
        return text

    return check


def signal_number(text: str) -> int:
    """The number of ``SIGTERM``, ``TERM`` or ``15``.

    Raises:
        UnitSyntaxError: there is no such signal.
    """
    name = text.strip().upper()
    if name.isdigit() and 0 < int(name) < signal.NSIG:
        return int(name)
    try:
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        raise UnitSyntaxError(f"{text!r} is no signal") from None


def _statuses(text: str) -> frozenset[int]:
    found = set()
    for word in split_words(text):
        # A signal counts as its negative, so that one set holds both.
        found.add(int(word) if word.isdigit() else -signal_number(word))
    return frozenset(found)


def read_service(reader: Reader) -> ServiceSettings:
    """The ``[Service]`` section.

    Raises:
        UnitSyntaxError: systemd would refuse the unit, or the lab cannot run its type.
    """
    service = ServiceSettings()

    def value(key: str, convert: Callable[[str], _T], default: _T) -> _T:
        return reader.value("Service", key, convert, default)

    known_type = reader.text.last("Service", "Type")
    if known_type in {"forking", "dbus", "idle"}:
        raise UnitSyntaxError(f"Type={known_type} is not available in the lab: use one of {', '.join(SERVICE_TYPES)}.")
    for attribute, key in (
        ("condition", "ExecCondition"),
        ("start_pre", "ExecStartPre"),
        ("start", "ExecStart"),
        ("start_post", "ExecStartPost"),
        ("reload", "ExecReload"),
        ("stop", "ExecStop"),
        ("stop_post", "ExecStopPost"),
    ):
        setattr(service, attribute, reader.commands(key))
    service.type = value("Type", _one_of(SERVICE_TYPES), "simple" if service.start else "oneshot")
    service.restart = value("Restart", _one_of(RESTARTS), "no")
    service.restart_delay = value("RestartSec", duration, 0.1)
    both = value("TimeoutSec", duration, 90.0)
    start_default = float("inf") if service.type == "oneshot" else both
    service.start_timeout = value("TimeoutStartSec", duration, start_default) or float("inf")
    service.stop_timeout = value("TimeoutStopSec", duration, both) or float("inf")
    service.abort_timeout = value("TimeoutAbortSec", duration, service.stop_timeout) or float("inf")
    service.runtime_limit = value("RuntimeMaxSec", duration, float("inf"))
    service.watchdog = value("WatchdogSec", duration, 0.0)
    service.watchdog_signal = value("WatchdogSignal", signal_number, int(signal.SIGABRT))
    access = "main" if service.type.startswith("notify") or service.watchdog else "none"
    service.notify_access = value("NotifyAccess", _one_of(("none", "main", "exec", "all")), access)
    if access == "main" and service.notify_access == "none":
        service.notify_access = "main"
    service.remain_after_exit = value("RemainAfterExit", boolean, False)
    service.success_status = value("SuccessExitStatus", _statuses, frozenset())
    service.prevent_status = value("RestartPreventExitStatus", _statuses, frozenset())
    service.force_status = value("RestartForceExitStatus", _statuses, frozenset())
    service.sockets = reader.words("Service", "Sockets")
    service.kill_mode = value("KillMode", _one_of(("control-group", "mixed", "process", "none")), "control-group")
    service.kill_signal = value("KillSignal", signal_number, int(signal.SIGTERM))
    service.restart_kill_signal = value("RestartKillSignal", signal_number, service.kill_signal)
    service.final_signal = value("FinalKillSignal", signal_number, int(signal.SIGKILL))
    service.reload_signal = value("ReloadSignal", signal_number, int(signal.SIGHUP))
    service.send_kill = value("SendSIGKILL", boolean, True)
    service.send_hangup = value("SendSIGHUP", boolean, False)
    _read_environment(service, reader)
    service.umask = value("UMask", lambda text: int(text, 8), 0o022)
    service.open_files = value("LimitNOFILE", _limit, None)
    service.output = value("StandardOutput", str, "journal")
    service.error = value("StandardError", str, "inherit")
    service.identifier = value("SyslogIdentifier", str, "")
    for key in DIRECTORIES:
        names = reader.words("Service", key)
        if any(each.startswith("/") or ".." in Path(each).parts for each in names):
            reader.warnings.append(f"{key}= path is not valid, ignoring: {' '.join(names)}")
        elif names:
            service.directories[key] = (names, value(f"{key}Mode", lambda text: int(text, 8), 0o755))
    return service


def _limit(text: str) -> int | None:
    first = text.partition(":")[0]
    return None if first == "infinity" else int(first)


def _read_environment(service: ServiceSettings, reader: Reader) -> None:
    for assignment in reader.words("Service", "Environment"):
        name, equals, content = assignment.partition("=")
        if not equals:
            reader.warnings.append(f"Invalid environment assignment, ignoring: {assignment}")
            continue
        service.environment[name] = content
    for name in reader.words("Service", "PassEnvironment"):
        if name in os.environ:
            service.environment[name] = os.environ[name]
    service.unset_environment = reader.words("Service", "UnsetEnvironment")
    for path in reader.text.every("Service", "EnvironmentFile"):
        optional = path.startswith("-")
        service.environment_files.append((reader.expand(path.removeprefix("-")), optional))
    directory = reader.value("Service", "WorkingDirectory", str, "/")
    service.working_directory_optional = directory.startswith("-")
    service.working_directory = directory.removeprefix("-")
    service.user = reader.value("Service", "User", str, "")
    service.group = reader.value("Service", "Group", str, "")
    if service.working_directory == "~":
        with contextlib.suppress(KeyError):
            user = service.user or str(os.getuid())
            entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
            service.working_directory = entry.pw_dir


def read_socket(reader: Reader, name: str) -> SocketSettings:
    """The ``[Socket]`` section of the unit ``name``.

    Raises:
        UnitSyntaxError: systemd would refuse the unit, or it wants what the lab cannot do.
    """

    def value(key: str, convert: Callable[[str], _T], default: _T) -> _T:
        return reader.value("Socket", key, convert, default)

    if value("Accept", boolean, False):
        raise UnitSyntaxError("Accept=yes is not available in the lab: let the service accept the connections.")
    settings = SocketSettings(
        streams=[reader.expand(each) for each in reader.text.every("Socket", "ListenStream")],
        datagrams=[reader.expand(each) for each in reader.text.every("Socket", "ListenDatagram")],
        descriptor_name=value("FileDescriptorName", str, name),
        service=value("Service", str, name.removesuffix(".socket") + ".service"),
        backlog=value("Backlog", int, 4096),
        reuse_port=value("ReusePort", boolean, False),
        free_bind=value("FreeBind", boolean, False),
        no_delay=value("NoDelay", boolean, False),
        mode=value("SocketMode", lambda text: int(text, 8), 0o666),
        remove_on_stop=value("RemoveOnStop", boolean, False),
        trigger_interval=value("TriggerLimitIntervalSec", duration, 2.0),
        trigger_burst=value("TriggerLimitBurst", int, 20),
    )
    if not (settings.streams or settings.datagrams):
        raise UnitSyntaxError("Unit has no Listen setting (ListenStream=, ListenDatagram=). Refusing.")
    return settings
