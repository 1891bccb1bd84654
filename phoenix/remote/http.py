"""HTTP from inside a guest: what answers on its loopback, read through any transport.

curl does it where it is installed, else bash's ``/dev/tcp`` (plain http only). Requests travel on standard input, so
headers never show in a process list; answers come back whole and are parsed here.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from phoenix.errors import CommandError, InputError
from phoenix.remote.transport import Transport
from phoenix.remote.wrapping import format_seconds

NO_CLIENT = 69
"""Exit code of the script where there is neither curl nor bash (EX_UNAVAILABLE of sysexits.h)."""

# Standard input: one line a request, "<seconds> <scheme> <host> <port> <curl's configuration> <request>", the last two
# in base64. Each answer is base64 and ends with ". <exit code>". curl's options: https://curl.se/docs/manpage.html
_FETCH = f"""if command -v curl >/dev/null; then
  one() {{ printf %s "$curl" | base64 -d | curl -q -sS -i --raw --http1.1 -g --path-as-is -K - 2>/dev/null; }}
elif command -v bash >/dev/null; then
  one() {{
    [ "$scheme" = http ] || return 1
    export request
    set -- bash -c 'exec 9<>"/dev/tcp/$1/$2" && printf %s "$request" | base64 -d >&9 && cat <&9' bash "$host" "$port"
    if command -v timeout >/dev/null; then timeout "$seconds" "$@"; else "$@"; fi 2>/dev/null
  }}
else
  exit {NO_CLIENT}
fi
while read -r seconds scheme host port curl request; do
  {{ code=$( {{ {{ one; echo $? >&3; }} </dev/null | base64 >&4; }} 3>&1 ); }} 4>&1
  printf '. %s\\n' "$code"
