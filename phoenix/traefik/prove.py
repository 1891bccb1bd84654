"""Proves a candidate on the target with the installed Traefik, through the transport interface only."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from phoenix.errors import RemoteError, TraefikError
from phoenix.remote import Transport
from phoenix.remote.http import fetch_http
from phoenix.traefik import candidate, document, live

BOOT_SECONDS = 20.0
POLL_SECONDS = 0.04
PORT_ATTEMPTS = 4
POLLS_WITH_REVISION = 3
POLLS_WITHOUT_REVISION = 25
_BUSY = "address already in use"


class _PortBusyError(Exception):
    """The candidate's API port is taken; another one will do."""


def prove(
    transport: Transport,
    binary: str,
    static: Mapping[str, Any],
    dynamic: Mapping[str, Any] | None,
    staged: str | None = None,
) -> None:
    """Boot a second instance with a candidate and compare its API with what was meant.

    Args:
        transport: Traefik's container.
        binary: the installed program.
        static: data of ``traefik.yml``.
        dynamic: data of ``dynamic_conf.yml``; None proves the static configuration alone.
        staged: where the dynamic candidate lies on the target; None sends ``dynamic`` there.

    Raises:
        TraefikError: Traefik refuses the candidate, or would serve something else; with its own words.
        RemoteError: the target cannot be reached.
    """
    for _ in range(PORT_ATTEMPTS):
        try:
            _prove_once(transport, binary, static, dynamic, staged)
        except _PortBusyError:
            continue
        return
    raise TraefikError(
        f"{transport.description}: no free loopback port was found for a candidate instance in {PORT_ATTEMPTS} tries."
    )


def _prove_once(
    transport: Transport,
    binary: str,
    static: Mapping[str, Any],
    dynamic: Mapping[str, Any] | None,
    staged: str | None,
) -> None:
    intended = dynamic if dynamic is not None else candidate.minimal_dynamic()
    directory = f"/tmp/phoenix-candidate-{secrets.token_hex(8)}"  # noqa: S108 - unguessable, made with umask 077
    port = 20000 + secrets.randbelow(12000)
    candidate_static = document.dump(candidate.candidate_static(static, directory, port))
    pid = 0
    try:
        transport.run(candidate.write_script(directory, "traefik.yml"), stdin=candidate_static.encode())
        if staged is None:
            transport.run(candidate.write_script(directory, "dynamic.yml"), stdin=document.dump(intended).encode())
        pid = int(transport.run(candidate.start_script(binary, directory, staged)).text.strip() or 0)
        found = _wait(transport, f"http://127.0.0.1:{port}", intended, pid, directory)
        if found:
            said = candidate.words(transport.run(candidate.log_script(directory)).text)
            said = f"; Traefik says: {said}" if said else ""
            raise TraefikError(f"Traefik would not serve it: {'; '.join(found[:5])}{said}")
    finally:
        transport.run(candidate.stop_script(pid, directory), check=False)


def _wait(transport: Transport, api_url: str, intended: Mapping[str, Any], pid: int, directory: str) -> list[str]:
    deadline = time.monotonic() + BOOT_SECONDS
    answered = 0
    while True:
        found = differences(transport, api_url, intended)
        if found and not found[0].startswith(_SILENT):
            answered += 1
        # The revision comes with all that belongs to it; a file Traefik refuses never shows its revision at all.
        patience = POLLS_WITHOUT_REVISION if found and found[0].startswith("revision") else POLLS_WITH_REVISION
        if not found or answered >= patience or time.monotonic() >= deadline:
            return found
        alive = transport.run(candidate.alive_script(pid, directory), check=False)
        if alive.exit_code != 0:
            if _BUSY in alive.text and api_url.rpartition(":")[2] in alive.text:
                raise _PortBusyError
            raise TraefikError(
                f"Traefik does not start with it: {candidate.words(alive.text) or alive.text.strip()[-300:]}"
            )
        time.sleep(POLL_SECONDS)


_SILENT = "its API at "


def differences(transport: Transport, api_url: str, intended: Mapping[str, Any]) -> list[str]:
    """What an instance serves otherwise than meant, as phrases; a silent API is one as well."""
    try:
        answer = fetch_http(transport, f"{api_url}{live.RAW_DATA_PATH}", timeout=10)
    except RemoteError as error:
        return [f"{_SILENT}{api_url} does not answer ({error})"]
    if answer.status != 200:
        return [f"{_SILENT}{api_url} answers {answer.status}"]
    try:
        raw = live.parse(answer.body)
    except ValueError:
        return [f"{_SILENT}{api_url} answers something else than JSON"]
    return list(live.differences(intended, raw))
