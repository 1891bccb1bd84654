"""What Docker Compose, or Portainer on its behalf, would refuse in a compose file; found before it is sent.

Sources: https://docs.docker.com/reference/compose-file/ and, for what a text without files beside it can hold,
https://docs.portainer.io/user/docker/stacks/add. A mistake stops the run; a warning is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from phoenix.portainer import compose_shapes, interpolation
from phoenix.portainer.interpolation import Findings

_TOP = frozenset({"name", "version", "services", "networks", "volumes", "configs", "secrets", "include", "models"})
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,})?"
)
_SERVICE = re.compile(r"[a-zA-Z0-9._-]+")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_CONTENT_KEYS = ("file", "environment", "content", "external")


@dataclass(frozen=True)
class Service:
    """What a service's containers should be like.

    Attributes:
        name: the compose service.
        wanted: whether it has containers at all: not with a profile, and not with zero replicas.
        stays_up: whether its restart policy keeps it running.
    """

    name: str
    wanted: bool = True
    stays_up: bool = False


@dataclass
class Examination:
    """The outcome: services, and ends of sentences that begin with the file's name.

    Attributes:
        services: what should run, by name.
        mistakes: what would be refused.
        warnings: what works otherwise than it looks.
    """

    services: dict[str, Service] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def examine(data: Mapping[str, object], variables: Mapping[str, str]) -> Examination:
    """Check a compose file's content.

    Args:
        data: as :func:`phoenix.portainer.compose.load` gives it.
        variables: the stack's variables.
    """
    outcome = Examination()
    substituted = _substituted(data, variables, outcome)
    if not isinstance(substituted, dict):
        return outcome
    for key in substituted:
        if key not in _TOP and not str(key).startswith("x-"):
            outcome.mistakes.append(f"has the unknown top-level key {key!r}: correct or remove it.")
    for key in ("include",):
        if substituted.get(key):
            outcome.mistakes.append(f"uses {key!r}, but Portainer gets this one text only: put it all into one file.")
    declared = {key: _names(substituted, key, outcome) for key in ("networks", "volumes", "configs", "secrets")}
    _heads(substituted, outcome)
    _contents(substituted, outcome)
    services = substituted.get("services")
    if not isinstance(services, dict) or not services:
        outcome.mistakes.append("has no services: add at least one under 'services:'.")
        return outcome
    for name, service in services.items():
        _service(str(name), service, services, declared, outcome)
    _unique_container_names(services, outcome)
    circle = _circle(services)
    if circle:
        outcome.mistakes.append(f"has services that depend on each other ({', '.join(circle)}): break the circle.")
    return outcome


def _substituted(data: object, variables: Mapping[str, str], outcome: Examination) -> object:
    findings = Findings()
    result = _walk(data, variables, findings)
    outcome.mistakes += [
        f"holds {text!r}, which Compose refuses as a variable: write $$ for a dollar sign."
        for text in dict.fromkeys(findings.invalid)
    ]
    outcome.mistakes += [
        f"demands the variable {name}, which has no value: add it to the stack's variables."
        for name in dict.fromkeys(findings.required)
    ]
    unset = dict.fromkeys(name for name in findings.unset if name not in findings.required)
    outcome.warnings += [
        f"uses the variable {name}, which has no value, so that Compose puts nothing there: add it to the stack's "
        "variables or give it a default."
        for name in unset
    ]
    return result


def _walk(data: object, variables: Mapping[str, str], findings: Findings) -> object:
    if isinstance(data, str):
        return interpolation.substitute(data, variables, findings) if "$" in data else data
    if isinstance(data, dict):
        return {
            key: value if str(key).startswith("x-") else _walk(value, variables, findings)
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [_walk(item, variables, findings) for item in data]
    return data


def _names(data: Mapping[str, object], key: str, outcome: Examination) -> set[str]:
    value = data.get(key)
    if value is None:
        return set()
    if not isinstance(value, dict):
        outcome.mistakes.append(f"has {key!r} that is not a mapping of names: correct it.")
        return set()
    outcome.mistakes += compose_shapes.section_faults(key, value)
    return {str(name) for name in value}


def _contents(data: Mapping[str, object], outcome: Examination) -> None:
    """Configs and secrets have to come from somewhere, and not from a file beside the text."""
    for key in ("configs", "secrets"):
        section = data.get(key)
        for name, value in section.items() if isinstance(section, dict) else ():
            given = [source for source in _CONTENT_KEYS if isinstance(value, dict) and source in value]
            if "file" in given:
                outcome.mistakes.append(
                    f"takes {key}.{name} from a file, which Portainer does not get: use 'content:' or 'environment:', "
                    "or the stack's files in the inventory."
                )
            elif len(given) != 1:
                found = " and ".join(given) or "nothing"
                outcome.mistakes.append(
                    f"gives {key}.{name} {found}: give it one of content, environment and external."
                )


def _heads(data: Mapping[str, object], outcome: Examination) -> None:
    """``name`` and ``version``."""
    name, version = data.get("name"), data.get("version")
    if "name" in data and not (isinstance(name, str) and _PROJECT.fullmatch(name)):
        outcome.mistakes.append(
            f"has the name {name!r}, which may hold only lower-case letters, digits, hyphens and underscores: correct "
            "or remove it; Portainer gives the stack's own."
        )
    if "version" in data and not isinstance(version, str):
        outcome.mistakes.append(f"has the version {version!r} that is not in quotes: remove it, it has no meaning.")


class _ServiceChecks:
    """The checks of one service; each adds whole sentences' ends to the outcome."""

    def __init__(self, name: str, service: Mapping[str, object], outcome: Examination) -> None:
        self.name = name
        self.service = service
        self.outcome = outcome

    def wrong(self, text: str) -> None:
        self.outcome.mistakes.append(f"has the service {self.name!r} {text}")

    def own_values(self) -> None:
        service = self.service
        image = service.get("image")
        if not _SERVICE.fullmatch(self.name):
            self.wrong("whose name may hold only letters, digits, dots, hyphens and underscores: rename it.")
        if "build" in service:
            self.wrong("that is built, but Portainer gets no build context: build the image first and name it.")
        elif "provider" not in service and not image:
            self.wrong("without an image: add 'image:'.")
        elif isinstance(image, str) and not _IMAGE.fullmatch(image):
            self.wrong(f"with the image {image!r}, which is no image reference: use [registry/]name[:tag].")
        for fault in compose_shapes.faults(service):
            self.wrong(fault)

    def references(self, services: Mapping[str, object], declared: Mapping[str, set[str]]) -> None:
        service = self.service
        extends = service.get("extends")
        if isinstance(extends, dict) and "file" in extends:
            self.wrong("that extends another file, which Portainer does not get: put it all into one file.")
        base = extends.get("service") if isinstance(extends, dict) else extends
        if isinstance(base, str) and base not in services:
            self.wrong(f"that extends {base!r}, which is no service: correct it.")
        for key, kind in (("networks", "network"), ("configs", "config"), ("secrets", "secret")):
            for used in _references(service.get(key)):
                if used not in declared[key] and not (key == "networks" and used == "default"):
                    self.wrong(f"with the {kind} {used!r}, which is not under '{key}:': add it there.")
        for used in _dependencies(service):
            if used not in services:
                self.wrong(f"that depends on {used!r}, which is no service: correct it.")
        for source in _volume_sources(service.get("volumes")):
            if source.startswith((".", "~")):
                self.outcome.warnings.append(
                    f"mounts {source!r} in service {self.name!r}, which Portainer takes relative to its own data, so "
                    "that the directory is empty: use an absolute path or a named volume."
                )
            elif not source.startswith("/") and source not in declared["volumes"]:
                self.wrong(f"with the volume {source!r}, which is not under 'volumes:': add it there.")

    def environment_files(self) -> None:
        listed = self.service.get("env_file")
        for item in listed if isinstance(listed, list) else [listed]:
            path = item.get("path") if isinstance(item, dict) else item
            required = item.get("required", True) if isinstance(item, dict) else True
            if isinstance(path, str) and required and path.removeprefix("./") != "stack.env":
                self.wrong(
                    f"with env_file {path!r}, which Portainer does not get: use 'stack.env', where Portainer puts the "
                    "stack's variables."
                )


