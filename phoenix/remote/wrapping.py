"""The command lines that carry a script to a guest. Pure.

Every script runs under one small bootstrap that

* marks where the script's own output begins, so that what a login shell prints first is dropped, and so that a
  command that never reached the guest is told from one that failed there;
* bounds the time on the target with ``timeout`` where that exists;
* fixes the locale, and completes a bare ``PATH``.
"""

from __future__ import annotations

import shlex

from phoenix.errors import InputError
from phoenix.remote.connection import Connection

MARK = b"\x1ephoenix\x1e"
"""Written to both outputs before the script starts."""

KILL_GRACE = 5
"""Seconds between TERM and KILL on the target, once a limit is reached."""

SCRIPT_LIMIT = 100_000
"""Longest script in bytes: Linux takes 131,072 for one argument (execve(2), MAX_ARG_STRLEN)."""

_ENVIRONMENT = (
    'PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"; LC_ALL=C; export PATH LC_ALL\n'
)

# A timeout(1) that is a link belongs to a multi-call binary like busybox, whose older versions have no -k.
_BOUNDED = (
    "if t=$(command -v timeout); then\n"
    '  [ -h "$t" ] && exec timeout -s KILL "$2" sh -c "$1"\n'
    f'  exec timeout -k {KILL_GRACE} "$2" sh -c "$1"\n'
    "fi\n"
    'exec sh -c "$1"\n'
)

# A worker stays, and runs one script after the other, each in a shell of its own. Standard input holds for each a line
# "<token> <bytes of script> <bytes of input> <seconds>", the script, and its input; "<token> ping" asks for a sign of
# life. Both outputs hold for each the token, what the script wrote, and the token with the exit code. What a script
# leaves unread of its input is thrown away, and its output is passed on by cat until nobody holds it any more, so that
# no script gets in the way of the next. All depends on a head that reads no byte too many: that is tried first.
WORKER = (
    _ENVIRONMENT
    + """rest=$(printf abcdef | { head -c 3 >/dev/null 2>&1; cat; })
[ "$rest" = def ] || { printf '\\036phoenix-no\\036'; exit 0; }
if t=$(command -v timeout); then
  if [ -h "$t" ]; then bounded() { timeout -s KILL "$seconds" sh -c "$script"; }
  else bounded() { timeout -k GRACE "$seconds" sh -c "$script"; }; fi
else
  bounded() { sh -c "$script"; }
fi
both() { printf "$@"; printf "$@" >&2; }
one() {
  if [ "$input" = 0 ]; then bounded </dev/null
  else head -c "$input" | { bounded; code=$?; cat >/dev/null; exit $code; }; fi
}
both '\\036phoenix\\036'
while IFS=' ' read -r token size input seconds; do
  if [ "$size" = ping ]; then both '\\036%s 0\\036' "$token"; continue; fi
  script=$(head -c "$size"; echo .)
  script=${script%.}
  both '\\036%s\\036' "$token"
  { code=$( { { { one 3>&- 4>&- 5>&-; echo $? >&3; } | cat >&4; } 2>&1 | cat >&5; } 3>&1 ); } 4>&1 5>&2
  both '\\036%s %s\\036' "$token" "$code"
done
""".replace("GRACE", str(KILL_GRACE))
)

NO_WORKER = b"\x1ephoenix-no\x1e"
"""Written in place of :data:`MARK` by a worker whose target has no ``head`` that reads exactly."""

BOOTSTRAP = _ENVIRONMENT + r"printf '\036phoenix\036'; printf '\036phoenix\036' >&2" + "\n" + _BOUNDED

# The guest agent's channel carries text; base64 makes all three streams safe. The exit code travels on descriptor 3.
QEMU_BOOTSTRAP = (
    _ENVIRONMENT
    + '{ code=$( { { { base64 -d | sh -c "$3" sh "$1" "$2" 3>&- 4>&- 5>&-; echo $? >&3; } | base64 >&4; } 2>&1'
    " | base64 >&5; } 3>&1 ); } 4>&1 5>&2\n"
    "exit $code\n"
)

