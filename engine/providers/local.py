"""Runs commands of ``local.Command`` on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from engine.assets import archive, asset
from engine.errors import ProviderError
from engine.providers.ssh import Ran
from engine.values import Properties

# The kernel's limit for one argument or environment string (MAX_ARG_STRLEN, 32 pages).
LARGEST_VARIABLE: Final = 128 * 1024 - 64


def fitting(environment: dict[str, str]) -> dict[str, str]:
    """Leave out variables the kernel would refuse (a long previous output)."""
    return {k: v for k, v in environment.items() if len(v.encode()) + len(k) < LARGEST_VARIABLE and "\0" not in v}


def run(
    command: str,
    *,
    interpreter: list[str] | None,
    directory: str | None,
    environment: dict[str, str],
    stdin: str,
    log: Callable[[str, str], None],
    cancelled: threading.Event,
) -> Ran:
    """Run a command to its end.

    Raises:
        ProviderError: it cannot be started.
    """
    arguments = [*(interpreter or ["/bin/sh", "-c"]), command]
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ProviderError(
            f"{arguments[0]} cannot be started{f' in {directory}' if directory else ''}: {reason}"
        ) from None
    collected: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    readers = [
        threading.Thread(target=_drain, args=(name, stream, collected[name], log), daemon=True)
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
    ]
    if process.stdin is not None:
        readers.append(threading.Thread(target=_feed, args=(process.stdin, stdin.encode()), daemon=True))
    for reader in readers:
        reader.start()
    while True:
        try:
            code = process.wait(timeout=0.2)
            break
        except subprocess.TimeoutExpired:
            if cancelled.is_set():
                os.killpg(process.pid, signal.SIGKILL)
    # A process left behind in the background may hold the pipes: its output is not waited for.
    for reader in readers:
        reader.join(timeout=2)
    texts = {name: b"".join(parts).decode(errors="replace") for name, parts in collected.items()}
    if code < 0:
        return Ran(code, texts["stdout"], texts["stderr"], signal.Signals(-code).name)
    return Ran(code, texts["stdout"], texts["stderr"])


def _drain(name: str, stream: IO[bytes] | None, parts: list[bytes], log: Callable[[str, str], None]) -> None:
    if stream is None:
        return
    for line in stream:
        parts.append(line)
        log(name, line.decode(errors="replace").rstrip("\n"))


def _feed(stream: IO[bytes], content: bytes) -> None:
    try:
        stream.write(content)
        stream.close()
    except BrokenPipeError:
        pass  # the command did not read its input: its own affair


def collect(inputs: Properties) -> Properties:
    """Gather ``assets`` and ``archive`` after a command."""
    directory = Path(inputs.get("dir") or ".")
    outputs: Properties = {}
    if inputs.get("assetPaths") is not None:
        outputs["assets"] = {
            name: asset(path=str(directory / name)) for name in _globbed(directory, inputs["assetPaths"])
        }
    if inputs.get("archivePaths") is not None:
        names = _globbed(directory, inputs["archivePaths"])
        outputs["archive"] = archive(None, None, {n: asset(path=str(directory / n)) for n in names}, "")
    return outputs


def _globbed(directory: Path, patterns: list[Any]) -> list[str]:
    compiled = [(str(p).startswith("!"), _pattern(str(p).removeprefix("!"))) for p in patterns]
    names = [file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file()]
    last = {name: [exclude for exclude, pattern in compiled if pattern.fullmatch(name)] for name in names}
    return sorted(name for name, excludes in last.items() if excludes and not excludes[-1])


_GLOB: Final = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", ",": "|"}


def _pattern(glob: str) -> re.Pattern[str]:
    """Translate a glob: ``*`` within a folder, ``**`` anything, ``?``, ``[…]``, ``{a,b}``."""
    text, depth = "", 0
    for part in re.findall(r"\*\*|\[[^]]+]|.", glob, re.DOTALL):
        if len(part) > 2:
            text += "[" + part[1:].replace("!", "^", 1)
        elif part == "}" and depth:
            text, depth = text + ")", depth - 1
        elif part in _GLOB and (depth or part != ","):
            text, depth = text + _GLOB[part], depth + (part == "{")
        else:
            text += re.escape(part)
    return re.compile(text, re.DOTALL)
