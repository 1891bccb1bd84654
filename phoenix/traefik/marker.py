"""Waiting on the target for a revision's marker: one round trip, and one small answer of Traefik's a look.

What follows compares all of ``/api/rawdata``, which is a megabyte at a thousand routes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from phoenix.remote import Transport
from phoenix.traefik.dynamic import REVISION_PREFIX, revision

_WAIT = """
command -v curl >/dev/null || exit 0
end=$(($(date +%s) + {seconds}))
while :; do
  curl -q -s -f -g -o /dev/null --noproxy '*' --max-time 2 {url} && exit 0
  {unless}[ "$(date +%s)" -lt "$end" ] || exit 0
  sleep 0.02 2>/dev/null || sleep 1
done
"""

_UNLESS = """kill -0 {pid:d} 2>/dev/null || exit 0
  grep -v -i acme {log} 2>/dev/null | grep -q -e ' ERR ' -e ' FTL ' && exit 0
  """


def wait_script(url: str, seconds: int, *, pid: int = 0, log: str = "") -> str:
    """Returns once ``url`` answers, or there is nothing more to wait for; exits 0 in any case.

    Args:
        url: of the marker in Traefik's API.
        seconds: the longest wait.
        pid: of an instance that may end meanwhile; 0 for one that systemd looks after.
        log: its log, where an error is told.
    """
    unless = _UNLESS.format(pid=pid, log=shlex.quote(log)) if pid else ""
    return _WAIT.format(seconds=int(seconds), url=shlex.quote(url), unless=unless)


def wait_for_marker(
    transport: Transport, api_url: str, intended: Mapping[str, Any], seconds: float, *, pid: int = 0, log: str = ""
) -> None:
    """Wait until an instance shows the marker of ``intended``, or will not; the comparison that follows tells which.

    Raises:
        RemoteError: the target cannot be reached.
    """
    mark = revision(intended)
    if mark is not None:
        url = f"{api_url}/api/http/middlewares/{quote(REVISION_PREFIX + mark)}@file"
        transport.run(wait_script(url, int(seconds), pid=pid, log=log), check=False, timeout=seconds + 10)
