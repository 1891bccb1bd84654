"""Changes one key of a YAML file and leaves every other line, comments included, as it is."""

from __future__ import annotations

from typing import Any

from engine.errors import ConfigurationError


def edit(text: str, path: tuple[str, ...], value: Any, *, remove: bool = False) -> str:  # noqa: PLR0911 - one a case
    """Set or remove the key at a path of one or two keys in a YAML document of block maps.

    Raises:
        ConfigurationError: the document is not a map.
    """
    import yaml

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    lines = text.splitlines(keepends=True)
    if node is None:
        return text + ("\n" if text and not text.endswith("\n") else "") + _render(path, value, 0)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError("the settings file is not a map")
    for depth, key in enumerate(path):
        found = next(((k, v) for k, v in node.value if k.value == key), None)
        if found is None:
            if remove:
                return text
            return _insert(lines, node, _render(path[depth:], value, node.start_mark.column))
        key_node, value_node = found
        last = depth == len(path) - 1
        if not last and isinstance(value_node, yaml.MappingNode) and not value_node.flow_style:
            node = value_node
            continue
        rest = () if last else path[depth + 1 :]
        start, end = key_node.start_mark.line, _end_line(value_node, key_node)
        if remove:
            if len(node.value) == 1 and depth:
                return edit(text, path[:depth], {}, remove=False)
            return "".join(lines[:start] + lines[end:])
        content: Any = value
        if not last:
            content = dict(yaml.safe_load("".join(lines))[key] or {})
            _put(content, rest, value)
        rendered = _render((key,), content, key_node.start_mark.column)
        return "".join(lines[:start]) + rendered + "".join(lines[end:])
    return text


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = value


def _end_line(value: Any, key: Any) -> int:
    """Return the line after a value: trailing comments and blank lines are not part of it."""
    last = _last_line(value)
    return int(max(last, key.end_mark.line)) + 1


def _last_line(node: Any) -> int:
    import yaml

    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        child = node.value[-1]
        return _last_line(child[1] if isinstance(child, tuple) else child)
    mark = node.end_mark
    if node.end_mark.column == 0 and mark.line > node.start_mark.line:
        return int(mark.line) - 1
    return int(mark.line)


def _insert(lines: list[str], node: Any, rendered: str) -> str:
    end = _last_line(node) + 1
    head = lines[:end]
    if head and not head[-1].endswith("\n"):
        head[-1] += "\n"
    return "".join(head) + rendered + "".join(lines[end:])


def _render(path: tuple[str, ...], value: Any, indent: int) -> str:
    import yaml

    document: Any = value
    for key in reversed(path):
        document = {key: document}
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000)
    prefix = " " * indent
    return "".join(prefix + line if line.strip() else line for line in text.splitlines(keepends=True))
