"""Reads systemctl's command line."""

from __future__ import annotations

from dataclasses import dataclass, field

_SUFFIXES = (
    ".service",
    ".socket",
    ".target",
    ".timer",
    ".mount",
    ".path",
    ".slice",
    ".scope",
    ".device",
    ".automount",
    ".swap",
)
_WITH_VALUE = {
    "-p": "property",
    "--property": "property",
    "-P": "value-of",
    "-n": "lines",
    "--lines": "lines",
    "-s": "signal",
    "--signal": "signal",
    "--kill-whom": "whom",
    "--kill-who": "whom",
    "-t": "type",
    "--type": "type",
    "--state": "state",
    "-o": "output",
    "--output": "output",
    "--job-mode": "mode",
}
_FLAGS = {
    "-q": "quiet",
    "--quiet": "quiet",
    "--now": "now",
    "--value": "value",
    "--no-block": "no-block",
    "-a": "all",
    "--all": "all",
    "-f": "force",
    "--force": "force",
    "--failed": "failed",
    "--plain": "plain",
}
_IGNORED = {
    "--no-pager",
    "--no-legend",
    "--legend=false",
    "-l",
    "--full",
    "--system",
    "--no-ask-password",
    "--no-warn",
    "--wait",
    "--no-reload",
    "-r",
    "--recursive",
    "-i",
    "--runtime-ok",
    "--no-wall",
}


@dataclass
class CommandLine:
    """A parsed command line."""

    verb: str = ""
    names: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    values: dict[str, list[str]] = field(default_factory=dict)

    def value(self, name: str, default: str = "") -> str:
        """The last value of an option."""
        return self.values.get(name, [default])[-1]


class UsageError(Exception):
    """A command line that is not understood."""


def read(arguments: list[str]) -> CommandLine:
    """Parse systemctl's arguments.

    Raises:
        UsageError: an option is unknown, or lacks its value.
    """
    line = CommandLine()
    queue = list(arguments)
    words: list[str] = []
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            words += queue
            break
        if word in _IGNORED:
            continue
        if word in _FLAGS:
            line.flags.add(_FLAGS[word])
        elif name in _WITH_VALUE and (equals or not name.startswith("--") or queue):
            if not equals:
                if not queue:
                    raise UsageError(f"option requires an argument -- '{name.lstrip('-')}'")
                value = queue.pop(0)
            line.values.setdefault(_WITH_VALUE[name], []).append(value)
        elif word[:2] in _WITH_VALUE and len(word) > 2 and word[1] != "-":
            line.values.setdefault(_WITH_VALUE[word[:2]], []).append(word[2:])
        elif word.startswith("-") and len(word) > 1:
            raise UsageError(
                f"unrecognized option '{word}'" if word.startswith("--") else f"invalid option -- '{word[1:]}'"
            )
        else:
            words.append(word)
    line.verb = words[0] if words else "list-units"
    line.names = [_mangle(word) for word in words[1:]]
    return line


def _mangle(name: str) -> str:
    return name if name.endswith(_SUFFIXES) or "*" in name else f"{name}.service"
