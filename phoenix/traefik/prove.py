"""Proves a candidate on the target with the installed Traefik, through the transport interface only."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from phoenix.errors import RemoteError, TraefikError
from phoenix.remote import Transport
from phoenix.remote.http import fetch_http
from phoenix.remote.masking import mask
from phoenix.traefik import candidate, checks, document, live, served
from phoenix.traefik.asking import Question, ask, questions
from phoenix.traefik.marker import waiting_for
from phoenix.traefik.middlewares import logins_in
from phoenix.traefik.surroundings import file_problems, port_problems

BOOT_SECONDS = 20.0
POLL_SECONDS = 0.04
PORT_ATTEMPTS = 4
POLLS_TO_SETTLE = 3
PORTS_TO_ASK = 4
"""Most entry points of a candidate that get a port of their own, so that they can be asked."""

_BUSY = "address already in use"
_TLS = "tls: "


class _PortBusyError(Exception):
    """The candidate's API port is taken; another one will do."""


def prove(
    transport: Transport,
    binary: str,
    static: Any,
    dynamic: Any,
    staged: str | None = None,
    *,
    user: str = "root",
    ask_for: Sequence[str] = (),
    beside: Callable[[], object] = lambda: None,
    later: Callable[[Callable[[], object]], object] = lambda tidy: tidy(),
) -> list[str]:
    """Check a candidate, look at what it would find on the target, then boot a second instance with it.

    Args:
        transport: Traefik's container.
        binary: the program that shall run it.
        static: data of ``traefik.yml``.
        dynamic: data of ``dynamic_conf.yml``; None proves the static configuration alone.
        staged: where the dynamic candidate lies on the target; None sends ``dynamic`` there.
        user: account Traefik runs as; the files it names must be readable for it.
        ask_for: routers to send a request through, for those of their backends that speak https: whether Traefik
            can verify a backend shows in a request only.
        beside: called while the second instance boots.
        later: gets what removes the second instance, to call it at once or when there is time.

    Returns:
        Phrases for what is not as it might be, yet no reason to refuse.

    Raises:
        TraefikError: the candidate is wrong, Traefik refuses it or would serve something else; with its own words.
        RemoteError: the target cannot be reached.
    """
    wrong = list(checks.static_mistakes(static))
    if dynamic is not None:
        wrong += checks.dynamic_mistakes(dynamic, static if isinstance(static, Mapping) else {})
    wrong = wrong or ([] if dynamic is not None else port_problems(transport, static))
    _refuse(wrong)
    for _ in range(PORT_ATTEMPTS):
        try:
            return _prove_once(transport, binary, static, dynamic, staged, user, ask_for, beside, later)
        except _PortBusyError:
            continue
        except TraefikError as error:
            raise TraefikError(mask(str(error), logins_in(dynamic))) from None
    raise TraefikError(
        f"{transport.description}: no free loopback port was found for a candidate instance in {PORT_ATTEMPTS} tries."
    )


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        raise TraefikError(f"the candidate is refused: {'; '.join(wrong[:5])}")


def _prove_once(
    transport: Transport,
    binary: str,
    static: Mapping[str, Any],
    dynamic: Mapping[str, Any] | None,
    staged: str | None,
    user: str,
    ask_for: Sequence[str],
    beside: Callable[[], object],
    later: Callable[[Callable[[], object]], object],
) -> list[str]:
    """Boot it, and look at the files it names while it boots."""
    intended = dynamic if dynamic is not None else candidate.minimal_dynamic()
    directory = f"/tmp/{candidate.PREFIX}{secrets.token_hex(8)}"  # noqa: S108 - unguessable, made with umask 077
    http: Mapping[str, Any] = intended.get("http") or {}
    routers = https_routers(http, ask_for)[: served.ASK_LIMIT]
    points = sorted({routers_point(http, name) for name in routers})[:PORTS_TO_ASK]
    port, *others = (20000 + number for number in secrets.SystemRandom().sample(range(12000), 1 + len(points)))
    ports = dict(zip(points, others, strict=True))
    candidate_static = document.dump(candidate.candidate_static(static, directory, port, ports))
    pid = 0
    try:
        if staged is None:
            transport.run(candidate.write_script(directory, "dynamic.yml"), stdin=document.dump(intended).encode())
        write = candidate.write_script(directory, "traefik.yml")
        start = f"{write} || exit 1\n{candidate.start_script(binary, directory, staged)}"
        pid = int(transport.run(start, stdin=candidate_static.encode()).text.strip() or 0)
        _refuse(file_problems(transport, static, dynamic, user))
        beside()
        api_url = f"http://127.0.0.1:{port}"
        found = _wait(transport, api_url, intended, pid, directory)
        log = transport.run(candidate.log_script(directory)).text.replace(f"{directory}/dynamic.yml", "the candidate")
        if found:
            said = candidate.words(log)
            if said and all(map(_is_absence, found)):
                raise TraefikError(f"Traefik refuses it as a whole: {said}")
            raise TraefikError(f"Traefik would not serve it: {'; '.join([*found[:5], *_said(said)])}")
        if complaints := candidate.complaints(log):
            raise TraefikError(f"Traefik would serve it, yet it complains: {'; '.join(complaints[-3:])}")
        addresses = {point: f"127.0.0.1:{own}" for point, own in ports.items()}
        return _ask_backends(transport, http, questions(http.get("routers") or {}, routers, addresses), directory)
    finally:
        later(lambda: transport.run(candidate.stop_script(pid, directory), check=False))


