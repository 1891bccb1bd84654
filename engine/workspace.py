"""What is chosen for a user: the backend that ``login`` recorded, and the stack selected in each project.

Both lie where the official CLI has them: ``credentials.json`` and ``workspaces/`` below ``PULUMI_HOME``.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from engine.backend import read_json, write_atomically
from engine.errors import ConfigurationError
from engine.project import Project


def resolve_url(project_url: str | None) -> str:
    """Return the backend's URL: environment, project file, then what ``login`` recorded.

    Raises:
        ConfigurationError: none is set.
    """
    url = os.environ.get("PULUMI_BACKEND_URL") or project_url or read_json(_home() / "credentials.json").get("current")
    if not isinstance(url, str) or not url:
        raise ConfigurationError(
            "no backend is set: set PULUMI_BACKEND_URL=file://<directory>, or run `pulumi login file://<directory>`"
        )
    return url


def _home() -> Path:
    return Path(os.environ.get("PULUMI_HOME") or Path("~/.pulumi").expanduser())


def login(url: str) -> None:
    """Record a file backend as the current one."""
    file = _home() / "credentials.json"
    data = read_json(file)
    data["current"] = url
    data.setdefault("accounts", {}).setdefault(url, {"lastValidatedAt": "0001-01-01T00:00:00Z"})
    write_atomically(file, json.dumps(data, indent=4).encode())


def _workspace_file(project: Project) -> Path:
    digest = hashlib.sha1(str(project.file).encode(), usedforsecurity=False).hexdigest()
    return _home() / "workspaces" / f"{project.name}-{digest}-workspace.json"


def selected_stack(project: Project, url: str) -> str | None:
    """Return the stack selected for a project in a backend, if any."""
    data = read_json(_workspace_file(project))
    stacks = data.get("stacks")
    stack = (stacks.get(url) if isinstance(stacks, dict) else None) or data.get("stack")
    return stack.rsplit("/", 1)[-1] if isinstance(stack, str) and stack else None


def select_stack(project: Project, url: str, stack: str | None) -> None:
    """Record the selected stack, where the official CLI records it."""
    file = _workspace_file(project)
    data = read_json(file)
    data.pop("stack", None)
    stacks = data.setdefault("stacks", {})
    stacks.pop(url, None)
    if stack:
        stacks[url] = f"organization/{project.name}/{stack}"
    write_atomically(file, json.dumps(data, indent=4).encode())
