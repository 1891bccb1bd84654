"""A second instance of the installed Traefik, booted with a candidate on throw-away loopback ports. Pure.

Traefik has no command that checks a configuration, and is silent about much of what it refuses; what its own API
says after a boot with the candidate is the only proof there is. The candidate instance has its own storage, talks to
no certificate authority (their URLs lead to a closed loopback port), and ends by itself.
"""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Mapping
from typing import Any

from phoenix.traefik import document
from phoenix.traefik.dynamic import dynamic_config
from phoenix.traefik.static import API

PREFIX = "phoenix-candidate-"
"""What the names of candidates' directories begin with."""

LIFETIME_SECONDS = 60
"""The instance is ended by ``timeout`` after this long, even where nobody comes back to end it."""

STALE_MINUTES = 2
"""Age after which what a killed run left behind is removed."""

CLOSED_PORT = "127.0.0.1:1"
CLOSED = f"http://{CLOSED_PORT}/directory"
_LOOPBACK = "127.0.0.1"


_CLOSED_EXPORTERS: Mapping[str, Any] = {
    "datadog": {"address": CLOSED_PORT},
    "statsD": {"address": CLOSED_PORT},
    "influxDB2": {"address": f"http://{CLOSED_PORT}"},
    "otlp": {"http": {"endpoint": f"http://{CLOSED_PORT}"}},
}
"""Parts of ``metrics`` and ``tracing`` that send data elsewhere, and what they are given in place of where to."""


