"""Compose files: read safely, given their stack's files, and checked before they are sent.

A failed update makes servers up to 2.39 remove the stack's containers, so that what Compose would refuse is refused
here, before anything is touched. The rules are those of https://docs.docker.com/reference/compose-file/.

Scalars are kept as they are written (``22:22`` stays text, as Compose reads it, and is no number in base 60), since
the YAML is handled as a graph of nodes; only where a stack has files is its text written anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import yaml

from phoenix.portainer import interpolation

MAXIMUM_TEXT_BYTES = 2 * 1024 * 1024
MAXIMUM_FILE_BYTES = 500_000
_MAXIMUM_NODES = 200_000

_KEY_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"})

#: A service that carries this extension gets the stack's files; needed where the stack has several services.
FILES_KEY = "x-phoenix-files"


class ComposeError(ValueError):
    """A compose file cannot be used; the text is the end of a sentence that begins with the file's name."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema, which Compose reads: no base-60 numbers, dates, ``yes`` or ``on``."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[1-9][0-9]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("merge", r"^<<$", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _pass_through(loader: _Loader, _suffix: str, node: yaml.Node) -> object:
    """Compose's own tags (``!reset``, ``!override``) stand before usual values."""
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _pass_through)


@dataclass(frozen=True)
class StackFile:
    """A file that a service's container gets.

    Attributes:
        destination: absolute path in the container.
        content: its text.
        service: the service; none for the only one, or those that carry :data:`FILES_KEY`.
    """

    destination: str
    content: str
    service: str | None = None


