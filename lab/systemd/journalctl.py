"""``journalctl`` for the lab's journal: the options that scripts use."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.systemd.journal import Record, records, tail

_IGNORED = {"--no-pager", "-x", "--catalog", "-e", "--pager-end", "-b", "--boot", "-q", "--quiet", "-a", "--all",
            "--no-hostname", "--utc", "-m", "--system", "--no-full", "-l", "--full"}  # fmt: skip
_WITH_VALUE = {"-u": "unit", "--unit": "unit", "-n": "lines", "--lines": "lines", "-o": "output", "--output": "output",
               "-S": "since", "--since": "since", "-t": "identifier", "--identifier": "identifier",
               "-p": "priority", "--priority": "priority", "-g": "grep", "--grep": "grep"}  # fmt: skip
_FLAGS = {"-f": "follow", "--follow": "follow", "-r": "reverse", "--reverse": "reverse"}
_OUTPUTS: dict[str, Callable[[Record], str]] = {
    "short": lambda record: record.short(os.uname().nodename),
    "cat": lambda record: record.message,
    "short-iso": lambda record: (
        time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.moment))
        + f" {os.uname().nodename} {record.identifier}[{record.pid}]: {record.message}"
    ),
    "short-unix": lambda record: (
        f"{record.moment:.6f} {os.uname().nodename} {record.identifier}[{record.pid}]: {record.message}"
    ),
    "json": lambda record: json.dumps(
        {
            "__REALTIME_TIMESTAMP": str(round(record.moment * 1_000_000)),
            "_SYSTEMD_UNIT": record.unit,
            "UNIT": record.unit,
            "SYSLOG_IDENTIFIER": record.identifier,
            "_PID": str(record.pid),
            "MESSAGE": record.message,
        }
    ),
}


def _since(text: str) -> float:
    if text.startswith("@"):
        return float(text[1:])
    if text.startswith("-") or text.endswith(" ago"):
        from lab.systemd.unit_file import duration

        return time.time() - duration(text.removeprefix("-").removesuffix(" ago"))
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        try:
            return time.mktime(time.strptime(text, form))
        except ValueError:
            continue
    raise ValueError(text)


def run(path: Path, arguments: list[str]) -> int:
    """Print what is asked for. Returns the exit code."""
    values: dict[str, list[str]] = {}
    flags: set[str] = set()
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if word[:1] == "-" and word[1:2] not in {"", "-"} and len(word) > 2:
            # -xeu NAME is -x -e -u NAME, and -n5 is -n 5.
            word, rest = word[:2], word[2:]
            queue.insert(0, rest if word in _WITH_VALUE else f"-{rest}")
            name, equals = word, ""
        if name in _WITH_VALUE:
            if not equals and not queue:
                sys.stderr.write(f"journalctl: option requires an argument -- '{name.lstrip('-')}'\n")
                return 1
            values.setdefault(_WITH_VALUE[name], []).append(value if equals else queue.pop(0))
        elif word in _FLAGS:
            flags.add(_FLAGS[word])
        elif word not in _IGNORED:
            sys.stderr.write(f"journalctl: the lab's stand-in does not know '{word}'\n")
            return 1
    return _print(path, values, follow="follow" in flags, backwards="reverse" in flags)


def _print(path: Path, values: dict[str, list[str]], *, follow: bool, backwards: bool) -> int:
    units = frozenset(each if "." in each else f"{each}.service" for each in values.get("unit", []))
    form = _OUTPUTS.get(values.get("output", ["short"])[-1])
    if form is None:
        sys.stderr.write(f"Unknown output format '{values['output'][-1]}'.\n")
        return 1
    count = values.get("lines", ["10" if follow else "all"])[-1].lstrip("+")
    if count != "all" and not count.isdigit():
        sys.stderr.write(f"Failed to parse lines '{count}'.\n")
        return 1
    try:
        start = _since(values["since"][-1]) if "since" in values else 0.0
    except ValueError:
        sys.stderr.write(f"Failed to parse timestamp: {values['since'][-1]}\n")
        return 1
    found = tail(path, units, None if count == "all" or start else int(count))
    found = [record for record in found if record.moment >= start]
    if start and count != "all":
        found = found[-int(count) :] if int(count) else []
    if not found and not follow:
        sys.stdout.write("-- No entries --\n")
    for record in reversed(found) if backwards else found:
        sys.stdout.write(form(record) + "\n")
    if follow:
        _follow(path, units, form)
    return 0


def _follow(path: Path, units: frozenset[str], form: Callable[[Record], str]) -> None:
    seen = max((record.moment for record in records(path)), default=0.0)
    while True:
        sys.stdout.flush()
        time.sleep(0.2)
        for record in records(path):
            if record.moment > seen:
                seen = record.moment
                if not units or record.unit in units:
                    sys.stdout.write(form(record) + "\n")