def candidate_static(
    static: Mapping[str, Any], directory: str, api_port: int, ports: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """A static configuration that validates like ``static`` but touches nothing that is in use.

    Args:
        static: what shall be proved.
        directory: the candidate's own, on the target.
        api_port: loopback port for its API.
        ports: loopback ports for further entry points, by name; the others get any that is free.
    """
    result: dict[str, Any] = copy.deepcopy(dict(static))
    _quieten(result, directory)
    entry_points = result.get("entryPoints")
    for name, value in entry_points.items() if isinstance(entry_points, dict) else ():
        if isinstance(value, dict):
            protocol = str(value.get("address", "")).partition("/")[2]
            port = api_port if name == API else (ports or {}).get(name, 0)
            value["address"] = f"{_LOOPBACK}:{port}{f'/{protocol}' if protocol else ''}"
    resolvers = result.get("certificatesResolvers")
    for name, value in resolvers.items() if isinstance(resolvers, dict) else ():
        acme = value.get("acme") if isinstance(value, dict) else None
        if isinstance(acme, dict):
            acme["caServer"] = CLOSED
            acme["storage"] = f"{directory}/acme-{document.digest(str(name))}.json"
    providers = result.get("providers")
    if isinstance(providers, dict) and isinstance(providers.get("file"), dict):
        own = {key: value for key, value in providers["file"].items() if key != "directory"}
        providers["file"] = _with(own, filename=f"{directory}/dynamic.yml", watch=False)
    result["api"] = _with(_mapping(result.get("api")), insecure=True, dashboard=False)
    return result


def _with(section: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """A section with other values; what is no boolean where one belongs stays, so that Traefik refuses it."""
    wrong = {
        key: section[key]
        for key, value in values.items()
        if isinstance(value, bool) and key in section and not isinstance(section[key], bool)
    }
    return {**section, **values, **wrong}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _quieten(result: dict[str, Any], directory: str) -> None:
    """Keep what says how to log and measure, so that a wrong key there is found, but send nothing anywhere."""
    log = {key: value for key, value in _mapping(result.get("log")).items() if key not in ("filePath", "format")}
    result["log"] = _with(log, level="ERROR", noColor=True)
    if isinstance(result.get("accessLog"), Mapping):
        result["accessLog"] = {**result["accessLog"], "filePath": f"{directory}/access.log"}
    for section in ("metrics", "tracing"):
        exporters = _mapping(result.get(section))
        for name, closed in _CLOSED_EXPORTERS.items():
            if isinstance(exporters.get(name), Mapping):
                result[section][name] = _closed(exporters[name], closed)
    experimental = result.get("experimental")
    if isinstance(experimental, dict):
        experimental.pop("plugins", None)  # they would be downloaded
        if not experimental:
            del result["experimental"]


def _closed(exporter: Mapping[str, Any], closed: Mapping[str, Any]) -> dict[str, Any]:
    """An exporter that reaches nobody, with all else that was written."""
    if isinstance(exporter.get("grpc"), Mapping):
        return {**exporter, "grpc": {**exporter["grpc"], "endpoint": CLOSED_PORT}}
    inner = {key: {**_mapping(exporter.get(key)), **value} for key, value in closed.items() if isinstance(value, dict)}
    return {**exporter, **closed, **inner}


def minimal_dynamic() -> dict[str, Any]:
    """A dynamic configuration without routes, for proving a static one."""
    return dynamic_config(())


def write_script(directory: str, name: str) -> str:
    """Writes stdin into a file of the candidate's own directory, for its eyes only."""
    own = shlex.quote(directory)
    return f"umask 077; mkdir -p {own} && cat >{own}/{name}"


def start_script(binary: str, directory: str, staged: str | None) -> str:
    """Starts the candidate instance in the background and prints its process id.

    Args:
        binary: the installed Traefik.
        directory: the candidate's own, with ``traefik.yml`` in it.
        staged: path of the staged dynamic file, or None where ``dynamic.yml`` is written already.
    """
    own = shlex.quote(directory)
    parent = directory.rpartition("/")[0]
    return "\n".join(
        (
            "set -eu; umask 077",
            f'find {shlex.quote(parent)} -maxdepth 1 -type d -name {shlex.quote(f"{PREFIX}*")} -user "$(id -u)"'
            f" -mmin +{STALE_MINUTES} -exec rm -rf {{}} + 2>/dev/null || :",
            f"cp {shlex.quote(staged)} {own}/dynamic.yml" if staged else "true",
            f"bound=; if command -v timeout >/dev/null; then bound='timeout -s KILL {LIFETIME_SECONDS}'; fi",
            f"$bound {shlex.quote(binary)} --configFile={own}/traefik.yml >{own}/log 2>&1 </dev/null &",
            "echo $!",
        )
    )


def alive_script(pid: int, directory: str) -> str:
    """Exits 0 while the candidate runs; else prints what it wrote."""
    return f"kill -0 {pid:d} 2>/dev/null || {{ cat {shlex.quote(directory)}/log; exit 1; }}"


def log_script(directory: str) -> str:
    """Prints what the candidate wrote."""
    return f"tail -c 20000 {shlex.quote(directory)}/log 2>/dev/null || true"


def stop_script(pid: int, directory: str) -> str:
    """Ends the candidate and removes what it left."""
    own = shlex.quote(directory)
    return f"pkill -KILL -P {pid:d} 2>/dev/null; kill -KILL {pid:d} 2>/dev/null; rm -rf {own}; true"


def words(log: str, limit: int = 3) -> str:
    """Traefik's own errors, without time and level, and without what concerns the CA it cannot reach here."""
    return "; ".join(lines(log)[-limit:])


def lines(log: str) -> list[str]:
    """Each of Traefik's own errors once, oldest first; see :func:`words`."""
    found: list[str] = []
    for line in log.splitlines():
        text = _message(line.strip())
        if text and text not in found and "acme" not in text.lower():
            found.append(text)
    return found


def complaints(log: str) -> list[str]:
    """Errors that Traefik tells in its log alone, while its API shows all as it was meant.

    A certificate whose key is another's is one. What concerns the closed ports that a candidate is given is none.
    """
    return [line for line in lines(log) if CLOSED_PORT not in line]


def _message(line: str) -> str:
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except ValueError:
            return line
        return str(entry.get("error") or entry.get("message") or line).removeprefix("command traefik error: ")
    for level in (" ERR ", " FTL "):
        if level in line:
            return line.partition(level)[2]
    return line if "error" in line.lower() else ""
