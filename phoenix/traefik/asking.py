"""Real requests through one of Traefik's entry points, sent from inside its container; with the certificates it shows.

curl does it, or openssl where there is no curl; a minimal Debian has one or gets it with ``apt-get install curl``.
The certificate is not verified here: :mod:`phoenix.traefik.certificates` judges it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phoenix.remote import Transport
from phoenix.settings_types import listen_host

NO_CLIENT = 69
"""Exit code of the script where there is neither curl nor openssl (EX_UNAVAILABLE of sysexits.h)."""

BODY_LIMIT = 4096
"""Bytes of an answer that are brought back."""

PARALLEL = 8
"""Requests at a time."""

_HOST = re.compile(r"Host\(`([A-Za-z0-9.-]+)`\)")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Question:
    """One GET of ``/`` over TLS.

    Attributes:
        router: whose rule it shall match.
        hostname: SNI and Host header.
        host: address to connect to.
        port: its port.
    """

    router: str
    hostname: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        question: what was asked.
        status: HTTP status, or None where there was no answer.
        headers: by lower-case name.
        body: its beginning.
        chain: the certificates that were shown, PEM, the server's own first.
        error: why there was no answer.
    """

    question: Question
    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    chain: tuple[bytes, ...] = ()
    error: str = ""


# Standard input: one line a question, "<number> <host> <port> <name>". The options of curl: https://curl.se/docs/manpage.html
_SCRIPT = f"""
umask 077
client=none
if command -v curl >/dev/null; then client=curl
elif command -v openssl >/dev/null; then client=openssl
else exit {NO_CLIENT}; fi
d=$(mktemp -d) || exit 73
trap 'rm -rf "$d"' EXIT
bounded() {{ if command -v timeout >/dev/null; then timeout "$seconds" "$@"; else "$@"; fi; }}
shown() {{
  bounded openssl s_client -connect "$2:$3" -servername "$4" -showcerts </dev/null >"$d/$1.certs" 2>/dev/null
}}
one() {{
  if [ $client = curl ]; then
    (ulimit -f 4096; curl -q -sS -k -i --http1.1 -g --path-as-is --noproxy '*' --max-time "$seconds" -A phoenix-probe \\
      -o "$d/$1.answer" -w '%{{certs}}' --connect-to "::$2:$3" "https://$4/" >"$d/$1.certs" 2>"$d/$1.said")
    code=$?
    # curl shows certificates since 7.88
    grep -q BEGIN "$d/$1.certs" 2>/dev/null || ! command -v openssl >/dev/null || shown "$@"
  else
    shown "$@"
    printf '%s\\r\\n' 'GET / HTTP/1.1' "Host: $4" 'User-Agent: phoenix-probe' 'Accept: */*' 'Connection: close' '' |
      bounded openssl s_client -quiet -connect "$2:$3" -servername "$4" 2>"$d/$1.said" | head -c 65536 >"$d/$1.answer"
    [ -s "$d/$1.answer" ] && code=0 || code=1
  fi
  echo $code >"$d/$1.code"
}}
count=0
while read -r number host port name; do
  one "$number" "$host" "$port" "$name" </dev/null &
  count=$((count + 1))
  [ $((count % {PARALLEL})) = 0 ] && wait
done
wait
cd "$d" || exit 73
for file in *.code; do
  number=${{file%.code}}
  printf '%s %s\\n' "$number" "$(cat "$file")"
  for part in answer certs said; do
    case $part in answer) most={BODY_LIMIT + 8192};; certs) most=65536;; *) most=300;; esac
    printf '%s %s\\n' "$part" "$(head -c $most "$number.$part" 2>/dev/null | base64 | tr -d '\\n')"
  done
done
"""


def ask(transport: Transport, questions: Sequence[Question], seconds: int = 5) -> list[Reply] | None:
    """Ask all, some at a time, in one round trip.

    Args:
        transport: Traefik's container.
        questions: what to ask.
        seconds: limit for each.

    Returns:
        A reply for each question, in order; None where the container has neither curl nor openssl.

    Raises:
        RemoteError: the container cannot be reached.
    """
    if not questions:
        return []
    lines = [f"{number} {_address(item.host)} {item.port} {item.hostname}\n" for number, item in enumerate(questions)]
    batches = -(-len(questions) // PARALLEL)
    done = transport.run(
        f"seconds={seconds:d}\n{_SCRIPT}",
        stdin="".join(lines).encode(),
        timeout=2 * batches * seconds + 10,
        check=False,
    )
    if done.exit_code == NO_CLIENT:
        return None
    return parse(questions, done.text)


def _address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def parse(questions: Sequence[Question], output: str) -> list[Reply]:
    """The replies in the script's output; a question it says nothing of has got no answer."""
    parts: dict[int, dict[str, bytes]] = {}
    codes: dict[int, str] = {}
    number = -1
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if word.isdigit():
            number = int(word)
            codes[number], parts[number] = rest, {}
        elif number in parts:
            try:
                parts[number][word] = base64.b64decode(rest, validate=True)
            except binascii.Error:
                parts[number][word] = b""
    return [_reply(question, codes.get(index, ""), parts.get(index, {})) for index, question in enumerate(questions)]


def _reply(question: Question, code: str, parts: Mapping[str, bytes]) -> Reply:
    chain = tuple(_PEM.findall(parts.get("certs", b"")))
    head, _, body = parts.get("answer", b"").partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?", first)
    if match is None:
        said = parts.get("said", b"").decode("utf-8", "replace").strip().splitlines()
        reason = said[0].removeprefix("curl: ") if said else f"code {code or 'none'}"
        return Reply(question, None, chain=chain, error=reason)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(question, int(match[1]), headers, body[:BODY_LIMIT], chain)


def hostnames(rule: Any) -> list[str]:
    """The names in a rule's ``Host`` matchers, in order."""
    return _HOST.findall(rule) if isinstance(rule, str) else []


def questions(
    routers: Mapping[str, Any], names: Iterable[str], addresses: Mapping[str, str], *, all_hostnames: bool = False
) -> list[Question]:
    """What to ask of routers: their first host name, on the first of their entry points that has an address.

    Args:
        routers: ``http.routers``.
        names: of these.
        addresses: listen address by entry point, as the static configuration has it.
        all_hostnames: ask for every host name.
    """
    found = []
    for name in names:
        router = routers.get(name)
        if not isinstance(router, Mapping) or router.get("tls") is None:
            continue
        place = next((addresses[point] for point in router.get("entryPoints") or addresses if point in addresses), None)
        own = hostnames(router.get("rule"))
        if place is None or not own:
            continue
        host, port = listen_host(place)
        found += [Question(name, hostname, host, port) for hostname in (own if all_hostnames else own[:1])]
    return found


def entry_point_addresses(static: Any) -> dict[str, str]:
    """Listen address by entry point."""
    points = static.get("entryPoints") if isinstance(static, Mapping) else None
    return {
        str(name): str(value["address"])
        for name, value in (points.items() if isinstance(points, Mapping) else ())
        if isinstance(value, Mapping) and value.get("address")
    }


def quoted(names: Iterable[str]) -> str:
    """Names for a message: the first five."""
    listed = list(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more
