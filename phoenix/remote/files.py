"""Managed files on a target: observe, decide, put, remove.

:mod:`phoenix.remote.file_model` decides without I/O; here the steps are carried out over a transport, in as few round
trips as can be: one to observe any number of files, one to put a file without hooks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from phoenix.errors import CommandError, InputError, PhoenixError, RemoteError
from phoenix.remote import file_scripts
from phoenix.remote.file_model import Decision, DesiredFile, FileState, Kind, Step, check_path, decide
from phoenix.remote.transport import Completed, Transport, first_line, raise_for_exit

__all__ = [
    "Decision",
    "DesiredFile",
    "FileState",
    "Removal",
    "Step",
    "apply",
    "decide",
    "observe",
    "observe_many",
    "put",
    "remove",
    "set_attributes",
]

Removal = Literal["removed", "absent", "orphaned", "foreign"]

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

_FAILED_STEP = re.compile(rb"^phoenix: (\w+): (.*)", re.MULTILINE)

_REMEDIES = (
    ("no space left", "free space there"),
    ("disk quota", "free space there, or raise the quota"),
    ("read-only file system", "mount it writable, or choose another path"),
    ("permission denied", "log in as root, or set sudo: true"),
    ("operation not permitted", "log in as root, or set sudo: true"),
    ("invalid user", "create that user there first, or correct owner"),
    ("invalid group", "create that group there first, or correct group"),
    ("unknown user", "create that user there first, or correct owner"),
    ("unknown group", "create that group there first, or correct group"),
    ("not a directory", "choose another path, or move away what is there"),
    ("symbolic link", "manage the file it points to, or remove the link"),
    ("is a directory", "choose another path, or move the directory away"),
    ("incomplete", "run again; look at the network if it happens again"),
    ("somebody else", "compare it with its .rollback copy by hand"),
)


def observe(transport: Transport, path: str, *, expected: str | None = None) -> FileState:
    """Look at one path. See :func:`observe_many`."""
    return observe_many(transport, {path: expected})[path]


def observe_many(transport: Transport, paths: Mapping[str, str | None] | Iterable[str]) -> dict[str, FileState]:
    """Look at any number of paths in one round trip.

    Args:
        transport: where.
        paths: absolute paths; a mapping gives the SHA-256 expected for each, and brings the content (up to 4 MiB)
            of those that differ from it. ``"+"`` always brings it, None never.

    Raises:
        InputError: a path cannot be managed.
        RemoteError: the target cannot be reached, or lacks ``stat``, ``sha256sum`` or ``base64``.
    """
    wanted = dict(paths) if isinstance(paths, Mapping) else dict.fromkeys(paths)
    if not wanted:
        return {}
    for path, expected in wanted.items():
        if expected not in (None, "+") and not _SHA256.match(expected or ""):
            raise InputError([f"{path}: {expected!r} is no SHA-256 in lower-case hex."])
    lines = [f"{expected or '-'} {check_path(path)}\n" for path, expected in wanted.items()]
    answer = transport.run(file_scripts.OBSERVE, stdin="".join(lines).encode())
    records = _records(answer.stdout)
    if len(records) != len(wanted):
        raise CommandError(
            f"{transport.description}: observing {len(wanted)} files gave {len(records)} answers: "
            "look whether stat, sha256sum and base64 work there."
        )
    return {path: _state(record) for path, record in zip(wanted, records, strict=True)}


def put(
    transport: Transport,
    desired: DesiredFile,
    validate: Callable[[str], None] | None = None,
    verify: Callable[[], None] | None = None,
    rolled_back: Callable[[], None] | None = None,
) -> None:
    """Write a file: stage, check, keep the old one as ``<path>.rollback``, rename.

    Without hooks it takes one round trip. Whatever fails, the target holds either its old or its new content, whole.

    Args:
        transport: where.
        desired: what.
        validate: called with the staged copy's path; what it raises discards that copy.
        verify: called after the rename; what it raises puts the old file back (or removes the new one).
        rolled_back: called after that; what it raises is added to the first error as a note.

    Raises:
        RemoteError: a step failed; the old file is untouched.
        Exception: what a hook raised, with a note that says what became of the file.
    """
    token = secrets.token_hex(8)
    if validate is None:
        kept = _run(transport, desired.path, file_scripts.put_script(desired, token), desired.content)
    else:
        _run(transport, desired.path, file_scripts.stage_script(desired, token), desired.content)
        try:
            validate(file_scripts.staged_path(desired.path, token))
        except BaseException as error:
            _after_failure(transport, file_scripts.discard_script(desired, token), error, "nothing was changed")
            raise
        kept = _run(transport, desired.path, file_scripts.commit_script(desired, token))
    if verify is None:
        return
    try:
        verify()
    except BaseException as error:
        script = file_scripts.restore_script(desired, secrets.token_hex(8), kept=kept == b"kept\n")
        done = "the old file was put back" if kept == b"kept\n" else "the new file was removed again"
        if _after_failure(transport, script, error, done) and rolled_back is not None:
            try:
                rolled_back()
            except PhoenixError as second:
                _say_too(error, f"after that: {second}")
        raise


def set_attributes(transport: Transport, desired: DesiredFile) -> None:
    """Set mode, owner and group, without sending the content.

    Raises:
        RemoteError: a step failed.
    """
    _run(transport, desired.path, file_scripts.attributes_script(desired))


def apply(
    transport: Transport,
    desired: DesiredFile,
    validate: Callable[[str], None] | None = None,
    verify: Callable[[], None] | None = None,
    rolled_back: Callable[[], None] | None = None,
) -> Decision:
    """Observe, decide, and do no more than is needed.

    Returns:
        What was done and why.

    Raises:
        RemoteError: the path holds something that is not ours to replace, or a step failed.
    """
    decision = decide(desired, observe(transport, desired.path))
    if decision.action == "refuse":
        raise RemoteError(f"{desired.path} on {transport.description} is not written: {decision.reason}.")
    if Step.STAGE in decision.steps:
        put(transport, desired, validate, verify, rolled_back)
    elif decision.steps:
        set_attributes(transport, desired)
    return decision


def remove(transport: Transport, path: str, sha256: str, *, rollback_sha256: str = "") -> Removal:
    """Remove a file if it still is what was written.

    Args:
        transport: where.
        path: absolute path.
        sha256: of the content that was written.
        rollback_sha256: of the content written before; the rollback copy goes too if that is what it holds.

    Returns:
        ``removed``; ``absent``: there was nothing; ``orphaned``: it was changed, and is kept as ``<path>.orphan``;
        ``foreign``: something else than a file has its name, and was left alone.

    Raises:
        RemoteError: it cannot be removed.
    """
    for digest in (sha256, rollback_sha256):
        if digest and not _SHA256.match(digest):
            raise InputError([f"{path}: {digest!r} is no SHA-256 in lower-case hex."])
    script = file_scripts.remove_script(check_path(path), sha256, rollback_sha256)
    answer = _run(transport, path, script).decode().strip()
    results: dict[str, Removal] = {
        "removed": "removed",
        "absent": "absent",
        "orphaned": "orphaned",
        "foreign": "foreign",
    }
    return results[answer]


def _run(transport: Transport, path: str, script: str, stdin: bytes = b"") -> bytes:
    completed = transport.run(script, stdin=stdin, check=False)
    if completed.exit_code == file_scripts.FAILED:
        raise RemoteError(_explain(transport, path, completed))
    return raise_for_exit(completed).stdout


def _explain(transport: Transport, path: str, completed: Completed) -> str:
    """One sentence: the file, the step, what the tool said, and the remedy."""
    found = _FAILED_STEP.search(completed.stderr)
    step, said = (found[1].decode(), first_line(found[2])) if found else ("unknown", completed.complaint)
    low = said.lower()
    remedy = next((text for mark, text in _REMEDIES if mark in low), "look at it there by hand")
    verdict = "could not be put back" if step == "restore" else "is not changed"
    return f"{path} on {transport.description} {verdict} (step {step}: {said}): {remedy}."


def _after_failure(transport: Transport, script: str, error: BaseException, done: str) -> bool:
    """Clean up after a failed hook, and say in its error what became of the file.

    Returns:
        Whether the script succeeded.
    """
    succeeded = False
    try:
        completed = transport.run(script, check=False)
        succeeded = completed.exit_code == 0
        found = _FAILED_STEP.search(completed.stderr)
        said = first_line(found[2]) if found else completed.complaint
    except PhoenixError as second:
        said = str(second).rstrip(".")
    if not succeeded:
        foreign = file_scripts.FOREIGN in said
        done = f"the old file was not put back: {said}" if foreign else f"putting the old file back failed too ({said})"
    _say_too(error, done)
    return succeeded


def _say_too(error: BaseException, text: str) -> None:
    """Add to an error's message, or as a note where the error is none of ours."""
    if isinstance(error, PhoenixError):
        error.args = (f"{str(error).rstrip('.')}; {text}.",)
    else:
        error.add_note(text)


