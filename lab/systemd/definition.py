"""What a unit file asks for, typed: the directives of systemd.unit(5), systemd.service(5) and systemd.socket(5)."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lab.systemd.unit_file import (
    Command,
    UnitSyntaxError,
    UnitText,
    boolean,
    commands,
    duration,
    environment_file,
    merge,
    parse,
    specifiers,
    split_words,
)

_T = TypeVar("_T")

SERVICE_TYPES = ("simple", "exec", "notify", "notify-reload", "oneshot")
RESTARTS = ("no", "always", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort")
DIRECTORIES = {
    "RuntimeDirectory": ("run", "RUNTIME_DIRECTORY"),
    "StateDirectory": ("var/lib", "STATE_DIRECTORY"),
    "CacheDirectory": ("var/cache", "CACHE_DIRECTORY"),
    "LogsDirectory": ("var/log", "LOGS_DIRECTORY"),
    "ConfigurationDirectory": ("etc", "CONFIGURATION_DIRECTORY"),
}
NOT_ENFORCED = frozenset(
    ["AmbientCapabilities", "CapabilityBoundingSet", "NoNewPrivileges", "SecureBits", "DynamicUser", "SupplementaryGroups", "RootDirectory", "PrivateTmp", "PrivateDevices", "PrivateUsers", "PrivateNetwork", "PrivateMounts", "PrivateIPC", "ProtectSystem", "ProtectHome", "ProtectProc", "ProtectClock", "ProtectHostname", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProcSubset", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "RemoveIPC", "SystemCallFilter", "SystemCallArchitectures", "SystemCallErrorNumber", "LockPersonality", "MemoryDenyWriteExecute", "KeyringMode", "DevicePolicy", "DeviceAllow", "IPAddressAllow", "IPAddressDeny", "SocketBindAllow", "SocketBindDeny", "UtmpIdentifier", "Delegate", "Slice", "MemoryMax", "MemoryHigh", "MemoryAccounting", "CPUQuota", "CPUWeight", "CPUAccounting", "TasksMax", "TasksAccounting", "IOWeight", "IPAccounting", "LimitNPROC", "LimitCORE", "LimitMEMLOCK", "LimitAS", "OOMScoreAdjust", "OOMPolicy", "Nice", "CPUSchedulingPolicy", "IOSchedulingClass", "SyslogLevel", "SyslogFacility", "SyslogLevelPrefix", "LogLevelMax", "LogRateLimitIntervalSec", "LogRateLimitBurst", "LoadCredential", "SetCredential", "FileDescriptorStoreMax", "TimeoutCleanSec", "CoredumpFilter"]
)
_KNOWN = {
    "Unit": frozenset(
        ["Description", "Documentation", "Wants", "Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "Conflicts", "Before", "After", "StartLimitIntervalSec", "StartLimitInterval", "StartLimitBurst", "StartLimitAction", "OnFailure", "OnSuccess", "DefaultDependencies", "ConditionPathExists", "ConditionFileNotEmpty", "ConditionFileIsExecutable", "ConditionPathIsDirectory", "AssertPathExists", "RefuseManualStart", "RefuseManualStop", "StopWhenUnneeded", "CollectMode", "JobTimeoutSec", "RequiresMountsFor"]
    ),
    "Install": frozenset({"WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also", "DefaultInstance"}),
    "Service": NOT_ENFORCED
    | frozenset(DIRECTORIES)
    | frozenset(f"{name}Mode" for name in DIRECTORIES)
    | frozenset(
        ["Type", "ExecStart", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost", "ExecCondition", "Restart", "RestartSec", "TimeoutStartSec", "TimeoutStopSec", "TimeoutAbortSec", "TimeoutSec", "RuntimeMaxSec", "WatchdogSec", "WatchdogSignal", "NotifyAccess", "RemainAfterExit", "SuccessExitStatus", "RestartPreventExitStatus", "RestartForceExitStatus", "RestartSteps", "RestartMaxDelaySec", "RestartMode", "PIDFile", "GuessMainPID", "Sockets", "KillMode", "KillSignal", "RestartKillSignal", "FinalKillSignal", "ReloadSignal", "SendSIGKILL", "SendSIGHUP", "Environment", "EnvironmentFile", "PassEnvironment", "UnsetEnvironment", "WorkingDirectory", "User", "Group", "UMask", "LimitNOFILE", "StandardInput", "StandardOutput", "StandardError", "SyslogIdentifier", "NonBlocking", "StartLimitInterval", "StartLimitBurst", "RuntimeDirectoryPreserve", "IgnoreSIGPIPE", "ExitType"]
    ),
    "Socket": frozenset(
        ["ListenStream", "ListenDatagram", "FileDescriptorName", "Service", "Accept", "Backlog", "ReusePort", "FreeBind", "NoDelay", "KeepAlive", "BindIPv6Only", "SocketMode", "DirectoryMode", "SocketUser", "SocketGroup", "RemoveOnStop", "TriggerLimitIntervalSec", "TriggerLimitBurst", "MaxConnections", "BindToDevice", "DeferAcceptSec", "Symlinks", "FlushPending", "TimeoutSec"]
    ),
}


@dataclass
class ServiceSettings:
    """The ``[Service]`` section. Times are seconds; ``inf`` is no limit."""

    type: str = "simple"
    condition: list[Command] = field(default_factory=list)
    start_pre: list[Command] = field(default_factory=list)
    start: list[Command] = field(default_factory=list)
    start_post: list[Command] = field(default_factory=list)
    reload: list[Command] = field(default_factory=list)
    stop: list[Command] = field(default_factory=list)
    stop_post: list[Command] = field(default_factory=list)
    restart: str = "no"
    restart_delay: float = 0.1
    start_timeout: float = 90.0
    stop_timeout: float = 90.0
    abort_timeout: float = 90.0
    runtime_limit: float = float("inf")
    watchdog: float = 0.0
    watchdog_signal: int = signal.SIGABRT
    notify_access: str = "none"
    remain_after_exit: bool = False
    success_status: frozenset[int] = frozenset()
    prevent_status: frozenset[int] = frozenset()
    force_status: frozenset[int] = frozenset()
    sockets: list[str] = field(default_factory=list)
    kill_mode: str = "control-group"
    kill_signal: int = signal.SIGTERM
    restart_kill_signal: int | None = None
    final_signal: int = signal.SIGKILL
    reload_signal: int = signal.SIGHUP
    send_kill: bool = True
    send_hangup: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    environment_files: list[tuple[str, bool]] = field(default_factory=list)
    unset_environment: list[str] = field(default_factory=list)
    working_directory: str = "/"
    working_directory_optional: bool = False
    user: str = ""
    group: str = ""
    umask: int = 0o022
    open_files: int | None = None
    output: str = "journal"
    error: str = "inherit"
    identifier: str = ""
    directories: dict[str, tuple[list[str], int]] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """``Environment=`` and the files of ``EnvironmentFile=``, read now, as systemd does at each start.

        Raises:
            OSError: a file that is not optional cannot be read.
        """
        found = dict(self.environment)
        for path, optional in self.environment_files:
            try:
                found.update(environment_file(Path(path).read_text()))
            except OSError:
                if not optional:
                    raise
        for name in self.unset_environment:
            found.pop(name, None)
        return found


@dataclass
class SocketSettings:
    """The ``[Socket]`` section."""

    streams: list[str] = field(default_factory=list)
    datagrams: list[str] = field(default_factory=list)
    descriptor_name: str = ""
    service: str = ""
    backlog: int = 4096
    reuse_port: bool = False
    free_bind: bool = False
    no_delay: bool = False
    mode: int = 0o666
    remove_on_stop: bool = False
    trigger_interval: float = 2.0
    trigger_burst: int = 20


@dataclass
class Definition:
    """A unit as it stood on disk when it was loaded.

    Attributes:
        load_state: ``loaded``, ``not-found``, ``bad-setting`` or ``masked``.
        load_error: why not ``loaded``; one line.
        stamp: what ``NeedDaemonReload`` compares: path, size and times of each file.
    """

    name: str
    load_state: str
    load_error: str = ""
    path: Path | None = None
    drop_ins: list[Path] = field(default_factory=list)
    stamp: tuple[tuple[str, int, int], ...] = ()
    text: UnitText = field(default_factory=UnitText)
    warnings: list[str] = field(default_factory=list)
    description: str = ""
    wants: list[str] = field(default_factory=list)
    requires: list[str] = field(default_factory=list)
    binds_to: list[str] = field(default_factory=list)
    part_of: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    on_failure: list[str] = field(default_factory=list)
    conditions: list[tuple[str, str]] = field(default_factory=list)
    start_limit_interval: float = 10.0
    start_limit_burst: int = 5
    service: ServiceSettings = field(default_factory=ServiceSettings)
    socket: SocketSettings = field(default_factory=SocketSettings)


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


def stamp(paths: list[Path]) -> tuple[tuple[str, int, int], ...]:
    """Identity of files' content, for ``NeedDaemonReload``."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def files_of(name: str, directories: list[Path]) -> tuple[Path | None, list[Path]]:
    """The unit file of ``name`` (for ``a@b.service`` also the template's) and its drop-ins, sorted by name."""
    stem, dot, suffix = name.rpartition(".")
    names = [name]
    if "@" in stem:
        names.append(f"{stem.partition('@')[0]}@{dot}{suffix}")
    main = next(
        (path for each in names for base in directories if (path := base / each).exists() or path.is_symlink()), None
    )
    drops = {
        drop.name: drop
        for base in reversed(directories)
        for each in reversed(names)
        for drop in sorted((base / f"{each}.d").glob("*.conf"))
    }
    return main, [drops[key] for key in sorted(drops)]