# perl and JSON::PP are part of every Proxmox VE host.
_QEMU_ANSWER = (
    "local $/; my $a = eval { JSON::PP::decode_json(scalar(<STDIN>) // q()) };"
    " exit 255 unless ref $a eq q(HASH);"
    " binmode STDOUT; binmode STDERR;"
    " print STDOUT $a->{q(out-data)} // q(); print STDERR $a->{q(err-data)} // q();"
    " exit($a->{exitcode} // 128 + ($a->{signal} // 127));"
)


def check_script(script: str) -> None:
    """Refuse what no command line can carry.

    Raises:
        InputError: the script holds a NUL, or is longer than :data:`SCRIPT_LIMIT`.
    """
    if "\0" in script:
        raise InputError(["A remote script holds a NUL byte: pass binary data through stdin."])
    size = len(script.encode())
    if size > SCRIPT_LIMIT:
        raise InputError(
            [f"A remote script of {size} bytes is over the limit of {SCRIPT_LIMIT}: pass its data through stdin."]
        )


def guest_arguments(connection: Connection, script: str, seconds: float) -> list[str]:
    """Return the argument list that the first hop executes for `script` (not for the qm transports)."""
    return _enter(connection, ["sh", "-c", BOOTSTRAP, "sh", script, format_seconds(seconds)])


def worker_arguments(connection: Connection) -> list[str]:
    """Return the argument list that starts a worker (not for the qm transports)."""
    return _enter(connection, ["sh", "-c", WORKER])


def _enter(connection: Connection, inner: list[str]) -> list[str]:
    if connection.transport in ("pct", "pct-over-ssh"):
        inner = ["pct", "exec", str(connection.guest), "--", *inner]
    return [*sudo_prefix(connection), *inner]


def qemu_arguments(connection: Connection, script: str, seconds: float, *, with_stdin: bool) -> list[str]:
    """Return the ``qm guest exec`` argument list (https://pve.proxmox.com/pve-docs/qm.1.html)."""
    limit = int(seconds) + KILL_GRACE + 10
    return [
        *sudo_prefix(connection),
        *("qm", "guest", "exec", str(connection.guest), "--pass-stdin", "1" if with_stdin else "0"),
        *("--timeout", str(limit), "--", "sh", "-c", QEMU_BOOTSTRAP, "sh", script, format_seconds(seconds)),
        _BOUNDED,
    ]


def wrap_command(connection: Connection, script: str, *, timeout: float | None = None) -> str:
    """Return the command line that carries `script` to the guest, for whoever runs it on ``connection.host``.

    Made for ``pulumi_command``: with transport ``ssh`` (or ``local``), without sudo and without a limit, that is the
    script itself. The exit code, both outputs and stdin (up to 1 MiB for ``qm``) are those of the script.

    Args:
        connection: where the script shall run.
        script: a POSIX shell script without secrets; at most :data:`SCRIPT_LIMIT` bytes.
        timeout: limit in seconds, enforced in the guest by ``timeout``.
    """
    check_script(script)
    plain = connection.transport in ("ssh", "local")
    if plain and not connection.sudo and timeout is None:
        return script
    command = ["sh", "-c", script]
    if timeout is not None:
        command = ["sh", "-c", _BOUNDED, "sh", script, format_seconds(timeout)]
    if connection.transport in ("pct", "pct-over-ssh"):
        command = ["pct", "exec", str(connection.guest), "--", *command]
    if connection.transport in ("qm", "qm-over-ssh"):
        limit = 0 if timeout is None else int(timeout) + KILL_GRACE + 10
        options = ["--pass-stdin", "1", "--timeout", str(limit)]
        command = ["qm", "guest", "exec", str(connection.guest), *options, "--", *command]
        reader = shlex.join(["perl", "-MJSON::PP", "-e", _QEMU_ANSWER])
        return f"{shlex.join([*sudo_prefix(connection), *command])} | {reader}"
    return shlex.join([*sudo_prefix(connection), *command])


def sudo_prefix(connection: Connection) -> list[str]:
    """``sudo -n --`` where the connection asks for it."""
    return ["sudo", "-n", "--"] if connection.sudo else []


def after_mark(output: bytes) -> bytes | None:
    """Return what the script itself wrote, or None where the script never started."""
    before, mark, rest = output.partition(MARK)
    del before
    return rest if mark else None


def format_seconds(seconds: float) -> str:
    """A duration as ``timeout`` takes it: whole seconds, rounded up (busybox knows no fractions)."""
    whole = int(seconds)
    return str(whole if whole == seconds else whole + 1)
