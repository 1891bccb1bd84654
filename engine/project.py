"""The project file (Pulumi.yaml) and a stack's settings file (Pulumi.<stack>.yaml).

Reference: https://www.pulumi.com/docs/iac/concepts/projects/project-file/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import ConfigurationError, UnsupportedError

_STACK_NAME: Final = re.compile(r"^[A-Za-z0-9_.-]{1,100}$")
_CONFIG_TYPES: Final = ("string", "boolean", "integer", "number", "array", "object")
_CONFIG_FIELDS: Final = frozenset({"type", "items", "description", "secret", "default", "value"})


def load_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigurationError: the file is missing or is not YAML.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text") from None


def parse_yaml(text: str, name: str) -> Any:
    """Parse YAML text; timestamps stay strings, as in the official CLI.

    Raises:
        ConfigurationError: it is not YAML.
    """
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("Loader", (base,), {})
    loader.yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigurationError(f"{name}{where} is not valid YAML: {problem}") from None


@dataclass(frozen=True)
class ConfigField:
    """One entry of the project's ``config:`` section."""

    key: str
    kind: str | None = None
    default: Any = None
    has_default: bool = False
    secret: bool = False
    items: Any = None


@dataclass(frozen=True)
class Project:
    """A project: where it is, what runs, what it may be configured with."""

    name: str
    directory: Path
    file: Path
    main: Path
    stack_directory: Path
    fields: tuple[ConfigField, ...] = ()
    backend_url: str | None = None

    def settings_file(self, stack: str) -> Path:
        """Return the stack's settings file."""
        return self.stack_directory / f"Pulumi.{stack}.yaml"


def find_project(start: Path) -> Project:
    """Find Pulumi.yaml in a directory or above it.

    Raises:
        ConfigurationError: there is none, or it is malformed.
        UnsupportedError: the program is not Python.
    """
    start = start.resolve()
    for directory in (start, *start.parents):
        if (directory / "Pulumi.yaml").is_file():
            return load_project(directory / "Pulumi.yaml")
    raise ConfigurationError(
        f"no Pulumi.yaml project file found in {start} or above: change to the project's directory, or give --cwd"
    )


def load_project(path: Path) -> Project:
    """Read a project file.

    Raises:
        ConfigurationError: it is malformed.
        UnsupportedError: the program is not Python.
    """
    raw = load_yaml(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or "runtime" not in raw:
        raise ConfigurationError(f"{path} must be a map with name (a string) and runtime")
    runtime = raw["runtime"]
    runtime_name = runtime.get("name") if isinstance(runtime, dict) else runtime
    if runtime_name != "python":
        raise UnsupportedError(f"{path}: runtime {runtime_name}")
    directory = path.parent
    main = directory / str(raw.get("main") or "")
    backend = raw.get("backend")
    return Project(
        name=raw["name"],
        directory=directory,
        file=path,
        main=main / "__main__.py" if main.is_dir() else main,
        stack_directory=directory / str(raw.get("stackConfigDir") or raw.get("config_dir") or ""),
        fields=_config_fields(raw.get("config"), raw["name"], path),
        backend_url=backend.get("url") if isinstance(backend, dict) else None,
    )


def _config_fields(section: Any, project: str, path: Path) -> tuple[ConfigField, ...]:
    if section is None or isinstance(section, str):
        return ()
    if not isinstance(section, dict):
        raise ConfigurationError(f"{path}: config must be a map")
    fields: list[ConfigField] = []
    for name, entry in section.items():
        key = name if ":" in name else f"{project}:{name}"
        if not isinstance(entry, dict):
            fields.append(ConfigField(key, None, entry, has_default=entry is not None))
            continue
        unknown = set(entry) - _CONFIG_FIELDS
        if unknown:
            raise ConfigurationError(
                f"{path}: config {name} has the unknown attribute {sorted(unknown)[0]}: "
                f"known are {', '.join(sorted(_CONFIG_FIELDS))}"
            )
        kind = entry.get("type")
        if kind is not None and kind not in _CONFIG_TYPES:
            raise ConfigurationError(
                f"{path}: config {name} has the unknown type {kind}: known are {', '.join(_CONFIG_TYPES)}"
            )
        value = entry["value"] if "value" in entry else entry.get("default")
        fields.append(ConfigField(key, kind, value, value is not None, bool(entry.get("secret")), entry.get("items")))
    return tuple(fields)


def check_stack_name(name: str, project: str) -> str:
    """Return a stack's plain name; ``organization/<project>/<stack>`` is accepted.

    Raises:
        ConfigurationError: the name is malformed, or of another organization or project.
    """
    *before, plain = name.split("/")
    if before not in ([], ["organization"], ["organization", project]):
        raise ConfigurationError(
            f"invalid stack name {name!r}: write the stack alone, or organization/{project}/<stack>: a file backend "
            "knows no other organization, and another project's stacks are worked on in its own directory"
        )
    if not _STACK_NAME.match(plain) or plain in (".", ".."):
        raise ConfigurationError(
            f"invalid stack name {name!r}: "
            "a stack name may only contain alphanumeric characters, hyphens, underscores, or periods (at most 100)"
        )
    return plain