def load(name: str, directories: list[Path], root: Path) -> Definition:
    """Read a unit from disk.

    Args:
        name: with its suffix, such as ``traefik.service``.
        directories: where unit files are looked for, the first one wins.
        root: the directory that stands for ``/`` in ``StateDirectory=`` and the like.
    """
    main, drops = files_of(name, directories)
    if main is None:
        return Definition(name, "not-found", f"Unit {name} not found.")
    if main.is_symlink() and main.resolve() == Path("/dev/null"):
        return Definition(name, "masked", f"Unit {name} is masked.", path=main)
    files = [main, *drops]
    try:
        text = merge([parse(path.read_text(), path) for path in files])
    except (OSError, UnicodeDecodeError) as error:
        return Definition(name, "error", f"Failed to load {main}: {error}", path=main)
    definition = Definition(name, "loaded", path=main, drop_ins=drops, stamp=stamp(files), text=text)
    reader = Reader(text, specifiers(_specifiers(name, root)))
    _unknown_keys(definition, reader)
    _read_unit(definition, reader)
    try:
        if name.endswith(".service"):
            definition.service = _read_service(reader, name)
            _check_service(definition)
        elif name.endswith(".socket"):
            definition.socket = _read_socket(reader, name)
            if not (definition.socket.streams or definition.socket.datagrams):
                raise UnitSyntaxError("Unit has no Listen setting (ListenStream=, ListenDatagram=). Refusing.")
    except UnitSyntaxError as error:
        definition.load_state, definition.load_error = "bad-setting", str(error)
    definition.warnings = reader.warnings
    return definition


