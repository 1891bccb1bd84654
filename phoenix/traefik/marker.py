"""Waiting on the target for a revision's marker: no round trip of its own, and one small answer of Traefik's a look.

What follows in the same script asks for all of ``/api/rawdata``, which is a megabyte at a thousand routes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from phoenix.traefik.dynamic import REVISION_PREFIX, revision

_WAIT = """
if command -v curl >/dev/null; then
  end=$(($(date +%s) + {seconds}))
  until curl -q -s -f -g -o /dev/null --noproxy '*' --max-time 2 {url} </dev/null; do
    {unless}[ "$(date +%s)" -lt "$end" ] || break
    sleep 0.02 2>/dev/null || sleep 1
  done
fi
"""

_UNLESS = """kill -0 {pid:d} 2>/dev/null || break
    grep -v -i acme {log} 2>/dev/null | grep -q -e ' ERR ' -e ' FTL ' && break
    """


def wait_script(url: str, seconds: int, *, pid: int = 0, log: str = "") -> str:
    """Goes on once ``url`` answers, or there is nothing more to wait for.

    Args:
        url: of the marker in Traefik's API.
        seconds: the longest wait.
        pid: of an instance that may end meanwhile; 0 for one that systemd looks after.
        log: its log, where an error is told.
    """
    unless = _UNLESS.format(pid=pid, log=shlex.quote(log)) if pid else ""
    return _WAIT.format(seconds=int(seconds), url=shlex.quote(url), unless=unless)


def waiting_for(
    api_url: str, intended: Mapping[str, Any], seconds: float, *, pid: int = 0, log: str = ""
) -> tuple[str, float]:
    """The script that waits until an instance shows the marker of ``intended``, or will not, and its limit in seconds.

    The comparison that follows tells which.
    """
    mark = revision(intended)
    if mark is None:
        return "", 0.0
    url = f"{api_url}/api/http/middlewares/{quote(REVISION_PREFIX + mark)}@file"
    return wait_script(url, int(seconds), pid=pid, log=log), seconds
