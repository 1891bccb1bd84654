"""Brings Traefik's program into its container and puts it in its place, through the transport interface only.

Files are streamed in pieces, so that no more than one piece is in memory; a lost connection is taken up again where
it broke.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phoenix.errors import CommandError, InputError, PhoenixError, RemoteError, TraefikError, UnreachableError
from phoenix.remote import Transport
from phoenix.remote.file_scripts import FAILED
from phoenix.remote.masking import mask
from phoenix.remote.transport import Completed, first_line, raise_for_exit
from phoenix.traefik import install_scripts as scripts
from phoenix.traefik.download import download, file_digest
from phoenix.traefik.install import Decision, ProgramState, WantedProgram, decide, state, version_in

PIECE = 8 * 1024 * 1024
"""Bytes sent with one command."""

POLL_SECONDS = 0.5
SAY_SECONDS = 3.0
HASH_SECONDS = 120

Say = Callable[[str], None]
Prove = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation left.

    Attributes:
        sha256: of the program.
        fingerprint: see :class:`phoenix.traefik.install.ProgramState`.
        action: what was done: ``nothing``, ``attributes`` or ``install``.
        seconds: how long it took.
    """

    sha256: str
    fingerprint: str
    action: str
    seconds: float


def observe(transport: Transport, path: str, fingerprint: str = "", recorded: str = "") -> ProgramState:
    """Look at the program; its checksum is computed only where the fingerprint changed.

    Raises:
        RemoteError: the container cannot be reached, or lacks ``stat`` or ``sha256sum``.
    """
    answer = transport.run(scripts.observe_script(path, fingerprint, recorded), timeout=HASH_SECONDS)
    try:
        return state(answer.text)
    except ValueError as error:
        raise CommandError(f"{path} on {transport.description}: {error}: look at stat and sha256sum there.") from None


def install(
    transport: Transport,
    program: WantedProgram,
    say: Say,
    prove: Prove | None = None,
    observed: ProgramState | None = None,
) -> Installed:
    """Do no more than is needed to have the program in its place; a failure leaves the old one there.

    Args:
        transport: Traefik's container.
        program: what shall be there.
        say: told of progress, a line at a time.
        prove: called with the staged program's path before it takes the old one's place.
        observed: what is there, where the caller has looked already.

    Raises:
        InputError: the source on this machine is missing or another file than pinned.
        RemoteError: a step failed in the container.
        TraefikError: the program is of another version, does not run, or refuses the configuration.
    """
    begun = time.monotonic()
    found = observed or observe(transport, program.path)
    decision = decide(program, found)
    if decision.action == "refuse":
        raise RemoteError(f"{program.path} on {transport.description} is not replaced: {decision.reason}.")
    if decision.action in ("nothing", "attributes"):
        _check_version(program, _run(transport, program, scripts.version_script(program.path)).text)
        fingerprint = found.fingerprint
        if decision.action == "attributes":
            fingerprint = _run(transport, program, scripts.attributes_script(program)).text.strip()
        return Installed(found.file.sha256, fingerprint, decision.action, time.monotonic() - begun)
    return _replace(transport, program, say, prove, found, decision, begun)


def _replace(
    transport: Transport,
    program: WantedProgram,
    say: Say,
    prove: Prove | None,
    found: ProgramState,
    decision: Decision,
    begun: float,
) -> Installed:
    say(f"{program.path}: {decision.reason}; Traefik {program.version} is taken from {program.source}")
    bring(transport, program, say)
    say(f"{program.path}: {'it is unpacked and its' if program.member else 'its'} checksum is compared there")
    answer = _run(transport, program, scripts.unpack_script(program), timeout=scripts.CHECK_SECONDS)
    sha256, _, said = answer.text.partition("\n")
    try:
        _check_version(program, said)
        if sha256 == found.file.sha256:
            transport.run(scripts.discard_script(program))
            fingerprint = _run(transport, program, scripts.attributes_script(program)).text.strip()
            return Installed(sha256, fingerprint, "nothing", time.monotonic() - begun)
        if prove is not None:
            say(f"{program.path}: it says it is Traefik {program.version}; its configuration is proved with it")
            prove(scripts.stage_path(program))
        fingerprint = _run(transport, program, scripts.commit_script(program)).text.strip()
    except BaseException:
        _discard(transport, program)
        raise
    seconds = time.monotonic() - begun
    kept = "" if found.file.kind == "absent" else f"; the old one is kept as {program.path}.rollback"
    say(f"{program.path}: Traefik {program.version} is in its place after {seconds:.1f} s{kept}")
    return Installed(sha256, fingerprint, "install", seconds)


def _discard(transport: Transport, program: WantedProgram) -> None:
    try:
        transport.run(scripts.discard_script(program), check=False)
    except PhoenixError:
        return  # the first error says more; what is left is removed as stale by a later run


def bring(transport: Transport, program: WantedProgram, say: Say) -> None:
    """Let the source be in the container, checked or not.

    Raises:
        InputError: the file on this machine is missing or another than pinned.
        RemoteError: it cannot be downloaded or sent.
    """
    if program.container_file:
        _run(transport, program, scripts.prepare_script(program))
        return
    if program.file:
        _check_file(Path(program.file), program.sha256)
        send(transport, program, Path(program.file), say)
        return
    problems = []
    if program.fetch_from != "here":
        problem = _download_there(transport, program, say)
        if problem is None:
            return
        problems.append(problem)
        if program.fetch_from == "container":
            raise RemoteError(
                f"{program.path}: {transport.description} cannot download Traefik ({problem}): correct "
                "phoenix:traefik.install.url, or set fetchFrom to here."
            )
        say(f"{program.path}: {problem}; this machine downloads it instead")
    send(transport, program, download(program.urls, program.sha256, program.timeout, say), say)