def _specifiers(name: str, root: Path) -> dict[str, str]:
    stem, _, _ = name.rpartition(".")
    prefix, _, instance = stem.partition("@")
    account = pwd.getpwuid(os.getuid()) if os.getuid() in {entry.pw_uid for entry in pwd.getpwall()} else None
    return {
        "n": name, "N": stem, "p": prefix, "P": prefix, "i": instance, "I": instance, "j": prefix.rpartition("-")[2],
        "t": str(root / "run"), "S": str(root / "var/lib"), "C": str(root / "var/cache"),
        "L": str(root / "var/log"), "E": str(root / "etc"), "T": "/tmp", "V": "/var/tmp",  # noqa: S108
        "u": account.pw_name if account else str(os.getuid()), "U": str(os.getuid()), "G": str(os.getgid()),
        "h": account.pw_dir if account else "/", "H": os.uname().nodename, "l": os.uname().nodename.partition(".")[0],
    }  # fmt: skip


def _unknown_keys(definition: Definition, reader: Reader) -> None:
    ignored: list[str] = []
    for entry in definition.text.entries:
        known = _KNOWN.get(entry.section)
        if known is None:
            if not entry.section.startswith("X-"):
                reader.warnings.append(f"{entry.path}:{entry.line}: Unknown section '{entry.section}'. Ignoring.")
        elif entry.section == "Service" and entry.key in NOT_ENFORCED:
            ignored.append(entry.key)
        elif entry.key not in known and not entry.key.startswith("X-"):
            reader.warnings.append(
                f"{entry.path}:{entry.line}: Unknown key name '{entry.key}' in section '{entry.section}', ignoring."
            )
    if ignored:
        reader.warnings.append("The lab does not enforce " + ", ".join(sorted(set(ignored))) + ".")


