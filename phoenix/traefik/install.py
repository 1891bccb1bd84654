"""Traefik's program as it shall be, as it is, and what to do about it. Pure.

The scripts that carry it out stand in :mod:`phoenix.traefik.install_scripts`, the transfer in
:mod:`phoenix.traefik.install_transfer`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phoenix.remote.file_model import FileState, Kind
from phoenix.remote.masking import mask
from phoenix.settings import TraefikSettings
from phoenix.traefik.install_settings import VERSION_MARK

MODE = "0755"
Action = Literal["nothing", "attributes", "install", "refuse"]


@dataclass(frozen=True, slots=True)
class WantedProgram:
    """The program as it shall be.

    Attributes:
        path: where, in Traefik's container.
        version: what ``<path> version`` must say.
        sha256: checksum of the source: of the archive, where it is one.
        program_sha256: checksum of the program itself; empty where only the archive can tell.
        member: the program's name within the archive; empty for a source that is no archive.
        urls: where it can be downloaded, in the order in which they are tried.
        file: absolute path on this machine, or empty.
        container_file: absolute path in the container, or empty.
        fetch_from: ``auto``, ``container`` or ``here``.
        timeout: limit for downloading, in seconds.
        owner: account that owns it; group likewise.
    """

    path: str
    version: str
    sha256: str
    program_sha256: str = ""
    member: str = ""
    urls: tuple[str, ...] = ()
    file: str = ""
    container_file: str = ""
    fetch_from: str = "auto"
    timeout: int = 900
    owner: str = "root"
    group: str = "root"

    @property
    def source(self) -> str:
        """Where it comes from, for messages; without a password."""
        return mask(self.urls[-1]) if self.urls else self.file or f"{self.container_file} in the container"


def wanted_properties(traefik: TraefikSettings, project: str, owner: str, group: str) -> dict[str, Any]:
    """The resource's inputs for a stack's ``traefik.install``.

    Args:
        traefik: with ``install`` set.
        project: directory that a relative ``file`` starts from.
        owner: account that shall own the program.
        group: its group.

    Raises:
        ValueError: ``install`` is not set.
    """
    install = traefik.install
    if install is None:
        raise ValueError("phoenix:traefik.install is not set")
    names = [name.replace(VERSION_MARK, traefik.version) for name in (*install.mirrors, install.url or "") if name]
    file = (install.file or "").replace(VERSION_MARK, traefik.version)
    return {
        "path": traefik.binary,
        "version": traefik.version,
        "sha256": install.sha256,
        "programSha256": install.program_sha256 or ("" if install.is_archive else install.sha256),
        "archiveMember": install.archive_member if install.is_archive else "",
        "urls": names,
        "file": file and _absolute(file, project),
        "containerFile": install.container_file or "",
        "fetchFrom": install.fetch_from,
        "downloadTimeout": install.timeout,
        "mode": MODE,
        "owner": owner,
        "group": group,
    }


def _absolute(file: str, project: str) -> str:
    from pathlib import Path

    return str(Path(project, Path(file).expanduser()))


def wanted(props: Mapping[str, Any], recorded: Mapping[str, Any] | None = None) -> WantedProgram:
    """The program that a resource's inputs ask for.

    Args:
        props: the inputs, see :func:`wanted_properties`.
        recorded: the outputs of an earlier installation: from the same archive came the same program.
    """
    known = str(props.get("programSha256") or "")
    if not known and recorded and recorded.get("sha256") == props["sha256"]:
        same_member = recorded.get("archiveMember") == props.get("archiveMember")
        known = str(recorded.get("installedSha256") or "") if same_member else ""
    return WantedProgram(
        path=props["path"],
        version=props["version"],
        sha256=props["sha256"],
        program_sha256=known,
        member=props.get("archiveMember") or "",
        urls=tuple(props.get("urls") or ()),
        file=props.get("file") or "",
        container_file=props.get("containerFile") or "",
        fetch_from=props.get("fetchFrom") or "auto",
        timeout=int(props.get("downloadTimeout") or 900),
        owner=props["owner"],
        group=props["group"],
    )


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What is at the program's place.

    Attributes:
        file: kind, checksum, mode and owner.
        fingerprint: inode, size and times. While it stays, the content stays: any write changes the time of the last
            status change (inode(7)), which no program can set back.
    """

    file: FileState
    fingerprint: str = ""


_KINDS: dict[str, Kind] = {
    "absent": "absent",
    "link": "link",
    "directory": "directory",
    "other": "other",
    "unreadable": "unreadable",
}


def state(output: str) -> ProgramState:
    """What :func:`observe_script` printed.

    Raises:
        ValueError: it is not in that form.
    """
    word, _, rest = output.strip().partition(" ")
    if word in _KINDS:
        return ProgramState(FileState(_KINDS[word], detail=rest))
    parts = rest.split(" ")
    if word != "file" or len(parts) != 8:
        raise ValueError(f"{output[:200]!r} is not what stat prints")
    fingerprint, sha256, mode, uid, gid, size, owner, group = parts
    file = FileState(
        "file",
        sha256=sha256,
        mode=mode.rjust(4, "0"),
        owner=uid if owner == "UNKNOWN" else owner,
        group=gid if group == "UNKNOWN" else group,
        uid=int(uid),
        gid=int(gid),
        size=int(size),
    )
    return ProgramState(file, fingerprint)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why.

    Attributes:
        action: ``refuse`` has one reason, with its remedy.
        reasons: for people.
    """

    action: Action
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The reasons as one text."""
        return "; ".join(self.reasons)


_REFUSALS: dict[Kind, str] = {
    "link": "it is a symbolic link to {detail}: let phoenix:traefik.binary name that file, or remove the link",
    "directory": "it is a directory: let phoenix:traefik.binary name a file",
    "other": "it is neither a file nor a directory: remove it, or choose another phoenix:traefik.binary",
    "unreadable": "the user of this connection may not read it: log in as root, or set sudo: true",
}


def decide(program: WantedProgram, observed: ProgramState) -> Decision:
    """Compare. A program that is right is left alone, whoever put it there, and nothing is transferred."""
    file = observed.file
    if file.kind in _REFUSALS:
        return Decision("refuse", (_REFUSALS[file.kind].format(detail=file.detail),))
    if file.kind == "absent":
        return Decision("install", ("it is missing",))
    if not program.program_sha256:
        return Decision("install", ("only the archive can tell whether it is the right one",))
    attributes = differing_attributes(program, file)
    if file.sha256 != program.program_sha256:
        found = f"it is another program ({file.size} bytes, sha256 {file.sha256[:12]}…)"
        return Decision("install", (found, *attributes))
    return Decision("attributes", attributes) if attributes else Decision("nothing", ("it is right",))


def differing_attributes(program: WantedProgram, file: FileState) -> tuple[str, ...]:
    """How mode, owner and group differ: ``mode is 0700, not 0755``."""
    found = [f"mode is {file.mode}, not {MODE}"] if file.mode != MODE else []
    for noun, wish, name, number in (
        ("owner", program.owner, file.owner, file.uid),
        ("group", program.group, file.group, file.gid),
    ):
        if wish not in (name, str(number)):
            found.append(f"{noun} is {name}, not {wish}")
    return tuple(found)


def version_in(output: str) -> str | None:
    """The version that ``traefik version`` printed, without a leading v."""
    match = re.search(r"^Version:\s*v?(\S+)", output, re.MULTILINE)
    return match[1] if match else None