def decode(data: bytes, limit: int = MAXIMUM_TEXT_BYTES) -> str:
    """The text of a file.

    Raises:
        ComposeError: it is too large, is not UTF-8 or holds control characters.
    """
    if len(data) > limit:
        raise ComposeError(f"has {len(data)} bytes, {limit} are allowed: make it smaller.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ComposeError(f"is not UTF-8 text (byte {error.start}): only text files can be sent.") from None
    wrong = next((char for char in text if ord(char) < 32 and char not in "\t\r\n"), None)
    if wrong is not None:
        raise ComposeError(f"holds the control character U+{ord(wrong):04X}: only text files can be sent.")
    return text


def load(text: str) -> dict[str, object]:
    """The content of a compose file.

    Raises:
        ComposeError: it is no YAML mapping, a key stands twice, or its aliases make it too large.
    """
    node = _graph(text)
    loader = _Loader("")
    try:
        data = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ComposeError(f"cannot be read ({_problem(error)}): correct it.") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise ComposeError("is not a mapping with 'services:' at its top: is this a compose file?")
    return data


def with_files(text: str, files: Sequence[StackFile]) -> str:
    """``text`` with ``files`` as inline configs (https://docs.docker.com/reference/compose-file/configs/).

    Compose copies an inline config's content into the container, so that it needs no file on the machine. Each
    config's name holds a digest of its content: another content makes Compose create the container anew.

    Raises:
        ComposeError: it is not clear which service gets a file.
    """
    if not files:
        return text
    document = _graph(text)
    assert isinstance(document, yaml.MappingNode)  # noqa: S101 - _graph() lets nothing else through
    services = _child(document, "services")
    if not isinstance(services, yaml.MappingNode):
        raise ComposeError("has no services to give the stack's files to: add 'services:'.")
    services = _own(document, "services", services)
    configs = _child(document, "configs")
    configs = _own(document, "configs", configs if isinstance(configs, yaml.MappingNode) else _mapping())
    for file in files:
        digest = hashlib.sha256(f"{file.destination}\n{file.content}".encode()).hexdigest()
        name = f"phoenix-{digest[:16]}"
        if _child(configs, name) is None:
            content = _text(interpolation.escape(file.content), style="|")
            configs.value.append((_text(name), _mapping((_text("content"), content))))
        for receiver, node in _receivers(services, file):
            service = _own(services, receiver, node)
            listed = _child(service, "configs")
            empty = yaml.SequenceNode("tag:yaml.org,2002:seq", [], flow_style=False)
            listed = _own(service, "configs", listed if isinstance(listed, yaml.SequenceNode) else empty)
            entry = _mapping((_text("source"), _text(name)), (_text("target"), _text(file.destination)))
            listed.value.append(entry)
    written: str = yaml.serialize(document, Dumper=_Dumper, width=4096, allow_unicode=True)
    return written


def _receivers(services: yaml.MappingNode, file: StackFile) -> list[tuple[str, yaml.MappingNode]]:
    """The services that get a file, by name."""
    named = {key.value: node for key, node in services.value if isinstance(node, yaml.MappingNode)}
    if file.service is not None:
        if file.service not in named:
            raise ComposeError(f"has no service {file.service!r} for the file {file.destination}: name one of it.")
        return [(file.service, named[file.service])]
    marked = [(name, node) for name, node in named.items() if _is_true(_child(node, FILES_KEY))]
    if marked:
        return marked
    if len(named) == 1:
        return list(named.items())
    raise ComposeError(
        f"has {len(named)} services ({', '.join(sorted(named))}), and it is not said which gets the stack's file "
        f"{file.destination}: put '{FILES_KEY}: true' into each service that gets the stack's files."
    )


def _is_true(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value.lower() == "true"


def _mapping(*items: tuple[yaml.Node, yaml.Node]) -> yaml.MappingNode:
    return yaml.MappingNode("tag:yaml.org,2002:map", list(items), flow_style=False)


def _text(value: str, style: str | None = None) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style=style)


def _child(mapping: yaml.MappingNode, name: str) -> yaml.Node | None:
    """The value of a key: the mapping's own, else one that it merges in (``<<``)."""
    own: yaml.Node | None = next((node for key, node in mapping.value if key.value == name), None)
    if own is not None:
        return own
    for key, node in mapping.value:
        if key.value == "<<":
            for merged in node.value if isinstance(node, yaml.SequenceNode) else [node]:
                found = _child(merged, name) if isinstance(merged, yaml.MappingNode) else None
                if found is not None:
                    return found
    return None


N = TypeVar("N", yaml.MappingNode, yaml.SequenceNode)


def _own(parent: yaml.MappingNode, name: str, node: N) -> N:
    """A copy of a child that is the parent's alone: where an alias shares it, others must not change with it."""
    copy = type(node)(node.tag, list(node.value), flow_style=node.flow_style)
    others: list[tuple[yaml.Node, yaml.Node]] = [(key, value) for key, value in parent.value if key.value != name]
    position: int = next((at for at, (key, _) in enumerate(parent.value) if key.value == name), len(others))
    key = parent.value[position][0] if position < len(parent.value) else _text(name)
    parent.value[:] = [*others[:position], (key, copy), *others[position:]]
    return copy


def _graph(text: str) -> yaml.Node:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    except (yaml.YAMLError, RecursionError) as error:
        raise ComposeError(f"is not valid YAML ({_problem(error)}): correct it.") from None
    finally:
        loader.dispose()
    if not isinstance(node, yaml.MappingNode):
        raise ComposeError("is not a mapping with 'services:' at its top: is this a compose file?")
    _size(node, {}, set())
    return node


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many nodes ``node`` stands for once its aliases are written out; also finds keys that stand twice."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    identity = id(node)
    if identity in above:
        raise ComposeError("holds an alias to a value around itself: remove it.")
    if identity in known:
        return known[identity]
    if len(above) > 100:
        raise ComposeError("is nested more than 100 levels deep: is this a compose file?")
    above.add(identity)
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEY_TAGS:
                raise ComposeError(f"has a key that is no text in line {key.start_mark.line + 1}: put it in quotes.")
            if key.value in seen and key.value != "<<":
                line = key.start_mark.line + 1
                raise ComposeError(f"has the key {key.value!r} twice (again in line {line}): remove one of them.")
            seen.add(key.value)
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children.extend(node.value)
    total = 1 + sum(_size(child, known, above) for child in children)
    if total > _MAXIMUM_NODES:
        raise ComposeError(f"stands for more than {_MAXIMUM_NODES} values with its aliases written out: shorten it.")
    above.remove(identity)
    known[identity] = total
    return total


def _problem(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else " ".join(str(problem).split())
