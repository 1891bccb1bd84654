"""Secrets from files that only their owner can read, or from standard input; never from arguments."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from pydantic import SecretStr

from phoenix.errors import InputError

MAXIMUM_BYTES = 64 * 1024


def read_secret(path: Path, what: str) -> SecretStr:
    """The secret in a file, without the line break at its end; ``-`` is standard input.

    Args:
        path: the file.
        what: what it holds, for messages.

    Raises:
        InputError: it cannot be read, others can read it too, or it is empty.
    """
    if str(path) == "-":
        text = sys.stdin.readline(MAXIMUM_BYTES).rstrip("\r\n")
        if not text:
            raise InputError([f"standard input: there is no {what}: write it on one line."])
        return SecretStr(text)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            data = file.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise InputError([f"{path}: the {what} cannot be read ({error.strerror}): name a readable file."]) from None
    if mode & 0o007:
        raise InputError(
            [f"{path}: everybody on this machine can get at the {what} (mode {mode:04o}): chmod 600 {path}."]
        )
    try:
        text = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or "\n" in text or len(data) > MAXIMUM_BYTES:
        raise InputError([f"{path}: the {what} has to be one line of text: write just that into the file."])
    return SecretStr(text)
