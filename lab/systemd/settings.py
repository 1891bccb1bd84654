"""What a unit file asks for, typed."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path

from lab.systemd.unit_file import Command, UnitText, environment_file


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
