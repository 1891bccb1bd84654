"""From pydantic's findings to sentences for users: file, guest, field, value, limit and remedy. Pure.

A value is shown on one line, at most 80 characters of it, and never where it may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from phoenix.names import printable

MASKED = "[secret]"
_SECRET = re.compile(r"password|passphrase|secret|token|private_?key(?!_?file)|\busers\b", re.IGNORECASE)
_DEMANDS = {
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be an array",
    "list_type": "must be an array",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_unicode": "must be text of whole characters, without lone surrogates",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


def field_name(location: Sequence[str | int]) -> str:
    """A location in nested data as users write it, for example ``ports[0]`` or ``environments.testing.variables``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{printable(part)}" if text else printable(part)
    return text


def masked(value: Any) -> Any:
    """``value`` with every part masked that may be a secret, by the name of its key or by its own look."""
    if isinstance(value, Mapping):
        return {
            key: MASKED if _SECRET.search(str(key)) and item is not None else masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return MASKED if isinstance(value, str) and "PRIVATE KEY" in value else value


def shown(field: str, value: object) -> str:
    """A value as a message may show it.

    Args:
        field: dotted name of its field; it decides whether the value may be a secret.
        value: plain data.
    """
    if _SECRET.search(field) or (".variables" in field and field.endswith(".value")):
        return MASKED
    try:
        return printable(json.dumps(masked(value), ensure_ascii=False, default=str), 80)
    except RecursionError:
        return "nested too deep to be shown"


def sentences(where: str, source: Any, error: ValidationError) -> list[str]:
    """One sentence for each of pydantic's findings.

    Args:
        where: file and guest, for example ``phoenix_vm_configs.json: VM 1001 (Portainer)``.
        source: the value that was validated, to show what stands there.
        error: what pydantic found.
    """
    found = []
    for detail in error.errors(include_url=False, include_context=False):
        location = detail["loc"]
        field = field_name(location)
        if detail["type"] == "missing":
            found.append(f"{where}: {field} is missing: add it.")
        elif detail["type"] == "extra_forbidden":
            found.append(f"{where}: {field} is no setting: see docs/configuration.md for the right name, or remove it.")
        elif location and location[-1] == "[key]":
            found.append(
                f"{where}: {field_name(location[:-2])} has the key {printable(repr(location[-2]))}: "
                f"it {_demand(detail['type'], detail['msg'])}; correct it there."
            )
        else:
            demand = _demand(detail["type"], detail["msg"])
            said = f"it {demand}" if demand.startswith("must ") else demand
            named = f"{where}: {field}" if field else where
            found.append(f"{named} is {shown(field, _value(source, location))}: {said}; correct it there.")
    return found


def _value(source: Any, location: Sequence[str | int]) -> Any:
    value = source
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
    return value


def _demand(kind: str, message: str) -> str:
    if kind in _DEMANDS:
        return _DEMANDS[kind]
    text = message.removeprefix("Value error, ")
    return re.sub(r"^[Ii]nput should be", "must be", text[:1].lower() + text[1:])
