"""Brings Traefik into the state its files ask for, with a restart that costs its clients as little as may be.

With a standby: start it with the new configuration → it serves the intended revision → the gateway sends it every
request → restart Traefik → it serves → the gateway sends requests to it again → the standby ends. Without a gateway it
takes its connections from the same sockets as Traefik, and nothing is switched. Whatever fails on the way, one of the
two goes on serving, and what refused to run is put aside. Each step may be run again at any point: what a killed run
left is finished by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from phoenix.errors import PhoenixError, RemoteError, TraefikError
from phoenix.gateway import scripts as gateway_scripts
from phoenix.gateway.scripts import Place
from phoenix.remote import Transport
from phoenix.remote.http import fetch_many
from phoenix.traefik import service as scripts
from phoenix.traefik import serving
from phoenix.traefik.service import Service, State

SERVE_SECONDS = 60.0
CERTIFICATE_SECONDS = 5.0
POLL_SECONDS = 0.05
DRAIN_SECONDS = 10.0
DRAIN_POLL_SECONDS = 0.1
STANDBY_ATTEMPTS = 2


@dataclass(frozen=True)
class Gateway:
    """The gateway, for sending requests to the standby and back.

    Attributes:
        transport: its container.
        place: where the switch lies.
        address: where it reaches Traefik.
        port, standby_port: and on which ports.
    """

    transport: Transport
    place: Place
    address: str
    port: int
    standby_port: int

    def switch(self, *, to_standby: bool) -> int:
        """Send requests to the standby from now on, or to Traefik again, and let the other one answer what it has.

        Traefik's own graceful end does not suffice: it closes connections whose request it has not begun to read, and
        leaves handshakes hanging. So the gateway's connections to it must have ended before it is told to.

        Returns:
            How many connections to the other one are left after :data:`DRAIN_SECONDS`, such as WebSockets.

        Raises:
            RemoteError: the gateway cannot be reached, or the switch not be set.
        """
        self.transport.run(gateway_scripts.switch_script(self.place, to_standby=to_standby))
        script = gateway_scripts.connections_script(self.address, self.port if to_standby else self.standby_port)
        deadline = time.monotonic() + DRAIN_SECONDS
        quiet = 0
        while True:
            # Twice: NGINX may just then be between reading the switch and connecting.
            time.sleep(DRAIN_POLL_SECONDS)
            left = int(self.transport.run(script).text.strip() or 0)
            quiet = 0 if left else quiet + 1
            if quiet == 2 or time.monotonic() >= deadline:
                return left

    def switched(self) -> bool:
        """Whether requests go to the standby."""
        return self.transport.run(gateway_scripts.switched_script(self.place)).text.strip() == "yes"


@dataclass(frozen=True)
class Restart:
    """One deployment of Traefik's service.

    Attributes:
        target: Traefik's container.
        gateway: None where there is no standby.
        service: paths and means.
        api_url, standby_api_url: both APIs, as seen from inside the container.
        revision: the dynamic configuration's; an instance that serves it is ready. None: any of ours.
        say: is told each step with its time.
    """

    target: Transport
    gateway: Gateway | None
    service: Service
    api_url: str
    standby_api_url: str
    revision: str | None
    say: Callable[[str], None] = field(default=print)

    def run(self) -> None:
        """Start or restart what has to be, and end what is not needed any more.

        Raises:
            TraefikError: Traefik, or its standby, does not serve with what lies on disk; the old files are back.
            RemoteError: the target or the gateway cannot be reached.
        """
        done = self.target.run(scripts.prepare_script(self.service), check=False)
        if done.exit_code != 0 or not done.stdout:
            raise TraefikError(f"{self.target.description}: systemd refuses the units: {done.complaint}.")
        state = State.parse(done.text)
        if state.active != "active":
            self._first_start()
        elif self._restart_is_due(state):
            if self._has_second(state):
                self._with_standby(state)
            else:
                self._restart(state, self._certificates(self.api_url))
        self._tidy()

    def _restart_is_due(self, state: State) -> bool:
        wanted = len(scripts.SOCKETS) if self.service.sockets else 0
        return bool(state.due) or state.sockets != wanted

    def _first_start(self) -> None:
        began = time.monotonic()
        self._start(scripts.UNIT, scripts.restart_script(self.service))
        self._wait(self.api_url, scripts.UNIT)
        self.say(f"{scripts.UNIT} started in {time.monotonic() - began:.1f} s")

    def _restart(self, state: State, known: frozenset[str]) -> None:
        """Restart Traefik; where that fails, put back what it ran with before and start it with that."""
        began = time.monotonic()
        script = scripts.restart_script(self.service)
        try:
            self._start(scripts.UNIT, script)
            self._wait(self.api_url, scripts.UNIT, known)
        except TraefikError as error:
            restored = self._restore(state.due)
            if not restored or self.target.run(script, check=False).exit_code != 0:
                raise
            self._wait(self.api_url, scripts.UNIT)
            raise TraefikError(f"{_plain(error)}; it runs with the old {_listed(restored)} again.") from None
        self.say(f"{scripts.UNIT} restarted in {time.monotonic() - began:.1f} s, since {_because(state)}")

    def _has_second(self, state: State) -> bool:
        """Whether a standby can carry the requests: the gateway sends it them, or it takes them from the sockets."""
        shares = self.service.sockets and state.sockets == len(scripts.SOCKETS)
        return self.service.standby and (self.gateway is not None or shares)

    def _with_standby(self, state: State) -> None:
        """Restart Traefik while the standby carries the requests."""
        known = self._certificates(self.api_url)
        in_charge = state.standby == "active" if self.gateway is None else self.gateway.switched()
        # A killed run may have left it so. While Traefik itself does not serve, the standby carries everything.
        if in_charge and not self._serves(self.api_url):
            self._restart(state, known)
            return
        if in_charge and self.gateway is not None:
            self._switch(self.gateway, to_standby=False)
        self._start_standby(state.due, known)
        if self.gateway is not None:
            self._switch(self.gateway, to_standby=True)
        try:
            self._restart(state, known)
        except PhoenixError:
            if self._serves(self.api_url):
                self._tidy()
            raise

    def _start_standby(self, due: tuple[str, ...], known: frozenset[str]) -> None:
        """Start the standby until it serves; it is the first to run with what is new."""
        began = time.monotonic()
        lacking = 0
        try:
            for _ in range(STANDBY_ATTEMPTS):
                self._start(scripts.STANDBY, scripts.start_standby_script())
                lacking = self._wait(self.standby_api_url, scripts.STANDBY, known)
                # Its copy of the certificates may have been made in the middle of a write: then once more.
                if not lacking:
                    break
        except TraefikError as error:
            self.target.run(scripts.stop_standby_script(), check=False)
            restored = self._restore(due)
            old = f"; the old {_listed(restored)} was put back" if restored else ""
            raise TraefikError(f"{_plain(error)}; Traefik itself was not restarted{old}.") from None
        without = f", without {lacking} of {len(known)} certificates" if lacking else ""
        self.say(f"{scripts.STANDBY} serves after {time.monotonic() - began:.1f} s{without}")

    def _tidy(self) -> None:
        """Requests go to Traefik again, and the standby ends or is brought up to date."""
        state = State.parse(self.target.run(scripts.inspect_script(self.service)).text)
        if self.gateway is not None and self.gateway.switched():
            self._wait(self.api_url, scripts.UNIT)
            self._switch(self.gateway, to_standby=False)
        if self.service.standby_always:
            known = self._certificates(self.api_url)
            if state.standby != "active" or state.standby_due or not self._serves(self.standby_api_url, known):
                self._start_standby((), known)
        elif state.standby not in ("", "inactive", "unknown"):
            self.target.run(scripts.stop_standby_script(), check=False)

    def _switch(self, gateway: Gateway, *, to_standby: bool) -> None:
        left = gateway.switch(to_standby=to_standby)
        if left:
            other = scripts.UNIT if to_standby else scripts.STANDBY
            self.say(f"{left} connections to {other} are open for over {DRAIN_SECONDS:g} s; they are ended with it")

    def _start(self, unit: str, script: str) -> None:
        done = self.target.run(script, check=False)
        if done.exit_code != 0:
            said = self._words(unit) or f"{done.complaint.rstrip('.')}; its log ends with: {self._last_line(unit)}"
            raise TraefikError(f"{unit} does not start: {said}.")

    def _wait(
        self, api_url: str, unit: str, known: frozenset[str] = frozenset(), seconds: float = SERVE_SECONDS
    ) -> int:
        """Wait until an instance is ready.

        Returns:
            How many of the certificates it does not have, after as much patience as there is for them.

        Raises:
            TraefikError: it does not serve within ``seconds``.
        """
        began = time.monotonic()
        while True:
            answers = fetch_many(self.target, serving.questions(api_url, self.revision))
            problems = list(serving.not_ready(answers, self.revision))
            lacking = serving.missing(answers, known)
            waited = time.monotonic() - began
            if not problems and (not lacking or waited >= CERTIFICATE_SECONDS):
                return lacking
            if waited >= seconds:
                words = self._words(unit)
                said = f"; Traefik says: {words}" if words else ""
                raise TraefikError(f"{unit} does not serve after {seconds:g} s: {'; '.join(problems[:3])}{said}.")
            time.sleep(POLL_SECONDS)

    def _serves(self, api_url: str, known: frozenset[str] = frozenset()) -> bool:
        answers = fetch_many(self.target, serving.questions(api_url, self.revision))
        return not list(serving.not_ready(answers, self.revision)) and not serving.missing(answers, known)

    def _certificates(self, api_url: str) -> frozenset[str]:
        """Fingerprints of the certificates an instance has; none where it does not say."""
        (answer,) = fetch_many(self.target, [f"{api_url}{serving.CERTIFICATES_PATH}"])
        return serving.fingerprints(answer)

    def _restore(self, due: tuple[str, ...]) -> list[str]:
        if not due:
            return []
        return self.target.run(scripts.restore_script(self.service, due), check=False).text.split()

    def _last_line(self, unit: str) -> str:
        """The end of a unit's log before systemd's own words: what a step before the start said, such as mkdir."""
        log = self.target.run(scripts.log_script(unit=unit), check=False).text.splitlines()
        own = [line.strip() for line in log if line.strip() and unit not in line and "systemd" not in line]
        return own[-1].rstrip(".") if own else "nothing"

    def _words(self, unit: str = scripts.UNIT) -> str:
        try:
            log = self.target.run(scripts.log_script(unit=unit), check=False).text
        except RemoteError:
            return ""
        return "; ".join(scripts.errors_in_log(log))


def _because(state: State) -> str:
    changed = [key for key in state.due if key != "storage"]
    if changed or not state.due:
        return f"{', '.join(changed) or 'sockets'} changed"
    return "others could read an ACME storage when it was started"


def _plain(error: PhoenixError) -> str:
    return str(error).rstrip(".")


def _listed(paths: Sequence[str]) -> str:
    return " and ".join(path.rpartition("/")[2] for path in paths)
