"""One HTTP connection to a Portainer server: where it goes, how it logs in, what its errors mean.

Rules it keeps, each learnt from the real server:

- No cookie jar: with the login's cookie every write would need a CSRF token.
- One login for a session, and another only when a restart of the server voided it (``401``): at most
  :data:`MAXIMUM_LOGINS`, ever slower, since the server locks an address for an hour after a burst of ten.
- A request that may have been carried out (time-out, lost connection, ``502`` and ``504`` of a proxy) raises
  :class:`UncertainError` when it writes, and is sent again when it only reads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy

import httpx
from pydantic import SecretStr

from phoenix.portainer import answers
from phoenix.portainer.errors import (
    AuthenticationError,
    LockedError,
    LoginsSpentError,
    ProtocolError,
    ServerFailedError,
    UnavailableError,
    UncertainError,
)
from phoenix.portainer.target import ApiKey, Clock, Credentials, Login, Secrets, Target, Timeouts, tls_context

MAXIMUM_LOGINS = 4
MAXIMUM_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    """One HTTP request.

    Attributes:
        method: ``GET``, ``POST``, ``PUT`` or ``DELETE``.
        path: below the server's address, ``/api/…``.
        params: the query.
        body: sent as JSON.
        form: sent as a form.
        headers: besides the usual ones.
        public: no login is sent.
        timeout: seconds to wait for the answer; by default ``Timeouts.read``.
    """

    method: str
    path: str
    params: Mapping[str, str] | None = None
    body: Mapping[str, object] | None = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    public: bool = False
    timeout: float | None = None


class Session:
    """A connection to one server, logged in on its first use.

    Args:
        target: where it goes.
        credentials: who it is; none for what is public.
        timeouts: how long it waits.
        clock: time.
    """

    def __init__(
        self,
        target: Target,
        credentials: Credentials | None = None,
        *,
        timeouts: Timeouts | None = None,
        clock: Clock | None = None,
        tries: int = 4,
    ) -> None:
        self.target = target
        self.timeouts = timeouts or Timeouts()
        self.clock = clock or Clock()
        self.secrets = Secrets()
        self.logins = 0
        self.restarts = 0
        self._tries = tries
        self._credentials = credentials
        self._token: SecretStr | None = None
        self._lock = threading.Lock()
        self._last_login = float("-inf")
        if isinstance(credentials, ApiKey):
            self.secrets.add(credentials.value)
        elif isinstance(credentials, Login):
            self.secrets.add(credentials.password)
        host = target.address or target.hostname
        host = f"[{host}]" if ":" in host else host
        port = "" if target.port == 443 else f":{target.port}"
        self._client = httpx.Client(
            base_url=f"https://{host}:{target.port}",
            headers={
                "Host": target.hostname + port,
                "User-Agent": "phoenix-portainer",
                "Accept": "application/json",
            },
            verify=tls_context(target),
            timeout=httpx.Timeout(self.timeouts.read, connect=self.timeouts.connect),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=15.0),
            follow_redirects=False,
            trust_env=False,
        )
        # No jar: the login's cookie would make every later write need a CSRF token.
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def at(self, target: Target) -> Session:
        """A session with the same login at another address of the same server; no second login is made."""
        other = Session(target, self._credentials, timeouts=self.timeouts, clock=self.clock, tries=self._tries)
        other.secrets = self.secrets
        other._token, other.logins, other._last_login = self._token, self.logins, self._last_login
        return other

    def use(self, credentials: Credentials) -> None:
        """Log in as someone from the next request on."""
        self._credentials = credentials
        self._token = None
        self.secrets.add(credentials.value if isinstance(credentials, ApiKey) else credentials.password)

    # -- sending
    # -----------------------------------------------------------------------------------------------

    def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        public: bool = False,
        timeout: float | None = None,
    ) -> object:
        """The JSON that a ``GET`` answers; sent again where the answer got lost.

        Raises:
            PortainerError: see :mod:`phoenix.portainer.errors`.
        """
        call = Call("GET", path, params=params, public=public, timeout=timeout)
        return answers.decode(self.target, path, self.read(call))

    def read(self, call: Call) -> httpx.Response:
        """The answer to a call that changes nothing, so that it may be sent again.

        Raises:
            PortainerError: see :mod:`phoenix.portainer.errors`.
        """
        for attempt in range(1, self._tries):
            try:
                return self.request(call)
            except (UnavailableError, UncertainError, ServerFailedError):
                self.clock.sleep(min(0.25 * 2**attempt, 5.0))
        return self.request(call)

    def send(self, call: Call) -> object:
        """The JSON that a call answers; none where the answer is empty. Sent once.

        Raises:
            PortainerError: see :mod:`phoenix.portainer.errors`.
        """
        response = self.request(call)
        return answers.decode(self.target, call.path, response) if response.content.strip() else None

    def request(self, call: Call) -> httpx.Response:
        """One call, logged in unless it is public; a login that a restart voided is made again.

        Raises:
            PortainerError: see :mod:`phoenix.portainer.errors`.
        """
        while True:
            authorization = {} if call.public else self._authorization()
            response = self._transmit(call, {**(call.headers or {}), **authorization})
            if response.status_code == 401 and "Authorization" in authorization:
                # The server's signing key is new at every start. _authorization() bounds how often this
                # turns.
                self._forget(authorization)
                continue
            if response.is_success:
                return response
            raise answers.refusal(self.target, self.secrets, call.method, call.path, response)

    def _transmit(self, call: Call, headers: Mapping[str, str]) -> httpx.Response:
        limit = call.timeout or self.timeouts.read
        request = self._client.build_request(
            call.method,
            call.path,
            params=call.params,
            json=call.body,
            data=call.form,
            headers=headers,
            timeout=httpx.Timeout(limit, connect=self.timeouts.connect, pool=None),
            extensions={"sni_hostname": self.target.server_name or self.target.hostname},
        )
        label = f"{self.target.describe()}: {call.method} {call.path}"
        try:
            response = self._client.send(request, stream=True)
            try:
                content = self._content(response, label)
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._unreachable(error) from None
        except httpx.TimeoutException:
            raise UncertainError(
                f"{label} had no answer within {limit:g} s: look whether Portainer is busy, then run again."
            ) from None
        except httpx.TransportError as error:
            raise UncertainError(
                f"{label} lost its connection ({_reason(error)}): look whether Portainer restarted, then run again."
            ) from None
        complete = httpx.Response(
            response.status_code, headers=_plain(response.headers), content=content, request=request
        )
        if answers.is_from_a_proxy(complete):
            raise UncertainError(
                f"{label} got {complete.status_code} from a proxy in front of Portainer: look whether "
                "Portainer "
                "runs on its machine and Traefik reaches it, then run again."
            )
        return complete

    @staticmethod
    def _content(response: httpx.Response, label: str) -> bytes:
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAXIMUM_ANSWER_BYTES:
                raise ProtocolError(
                    f"{label} answered more than {MAXIMUM_ANSWER_BYTES} bytes: this is not Portainer's API."
                )
        return bytes(content)

    def _unreachable(self, error: httpx.TransportError) -> UnavailableError:
        where, reason = self.target.describe(), _reason(error)
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            detail = reason.rpartition("CERTIFICATE_VERIFY_FAILED] ")[2].partition(" (_ssl")[0]
            return UnavailableError(
                f"{where}: the certificate cannot be verified ({detail}): name the authority's "
                "certificate as "
                "portainer.api.rootFile, or the name in the certificate as portainer.api.serverName."
            )
        return UnavailableError(
            f"{where}: no connection ({reason}): look whether the gateway, Traefik and Portainer run, and "
            "whether the firewall lets this machine in."
        )

    # -- logging in
    # --------------------------------------------------------------------------------------------

    def login(self) -> None:
        """Log in now, where credentials are a name and a password and no login holds yet.

        Raises:
            AuthenticationError: the name or the password is wrong.
            LockedError: logins from this address are locked.
            PortainerError: anything else.
        """
        for attempt in range(1, self._tries):
            try:
                self._authorization()
                return
            except UnavailableError:
                self.clock.sleep(min(0.25 * 2**attempt, 5.0))
        self._authorization()

    def _authorization(self) -> dict[str, str]:
        if isinstance(self._credentials, ApiKey):
            return {"X-API-Key": self._credentials.value.get_secret_value()}
        if self._credentials is None:
            raise ProtocolError(f"{self.target.describe()}: this call needs a login, and there is none.")
        with self._lock:
            if self._token is None:
                self._token = self._new_login(self._credentials)
            return {"Authorization": f"Bearer {self._token.get_secret_value()}"}

    def _forget(self, authorization: Mapping[str, str]) -> None:
        """Drop the login that ``authorization`` used, unless another thread already replaced it."""
        with self._lock:
            token = self._token
            if token is not None and authorization["Authorization"] == f"Bearer {token.get_secret_value()}":
                self._token = None
                self.restarts += 1

    def _new_login(self, login: Login) -> SecretStr:
        where = self.target.describe()
        response = self._answer_to_login(login)
        told = answers.said(response, self.secrets)
        if response.status_code == 403:
            raise LockedError(
                f"{where}: Portainer locked logins from this address for one hour after too many of them: "
                "wait "
                "an hour, or use an API key (portainer.api.keyFile), and stop whatever keeps logging in.",
                status=403,
                said=told,
            )
        if response.status_code in {400, 401, 422}:
            raise AuthenticationError(
                f"{where}: Portainer refused the login of {login.username!r} ({told}): correct the "
                "password; it "
                "is not tried again, since wrong logins lock this address for an hour.",
                status=response.status_code,
                said=told,
            )
        if not response.is_success:
            raise answers.refusal(self.target, self.secrets, "POST", "/api/auth", response)
        answer = answers.decode(self.target, "/api/auth", response)
        token = answer.get("jwt") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise ProtocolError(f"{where}: POST /api/auth answered no token: this is not Portainer's API.")
        self.secrets.add(token)
        return SecretStr(token)

    def _answer_to_login(self, login: Login) -> httpx.Response:
        body = {"Username": login.username, "Password": login.password.get_secret_value()}
        while self.logins < MAXIMUM_LOGINS:
            # Slower with every login, so that a run cannot use up the burst of ten.
            pause = self._last_login + 1.1 * 2**self.logins - self.clock.now()
            if self.logins and pause > 0:
                self.clock.sleep(pause)
            self.logins += 1
            self._last_login = self.clock.now()
            try:
                return self._transmit(Call("POST", "/api/auth", body=body), {})
            except UnavailableError:
                # It never arrived, so that the server did not count it.
                self.logins -= 1
                raise
            except UncertainError:
                if self.logins == MAXIMUM_LOGINS:
                    raise
        raise LoginsSpentError(
            f"{self.target.describe()}: Portainer voided {self.logins} logins in one run, as it does at "
            "every "
            "restart: look why it keeps restarting (docker logs on its machine), then run again."
        )


def _plain(headers: httpx.Headers) -> list[tuple[str, str]]:
    """The headers of an answer whose body is already decoded and joined."""
    dropped = {"content-encoding", "content-length", "transfer-encoding", "set-cookie"}
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in dropped]


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