def _said(words: str) -> list[str]:
    return [f"Traefik says: {words}"] if words else []


def https_routers(http: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Those of ``names`` whose backend speaks https."""
    return [name for name in names if served.backend(http, name).startswith("https://") and routers_point(http, name)]


def routers_point(http: Mapping[str, Any], name: str) -> str:
    """The first entry point a router listens on; empty where it names none."""
    router = (http.get("routers") or {}).get(name) or {}
    return str(next(iter(router.get("entryPoints") or ()), ""))


def _ask_backends(
    transport: Transport, http: Mapping[str, Any], wanted: Sequence[Question], directory: str
) -> list[str]:
    """Send requests through the candidate.

    Raises:
        TraefikError: Traefik cannot verify a backend's certificate.
    """
    replies = ask(transport, wanted)
    if replies is None:
        return ["whether Traefik can verify its https backends is not known: install curl or openssl there"]
    failed = [reply.question.router for reply in replies if served.is_own_500(reply)]
    if not failed:
        return []
    said = [line for line in candidate.lines(transport.run(candidate.log_script(directory)).text) if _TLS in line]
    if not said:
        return []  # a backend that broke off is its own matter, and told once the route is live
    which = "; ".join(f"router {name} cannot verify {served.backend(http, name)}" for name in failed)
    raise TraefikError(
        f"Traefik would answer 500: {which}; it says: {'; '.join(said[-3:])}; correct serverName or rootFile of the "
        "route in phoenix:routes, or set insecureSkipVerify there"
    )


def _wait(transport: Transport, api_url: str, intended: Mapping[str, Any], pid: int, directory: str) -> list[str]:
    """Poll until all is as intended, or until what differs has settled.

    The API answers before the dynamic file is applied. A refused file is never applied, but Traefik's log says so.
    """
    deadline = time.monotonic() + BOOT_SECONDS
    settled = 0
    after = waiting_for(api_url, intended, BOOT_SECONDS, pid=pid, log=f"{directory}/log")
    while True:
        found = differences(transport, api_url, intended, after)
        after = ("", 0.0)
        if not found:
            return []
        if not found[0].startswith(_SILENT):
            complained = bool(candidate.lines(transport.run(candidate.log_script(directory)).text))
            settled += complained or not all(map(_is_absence, found))
        if settled >= POLLS_TO_SETTLE or time.monotonic() >= deadline:
            return found
        alive = transport.run(candidate.alive_script(pid, directory), check=False)
        if alive.exit_code != 0:
            if _BUSY in alive.text:
                raise _PortBusyError
            said = candidate.words(alive.text) or alive.text.strip()[-300:]
            raise TraefikError(f"Traefik does not start with it: {said}")
        time.sleep(POLL_SECONDS)


def _is_absence(phrase: str) -> bool:
    return phrase.startswith("revision ") or phrase.endswith(" is missing")


_SILENT = "its API at "


def differences(
    transport: Transport, api_url: str, intended: Mapping[str, Any], after: tuple[str, float] = ("", 0.0)
) -> list[str]:
    """What an instance serves otherwise than meant, as phrases; a silent API is one as well.

    Args:
        transport: the instance's container.
        api_url: its API.
        intended: the data of ``dynamic_conf.yml``.
        after: a script to run there first, and the seconds it may take.
    """
    try:
        answer = fetch_http(transport, f"{api_url}{live.RAW_DATA_PATH}", timeout=10, after=after)
    except RemoteError as error:
        return [f"{_SILENT}{api_url} does not answer ({error})"]
    if answer.status != 200:
        return [f"{_SILENT}{api_url} answers {answer.status}"]
    try:
        raw = live.parse(answer.body)
    except ValueError:
        return [f"{_SILENT}{api_url} answers something else than JSON"]
    return list(live.differences(intended, raw))