done
"""

_CURL_ERRORS = {
    1: "the guest has no curl, and without it only http works: install curl there",
    6: "the name does not resolve in the guest",
    7: "connection refused: nothing listens there",
    28: "no answer within the time limit",
    35: "the TLS handshake failed",
    51: "the server's certificate does not fit the name",
    52: "the server closed the connection without an answer",
    56: "the connection broke while the answer came",
    58: "a certificate or key file is wrong",
    60: "the server's certificate is not trusted",
    77: "the file of trusted certificates cannot be read in the guest",
    124: "no answer within the time limit",
}


class Response(NamedTuple):
    """An HTTP answer.

    Attributes:
        status: 100 to 599.
        headers: by lower-case name; repeated ones joined by ", ".
        body: without transfer coding.
    """

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A GET request.

    Attributes:
        url: http or https, absolute.
        headers: by name; kept out of ``repr``. ``Host`` may be among them.
        timeout: limit in seconds for the whole exchange.
        connect_to: ``address:port`` to connect to in place of the URL's (curl's ``--connect-to``).
        ca_file: file of trusted certificates in the guest, for https.
        insecure: do not check the server's certificate.

    Raises:
        InputError: a part is malformed, or holds a control character.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0
    connect_to: str | None = None
    ca_file: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        for text in (self.url, *self.headers, *self.headers.values(), self.connect_to or "", self.ca_file or ""):
            if any(ord(char) < 32 or ord(char) == 127 for char in text):
                raise InputError([f"{self._shown}: a URL or header holds a control character: remove it."])
        parts = urlsplit(self.url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or " " in self.url:
            raise InputError([f"{self._shown}: not an absolute http or https URL, like http://127.0.0.1:8080/ping."])
        for name in self.headers:
            if not name or any(char in '()<>@,;:\\"/[]?={} ' or ord(char) > 126 for char in name):
                raise InputError([f"{self._shown}: {name!r} is no header name."])

    @property
    def _shown(self) -> str:
        return repr(self.url.partition("?")[0][:200])

    def line(self) -> str:
        """The request as the script's input takes it."""
        parts = urlsplit(self.url)
        address, _, port = (self.connect_to or "").rpartition(":")
        host = address.strip("[]") or parts.hostname or ""
        number = port or str(parts.port or (443 if parts.scheme == "https" else 80))
        seconds = format_seconds(self.timeout)
        return " ".join([seconds, parts.scheme, host, number, _encoded(self._curl()), _encoded(self._message())])

    def _curl(self) -> str:
        options = [("url", self.url), ("max-time", f"{self.timeout:g}"), ("proto", "=http,https"), ("noproxy", "*")]
        options += [("header", f"{name}: {value}") for name, value in self.headers.items()]
        if self.connect_to is not None:
            options.append(("connect-to", f"::{self.connect_to}"))
        if self.ca_file is not None:
            options.append(("cacert", self.ca_file))
        lines = [f'{name} = "{_escaped(value)}"' for name, value in options]
        return "\n".join([*lines, *(["insecure"] if self.insecure else [])]) + "\n"

    def _message(self) -> str:
        parts = urlsplit(self.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        names = {name.lower() for name in self.headers}
        defaults = {"Host": parts.netloc.rpartition("@")[2], "Accept": "*/*", "User-Agent": "phoenix"}
        headers = {name: value for name, value in defaults.items() if name.lower() not in names}
        headers = {**headers, **self.headers, "Connection": "close"}
        return f"GET {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"


def fetch_http(
    transport: Transport,
    url: str,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    *,
    after: tuple[str, float] = ("", 0.0),
) -> Response:
    """GET one URL from inside the guest. See :func:`fetch_many`.

    Raises:
        CommandError: no HTTP answer came.
        UnreachableError: the guest cannot be reached.
    """
    answer = fetch_many(transport, [Request(url, headers or {}, timeout)], after=after)[0]
    if isinstance(answer, CommandError):
        raise answer
    return answer


def fetch_many(
    transport: Transport, requests: Sequence[Request | str], *, after: tuple[str, float] = ("", 0.0)
) -> list[Response | CommandError]:
    """GET several URLs, one after the other, in one round trip. Redirects are not followed, proxies not used.

    Args:
        transport: the guest.
        requests: what to get, in order.
        after: a script to run there first, which leaves standard input alone, and the seconds it may take.

    Returns:
        An answer for each request, in order; a :class:`CommandError` where none came.

    Raises:
        CommandError: the guest has neither curl nor bash.
        UnreachableError: the guest cannot be reached.
    """
    wanted = [Request(request) if isinstance(request, str) else request for request in requests]
    if not wanted:
        return []
    completed = transport.run(
        after[0] + _FETCH,
        stdin="".join(request.line() + "\n" for request in wanted).encode(),
        timeout=sum(request.timeout for request in wanted) + 10 + after[1],
        check=False,
    )
    if completed.exit_code == NO_CLIENT:
        raise CommandError(
            f"{transport.description} has neither curl nor bash to ask {wanted[0].url} with: install curl."
        )
    answers = _answers(completed.stdout)
    answers += [("", 255)] * (len(wanted) - len(answers))
    return [
        _response(transport, request, encoded, code) for request, (encoded, code) in zip(wanted, answers, strict=False)
    ]


def _answers(output: bytes) -> list[tuple[str, int]]:
    answers: list[tuple[str, int]] = []
    lines: list[str] = []
    for line in output.decode("ascii", "replace").splitlines():
        if line.startswith(". "):
            code = line[2:].strip()
            answers.append(("".join(lines), int(code) if code.isdigit() else 255))
            lines = []
        else:
            lines.append(line)
    return answers


def _response(transport: Transport, request: Request, encoded: str, code: int) -> Response | CommandError:
    where = f"GET {request.url.partition('?')[0]} on {transport.description}"
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raw = b""
    if code != 0 and not (code == 1 and raw):
        return CommandError(f"{where}: {_CURL_ERRORS.get(code, f'failed with code {code}')}.")
    try:
        return _parsed(raw)
    except (http.client.HTTPException, OSError, ValueError) as error:
        return CommandError(f"{where}: the answer is not HTTP, or broke off ({type(error).__name__}).")


class _Bytes:
    """The one method of a socket that http.client reads with."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_arguments: Any, **_options: Any) -> io.BytesIO:
        return io.BytesIO(self._raw)


def _parsed(raw: bytes) -> Response:
    response = http.client.HTTPResponse(cast(socket.socket, _Bytes(raw)))
    response.begin()
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return Response(response.status, headers, response.read())


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
