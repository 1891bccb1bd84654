"""Small sets of outputs and compose files for the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phoenix.portainer.contract import Outputs, parse

COMPOSE = """\
services:
  web:
    image: nginx:1.27
    restart: unless-stopped
    environment:
      GREETING: ${GREETING:-hello}
"""


def agent(number: int) -> dict[str, object]:
    return {
        "vmid": 1000 + number,
        "name": f"vm{number}",
        "environment": f"agent-{number}",
        "address": f"127.0.1.{number}",
        "port": 9001,
        "url": f"tcp://vm{number}.internal.example.test:9001",
    }


def stack(
    name: str,
    number: int,
    *,
    variables: Mapping[str, str] | None = None,
    compose: str = "app/docker-compose.yml",
    environment: str = "production",
    files: Sequence[Mapping[str, object]] = (),
) -> dict[str, object]:
    return {
        "name": name,
        "environment": environment,
        "deploymentName": f"{name}-{environment}",
        "vmid": 1000 + number,
        "portainerEnvironment": f"agent-{number}",
        "composeFile": compose,
        "variables": [{"name": key, "value": value} for key, value in (variables or {}).items()],
        "files": list(files),
    }


def raw_outputs(
    agents: Sequence[Mapping[str, object]] = (), stacks: Sequence[Mapping[str, object]] = ()
) -> dict[str, object]:
    return {
        "schemaVersion": 1,
        "environment": "production",
        "internalDomain": "internal.example.test",
        "traefik": {"revision": "0123456789ab", "address": "127.0.0.12", "version": "3.7.15"},
        "gateway": {"address": "127.0.0.1", "port": 443},
        "routes": {
            "portainer-router": {
                "hostnames": ["portainer.example.test"],
                "rule": "Host(`portainer.example.test`)",
                "url": "https://portainer.example.test",
                "service": "portainer-service",
                "backend": "https://127.0.0.101:9443",
                "certResolver": "external-resolver",
                "guest": "Portainer",
            }
        },
        "portainer": {
            "url": "https://portainer.example.test",
            "hostname": "portainer.example.test",
            "adminUser": "admin",
            "server": {"vmid": 1000, "name": "Portainer", "address": "127.0.0.101", "port": 9443},
            "agents": list(agents),
        },
        "dockerStacks": list(stacks),
    }


def outputs(agents: Sequence[Mapping[str, object]] = (), stacks: Sequence[Mapping[str, object]] = ()) -> Outputs:
    import json

    return parse(json.dumps(raw_outputs(agents, stacks)), "outputs")


class Files:
    """Compose files in memory."""

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self.files = dict(files) if files is not None else {"app/docker-compose.yml": COMPOSE}

    def __call__(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory")
        return self.files[path].encode()
