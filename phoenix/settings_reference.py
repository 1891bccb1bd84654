"""The reference of every setting, written from the models themselves (``python -m phoenix.settings_reference``)."""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from phoenix.settings import Settings

BEGIN = "<!-- written by `python -m phoenix.settings_reference`; a test compares it with the code -->"
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", SecretStr: "secret text"}


def reference() -> str:
    """A Markdown section for each model that settings are made of, in the order they are met."""
    lines = [BEGIN]
    waiting: list[tuple[str, type[BaseModel]]] = [("phoenix:", Settings)]
    told: set[type[BaseModel]] = set()
    while waiting:
        place, model = waiting.pop(0)
        if model in told:
            continue
        told.add(model)
        title = "Top level" if model is Settings else f"`{place}`"
        lines += [
            "",
            f"## {title}",
            "",
            _summary(model),
            "",
            "| key | type | default | meaning |",
            "| --- | --- | --- | --- |",
        ]
        said = _attributes(model)
        for name, field in model.model_fields.items():
            if field.exclude:
                continue
            key = field.alias or name
            inner = f"{place}{key}" if place.endswith(":") else f"{place}.{key}"
            models = [(f"{inner}.<name>" if many else inner, found) for found, many in _models(field.annotation)]
            meaning = field.description or said.get(name) or (f"See `{models[0][0]}`." if models else "")
            cells = (f"`{key}`", _type(field.annotation), _default(field), meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            waiting.extend(models)
    return "\n".join(lines) + "\n"


def _summary(model: type[BaseModel]) -> str:
    text = (model.__doc__ or "").split("\n\n")[0]
    return _plain(text)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def _attributes(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a model and its bases say of each attribute."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        section = (kind.__doc__ or "").partition("Attributes:\n")[2]
        for match in re.finditer(r"^ {8}(\w+): (.*(?:\n {12,}.*)*)", section, re.MULTILINE):
            text = _plain(match[2])
            found[match[1]] = text[:1].upper() + text[1:]
    return found


def _models(annotation: Any, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, many
    for part in typing.get_args(annotation):
        yield from _models(part, many or typing.get_origin(annotation) is dict)


def _type(annotation: Any) -> str:  # noqa: PLR0911 - a table, one kind of type a line
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(parts[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts if part is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is dict:
        return f"name → {_type(parts[1])}"
    if origin in (tuple, list, frozenset):
        return f"list of {_type(parts[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    return _NAMES.get(annotation, "value")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined and field.default_factory is None:
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}, "") or isinstance(value, BaseModel):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
