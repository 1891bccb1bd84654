"""Shell scripts that bring a Compose project up, look at it and take it down. Pure; no secret is ever in one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

_COMPOSE = (
    'compose() { if docker compose version >/dev/null 2>&1; then docker compose "$@"; '
    'elif command -v docker-compose >/dev/null; then docker-compose "$@"; '
    "else echo 'neither `docker compose` nor docker-compose is installed' >&2; return 69; fi; }"
)


def _project(directory: str, project: str) -> str:
    return f"cd {shlex.quote(directory)} && compose -p {shlex.quote(project)} -f compose.yml"


def up_script(directory: str, project: str) -> str:
    """Brings the project into the state its file describes; nothing is done where it is."""
    return f"{_COMPOSE}\n{_project(directory, project)} up -d --remove-orphans"


def down_script(directory: str, project: str, *, remove_data: bool) -> str:
    """Removes the containers; the volumes only where that is asked for. A project that is gone is fine."""
    volumes = " --volumes" if remove_data else ""
    absent = f"[ -f {shlex.quote(directory)}/compose.yml ] || exit 0"
    return f"{absent}\n{_COMPOSE}\n{_project(directory, project)} down{volumes}"


def directory_script(directory: str) -> str:
    """Makes the project's directory, for root alone."""
    quoted = shlex.quote(directory)
    return f"mkdir -p {quoted} && chmod 0700 {quoted}"


def inspect_script(project: str) -> str:
    """Prints one ``name state`` line for each of the project's containers."""
    label = shlex.quote(f"label=com.docker.compose.project={project}")
    return f"docker ps --all --filter {label} --format '{{{{.Names}}}} {{{{.State}}}}'"


def container_problems(project: str, output: str) -> Iterator[str]:
    """A phrase for each container of a project that does not run; one if there is none at all."""
    lines = [line.split() for line in output.splitlines() if line.strip()]
    if not lines:
        yield f"the Compose project {project} has no container"
    for name, *state in lines:
        if state[:1] != ["running"]:
            yield f"container {name} is {' '.join(state) or 'in no state'}"
