"""Whether the system is ready for a run: named checks with the time each took.

:func:`describe` is pure: it says what to check. :func:`wait` makes the checks through a :class:`Prober`, all of one
round at once, and makes all of them again after any failure, since a system that comes up answers bit by bit.
"""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

from phoenix.errors import PhoenixError
from phoenix.portainer.settings import CheckName, ReadinessSettings
from phoenix.portainer.target import Clock
from phoenix.remote import Connection, open_transport
from phoenix.remote.http import Request, fetch_many

Kind = Literal["command", "get", "names", "connect"]


@dataclass(frozen=True)
class Check:
    """One thing that has to answer.

    Attributes:
        name: for people and for ``readiness.skip``.
        subject: what of it: a machine, a name, an address.
        kind: a command on a machine, a GET from inside a machine, names to resolve, a port to connect to.
        remedy: what to do where it does not.
        connection: the machine, for ``command`` and ``get``.
        script: for ``command``: exit code 0 where it holds; its first line of output explains.
        url: for ``get``.
        root_file: for ``get``: the authority of its certificate, a path on the machine.
        names: for ``names``.
        address: for ``connect``: host and port.
    """

    name: CheckName
    subject: str
    kind: Kind
    remedy: str
    connection: Connection | None = None
    script: str = ""
    url: str = ""
    root_file: str | None = None
    names: tuple[str, ...] = ()
    address: tuple[str, int] | None = None


@dataclass(frozen=True)
class System:
    """What a run needs.

    Attributes:
        traefik: how Traefik's container is reached.
        authority_url: Step-CA; none where this installation has none.
        authority_root_file: its root certificate, a path in Traefik's container.
        hostnames: names that have to resolve.
        gateway: its address and port.
        docker: how each machine with Docker is reached, by its name.
        guests: containers and machines by number, that the hypervisor has to show as running.
        hypervisor: how it is reached.
    """

    traefik: Connection | None = None
    authority_url: str | None = None
    authority_root_file: str | None = None
    hostnames: tuple[str, ...] = ()
    gateway: tuple[str, int] | None = None
    docker: tuple[tuple[str, Connection], ...] = ()
    hypervisor: Connection | None = None


@dataclass(frozen=True)
class Result:
    """How a check went.

    Attributes:
        seconds: how long the last try took.
        problem: a phrase where it failed; empty where it holds.
    """

    check: Check
    seconds: float
    problem: str = ""

    def as_json(self) -> dict[str, object]:
        """The result for machines."""
        return {
            "check": self.check.name,
            "subject": self.check.subject,
            "ok": not self.problem,
            "seconds": round(self.seconds, 3),
            "problem": self.problem,
        }


class Prober(Protocol):
    """Makes a check; returns a phrase where it fails, and nothing where it holds."""

    def __call__(self, check: Check, timeout: float) -> str:
        """Make ``check`` within ``timeout`` seconds."""
        ...


def hypervisor_of(connections: Sequence[Connection | None]) -> Connection | None:
    """The hypervisor that ``pct`` and ``qm`` connections go through, as a connection of its own."""
    for connection in connections:
        if connection is None or not connection.transport.startswith(("pct", "qm")):
            continue
        over_ssh = connection.transport.endswith("-over-ssh")
        return connection.model_copy(update={"transport": "ssh" if over_ssh else "local", "guest": None})
    return None


def _hypervisor_script(connections: Sequence[Connection | None]) -> str:
    lines = ["command -v pct >/dev/null || { echo 'there is no pct: this is no Proxmox VE'; exit 1; }"]
    for connection in connections:
        if connection is None or connection.guest is None:
            continue
        tool = shlex.quote(connection.transport.removesuffix("-over-ssh"))
        lines.append(
            f"state=$({tool} status {connection.guest} 2>&1) && [ \"$state\" = 'status: running' ] "
            f'|| {{ echo "guest {connection.guest}: $state"; exit 1; }}'
        )
    return "\n".join(lines)