def _read_unit(definition: Definition, reader: Reader) -> None:
    definition.description = reader.value("Unit", "Description", str, definition.name)
    for attribute, key in (
        ("wants", "Wants"),
        ("requires", "Requires"),
        ("binds_to", "BindsTo"),
        ("part_of", "PartOf"),
        ("conflicts", "Conflicts"),
        ("after", "After"),
        ("before", "Before"),
        ("on_failure", "OnFailure"),
    ):
        setattr(definition, attribute, reader.words("Unit", key))
    definition.conditions = [
        (entry.key, reader.expand(entry.value))
        for entry in definition.text.entries
        if entry.section == "Unit" and entry.key.startswith(("Condition", "Assert")) and entry.value
    ]
    for section, interval in (
        ("Service", "StartLimitInterval"),
        ("Unit", "StartLimitInterval"),
        ("Unit", "StartLimitIntervalSec"),
    ):
        definition.start_limit_interval = reader.value(section, interval, duration, definition.start_limit_interval)
        definition.start_limit_burst = reader.value(section, "StartLimitBurst", int, definition.start_limit_burst)


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


def _read_service(reader: Reader, name: str) -> ServiceSettings:
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


def _check_service(definition: Definition) -> None:
    service = definition.service
    if not service.start and not service.stop and service.type != "oneshot":
        raise UnitSyntaxError("Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.")
    if not service.start and not service.stop:
        raise UnitSyntaxError("Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.")
    if service.type != "oneshot" and not service.start:
        raise UnitSyntaxError(
            "Service has no ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
        )
    if service.type != "oneshot" and len(service.start) > 1:
        raise UnitSyntaxError(
            "Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
        )
    if service.type == "oneshot" and service.restart in {"always", "on-success"}:
        raise UnitSyntaxError(
            f"Service has Restart= set to {service.restart}, which isn't allowed for Type=oneshot services. Refusing."
        )


def _read_socket(reader: Reader, name: str) -> SocketSettings:
    def value(key: str, convert: Callable[[str], _T], default: _T) -> _T:
        return reader.value("Socket", key, convert, default)

    if value("Accept", boolean, False):
        raise UnitSyntaxError("Accept=yes is not available in the lab: let the service accept the connections.")
    return SocketSettings(
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


def account(user: str, group: str) -> tuple[int, int, str]:
    """User id, group id and user name that ``User=`` and ``Group=`` mean.

    Raises:
        KeyError: there is no such user or group.
    """
    uid, gid, name = os.geteuid(), os.getegid(), ""
    if user:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        uid, gid, name = entry.pw_uid, entry.pw_gid, entry.pw_name
    if group:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    return uid, gid, name
