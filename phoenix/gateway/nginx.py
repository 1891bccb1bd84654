"""NGINX configuration as a small typed tree, and the one place that writes it as text. Pure.

The grammar is that of https://nginx.org/en/docs/beginners_guide.html#conf_structure: a directive is a name, arguments
and ``;`` or a block. Arguments are quoted by :func:`quoted`. NGINX has no way to escape ``$``, so a plain text that
holds one is refused, and text with variables is a type of its own whose variables are checked against a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from phoenix import names

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_BARE = re.compile(r"[A-Za-z0-9_./:=*~^?&@%+,\[\]-]+")
_BARE_TEMPLATE = re.compile(r"[A-Za-z0-9_./:=*?&@%+,\[\]$-]+")
_VARIABLE = re.compile(r"\$(?:\{([a-z0-9_]+)\}|([a-z0-9_]+))?")

VARIABLES = frozenset(
    {
        "host", "http2", "http_upgrade", "proxy_add_x_forwarded_for", "remote_addr", "request_uri", "scheme",
        "server_port",
    }
)  # fmt: skip
"""NGINX's own variables that a template may name (https://nginx.org/en/docs/varindex.html)."""

OWN_PREFIX = "phoenix_"
"""Variables of ours, set in the same site, begin with this."""


@dataclass(frozen=True, slots=True)
class Template:
    """An argument in which NGINX replaces variables, such as ``https://$host$request_uri``.

    Raises:
        ValueError: it names a variable that is not in :data:`VARIABLES` and is none of ours.
    """

    text: str

    def __post_init__(self) -> None:
        for match in _VARIABLE.finditer(self.text):
            name = match[1] or match[2] or ""
            if name not in VARIABLES and not name.startswith(OWN_PREFIX):
                raise ValueError(f"{self.text!r} names the variable ${name}, which the gateway's site does not use")


Argument = str | Template
"""A plain text, taken literally, or a template."""


@dataclass(frozen=True, slots=True)
class Directive:
    """A line: ``name argument…;``."""

    name: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A block: ``name argument… { children }``."""

    name: str
    arguments: tuple[Argument, ...]
    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Comment:
    """A line for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class Condition:
    """``if (-f path) { children }``: only the test for a file, which needs no variable.

    Only directives of the rewrite module belong inside (https://www.nginx.com/resources/wiki/start/topics/depth/ifisevil/).
    """

    file: str
    children: tuple[Directive, ...]


Node = Directive | Block | Comment | Condition


def directive(name: str, *arguments: Argument | int) -> Directive:
    """A directive; whole numbers are written as such."""
    return Directive(name, tuple(str(item) if isinstance(item, int) else item for item in arguments))


def block(name: str, *arguments: Argument, children: Iterable[Node]) -> Block:
    """A block."""
    return Block(name, arguments, tuple(children))


def quoted(argument: Argument) -> str:
    """An argument as it stands in the file.

    Raises:
        ValueError: it holds a control character, or a ``$`` outside a :class:`Template`.
    """
    text = argument.text if isinstance(argument, Template) else argument
    _check_printable(text)
    if isinstance(argument, Template):
        if _BARE_TEMPLATE.fullmatch(text):
            return text
    elif "$" in text:
        raise ValueError(f"{text!r} must not hold '$': NGINX would take what follows as a variable")
    elif _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check_printable(text: str) -> None:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"{names.printable(text)!r} must not hold control characters: NGINX reads line by line")


def serialize(nodes: Iterable[Node]) -> str:
    """The nodes as text, four blanks a level, a line break at the end.

    Raises:
        ValueError: a name or an argument cannot be written.
    """
    return "".join(f"{line}\n" for line in _lines(nodes, 0))


def _lines(nodes: Iterable[Node], level: int) -> Iterator[str]:
    indent = "    " * level
    for node in nodes:
        match node:
            case Comment(text):
                _check_printable(text)
                yield f"{indent}# {text}"
            case Condition(file, children):
                yield f"{indent}if ( -f {quoted(file)} ) {{"
                yield from _lines(children, level + 1)
                yield f"{indent}}}"
            case Directive(name, arguments):
                yield f"{indent}{_head(name, arguments)};"
            case Block(name, arguments, children):
                yield f"{indent}{_head(name, arguments)} {{"
                yield from _lines(children, level + 1)
                yield f"{indent}}}"


def _head(name: str, arguments: tuple[Argument, ...]) -> str:
    # In a map, the left side stands where a directive's name does.
    left = name if _NAME.fullmatch(name) else quoted(name)
    return " ".join([left, *map(quoted, arguments)])