def _records(output: bytes) -> list[list[bytes]]:
    records: list[list[bytes]] = []
    lines: list[bytes] = []
    for line in output.split(b"\n"):
        if line == b".":
            records.append(lines)
            lines = []
        else:
            lines.append(line)
    return records


def _state(record: list[bytes]) -> FileState:
    """Read one answer of the observing script.

    Raises:
        CommandError: it is not in the form the script prints.
    """
    word, _, rest = record[0].decode("utf-8", "replace").partition(" ") if record else ("", "", "")
    kinds: dict[str, Kind] = {
        "absent": "absent",
        "link": "link",
        "directory": "directory",
        "other": "other",
        "blocked": "blocked",
        "denied": "denied",
        "unreadable": "unreadable",
    }
    if word in kinds:
        return FileState(kinds[word], detail=rest)
    if word != "file":
        rest = ""
    try:
        sha256, mode, uid, gid, size, owner, group = rest.split(" ")
        content = base64.b64decode(b"".join(record[1:]), validate=True) if len(record) > 1 else None
        if size == "0":
            content = b""
        if content is not None:
            sha256, size = hashlib.sha256(content).hexdigest(), str(len(content))
        return FileState(
            "file",
            sha256=sha256,
            mode=mode.rjust(4, "0"),
            owner=uid if owner == "UNKNOWN" else owner,
            group=gid if group == "UNKNOWN" else group,
            uid=int(uid),
            gid=int(gid),
            size=int(size),
            content=content,
        )
    except (ValueError, binascii.Error):
        raise CommandError(
            "The answer about a file is not in the form that stat and sha256sum of coreutils or busybox print: "
            "look at those programs on the target."
        ) from None