def _check_file(path: Path, sha256: str) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise InputError(
            [f"phoenix:traefik.install.file is {str(path)!r}: it cannot be read ({error.strerror}): correct it."]
        ) from None
    if found != sha256:
        raise InputError(
            [
                f"{path}: its SHA-256 is {found}, not {sha256}: correct phoenix:traefik.install.sha256 once you trust "
                "the file, or name another."
            ]
        )


def send(transport: Transport, program: WantedProgram, path: Path, say: Say) -> None:
    """Send a file in pieces; goes on where an earlier run was cut off.

    Raises:
        RemoteError: a piece did not arrive.
    """
    total = path.stat().st_size
    come = int(_run(transport, program, scripts.prepare_script(program)).text.split()[-1] or 0)
    come = come if come <= total else 0
    if come == total:
        return  # an earlier run sent it all; the checksum tells whether it is right
    begun, last = time.monotonic(), time.monotonic()
    retried = False
    with path.open("rb") as source:
        source.seek(come)
        while piece := source.read(PIECE):
            try:
                _run(transport, program, scripts.append_script(program, come), stdin=piece)
            except UnreachableError:
                if retried:
                    raise
                retried = True
                come = int(_run(transport, program, scripts.prepare_script(program)).text.split()[-1] or 0)
                source.seek(come)
                continue
            come += len(piece)
            if time.monotonic() - last >= SAY_SECONDS:
                last = time.monotonic()
                say(f"{program.path}: {_megabytes(come)} of {_megabytes(total)} sent")
    seconds = time.monotonic() - begun
    say(f"{program.path}: {_megabytes(total)} sent in {seconds:.1f} s")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _download_there(transport: Transport, program: WantedProgram, say: Say) -> str | None:
    """Download with curl in the container; None, or why it did not succeed."""
    _run(transport, program, scripts.prepare_script(program))
    problem = "no URL is given"
    for url in program.urls:
        reason = _download_one(transport, program, url, say)
        if reason is None or reason == _NO_CURL:
            return reason
        problem = f"{mask(url)}: {reason}"
        if url != program.urls[-1]:
            say(f"{program.path}: {problem}; the next source is tried")
    return problem


_NO_CURL = "there is no curl in the container"


def _download_one(transport: Transport, program: WantedProgram, url: str, say: Say) -> str | None:
    configuration = scripts.curl_configuration(url, scripts.part_path(program), program.timeout)
    answer = _run(transport, program, scripts.download_script(program), stdin=configuration.encode()).text.split()
    if answer[-1:] == [scripts.NO_CURL]:
        return _NO_CURL
    pid = int(answer[-1])
    try:
        return _wait_for_download(transport, program, pid, say)
    except BaseException:
        transport.run(scripts.stop_script(program, pid), check=False)
        raise


def _wait_for_download(transport: Transport, program: WantedProgram, pid: int, say: Say) -> str | None:
    begun, last = time.monotonic(), time.monotonic()
    while True:
        word, _, rest = _run(transport, program, scripts.progress_script(program, pid)).text.strip().partition(" ")
        seconds = time.monotonic() - begun
        if word == "done":
            code, _, said = rest.partition(" ")
            if code == "0":
                say(f"{program.path}: downloaded in {seconds:.1f} s")
                return None
            return mask(said).removeprefix("curl: ") or f"curl ended with code {code}"
        if seconds > program.timeout + 60:
            transport.run(scripts.stop_script(program, pid), check=False)
            return f"it took longer than {program.timeout} s"
        if time.monotonic() - last >= SAY_SECONDS:
            last = time.monotonic()
            say(f"{program.path}: {_megabytes(int(rest or 0))} downloaded")
        time.sleep(POLL_SECONDS)


def _check_version(program: WantedProgram, said: str) -> None:
    found = version_in(said)
    if found is None:
        raise TraefikError(
            f"{program.source}: the program does not say Traefik's version ({first_line(said.encode())!r}): it must "
            "be Traefik, built for that machine."
        )
    if found != program.version:
        raise TraefikError(
            f"{program.source}: it is Traefik {found}, not {program.version}: correct phoenix:traefik.version, or "
            "the source and its sha256."
        )


_REMEDIES = {
    "checksum": "it was changed on its way or is another file: correct phoenix:traefik.install.sha256 or the source",
    "program": "correct phoenix:traefik.install.programSha256, or the archive",
    "unpack": "correct phoenix:traefik.install.archiveMember, or install tar and gzip there",
    "source": "correct phoenix:traefik.install.containerFile",
    "run": "take the build for that machine",
    "transfer": "wait for the other run to end, then run again",
    "owner": "log in as root, or set sudo: true",
}


def _run(
    transport: Transport, program: WantedProgram, script: str, *, stdin: bytes = b"", timeout: float | None = None
) -> Completed:
    done = transport.run(script, stdin=stdin, timeout=timeout, check=False)
    if done.exit_code != FAILED:
        return raise_for_exit(done)
    step, _, said = first_line(done.stderr.rpartition(b"phoenix: ")[2]).partition(": ")
    said = f"its SHA-256 is {said}" if step in ("checksum", "program") else said
    remedy = "free space there" if "No space left" in said else _REMEDIES.get(step, "look at it there by hand")
    error = TraefikError if step in ("checksum", "program", "run") else RemoteError
    raise error(
        f"{program.path} on {transport.description} is not replaced (step {step}, {program.source}: {said}): {remedy}."
    )
