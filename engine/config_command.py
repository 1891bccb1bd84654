"""``pulumi config``, ``config get``, ``config set`` and ``config rm``."""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
import sys
from typing import Any

from engine.configuration import decrypt_setting, to_text
from engine.diff import Path as PropertyPath
from engine.diff import parse_path
from engine.errors import ConfigurationError, EngineError
from engine.session import Session, open_session
from engine.stack_command import say


def listing(arguments: argparse.Namespace) -> None:
    """Print all settings."""
    session = open_session(arguments)
    merged = session.config(checked=False) if arguments.show_secrets else session.shown_config()
    if arguments.json:
        document: dict[str, Any] = {}
        for key, setting in merged.items():
            entry: dict[str, Any] = {}
            if not setting.secret or arguments.show_secrets:
                entry["value"] = setting.value
                if setting.structured:
                    entry["objectValue"] = json.loads(setting.value)
            entry["secret"] = setting.secret
            document[key] = entry
        say(json.dumps(document, indent=2, ensure_ascii=False))
        return
    rows = [(key.removeprefix(session.project.name + ":"), setting.value) for key, setting in merged.items()]
    width = max([3, *(len(key) for key, _ in rows)])
    say(f"{'KEY':<{width}}  VALUE")
    for key, value in rows:
        say(f"{key:<{width}}  {value}")


def _split(session: Session, arguments: argparse.Namespace) -> tuple[str, PropertyPath]:
    """Split ``key.path[0]`` into the setting's qualified key and the path inside it."""
    if not arguments.path:
        return session.settings.qualify(arguments.key), ()
    namespace, separator, rest = arguments.key.rpartition(":")
    parts = parse_path(rest)
    if not parts or not isinstance(parts[0], str):
        raise ConfigurationError(f"{arguments.key!r} is no path: write key.inner[0]")
    return session.settings.qualify(f"{namespace}{separator}{parts[0]}"), parts[1:]


def get(arguments: argparse.Namespace) -> None:
    """Print one setting."""
    session = open_session(arguments)
    key, path = _split(session, arguments)
    defaults = {field.key: field.default for field in session.project.fields if field.has_default}
    try:
        raw = (defaults | session.settings.config)[key]
        for part in path:
            raw = raw[part]
    except (KeyError, IndexError, TypeError):
        raise EngineError(f"configuration key '{arguments.key}' not found for stack '{session.store.name}'") from None
    value, secret = decrypt_setting(raw, lambda ciphertext: session.manager().decrypt_text(ciphertext))
    if not arguments.json:
        say(to_text(value))
        return
    entry: dict[str, Any] = {"value": to_text(value)}
    if isinstance(value, dict | list):
        entry["objectValue"] = value
    say(json.dumps({**entry, "secret": secret}, indent=2, ensure_ascii=False))


def set_value(arguments: argparse.Namespace) -> None:
    """Set one setting."""
    session = open_session(arguments)
    key, path = _split(session, arguments)
    text = arguments.value
    if text is None:
        if sys.stdin.isatty():
            raise ConfigurationError("config set needs a value, as an argument or on standard input")
        text = sys.stdin.read().removesuffix("\n")
    value: Any = _typed(text, arguments, bool(path))
    if arguments.secret and arguments.plaintext:
        raise EngineError("only one of --secret and --plaintext may be given")
    if arguments.secret:
        value = {"secure": session.manager().encrypt_text(text)}
    elif not arguments.plaintext and _looks_secret(key, text):
        raise EngineError(
            f"config value for '{key}' looks like a secret; rerun with --secret to encrypt it, or --plaintext "
            "if you meant to store in plaintext"
        )
    elif any(field.key == key and field.secret for field in session.project.fields) and not path:
        raise ConfigurationError(f"{key} is declared secret in {session.project.file.name}: rerun with --secret")
    if path:
        value = _put(session.settings.config.get(key), path, value, arguments.key)
    session.settings.set(key, value)


def _typed(text: str, arguments: argparse.Namespace, inside: bool) -> Any:
    kind = arguments.type
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is not of type {kind}") from None
    if kind == "bool":
        if text not in ("true", "false"):
            raise ConfigurationError(f"{text!r} is not of type bool: write true or false")
        return text == "true"
    if kind is None and inside:
        if text in ("true", "false"):
            return text == "true"
        if text.lstrip("+-").isdigit() and (text == "0" or not text.lstrip("+-").startswith("0")):
            return int(text)
    return text


def _looks_secret(key: str, text: str) -> bool:
    """The official CLI's guess: a telling name and a value with much entropy."""
    if not re.search(r"(?i)(pass|secret|token|key|auth)", key) or len(text) < 16:
        return False
    counts = {character: text.count(character) for character in set(text)}
    entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return entropy > 3.5 and " " not in text and "/" not in text[:1] and "." not in text[:2]


def _put(existing: Any, path: PropertyPath, value: Any, shown: str) -> Any:
    head, rest = path[0], path[1:]
    inner: Any
    if isinstance(head, int):
        items = list(existing) if isinstance(existing, list) else []
        if (existing is not None and not isinstance(existing, list)) or head > len(items):
            raise ConfigurationError(f"{shown!r}: there is no list with an index {head} to set")
        inner = items[head] if head < len(items) else None
        replaced = _put(inner, rest, value, shown) if rest else value
        items[head:] = [replaced, *items[head + 1 :]]
        return items
    if existing is not None and not isinstance(existing, dict):
        raise ConfigurationError(f"{shown!r}: the value before .{head} is no map")
    pairs = dict(existing or {})
    pairs[head] = _put(pairs.get(head), rest, value, shown) if rest else value
    return pairs


def remove(arguments: argparse.Namespace) -> None:
    """Remove one setting."""
    session = open_session(arguments)
    key, path = _split(session, arguments)
    if not path:
        session.settings.remove(key)
        return
    whole = copy.deepcopy(session.settings.config.get(key))
    target: Any = whole
    try:
        for part in path[:-1]:
            target = target[part]
        del target[path[-1]]
    except (KeyError, IndexError, TypeError):
        return
    session.settings.set(key, whole)
