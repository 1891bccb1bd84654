"""Which keys a compose service may have, and which values they take.

From the schema and the parser of the Compose specification (https://github.com/compose-spec/compose-go), which is
what Portainer runs; ``tests/portainer/test_portainer_compose.py`` holds cases with the parser's own verdict.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping

_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")
_SIZE = re.compile(r"[0-9]+(\.[0-9]+)? ?([kmgtp]?i?b?|b)", re.IGNORECASE)
_TRUTHS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "1", "0", "t", "f"})
_PORT = re.compile(
    r"(?:(?:\[[0-9A-Fa-f:.]+\]|[0-9.]*):)??(?:(?P<host>[0-9]*)(?:-(?P<host_last>[0-9]+))?:)?"
    r"(?P<target>[0-9]+)(?:-(?P<target_last>[0-9]+))?(?:/(?P<protocol>[a-zA-Z]+))?"
)
_PORT_KEYS = frozenset({"name", "mode", "host_ip", "target", "published", "protocol", "app_protocol"})
_DEPLOY_KEYS = frozenset(
    {
        "mode",
        "endpoint_mode",
        "replicas",
        "labels",
        "rollback_config",
        "update_config",
        "resources",
        "restart_policy",
        "placement",
    }
)
_SECTION_KEYS = {
    "networks": frozenset(
        {
            "name",
            "driver",
            "driver_opts",
            "ipam",
            "external",
            "internal",
            "enable_ipv4",
            "enable_ipv6",
            "attachable",
            "labels",
        }
    ),
    "volumes": frozenset({"name", "driver", "driver_opts", "external", "labels"}),
    "configs": frozenset({"name", "content", "environment", "file", "external", "labels", "template_driver"}),
    "secrets": frozenset(
        {"name", "environment", "file", "external", "labels", "driver", "driver_opts", "template_driver"}
    ),
}
_HEALTH_KEYS = frozenset({"disable", "interval", "retries", "test", "timeout", "start_period", "start_interval"})

Shape = tuple[str, Callable[[object], bool]]


def _scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _number(value: object) -> bool:
    if isinstance(value, str):
        return bool(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(value: object) -> bool:
    return bool(_SIZE.fullmatch(value)) if isinstance(value, str) else _number(value)


def _flat(value: object) -> bool:
    """A mapping of scalars, or a list of texts."""
    if isinstance(value, dict):
        return all(_scalar(item) for item in value.values())
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


TEXT: Shape = ("text (put it in quotes)", lambda value: isinstance(value, str))
TRUTH: Shape = (
    "true or false",
    lambda value: isinstance(value, bool) or (isinstance(value, str) and value.lower() in _TRUTHS),
)
NUMBER: Shape = ("a number", _number)
SIZE: Shape = ("a size such as 512m", _size)
DURATION: Shape = (
    "a duration such as 30s",
    lambda value: isinstance(value, str) and bool(_DURATION.fullmatch(value)),
)
LIST: Shape = ("a list", lambda value: isinstance(value, list))
TEXTS: Shape = (
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
)
TEXT_OR_TEXTS: Shape = (
    "text or a list of texts",
    lambda value: isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value)),
)
MAPPING: Shape = ("a mapping", lambda value: isinstance(value, dict))
MAPPING_OR_LIST: Shape = ("a mapping or a list", lambda value: isinstance(value, dict | list))
MAPPING_OR_TEXT: Shape = ("a mapping or text", lambda value: isinstance(value, dict | str))
FLAT: Shape = ("a mapping of single values, or a list of texts", _flat)
COMMAND: Shape = (
    "text or a list",
    lambda value: value is None or isinstance(value, str | list),
)
FILES: Shape = ("text or a list", lambda value: isinstance(value, str | list))

_SHAPES: Mapping[str, Shape] = {
    name: shape
    for shape, names in (
        (
            TEXT,
            "cgroup cgroup_parent container_name cpuset domainname hostname image ipc isolation mac_address "
            "network_mode pid platform pull_policy restart runtime stop_signal user userns_mode uts working_dir",
        ),
        (TRUTH, "attach init oom_kill_disable privileged read_only stdin_open tty use_api_socket"),
        (
            NUMBER,
            "cpu_count cpu_percent cpu_shares cpu_quota cpu_period cpu_rt_period cpu_rt_runtime cpus mem_swappiness "
            "oom_score_adj pids_limit scale",
        ),
        (SIZE, "mem_limit mem_reservation memswap_limit shm_size"),
        (DURATION, "stop_grace_period"),
        (
            LIST,
            "configs devices dns_opt expose group_add ports post_start pre_start pre_stop secrets volumes",
        ),
        (
            TEXTS,
            "cap_add cap_drop device_cgroup_rules external_links links profiles security_opt volumes_from",
        ),
        (TEXT_OR_TEXTS, "dns dns_search tmpfs"),
        (MAPPING, "blkio_config credential_spec develop healthcheck logging provider storage_opt ulimits"),
        (MAPPING_OR_LIST, "depends_on extra_hosts models networks"),
        (MAPPING_OR_TEXT, "build extends"),
        (FLAT, "annotations environment labels sysctls"),
        (COMMAND, "command entrypoint"),
        (FILES, "env_file label_file gpus"),
    )
    for name in names.split()
} | {"deploy": ("a mapping", lambda value: value is None or isinstance(value, dict))}

_RESTARTS = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]+)?")
_PULLS = re.compile(r"always|never|missing|if_not_present|build|daily|weekly|every_\w+")


def faults(service: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with a service's keys and values.

    Args:
        service: its content, variables substituted.

    Yields:
        ends of sentences that begin with "has the service NAME".
    """
    for key, value in service.items():
        if key.startswith("x-"):
            continue
        if key not in _SHAPES:
            near = difflib.get_close_matches(key, _SHAPES, n=1)
            hint = f"write {near[0]!r}" if near else "correct it, or put x- in front"
            yield f"with the unknown key {key!r}: {hint}."
            continue
        wanted, fits = _SHAPES[key]
        if not fits(value):
            yield f"whose {key!r} is not {wanted}: correct it."
    restart, pull = service.get("restart"), service.get("pull_policy")
    if isinstance(restart, str) and not _RESTARTS.fullmatch(restart):
        yield f"with the restart policy {restart!r}: use no, always, on-failure[:N] or unless-stopped."
    if isinstance(pull, str) and not _PULLS.fullmatch(pull):
        yield f"with the pull policy {pull!r}: use always, missing or never."
    if "network_mode" in service and "networks" in service:
        yield "with both 'network_mode' and 'networks': leave one out."
    hosts = service.get("extra_hosts")
    for host in hosts if isinstance(hosts, list) else ():
        if not isinstance(host, str) or not re.fullmatch(r"[^:=]+[:=].+", host):
            yield f"with the extra host {host!r}: write name=address."
    yield from _volumes(service.get("volumes"))
    yield from _limits(service.get("ulimits"))
    yield from _ports(service.get("ports"))
    yield from _health(service.get("healthcheck"))
    yield from _replicas(service)


