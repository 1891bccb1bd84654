"""Shell scripts that look at Traefik's services and put them right. Pure; each may be run again at any point.

What the running instance was started with is known from what its unit records at each start: a copy of
``traefik.yml``, the digest of the unit as systemd had loaded it, and the identity of the program. A restart is due
exactly when one of the three differs from what lies on disk.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from phoenix.traefik import private_directories

UNIT = "traefik.service"
STANDBY = "traefik-standby.service"
SOCKETS = ("traefik-web.socket", "traefik-websecure.socket")

RUNNING_NAME = "running.yml"
RECORD_NAME = "running.state"
STANDBY_NAME = "standby"
"""Directory of the standby's copies, in the state directory."""

DIGEST_VARIABLE = "PHOENIX_UNIT"
EXPOSED = "exposed"
"""What the record calls an ACME storage that was not Traefik's alone when it started."""

ROLLBACK_SUFFIX = ".rollback"
REFUSED_SUFFIX = ".refused"

_DUE = {
    "static": "Traefik runs with another static configuration than traefik.yml",
    "unit": "Traefik was started by another unit than the one on disk",
    "binary": "Traefik runs another program than the one installed",
    "storage": "Traefik was started while an ACME storage was not for its user alone, and runs without that resolver",
}


@dataclass(frozen=True, slots=True)
class Service:
    """What the scripts need to know of a deployment.

    Attributes:
        static_path: ``traefik.yml``.
        unit_path: ``traefik.service``.
        binary: the installed program.
        state_directory: where the unit keeps its record.
        standby: a standby takes over during restarts; with ``sockets``, and where no gateway is there to send it
            requests, from the same sockets.
        standby_always: and runs all the time.
        sockets: systemd holds the ports.
        standby_static_path, standby_unit_path: the standby's files.
        log_directory: where logs may go.
        user, group: Traefik's account; empty where it is not looked after.
    """

    static_path: str
    unit_path: str
    binary: str
    state_directory: str
    standby: bool
    standby_always: bool
    sockets: bool
    standby_static_path: str
    standby_unit_path: str
    log_directory: str = ""
    user: str = ""
    group: str = ""

    @property
    def private(self) -> list[str]:
        """The directories that are Traefik's alone."""
        return [path for path in (self.state_directory, self.log_directory) if path]

    @classmethod
    def parse(cls, props: Mapping[str, Any]) -> Service:
        """From a resource's properties."""
        return cls(**props)

    def to_props(self) -> dict[str, Any]:
        """Plain data that :meth:`parse` reads."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class State:
    """What :func:`inspect_script` printed.

    Attributes:
        enabled, active: in systemd's words.
        stale: systemd has not read the unit on disk yet.
        due: what the running instance has otherwise than the disk: ``static``, ``unit``, ``binary``.
        standby, standby_enabled: of the standby, in systemd's words.
        standby_due: likewise for the standby.
        sockets: how many of the socket units are active, and on the port they name.
        sockets_enabled: how many are enabled.
        private: what is wrong with the account and its directories, as :mod:`.private_directories` names it.
    """

    enabled: str = ""
    active: str = ""
    stale: bool = False
    due: tuple[str, ...] = ()
    standby: str = ""
    standby_enabled: str = ""
    standby_due: tuple[str, ...] = ()
    sockets: int = 0
    sockets_enabled: int = 0
    private: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, output: str) -> State:
        """Read ``key=value`` lines; unknown ones are left out."""
        values = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        return cls(
            enabled=values.get("enabled", ""),
            active=values.get("active", ""),
            stale=values.get("stale") == "yes",
            due=_known(values.get("due", "")),
            standby=values.get("standby", ""),
            standby_enabled=values.get("standby-enabled", ""),
            standby_due=_known(values.get("standby-due", "")),
            sockets=values.get("sockets", "").split().count("active"),
            sockets_enabled=values.get("sockets-enabled", "").split().count("enabled"),
            private={key: value for key, value in values.items() if key.startswith(private_directories.KEY)},
        )


def _known(text: str) -> tuple[str, ...]:
    return tuple(key for key in _DUE if key in text.split())


def _enabled_units(service: Service) -> list[str]:
    """The units that shall start at boot."""
    return [UNIT, *(SOCKETS if service.sockets else ()), *((STANDBY,) if service.standby_always else ())]


def _variables(service: Service) -> str:
    values = {
        "static": service.static_path,
        "unit": service.unit_path,
        "binary": service.binary,
        "state": service.state_directory,
        "standby_static": service.standby_static_path,
        "standby_unit": service.standby_unit_path,
        "wanted": " ".join(_enabled_units(service)),
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


_LISTENED = r"""
listened() { # whether anything listens on the port in the file of socket unit $1; systemd keeps the old one until told
  port=$(sed -n 's/^ListenStream=\(.*:\)\{0,1\}//p' "${unit%/*}/$1" 2>/dev/null | head -n 1)
  [ -z "$port" ] || cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    grep -q -E "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$port") [0-9A-F]+:0000 0A "
}
"""

_INSPECT = f"""
recorded() {{ sed -n "s/^$2=//p" "$1/{RECORD_NAME}" 2>/dev/null; }}
written() {{ sed -n 's/^Environment={DIGEST_VARIABLE}=//p' "$1" 2>/dev/null; }}
differs() {{ # of a service that is $1, with the record in $2: what it has otherwise than static file $3 and unit $4
  [ "$1" = active ] && [ -x "$2" ] || return 0
  cmp -s "$3" "$2/{RUNNING_NAME}" || printf 'static '
  [ "$(recorded "$2" unit)" = "$(written "$4")" ] || printf 'unit '
  now=$(stat -L -c %i:%s:%Y "$binary" 2>/dev/null)
  [ -z "$now" ] || [ "$(recorded "$2" binary)" = "$now" ] || printf 'binary '
  [ -z "$(recorded "$2" {EXPOSED})" ] || printf 'storage '
}}
stale=no enabled= active= standby= standby_enabled= sockets= sockets_enabled=
set -- {UNIT} {STANDBY} {" ".join(SOCKETS)}
units=$(systemctl show -p ActiveState -p NeedDaemonReload "$@" 2>/dev/null)
while IFS= read -r line; do # a block for each unit, in the order asked for, and an empty line after it
  case $line in
    NeedDaemonReload=yes) stale=yes ;;
    ActiveState=*)
      case $1 in
        {UNIT}) active=${{line#*=}} ;;
        {STANDBY}) standby=${{line#*=}} ;;
        *) if listened "$1"; then sockets="$sockets ${{line#*=}}"; fi ;;
      esac ;;
    '') [ $# = 0 ] || shift ;;
  esac
done <<END
$units
END
set -- $wanted # what `show` says of that is as old as systemd's last look at its links
for word in $(systemctl is-enabled "$@" 2>/dev/null); do
  case $1 in
    {UNIT}) enabled=$word ;;
    {STANDBY}) standby_enabled=$word ;;
    *) sockets_enabled="$sockets_enabled $word" ;;
  esac
  [ $# = 0 ] || shift
done
printf 'stale=%s\\nenabled=%s\\nactive=%s\\n' "$stale" "$enabled" "$active"
printf 'due=%s\\n' "$(differs "$active" "$state" "$static" "$unit")"
printf 'standby=%s\\nstandby-enabled=%s\\n' "$standby" "$standby_enabled"
printf 'standby-due=%s\\n' "$(differs "$standby" "$state/{STANDBY_NAME}" "$standby_static" "$standby_unit")"
printf 'sockets=%s\\nsockets-enabled=%s\\n' "$sockets" "$sockets_enabled"
true
"""


def inspect_script(service: Service) -> str:
    """Prints ``key=value`` lines on the services' state; always exits 0."""
    look = private_directories.look_script(service.user, service.private)
    return _variables(service) + _LISTENED + look + _INSPECT


def problems(service: Service, state: State) -> Iterator[str]:
    """A phrase for each way in which the services are not as they shall be."""
    if state.enabled not in _ENABLED:
        yield f"{UNIT} is {state.enabled or 'unknown'}, not enabled: it would not start at boot"
    if state.active != "active":
        yield f"{UNIT} is {state.active or 'unknown'}, not active"
    if state.stale:
        yield f"{UNIT} or a unit beside it changed on disk, and systemd has not read it yet"
    yield from private_directories.problems(service.user, service.private, state.private)
    yield from (_DUE[key] for key in state.due)
    if service.sockets and state.sockets < len(SOCKETS):
        yield f"{len(SOCKETS) - state.sockets} of {' and '.join(SOCKETS)} do not listen: a restart refuses connections"
    if service.sockets and state.sockets_enabled < len(SOCKETS):
        yield f"{len(SOCKETS) - state.sockets_enabled} of {' and '.join(SOCKETS)} are not enabled"
    if not service.sockets and state.sockets:
        yield f"{' or '.join(SOCKETS)} is active, though phoenix:traefik.continuity does not ask for it"
    if service.standby_always:
        if state.standby != "active" or state.standby_enabled not in _ENABLED:
            yield f"{STANDBY} is {state.standby or 'unknown'} and {state.standby_enabled or 'unknown'}: it shall run"
        elif state.standby_due:
            yield f"{STANDBY} runs with another configuration or program than Traefik"
    elif state.standby in ("active", "activating", "failed"):
        yield f"{STANDBY} is {state.standby}, though no restart is going on"


_ENABLED = ("enabled", "enabled-runtime", "static", "alias")


def prepare_script(service: Service) -> str:
    """Have systemd read the units and start them at boot; then :func:`inspect_script`. Nothing is restarted."""
    wanted = _enabled_units(service)
    unwanted = [*(() if service.sockets else SOCKETS), *(() if service.standby_always else (STANDBY,))]
    return "\n".join(
        (
            "set -e",
            private_directories.mend_script(service.user, service.group, service.private),
            "systemctl daemon-reload",
            *(f"systemctl is-enabled --quiet {name} || systemctl enable --quiet {name}" for name in wanted),
            *(
                f"! systemctl is-enabled --quiet {name} 2>/dev/null || systemctl disable --quiet {name}"
                for name in unwanted
            ),
            "set +e",
            inspect_script(service),
        )
    )


def restart_script(service: Service) -> str:
    """Start Traefik, or start it anew, with what lies on disk; the sockets come before it, or go before it."""
    together = " ".join(SOCKETS)
    if service.sockets:
        # A socket cannot take a port that Traefik itself still holds.
        sockets = [
            f"held() {{ systemctl is-active --quiet {SOCKETS[0]} && systemctl is-active --quiet {SOCKETS[1]} &&",
            f"  listened {SOCKETS[0]} && listened {SOCKETS[1]}; }}",
            "if ! held; then",
            f"  systemctl stop {UNIT} {together}",
            f"  systemctl reset-failed {together} 2>/dev/null || :",
            f"  systemctl start {together}",
            "fi",
        ]
    else:
        sockets = [
            f"if [ -n \"$(systemctl is-active {together} 2>/dev/null | grep '^active')\" ]; then",
            f"  systemctl stop {together}",
            "fi",
        ]
    lines = ("set -e", f"systemctl reset-failed {UNIT} 2>/dev/null || :", *sockets, f"systemctl restart {UNIT}")
    return _variables(service) + _LISTENED + "\n".join(lines)


def start_standby_script() -> str:
    """Start the standby anew, with what lies on disk and a fresh copy of the certificates."""
    return f"systemctl reset-failed {STANDBY} 2>/dev/null || :\nsystemctl restart {STANDBY}"


def stop_standby_script() -> str:
    """End the standby once it has answered what it has; does not wait for that. A missing unit is fine."""
    return (
        f"systemctl stop --no-block {STANDBY} 2>/dev/null || :\n"
        f"systemctl is-active --quiet {STANDBY} || systemctl reset-failed {STANDBY} 2>/dev/null || :"
    )


def enable_script() -> str:
    """Starts at boot from now on."""
    return f"systemctl enable {UNIT}"


def disable_script() -> str:
    """Stops everything, and does not start it at boot any more; missing units are fine."""
    every = (*SOCKETS, UNIT, STANDBY)
    return "\n".join(
        f"systemctl disable --now {name} 2>/dev/null || systemctl stop {name} 2>/dev/null || :" for name in every
    )


def restore_script(service: Service, due: tuple[str, ...]) -> str:
    """Put back what the last good instance ran with, after a restart that failed.

    Only the rollback copies are used, which lie beside the files and belong to whoever may write those; what refused to
    run is kept as ``<path>.refused``. Prints the path of each file put back.

    Args:
        service: where they lie.
        due: what had changed, as :attr:`State.due` said before the restart.
    """
    paths = {"static": '"$static"', "unit": '"$unit"', "binary": '"$binary"'}
    lines = [
        "restore() {",
        f'  [ -f "$1{ROLLBACK_SUFFIX}" ] && ! [ -h "$1{ROLLBACK_SUFFIX}" ] || return 0',
        # where there is no room for a second copy, the kept one itself goes back
        f'  {{ cp -p -- "$1{ROLLBACK_SUFFIX}" "$1.phoenix-restored" 2>/dev/null ||',
        f'    mv -f -- "$1{ROLLBACK_SUFFIX}" "$1.phoenix-restored"; }} && mv -f -- "$1" "$1{REFUSED_SUFFIX}" &&',
        '    mv -f -- "$1.phoenix-restored" "$1" && printf \'%s\\n\' "$1"',
        "}",
        *(f"restore {paths[key]}" for key in due if key in paths),
        "systemctl daemon-reload",
    ]
    return _variables(service) + "\n".join(lines)


def log_script(lines: int = 40, unit: str = UNIT) -> str:
    """Prints the end of a service's log, without colours."""
    return f"journalctl -u {unit} -n {lines:d} -o cat --no-pager 2>/dev/null | sed 's/\\x1b\\[[0-9;]*m//g' || true"


def errors_in_log(log: str, limit: int = 3) -> list[str]:
    """Traefik's own last error lines, newest last."""
    found = [line.strip() for line in log.splitlines() if " ERR " in line or " FTL " in line]
    return list(dict.fromkeys(found))[-limit:]
