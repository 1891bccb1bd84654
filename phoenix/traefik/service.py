"""Shell scripts that look at Traefik's service and put it right. Pure.

What the running instance was started with is known from a copy of ``traefik.yml`` that the unit makes at each start:
Traefik reads that file only then, so a restart is due exactly when the two differ.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from phoenix.settings import TraefikSettings

UNIT = "traefik.service"


def running_copy(traefik: TraefikSettings) -> str:
    """Path of the copy of the static configuration that the running instance was started with."""
    return f"{traefik.state_directory}/running.yml"


def inspect_script(traefik: TraefikSettings) -> str:
    """Prints ``key=value`` lines on the service's state; always exits 0."""
    static, running = shlex.quote(traefik.static_path), shlex.quote(running_copy(traefik))
    return "\n".join(
        (
            f'printf "enabled=%s\\n" "$(systemctl is-enabled {UNIT} 2>/dev/null)"',
            f'printf "active=%s\\n" "$(systemctl is-active {UNIT} 2>/dev/null)"',
            f'printf "reload=%s\\n" "$(systemctl show -p NeedDaemonReload --value {UNIT} 2>/dev/null)"',
            f'if cmp -s {static} {running}; then echo "current=yes"; else echo "current=no"; fi',
            "true",
        )
    )


def problems(output: str) -> Iterator[str]:
    """A phrase for each way in which the service is not as it shall be, from :func:`inspect_script`'s output."""
    state = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    if state.get("enabled") not in ("enabled", "enabled-runtime", "static", "alias"):
        yield f"{UNIT} is {state.get('enabled') or 'unknown'}, not enabled: it would not start at boot"
    active = state.get("active")
    if active != "active":
        yield f"{UNIT} is {active or 'unknown'}, not active"
    if state.get("reload") == "yes":
        yield f"{UNIT} changed on disk, and systemd has not read it yet"
    if active == "active" and state.get("current") == "no":
        yield "Traefik runs with another static configuration than traefik.yml"


def enable_script() -> str:
    """Starts at boot from now on."""
    return f"systemctl enable {UNIT}"


def disable_script() -> str:
    """Stops it, and does not start it at boot any more; a missing unit is fine."""
    return f"systemctl disable --now {UNIT} 2>/dev/null || systemctl stop {UNIT} 2>/dev/null || true"


def settle_script(traefik: TraefikSettings) -> str:
    """Enables, starts, and restarts only where the running instance has another static configuration."""
    static, running = shlex.quote(traefik.static_path), shlex.quote(running_copy(traefik))
    return "\n".join(
        (
            "set -e",
            f'if [ "$(systemctl show -p NeedDaemonReload --value {UNIT} 2>/dev/null)" = yes ]; then '
            "systemctl daemon-reload; fi",
            f"systemctl is-enabled --quiet {UNIT} || systemctl enable {UNIT}",
            f"if ! systemctl is-active --quiet {UNIT}; then",
            f"  systemctl reset-failed {UNIT} 2>/dev/null || true",
            f"  systemctl start {UNIT}",
            f"elif ! cmp -s {static} {running}; then",
            f"  systemctl restart {UNIT}",
            "fi",
        )
    )


def log_script(lines: int = 40) -> str:
    """Prints the end of Traefik's log, without colours."""
    return f"journalctl -u {UNIT} -n {lines:d} -o cat --no-pager 2>/dev/null | sed 's/\\x1b\\[[0-9;]*m//g' || true"


def errors_in_log(log: str, limit: int = 3) -> list[str]:
    """Traefik's own last error lines, newest last."""
    found = [line.strip() for line in log.splitlines() if " ERR " in line or " FTL " in line]
    return list(dict.fromkeys(found))[-limit:]