def describe(system: System, skip: Sequence[str] = ()) -> tuple[Check, ...]:
    """Every check of a system, but those to skip."""
    checks: list[Check] = []
    guests = [system.traefik, *(connection for _, connection in system.docker)]
    if system.hypervisor is not None:
        checks.append(
            Check(
                "hypervisor",
                system.hypervisor.description,
                "command",
                "start the guest, or correct its number in the connection's 'guest'",
                system.hypervisor,
                _hypervisor_script(guests),
            )
        )
    if system.traefik is not None:
        where = system.traefik
        remedy = "start the container, or correct phoenix:traefik.connection"
        checks.append(Check("traefik", where.description, "command", remedy, where, "true"))
        if system.authority_url is not None:
            checks.append(
                Check(
                    "certificate authority",
                    system.authority_url,
                    "get",
                    "start Step-CA, or correct phoenix:certificateAuthority",
                    where,
                    url=f"{system.authority_url.rstrip('/')}/health",
                    root_file=system.authority_root_file,
                )
            )
    if system.hostnames:
        checks.append(
            Check(
                "dns",
                ", ".join(system.hostnames),
                "names",
                "add the records to the zone, or correct this machine's resolver",
                names=system.hostnames,
            )
        )
    if system.gateway is not None:
        host, port = system.gateway
        remedy = "start NGINX there, or correct phoenix:gateway"
        checks.append(Check("gateway", f"{host}:{port}", "connect", remedy, address=system.gateway))
    for name, connection in system.docker:
        script = "docker version --format '{{.Server.Version}}' 2>&1"
        remedy = f"start VM {name} and Docker on it"
        checks.append(Check("docker", name, "command", remedy, connection, script))
    return tuple(check for check in checks if check.name not in skip)


def wait(
    checks: Sequence[Check],
    prober: Prober,
    settings: ReadinessSettings,
    clock: Clock,
    report: Callable[[int, list[Result]], None] = lambda _number, _results: None,
) -> list[Result]:
    """Make all checks until all hold in one round.

    Args:
        checks: what to check.
        prober: how.
        settings: how often, how long.
        clock: time.
        report: called after each round with its number, from 1, and its results.

    Returns:
        The results of the last round; where any has a problem, the system is not ready.
    """
    results: list[Result] = []
    for number in range(1, settings.tries + 1):
        results = probe(checks, prober, settings.timeout)
        report(number, results)
        if not any(result.problem for result in results):
            break
        if number < settings.tries:
            clock.sleep(settings.delay)
    return results


def probe(checks: Sequence[Check], prober: Prober, timeout: float) -> list[Result]:
    """Make all checks once, at the same time."""

    def one(check: Check) -> Result:
        start = time.monotonic()
        problem = prober(check, timeout)
        return Result(check, time.monotonic() - start, problem)

    if not checks:
        return []
    with ThreadPoolExecutor(max_workers=min(8, len(checks))) as pool:
        return list(pool.map(one, checks))


def problems(results: Sequence[Result]) -> list[str]:
    """A phrase with its remedy for each check that failed."""
    return [
        f"{result.check.name} ({result.check.subject}): {result.problem} ({result.check.remedy})"
        for result in results
        if result.problem
    ]


def live(check: Check, timeout: float) -> str:
    """The prober that really asks."""
    try:
        match check.kind:
            case "command":
                return _command(check, timeout)
            case "get":
                return _get(check, timeout)
            case "names":
                return _names(check, timeout)
            case "connect":
                return _connect(check, timeout)
    except PhoenixError as error:
        return str(error).rstrip(".")


def _command(check: Check, timeout: float) -> str:
    assert check.connection is not None  # noqa: S101 - describe() gives every command one
    with open_transport(check.connection) as transport:
        done = transport.run(check.script, timeout=timeout, check=False)
    if done.exit_code == 0:
        return ""
    said = done.text.strip().split("\n", 1)[0] or done.complaint
    return f"{said[:300] or 'no output'} (exit code {done.exit_code})"


def _get(check: Check, timeout: float) -> str:
    assert check.connection is not None  # noqa: S101 - describe() gives every GET one
    request = Request(check.url, timeout=timeout, ca_file=check.root_file)
    with open_transport(check.connection) as transport:
        (answer,) = fetch_many(transport, [request])
    if isinstance(answer, PhoenixError):
        return str(answer).rstrip(".")
    return "" if answer.status == 200 else f"answered {answer.status}"


def _names(check: Check, timeout: float) -> str:
    """Resolve every name as any program here would; a resolver that hangs counts as failed."""

    def missing(name: str) -> str:
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            return name
        return ""

    pool = ThreadPoolExecutor(max_workers=min(8, len(check.names)))
    try:
        waiting = [pool.submit(missing, name) for name in check.names]
        deadline = time.monotonic() + timeout
        failed = [future.result(timeout=max(0.0, deadline - time.monotonic())) for future in waiting]
    except TimeoutError:
        return f"the resolver did not answer within {timeout:g} s"
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    wrong = [name for name in failed if name]
    return f"no address for {', '.join(wrong)}" if wrong else ""


def _connect(check: Check, timeout: float) -> str:
    assert check.address is not None  # noqa: S101 - describe() gives every connect one
    try:
        socket.create_connection(check.address, timeout=timeout).close()
    except OSError as error:
        return f"no connection ({error.strerror or error})"
    return ""