def _service(
    name: str,
    service: object,
    services: Mapping[str, object],
    declared: Mapping[str, set[str]],
    outcome: Examination,
) -> None:
    if not isinstance(service, dict):
        outcome.mistakes.append(f"has the service {name!r}, which is not a mapping: give it an image.")
        return
    checks = _ServiceChecks(name, service, outcome)
    checks.own_values()
    checks.references(services, declared)
    checks.environment_files()
    outcome.services[name] = Service(
        name,
        wanted=not service.get("profiles") and _replicas(service) != 0,
        stays_up=service.get("restart") in {"always", "unless-stopped"},
    )


def _dependencies(service: Mapping[str, object]) -> Iterator[str]:
    """The services that have to be there for this one: by depends_on, links, volumes_from and shared namespaces."""
    depends = service.get("depends_on")
    if isinstance(depends, dict | list):
        yield from (str(name) for name in depends)
    for key in ("links", "volumes_from"):
        listed = service.get(key)
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, str) and not item.startswith("container:"):
                yield item.partition(":")[0]
    for key in ("network_mode", "ipc", "pid"):
        mode = service.get(key)
        if isinstance(mode, str) and mode.startswith("service:"):
            yield mode.removeprefix("service:")


def _circle(services: Mapping[str, object]) -> list[str]:
    """Services that depend on each other in a circle; empty where there is none."""
    waits = {
        str(name): [used for used in _dependencies(service) if used in services]
        for name, service in services.items()
        if isinstance(service, dict)
    }
    while True:
        free = [name for name, used in waits.items() if not any(other in waits for other in used)]
        if not free:
            return sorted(waits)
        for name in free:
            del waits[name]


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (str(key) for key in value)
    elif isinstance(value, list):
        for item in value:
            name = item.get("source") if isinstance(item, dict) else item
            if isinstance(name, str):
                yield name


def _volume_sources(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            if item.get("type") in {"bind", "volume"} and isinstance(item.get("source"), str):
                yield item["source"]
        elif isinstance(item, str) and ":" in item:
            source = item.split(":", 1)[0]
            if source:
                yield source


def _replicas(service: Mapping[str, object]) -> object:
    deploy = service.get("deploy")
    if isinstance(deploy, dict) and "replicas" in deploy:
        return deploy["replicas"]
    return service.get("scale", 1)


def _unique_container_names(services: Mapping[str, object], outcome: Examination) -> None:
    owners: dict[str, str] = {}
    for name, service in services.items():
        given = service.get("container_name") if isinstance(service, dict) else None
        if not isinstance(given, str):
            continue
        if given in owners:
            outcome.mistakes.append(
                f"gives the services {owners[given]!r} and {name!r} the same container_name {given!r}: change one."
            )
        owners.setdefault(given, str(name))
