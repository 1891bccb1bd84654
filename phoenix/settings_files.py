"""Reads a stack's settings from the project's files, for commands that run without an engine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phoenix import names
from phoenix.errors import InputError
from phoenix.settings import Settings, deep_merge, parse
from phoenix.traefik import document

PROJECT = "phoenix"
PROJECT_FILE = "Pulumi.yaml"
OVERRIDE = "PHOENIX_SETTINGS_FILE"
"""Environment variable: a file whose settings go before the stack's own. For labs and tests that run side by side."""


MAXIMUM_BYTES = 16 * 1024 * 1024
_KINDS: dict[type, str] = {list: "a list", str: "a text"}
_STACK = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def read_mapping(path: Path, remedy: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError([f"{path}: it is no regular file: put the settings there."])
        if path.exists() and path.stat().st_size > MAXIMUM_BYTES:
            raise InputError([f"{path}: it is larger than {MAXIMUM_BYTES} bytes: this is no file of settings."])
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError([f"{path}: there is no such file: {remedy}."]) from None
    except UnicodeDecodeError as error:
        raise InputError([f"{path}: byte {error.start} is no UTF-8: save the file as UTF-8."]) from None
    except OSError as error:
        raise InputError([f"{path}: it cannot be read ({error.strerror}): check its permissions."]) from None
    try:
        data = document.load(text)
    except ValueError as error:
        raise InputError([f"{path}: {error}; correct it there."]) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(
            [f"{path}: it holds {_KINDS.get(type(data), 'one value')}, not a mapping of settings: correct it."]
        )
    return data


def with_settings_file(values: Mapping[str, Any], project: Path, *, required: bool = True) -> dict[str, Any]:
    """``values`` over those of the file they name in ``settingsFile``, and below those of :data:`OVERRIDE`'s file.

    Args:
        values: a stack's own settings, camelCase keys.
        project: directory that a relative file name starts from.
        required: whether a missing file is a mistake; rendering goes on without it.

    Raises:
        InputError: the file is missing though required, or cannot be read.
    """
    override = os.environ.get(OVERRIDE)
    if override:
        return deep_merge(values, read_mapping(Path(override), f"correct or unset {OVERRIDE}"))
    name = values.get("settingsFile")
    if not isinstance(name, str) or not name:
        return dict(values)
    path = project / name
    if not required and not path.exists():
        return dict(values)
    below = read_mapping(path, "for the lab's settings run `bin/lab up`, else correct phoenix:settingsFile")
    return deep_merge(below, values)


def stack_file(project: Path, stack: str) -> Path:
    """Where a stack's configuration lies (https://www.pulumi.com/docs/concepts/config/).

    Raises:
        InputError: it is no name that a stack can have.
    """
    if not _STACK.fullmatch(stack):
        raise InputError(
            [
                f"--stack is {names.printable(stack, 80)!r}: a name holds letters, digits, hyphens, underscores "
                "and dots, 100 characters at most: correct it."
            ]
        )
    directory = read_mapping(project / PROJECT_FILE, "run the command in the project").get("stackConfigDir")
    return project / str(directory or ".") / f"Pulumi.{stack}.yaml"


def stack_values(project: Path, stack: str) -> dict[str, Any]:
    """A stack's own settings as plain data, defaults of ``Pulumi.yaml`` below; secrets are left out, not decrypted.

    Raises:
        InputError: there is no such stack file.
    """
    declared = _section(project / PROJECT_FILE, "run the command in the project")
    values: dict[str, Any] = {}
    for key, value in declared.items():
        default = value.get("default", value.get("value")) if isinstance(value, Mapping) else value
        if default is not None:
            values[str(key).removeprefix(f"{PROJECT}:")] = default
    path = stack_file(project, stack)
    own = _section(path, f"`bin/pulumi stack init {stack}` makes it")
    for key, value in own.items():
        if str(key).startswith(f"{PROJECT}:"):
            values[str(key).removeprefix(f"{PROJECT}:")] = _structured(_without_secrets(value))
    return {key: value for key, value in values.items() if value is not None and value != ""}


def _section(path: Path, remedy: str) -> dict[str, Any]:
    section = read_mapping(path, remedy).get("config")
    if section is not None and not isinstance(section, dict):
        kind = _KINDS.get(type(section), "one value")
        raise InputError([f"{path}: config is {kind}: it must be a mapping of phoenix:<key> to values."])
    return section or {}


def _structured(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"secure"}:
            return None
        return {key: _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value


def inventory_directory(settings: Settings, project: Path, stack: str) -> Path:
    """Where a stack's inventory lies: as configured, else ``stacks/inventory/<stack>``.

    Raises:
        InputError: neither is there.
    """
    if settings.inventory:
        return project / settings.inventory
    default = project / "stacks" / "inventory" / stack
    if not default.is_dir():
        remedy = "set it to the directory with the hypervisor's JSON files"
        raise InputError([f"{settings.source}: phoenix:inventory is missing: {remedy}."])
    return default


def stack_settings(project: Path, stack: str) -> Settings:
    """A stack's settings, read from files only.

    Raises:
        InputError: with one sentence for each mistake.
    """
    values = with_settings_file(stack_values(project, stack), project, required=False)
    return parse(values, str(stack_file(project, stack).relative_to(project)))
