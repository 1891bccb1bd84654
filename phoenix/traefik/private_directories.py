"""Traefik's account and the directories that are its alone: state, with the ACME storage, and logs. Pure.

Without them a running Traefik can renew no certificate, and a restarted one does not start.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

MODE = "750"
KEY = "private"

# Prints "private-<number>=<what is wrong>" for each directory in "$@", and "private-0=" for the account.
_LOOK = f"""
private_look() {{
  id -u "$user" >/dev/null 2>&1 || echo '{KEY}-0=does not exist'
  number=0
  for place in "$@"; do
    number=$((number + 1)); wrong=
    if [ ! -d "$place" ]; then wrong='is missing'
    else
      set -- $(stat -L -c '%a %U' -- "$place" 2>/dev/null)
      [ "${{1:-{MODE}}}" = {MODE} ] || wrong="has the mode $1, not 0{MODE}"
      [ "$(id -u)" != 0 ] || [ "${{2:-$user}}" = "$user" ] || wrong="${{wrong:+$wrong and }}belongs to $2, not to $user"
    fi
    [ -z "$wrong" ] || echo "{KEY}-$number=$wrong"
  done
}}
"""

_MEND = f"""
getent group "$group" >/dev/null || groupadd --system "$group"
id -u "$user" >/dev/null 2>&1 || useradd --system --gid "$group" --no-create-home --home-dir / \\
  --shell /usr/sbin/nologin "$user"
private_mend() {{
  for place in "$@"; do
    mkdir -p -- "$place"
    [ "$(stat -L -c %a -- "$place")" = {MODE} ] || chmod 0{MODE} -- "$place"
    [ "$(id -u)" != 0 ] || [ "$(stat -L -c %U -- "$place")" = "$user" ] || chown "$user:$group" -- "$place"
  done
}}
"""


def look_script(user: str, directories: Sequence[str]) -> str:
    """Prints a line for each thing that is not as it shall be; nothing where no account is given."""
    if not user:
        return ""
    return f"user={shlex.quote(user)}\n{_LOOK}private_look {shlex.join(directories)}\n"


def mend_script(user: str, group: str, directories: Sequence[str]) -> str:
    """Makes what is missing, and sets mode and owner where they are wrong; what lies in a directory is not touched."""
    if not user:
        return ""
    return f"user={shlex.quote(user)}\ngroup={shlex.quote(group)}\n{_MEND}private_mend {shlex.join(directories)}\n"


def problems(user: str, directories: Sequence[str], values: Mapping[str, str]) -> Iterator[str]:
    """Phrases for what :func:`look_script` printed.

    Args:
        user: the account.
        directories: as they were given.
        values: key → text.
    """
    for number, what in enumerate((f"the account {user}", *directories)):
        if wrong := values.get(f"{KEY}-{number}"):
            yield f"{what} {wrong}"
