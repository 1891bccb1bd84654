"""A stack's configuration: what the settings file says over the project's defaults.

Settings files keep their comments and layout: only the lines of the key that changes are rewritten.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import ConfigurationError, UnsupportedError
from engine.project import Project, load_yaml, parse_yaml
from engine.secrets import SecretsManager, read_passphrase

_KEY: Final = re.compile(r"[^:\n]+:[^:\n]+")


@dataclass(frozen=True)
class Setting:
    """One effective setting: its string form (JSON where not a string), and whether it is secret."""

    value: str
    secret: bool
    structured: bool = False


def to_text(value: Any) -> str:
    """Return a setting's string form, as the official CLI hands it to programs."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else "" if value is None else go_json(value)


def go_json(value: Any) -> str:
    """Encode JSON the way Go does: compact, keys sorted, and ``<>&`` escaped."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


class StackSettings:
    """The settings file of one stack.

    Args:
        path: the file; it may not exist yet.
        project: the project's name, the namespace of plain keys.
    """

    def __init__(self, path: Path, project: str) -> None:
        self.path = path
        self.project = project
        self.text = path.read_text(encoding="utf-8") if path.is_file() else ""
        raw = (load_yaml(path) if self.text else None) or {}
        if not isinstance(raw, dict) or not isinstance(raw.get("config") or {}, dict):
            raise ConfigurationError(f"{path} must be a map, and its config too")
        self.raw: dict[str, Any] = raw
        for key in ("secretsprovider", "encryptedkey", "environment"):
            if raw.get(key) not in (None, "", "passphrase"):
                raise UnsupportedError(f"{path}: {key}")

    @property
    def config(self) -> dict[str, Any]:
        """The raw config section, keys qualified."""
        section = self.raw.get("config") or {}
        return {self.qualify(str(key)): value for key, value in section.items()}

    @property
    def salt(self) -> str | None:
        """The encryption salt, or None."""
        value = self.raw.get("encryptionsalt")
        return str(value) if value else None

    def qualify(self, key: str) -> str:
        """Put the project's namespace before a plain key.

        Raises:
            ConfigurationError: the key is malformed.
        """
        if key.count(":") == 2 and key.split(":")[1] == "config":
            key = key.replace(":config:", ":")
        qualified = key if ":" in key else f"{self.project}:{key}"
        if not _KEY.fullmatch(qualified):
            raise ConfigurationError(f"invalid configuration key {key!r}: write <key> or <namespace>:<key>")
        return qualified

    def manager(self) -> SecretsManager | None:
        """Return the secrets manager of the file's salt, or None where the file has none."""
        return SecretsManager(self.salt, read_passphrase()) if self.salt else None

    def set_salt(self, salt: str) -> None:
        """Write the encryption salt."""
        self._replace((), "encryptionsalt", salt)

    def set(self, key: str, value: Any) -> None:
        """Write one whole setting."""
        spelled = self._spelled(key)
        self._replace(("config",), spelled, value)

    def remove(self, key: str) -> bool:
        """Remove one whole setting; tell whether it was there."""
        spelled = self._spelled(key)
        if spelled not in (self.raw.get("config") or {}):
            return False
        self._replace(("config",), spelled, None, remove=True)
        return True

    def _spelled(self, key: str) -> str:
        section = self.raw.get("config") or {}
        return next((str(k) for k in section if self.qualify(str(k)) == key), key)

    def _replace(self, parents: tuple[str, ...], key: str, value: Any, *, remove: bool = False) -> None:
        from engine.yaml_edit import edit

        text = edit(self.text, (*parents, key), value, remove=remove)
        parse_yaml(text, str(self.path))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staged = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        staged.write_text(text, encoding="utf-8")
        if self.path.exists():
            staged.chmod(self.path.stat().st_mode & 0o777)
        staged.replace(self.path)
        self.__init__(self.path, self.project)  # type: ignore[misc]  # read back what stands there


def hidden(_ciphertext: str) -> str:
    """Stand for a secure value where it is not to be shown, which needs no passphrase."""
    return "[secret]"


def effective(
    project: Project, settings: StackSettings, opened: Callable[[str], str], *, checked: bool = True
) -> dict[str, Setting]:
    """Merge the settings over the project's defaults.

    Args:
        project: its ``config`` section says types and defaults.
        settings: the stack's.
        opened: decrypts a secure value, or hides it.
        checked: whether types and what is required count.

    Raises:
        ConfigurationError: a value contradicts its declared type, or a required one is missing.
        SecretsError: a secure value cannot be decrypted.
    """
    merged: dict[str, Setting] = {}
    values: dict[str, Any] = {}
    for key, raw in settings.config.items():
        value, secret = decrypt_setting(raw, opened)
        values[key] = value
        merged[key] = Setting(to_text(value), secret, isinstance(value, dict | list))
    stack = settings.path.stem.removeprefix("Pulumi.")
    missing: list[str] = []
    for field in project.fields:
        shown = field.key.removeprefix(project.name + ":")
        if field.key not in merged:
            if not field.has_default:
                if field.key.startswith(project.name + ":"):
                    missing.append(shown)
                continue
            values[field.key] = field.default
            structured = isinstance(field.default, dict | list)
            merged[field.key] = Setting(to_text(field.default), field.secret, structured)
        elif checked and field.secret and not merged[field.key].secret:
            raise ConfigurationError(
                f"Stack '{stack}' with configuration key '{shown}' must be encrypted as it's secret: "
                f"set it with `pulumi config set --secret {shown}`"
            )
        if checked and not _fits(field.kind, field.items, values[field.key]):
            raise ConfigurationError(
                f"Stack '{stack}' with configuration key '{shown}' must be of type "
                f"'{_type_name(field.kind, field.items)}'"
            )
    if missing and checked:
        listed = " and ".join(filter(None, (", ".join(f"'{key}'" for key in missing[:-1]), f"'{missing[-1]}'")))
        raise ConfigurationError(
            f"Stack '{stack}' is missing configuration value{'s' if len(missing) > 1 else ''} {listed}: "
            "set it with `pulumi config set`"
        )
    return dict(sorted(merged.items()))


def decrypt_setting(raw: Any, opened: Callable[[str], str]) -> tuple[Any, bool]:
    """Return a raw setting with its ``secure:`` parts decrypted, and whether it had any."""
    if isinstance(raw, dict):
        if set(raw) == {"secure"} and isinstance(raw["secure"], str):
            return opened(raw["secure"]), True
        pairs = {key: decrypt_setting(item, opened) for key, item in raw.items()}
        return {key: item[0] for key, item in pairs.items()}, any(item[1] for item in pairs.values())
    if isinstance(raw, list):
        items = [decrypt_setting(item, opened) for item in raw]
        return [item[0] for item in items], any(item[1] for item in items)
    return raw, False


def _fits(kind: str | None, items: Any, value: Any) -> bool:
    text = to_text(value)
    if kind == "array":
        parsed = _parsed(value, list)
        inner = items if isinstance(items, dict) else {}
        return parsed is not None and all(_fits(inner.get("type"), inner.get("items"), item) for item in parsed)
    return {
        None: True,
        "string": isinstance(value, str),
        "boolean": text in ("true", "false"),
        "integer": re.fullmatch(r"[+-]?\d+", text) is not None,
        "number": re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None,
        "object": _parsed(value, dict) is not None,
    }[kind]


def _type_name(kind: str | None, items: Any) -> str:
    if kind == "array" and isinstance(items, dict):
        return f"array<{_type_name(items.get('type'), items.get('items'))}>"
    return str(kind)


def _parsed(value: Any, kind: type) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, kind) else None
