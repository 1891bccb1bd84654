"""A dynamic configuration's way into a live Traefik: proved before the rename, followed until clients get it.

The steps that :class:`phoenix.remote.remote_file.RemoteFileProvider` leaves open: what is done with the staged copy,
after the rename, and after the old file was put back.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from phoenix.errors import PhoenixError, TraefikError
from phoenix.remote import Transport
from phoenix.remote.masking import mask
from phoenix.traefik import document, served, service
from phoenix.traefik.asking import quoted
from phoenix.traefik.certificate_gate import live_addresses, unmet, wait_for
from phoenix.traefik.certificates import Demand
from phoenix.traefik.marker import waiting_for
from phoenix.traefik.prove import differences, prove

WAIT_SECONDS = 10.0
POLL_SECONDS = 0.03

Say = Callable[[str], None]


@dataclass
class Push:
    """One push and its steps. As a context it removes what the proof left on the target when nobody waits any more.

    Attributes:
        transport: Traefik's container.
        props: the file's properties: path, content, static, binary, user, running (the static configuration that
            the live instance was started with), apiUrl, probe, demands, rootFile, wait.
        say: told of warnings, and at the end of each step's time.
    """

    transport: Transport
    props: Mapping[str, Any]
    say: Say
    changed: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    last: float = field(default_factory=time.monotonic)
    _runs: bool | None = None
    _left: list[Callable[[], object]] | None = None

    def __enter__(self) -> Self:
        self._left = []
        return self

    def __exit__(self, *_: object) -> None:
        left, self._left = self._left or [], None
        for tidy in left:
            tidy()

    def mark(self, step: str) -> None:
        """Note that a step is done."""
        now = time.monotonic()
        self.steps.append(f"{step} {(now - self.last) * 1000:.0f} ms")
        self.last = now

    @property
    def path(self) -> str:
        """The file."""
        return str(self.props["path"])

    @property
    def probes(self) -> bool:
        """Whether routes are asked."""
        return bool(self.props.get("probe", True))

    @cached_property
    def intended(self) -> Any:
        """The data of the content.

        Raises:
            TraefikError: it is no YAML.
        """
        text = self.props["content"]
        return _rendered[text] if text in _rendered else parsed(text)

    def validate(self, staged: str) -> None:
        """Prove the staged copy.

        Raises:
            TraefikError: Traefik would not serve exactly what it means.
        """
        self.mark("staged")
        with _Masked(self.props):
            intended = self.intended
            self.changed = served.changed_routers(self._on_disk(), self.props["content"], http_of(intended))
            warnings = prove(
                self.transport,
                self.props["binary"],
                parsed(self.props["static"]),
                {} if intended is None else intended,
                staged,
                user=self.props.get("user") or "root",
                ask_for=self.changed if self.probes else (),
                beside=self._look,
                later=self._later,
            )
        for phrase in warnings:
            self.say(f"{self.path}: {phrase}")
        self.mark("proved")

    def _look(self) -> None:
        self._runs = self._runs_as_meant()

    def _later(self, tidy: Callable[[], object]) -> None:
        if self._left is None:
            tidy()
        else:
            self._left.append(tidy)

    def verify(self) -> None:
        """Follow the file until clients get what it says.

        Where Traefik does not run, or is about to be restarted with another static configuration, which may define
        what the file names, the gate behind the restart does that.

        Raises:
            TraefikError: Traefik does not serve it.
        """
        if not (self._runs_as_meant() if self._runs is None else self._runs):
            return
        with _Masked(self.props):
            intended = self.intended
            self._wait_live(intended, "")
            self.mark("live")
            if self.probes and self.changed:
                self._ask(http_of(intended), self.changed)
            self._certificates(http_of(intended))
        self.say(f"{self.path}: {', '.join(self.steps)}")

    def rolled_back(self) -> None:
        """Prove that the old file is served again.

        Raises:
            TraefikError: it is not.
        """
        if not self._runs_as_meant():
            return
        begun = time.monotonic()
        with _Masked(self.props):
            try:
                intended = parsed(self._on_disk())
            except TraefikError:
                intended = None
            http = http_of(intended)
            if not http:
                return  # there was none, or none that says what shall be served
            self._wait_live(intended, "the old routes do not serve again: ")
            names = [name for name in self.changed if name in (http.get("routers") or {})]
            if self.probes and names:
                findings = self._findings(http, names)
                if findings.failures:
                    raise TraefikError(f"the old routes do not serve again: {'; '.join(findings.failures[:5])}")
        milliseconds = (time.monotonic() - begun) * 1000
        self.say(f"{self.path}: the old routes serve again, seen {milliseconds:.0f} ms after the old file was put back")

    def _runs_as_meant(self) -> bool:
        """Whether Traefik runs, and with the static configuration that the file was proved with."""
        running = self.props.get("running")
        same = f" && cmp -s - {shlex.quote(running)}" if running else " && cat >/dev/null"
        script = f"systemctl is-active --quiet {service.UNIT}{same}"
        return self.transport.run(script, stdin=str(self.props["static"]).encode(), check=False).exit_code == 0

    def _on_disk(self) -> str:
        return self.transport.run(f"cat -- {shlex.quote(self.path)} 2>/dev/null", check=False).text

    def _wait_live(self, intended: Mapping[str, Any], front: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        after = waiting_for(self.props["apiUrl"], intended, WAIT_SECONDS)
        while found := differences(self.transport, self.props["apiUrl"], intended, after):
            after = ("", 0.0)
            if time.monotonic() >= deadline:
                raise TraefikError(
                    f"{front}{self.path}: Traefik does not serve it after {WAIT_SECONDS:g} s: "
                    f"{'; '.join(found[:5])}{self._words()}"
                )
            time.sleep(POLL_SECONDS)

    def _words(self) -> str:
        words = service.errors_in_log(self.transport.run(service.log_script(), check=False).text)
        return f"; Traefik says: {'; '.join(words)}" if words else ""

    def _findings(self, http: Mapping[str, Any], names: Sequence[str]) -> served.Findings:
        return served.examine(self.transport, live_addresses(self.transport, self.props["apiUrl"]), http, names)

    def _ask(self, http: Mapping[str, Any], names: Sequence[str]) -> None:
        findings = self._findings(http, names)
        if findings.asked is None:
            self.say(f"{self.path}: no request was sent through the changed routes: install curl or openssl there")
            return
        if findings.failures:
            raise TraefikError(f"{self.path}: {'; '.join(findings.failures[:5])}{self._words()}")
        for phrase in findings.warnings:
            self.say(f"{self.path}: {phrase}")
        more = f" (and {findings.left_out} not)" if findings.left_out else ""
        count = f"{findings.asked} changed route{'' if findings.asked == 1 else 's'}"
        self.mark(f"{count}{more} asked")

    def _certificates(self, http: Mapping[str, Any]) -> None:
        names = frozenset(self.changed)
        demands = [Demand.parse(item) for item in self.props.get("demands") or () if item["router"] in names]
        if not demands:
            return
        left, _ = wait_for(
            lambda: unmet(
                self.transport, self.props["apiUrl"], demands, http.get("routers") or {}, self.props["rootFile"]
            ),
            float(self.props.get("wait") or WAIT_SECONDS),
            lambda phrase: self.say(f"{self.path}: waits for certificates: {phrase}"),
        )
        if left:
            raise TraefikError(
                f"{self.path}: {quoted(left)} (waited {float(self.props.get('wait') or WAIT_SECONDS):g} s)"
                f"{self._words()}"
            )
        self.mark("certificates seen")


_rendered: dict[str, Mapping[str, Any]] = {}


def remember(text: str, data: Mapping[str, Any]) -> None:
    """Spare a push in this process the parsing of a text that was rendered here, which takes longer than the push.

    Args:
        text: a whole dynamic configuration, as :func:`phoenix.traefik.document.dump` wrote it.
        data: what it was written from; nobody may change it any more.
    """
    _rendered.clear()
    _rendered[text] = data


def parsed(text: str) -> Any:
    """The data of a candidate's text.

    Raises:
        TraefikError: it is no YAML.
    """
    try:
        return document.load(text, exact=True)
    except ValueError as error:
        raise TraefikError(f"the candidate is refused: {error}") from None


def http_of(data: Any) -> Mapping[str, Any]:
    """The ``http`` section, or nothing."""
    http = data.get("http") if isinstance(data, Mapping) else None
    return http if isinstance(http, Mapping) else {}


class _Masked:
    """Takes secrets out of the errors that leave a block: Traefik's own words may repeat them."""

    def __init__(self, props: Mapping[str, Any]) -> None:
        self._secrets = [str(value) for value in props.get("secretValues") or ()]

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PhoenixError):
            error.args = (mask(str(error), self._secrets),)