def section_faults(key: str, section: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with an entry of ``networks``, ``volumes``, ``configs`` or ``secrets``.

    Yields:
        ends of sentences that begin with the file's name.
    """
    for name, entry in section.items():
        if entry is None:
            continue
        if not isinstance(entry, dict):
            yield f"has {key}.{name}, which is not a mapping: correct it."
            continue
        for unknown in sorted(set(entry) - _SECTION_KEYS[key]):
            if not unknown.startswith("x-"):
                yield f"has the unknown key {unknown!r} in {key}.{name}: correct it."
        besides = sorted(set(entry) - {"external", "name"})
        if key == "volumes" and entry.get("external") and besides:
            yield f"has {key}.{name}, which is external and has {besides[0]!r} too: leave one out."


def _volumes(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            if not isinstance(item.get("type"), str) or not isinstance(item.get("target", ""), str):
                yield "with a volume that has no 'type': add volume, bind or tmpfs."
        elif not isinstance(item, str) or not item.strip(":"):
            yield f"with the volume {item!r}: write source:target."


def _limits(value: object) -> Iterator[str]:
    for name, limit in value.items() if isinstance(value, dict) else ():
        if not _number(limit) and not (isinstance(limit, dict) and {"soft", "hard"} <= set(limit)):
            yield f"whose ulimits.{name} is neither a number nor has soft and hard: correct it."


def _ports(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            unknown = sorted(key for key in item if key not in _PORT_KEYS and not key.startswith("x-"))
            if unknown:
                yield f"with the unknown key {unknown[0]!r} in a port: correct it."
            if not _number(item.get("target")) or item.get("target") in {0, "0"}:
                yield "with a port that has no 'target': add it."
        elif isinstance(item, bool) or not isinstance(item, int | str) or not _is_port(str(item)):
            yield f"with the port {item!r}: write [[address:]host:]container[/tcp], such as 8080:80."


def _is_port(text: str) -> bool:
    found = _PORT.fullmatch(text)
    if not found or (found["protocol"] or "tcp").lower() not in {"tcp", "udp", "sctp"}:
        return False
    numbers = [int(found[name]) for name in ("host", "host_last", "target", "target_last") if found[name]]
    if any(number > 65535 for number in numbers) or int(found["target"]) == 0:
        return False
    if found["target_last"]:
        span = int(found["target_last"]) - int(found["target"])
        host_span = int(found["host_last"]) - int(found["host"]) if found["host_last"] and found["host"] else 0
        return span >= 0 and (not found["host"] or span == host_span)
    return True


def _health(value: object) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key not in _HEALTH_KEYS and not key.startswith("x-"):
            yield f"with the unknown key {key!r} in 'healthcheck': correct it."
        elif key in {"interval", "timeout", "start_period", "start_interval"} and not DURATION[1](item):
            yield f"whose healthcheck.{key} is not a duration such as 30s: correct it."
        elif key == "retries" and not _number(item):
            yield "whose healthcheck.retries is not a number: correct it."
    test = value.get("test")
    if isinstance(test, list) and (not test or test[0] not in {"CMD", "CMD-SHELL", "NONE"}):
        yield "whose healthcheck.test does not begin with CMD, CMD-SHELL or NONE: put one in front."


def _replicas(service: Mapping[str, object]) -> Iterator[str]:
    deploy = service.get("deploy")
    for key in deploy if isinstance(deploy, dict) else ():
        if key not in _DEPLOY_KEYS and not key.startswith("x-"):
            yield f"with the unknown key {key!r} in 'deploy': correct it."
    replicas = deploy.get("replicas") if isinstance(deploy, dict) else None
    if replicas is None:
        return
    if not isinstance(replicas, int | str) or not re.fullmatch(r"[0-9]+", str(replicas)):
        yield f"whose deploy.replicas is {replicas!r}: write a whole number."
        return
    if int(replicas) > 1 and "container_name" in service:
        yield "with a 'container_name' and several replicas, which cannot all have it: leave one out."
    if "scale" in service and str(service["scale"]) != str(replicas):
        yield "with different numbers in 'scale' and 'deploy.replicas': leave one out."
