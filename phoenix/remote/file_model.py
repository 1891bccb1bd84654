"""What a managed file shall be, what it is, and what to do about it. Pure: data in, data out."""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass, field
from typing import Literal

from phoenix.errors import InputError

Kind = Literal["file", "absent", "link", "directory", "other", "blocked", "denied", "unreadable"]
Action = Literal["nothing", "create", "replace", "attributes", "refuse"]

NAME_LIMIT = 200
"""Longest file name in bytes: 255 (NAME_MAX), less what the staged copy's name adds."""

PATH_LIMIT = 3900
"""Longest path in bytes: 4,096 (PATH_MAX), less what the staged copy's name adds."""

_MODE = re.compile(r"[0-7]{3,4}\Z")
_ACCOUNT = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|[0-9]{1,10})\Z")


def check_path(path: object, where: str = "path") -> str:
    """Return `path` if a file can be managed there.

    Raises:
        InputError: not text, not absolute, not in its shortest form, with control characters, or too long.
    """
    problem = None
    if not isinstance(path, str) or not path:
        problem = "must be an absolute path, like /etc/traefik/traefik.yml"
    elif not path.startswith("/"):
        problem = f"{path!r} is not absolute: begin it with /"
    elif any(ord(char) < 32 or ord(char) == 127 for char in path):
        problem = f"{path!r} holds a line break or another control character: remove it"
    elif path.endswith("/") or any(part in ("", ".", "..") for part in path.split("/")[1:]):
        problem = f"{path!r} is not in its shortest form: remove '.', '..', doubled and trailing slashes"
    else:
        try:
            size, name = len(path.encode()), len(path.rpartition("/")[2].encode())
        except UnicodeEncodeError:
            problem = f"{path!r} is not valid UTF-8"
        else:
            if size > PATH_LIMIT or name > NAME_LIMIT:
                problem = (
                    f"its {size} bytes with a file name of {name} are over the limits of "
                    f"{PATH_LIMIT} and {NAME_LIMIT}: shorten it"
                )
    if problem is not None:
        raise InputError([f"{where}: {problem}."])
    return str(path)


def check_mode(mode: object, where: str = "mode") -> str:
    """Return `mode` as four octal digits, ``"0644"``.

    Raises:
        InputError: not text of three or four octal digits.
    """
    match = _MODE.match(mode) if isinstance(mode, str) else None
    if match is None:
        raise InputError([f"{where}: {mode!r} is no file mode: give it as text in octal, like '0644'."])
    return match[0].rjust(4, "0")


def check_account(name: object, where: str) -> str | None:
    """Return a user's or group's name or numeric id, or None for "not managed".

    Raises:
        InputError: anything else.
    """
    if name is None:
        return None
    if not isinstance(name, str) or not _ACCOUNT.match(name):
        raise InputError([f"{where}: {name!r} is no user or group: give a name like 'traefik' or a number as text."])
    if name.isdigit() and int(name) >= 2**32 - 1:
        raise InputError([f"{where}: {name} is over the highest id, {2**32 - 2}."])
    return name


@dataclass(frozen=True, slots=True)
class DesiredFile:
    """A regular file as it shall be.

    Attributes:
        path: absolute; missing parent directories are created with mode 0755.
        content: exact bytes; kept out of ``repr``.
        mode: octal text; normalised to four digits.
        owner: name or numeric id as text; None: as it is, or the connection's user.
        group: likewise.

    Raises:
        InputError: one of these is out of its range.
    """

    path: str
    content: bytes = field(repr=False)
    mode: str = "0644"
    owner: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        check_path(self.path)
        object.__setattr__(self, "mode", check_mode(self.mode, f"{self.path}: mode"))
        check_account(self.owner, f"{self.path}: owner")
        check_account(self.group, f"{self.path}: group")

    @property
    def sha256(self) -> str:
        """The content's SHA-256 in lower-case hex."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class FileState:
    """What is at a path.

    Attributes:
        kind: ``file``; ``absent``; ``link``, ``directory`` or ``other`` (socket, device, pipe): not for us;
            ``blocked``: a parent is no directory; ``denied``: a parent cannot be searched; ``unreadable``.
        sha256: of the content, lower-case hex.
        mode: four octal digits.
        owner, group: names; the number as text where it has no name.
        uid, gid: numeric ids.
        size: bytes.
        content: the bytes, where they were asked for; kept out of ``repr``.
        detail: where a link points to; the parent that is in the way.
    """

    kind: Kind
    sha256: str = ""
    mode: str = ""
    owner: str = ""
    group: str = ""
    uid: int = -1
    gid: int = -1
    size: int = 0
    content: bytes | None = field(default=None, repr=False)
    detail: str = ""

    @property
    def exists(self) -> bool:
        """Whether a regular file that can be read is there."""
        return self.kind == "file"


class Step(enum.Enum):
    """One thing done to a target, in the order of this list."""

    STAGE = "write beside the target, fsync, check, owner, mode"
    KEEP = "keep the old file as the rollback copy"
    RENAME = "rename over the target"
    OWNER = "change owner and group"
    MODE = "change the mode"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why.

    Attributes:
        action: ``nothing`` and ``refuse`` have no steps.
        steps: in the order in which they are carried out.
        reasons: never empty; for ``refuse`` one reason, with its remedy.
    """

    action: Action
    steps: tuple[Step, ...]
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The reasons as one text."""
        return "; ".join(self.reasons)


_REFUSALS: dict[Kind, str] = {
    "link": "it is a symbolic link to {detail}: manage that file, or remove the link",
    "directory": "it is a directory: choose another path, or move the directory away",
    "other": "it is neither a file nor a directory: choose another path, or remove it",
    "blocked": "{detail} is not a directory: choose another path, or move it away",
    "denied": "the user of this connection may not search {detail}: log in as root, or set sudo: true",
    "unreadable": "the user of this connection may not read it: log in as root, or set sudo: true",
}


def differing_attributes(desired: DesiredFile, observed: FileState) -> tuple[str, ...]:
    """Say how an existing file's mode, owner and group differ: ``mode is 0600, not 0644``."""
    differences = []
    if observed.mode != desired.mode:
        differences.append(f"mode is {observed.mode}, not {desired.mode}")
    for noun, wanted, name, number in (
        ("owner", desired.owner, observed.owner, observed.uid),
        ("group", desired.group, observed.group, observed.gid),
    ):
        if wanted is not None and wanted not in (name, str(number)):
            differences.append(f"{noun} is {name}, not {wanted}")
    return tuple(differences)


def decide(desired: DesiredFile, observed: FileState) -> Decision:
    """Compare, and say which steps make `observed` into `desired`.

    Content that is right is never written again, and a file that is wholly right is left alone, whoever made it.
    """
    if observed.kind in _REFUSALS:
        return Decision("refuse", (), (_REFUSALS[observed.kind].format(detail=observed.detail),))
    if not observed.exists:
        return Decision("create", (Step.STAGE, Step.RENAME), ("the file does not exist",))
    attributes = differing_attributes(desired, observed)
    if observed.sha256 != desired.sha256:
        return Decision("replace", (Step.STAGE, Step.KEEP, Step.RENAME), ("the content differs", *attributes))
    if attributes:
        owner = any(not text.startswith("mode") for text in attributes)
        # chown clears set-uid bits (chown(2)), so the mode is set again after it
        steps = (Step.OWNER, Step.MODE) if owner else (Step.MODE,)
        return Decision("attributes", steps, attributes)
    return Decision("nothing", (), ("content, mode and owner are as wanted",))
