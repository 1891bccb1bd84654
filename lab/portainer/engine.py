"""The Docker engines behind the environments, without Docker: which containers a compose text leads to."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml


class DeployError(Exception):
    """Compose refused; the text is what Compose said."""


@dataclass
class Container:
    """A container as Docker lists it."""

    id: str
    project: str
    service: str
    image: str
    digest: str
    state: str = "running"
    environment: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The container in the shape of ``GET /containers/json``."""
        return {
            "Id": self.id,
            "Names": [f"/{self.project}-{self.service}-1"],
            "Image": self.image,
            "State": self.state,
            "Status": "Up 2 seconds" if self.state == "running" else f"{self.state.capitalize()} (0) 2 seconds ago",
            "Labels": {
                "com.docker.compose.project": self.project,
                "com.docker.compose.service": self.service,
                "com.docker.compose.oneoff": "False",
                "com.docker.compose.config-hash": self.digest,
            },
        }


class Engine:
    """One machine's containers. Several environments may lead to the same machine."""

    def __init__(self, missing_images: set[str]) -> None:
        self.containers: dict[str, Container] = {}
        self._missing = missing_images
        self._lock = threading.Lock()
        self._number = 0

    def up(self, project: str, text: str, variables: Mapping[str, str]) -> None:
        """``docker compose up -d --remove-orphans``.

        Raises:
            DeployError: the text is not valid, or an image does not exist.
        """
        services = _services(text, variables)
        for name, service in services.items():
            image = str(service.get("image", ""))
            if image.partition(":")[0] in self._missing or image in self._missing:
                raise DeployError(f"Error response from daemon: pull access denied for {image}, service {name!r}")
        with self._lock:
            for identifier, container in list(self.containers.items()):
                if container.project == project and container.service not in services:
                    del self.containers[identifier]
            for name, service in services.items():
                if not service.get("profiles"):
                    self._start(project, name, service, variables)

    def _start(self, project: str, name: str, service: Mapping[str, object], variables: Mapping[str, str]) -> None:
        digest = hashlib.sha256(repr((service, sorted(variables.items()))).encode()).hexdigest()
        for identifier, container in list(self.containers.items()):
            if (container.project, container.service) == (project, name):
                if container.digest == digest and container.state == "running":
                    return
                del self.containers[identifier]
        self._number += 1
        identifier = hashlib.sha256(f"{project}/{name}/{self._number}".encode()).hexdigest()
        image = str(service.get("image", ""))
        self.containers[identifier] = Container(identifier, project, name, image, digest, environment=dict(variables))

    def down(self, project: str) -> None:
        """``docker compose down``: containers go, named volumes stay."""
        with self._lock:
            for identifier, container in list(self.containers.items()):
                if container.project == project:
                    del self.containers[identifier]

    def remove(self, identifier: str) -> bool:
        """``docker rm -f``."""
        with self._lock:
            return self.containers.pop(identifier, None) is not None

    def list(self, project: str | None = None) -> list[Container]:
        """The containers, of one project or all."""
        with self._lock:
            return [item for item in self.containers.values() if project in {None, item.project}]


def _services(text: str, variables: Mapping[str, str]) -> dict[str, dict[str, object]]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DeployError(f"yaml: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(data, dict):
        raise DeployError("top-level object must be a mapping")
    services = data.get("services")
    if not isinstance(services, dict) or not services:
        raise DeployError("empty compose file")
    resolved = {}
    for name, service in services.items():
        if not isinstance(service, dict):
            raise DeployError(f"services.{name} must be a mapping")
        if not isinstance(service.get("image"), str):
            raise DeployError(f'service "{name}" has neither an image nor a build context specified')
        resolved[str(name)] = {
            key: _interpolate(value, variables) if isinstance(value, str) else value for key, value in service.items()
        }
        if not resolved[str(name)]["image"]:
            raise DeployError(f'service "{name}": invalid reference format')
    return resolved


def _interpolate(text: str, variables: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        name = found["name"] or found["braced"]
        if not name:
            raise DeployError(f'invalid interpolation format: "{text}"')
        if name not in variables and (found["operator"] or "").endswith("?"):
            raise DeployError(f"required variable {name} is missing a value: {found['word']}")
        return variables.get(name, found["word"] or "" if (found["operator"] or "").endswith("-") else "")

    pattern = (
        r"\$(?:(?P<escaped>\$)|(?P<name>[A-Za-z_]\w*)|"
        r"\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?[-?+])(?P<word>[^}]*))?\}|)"
    )
    return re.sub(pattern, value, text)
