"""The shell scripts that Traefik's program is installed with, for any POSIX shell with coreutils or busybox. Pure.

The program is staged beside its place, checked by its checksum, asked for its version, proved with the configuration
it shall run, and only then renamed over the old one, which stays as ``<path>.rollback``. A rename never meets a busy
text: the running instance keeps the old file until it is restarted. A step that fails prints
``phoenix: <step>: <what the tool said>`` and exits with :data:`FAILED`.
"""

from __future__ import annotations

import shlex

from phoenix.remote.file_scripts import FAILED, ROLLBACK_SUFFIX
from phoenix.traefik.install import MODE, WantedProgram

CHECK_SECONDS = 300
"""Limit for checking and unpacking; sha256sum needs about 1.5 s for Traefik's 185 MB on a slow core."""

STALE_MINUTES = 24 * 60
"""Age after which a download that a lost connection left behind is removed."""


def observe_script(path: str, fingerprint: str, recorded: str) -> str:
    """Prints one line on what is at ``path``; the checksum is computed only where the fingerprint changed.

    Args:
        path: the program's place.
        fingerprint: what was found there last, or empty.
        recorded: the checksum that belongs to it.
    """
    return "\n".join(
        (
            f"path={shlex.quote(path)} known={shlex.quote(fingerprint)} recorded={shlex.quote(recorded)}",
            'if [ -h "$path" ]; then echo "link $(readlink -- "$path" | head -n 1)"',
            'elif [ ! -e "$path" ]; then echo absent',
            'elif [ -d "$path" ]; then echo directory',
            'elif [ ! -f "$path" ]; then echo other',
            'elif [ ! -r "$path" ]; then echo unreadable',
            "else",
            _FINGERPRINT,
            '  if [ -n "$recorded" ] && [ "$now" = "$known" ]; then sum=$recorded',
            f'  else sum=$(sha256sum <"$path") || exit {FAILED}; sum=${{sum%% *}}; fi',
            '  printf "file %s %s %s\\n" "$now" "$sum" "$(stat -c "%a %u %g %s %U %G" -- "$path")"',
            "fi",
        )
    )


_FINGERPRINT = '  now=$(TZ=UTC stat -c "%i:%s:%y:%z" -- "$path" | tr " " _)'


_FAIL = f"""fail() {{ printf 'phoenix: %s: %s\\n' "$1" "$2" >&2; exit {FAILED}; }}
"""


def _names(program: WantedProgram) -> dict[str, str]:
    directory, _, name = program.path.rpartition("/")
    directory = directory or "/"
    key = program.sha256[:16]
    return {
        "path": program.path,
        "directory": directory,
        "name": name,
        "part": f"{directory.rstrip('/')}/.{name}.phoenix-{key}.part",
        "stage": f"{directory.rstrip('/')}/.{name}.phoenix-{key}.new",
        "owner": program.owner,
        "group": program.group,
    }


def part_path(program: WantedProgram) -> str:
    """Where the source waits in the container while it is transferred."""
    return _names(program)["part"]


def stage_path(program: WantedProgram) -> str:
    """Where the new program waits, beside its place."""
    return _names(program)["stage"]


def _head(program: WantedProgram) -> str:
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in _names(program).items()) + _FAIL + "umask 077\n"


def prepare_script(program: WantedProgram) -> str:
    """Makes the directory, removes what is stale, and prints the size of what an earlier run transferred already."""
    return _head(program) + (
        f'error=$( {{ [ -d "$directory" ] || (umask 022; mkdir -p -- "$directory"); }} 2>&1 ) || fail parent "$error"\n'
        f'find "$directory" -maxdepth 1 -type f -name ".$name.phoenix-*" -mmin +{STALE_MINUTES} -delete 2>/dev/null\n'
        'stat -c %s -- "$part" 2>/dev/null || echo 0\n'
    )


def append_script(program: WantedProgram, offset: int) -> str:
    """Appends standard input to what has come so far, if that is as long as it should be."""
    opening = "" if offset else 'rm -f -- "$part"\n'
    return (
        _head(program)
        + opening
        + (
            f'[ "$(stat -c %s -- "$part" 2>/dev/null || echo 0)" = {offset:d} ] || fail transfer '
            "'somebody else transfers it at the same time'\n"
            'error=$( { cat >>"$part"; } 2>&1 ) || fail write "$error"\n'
        )
    )


def unpack_script(program: WantedProgram) -> str:
    """Checks the source, unpacks it beside the program's place, sets mode and owner, and asks it for its version.

    Prints the program's SHA-256, then what it says of itself. A source whose checksum is wrong is removed.
    """
    source = f"source={shlex.quote(program.container_file)}" if program.container_file else "source=$part"
    lines = [
        source,
        "trap 'rm -f -- \"$stage\"' EXIT",
        '[ -f "$source" ] && [ -r "$source" ] || fail source "$source is no file that can be read"',
        'sum=$(sha256sum <"$source") || fail source "$source cannot be read"',
        f'if [ "${{sum%% *}}" != {program.sha256} ]; then rm -f -- "$part"; fail checksum "${{sum%% *}}"; fi',
        'rm -f -- "$stage"',
    ]
    if program.member:
        member = shlex.quote(program.member)
        lines += [
            "command -v tar >/dev/null && command -v gzip >/dev/null || fail unpack 'there is no tar or no gzip'",
            f'tar -xzOf "$source" -- {member} >"$stage" 2>/dev/null && [ -s "$stage" ] \\',
            f'  || error=$( {{ tar -xzOf "$source" -- ./{member} >"$stage"; }} 2>&1 ) || fail unpack "$error"',
        ]
    elif program.container_file:
        lines.append('error=$(cp -- "$source" "$stage" 2>&1) || fail write "$error"')
    else:
        lines.append('error=$(mv -f -- "$part" "$stage" 2>&1) || fail write "$error"')
    if program.program_sha256 and program.member:
        lines += [
            'sum=$(sha256sum <"$stage") || fail write "$sum"',
            f'[ "${{sum%% *}}" = {program.program_sha256} ] || fail program "${{sum%% *}}"',
        ]
    elif program.member:
        lines.append('sum=$(sha256sum <"$stage") || fail write "$sum"')
    lines += [
        'sync -- "$stage" 2>/dev/null || sync',
        f'error=$(chown -- "$owner:$group" "$stage" 2>&1 && chmod {MODE} "$stage" 2>&1) || fail owner "$error"',
        'said=$("$stage" version 2>&1) || fail run "$(printf %s "$said" | head -n 1) (this machine is $(uname -m))"',
        "trap - EXIT",
        'rm -f -- "$part"',
        'printf "%s\\n%s\\n" "${sum%% *}" "$said"',
    ]
    return _head(program) + "\n".join(lines) + "\n"


def commit_script(program: WantedProgram) -> str:
    """Keeps the old program as ``<path>.rollback`` and renames the staged one over it; prints the new fingerprint."""
    return _head(program) + "\n".join(
        (
            '[ ! -h "$path" ] && [ ! -d "$path" ] || fail kind "it became a link or a directory"',
            'if [ -e "$path" ]; then',
            f'  old="$path{ROLLBACK_SUFFIX}"',
            '  error=$( { ln -f -- "$path" "$old" || cp -p -- "$path" "$old"; } 2>&1 ) || fail keep "$error"',
            "fi",
            'error=$(mv -f -- "$stage" "$path" 2>&1) || fail rename "$error"',
            'sync -- "$directory" 2>/dev/null || :',
            _FINGERPRINT.strip(),
            'printf "%s\\n" "$now"',
        )
    )


def version_script(path: str) -> str:
    """Asks the installed program for its version."""
    run = f"said=$({shlex.quote(path)} version 2>&1)"
    return _FAIL + run + ' || fail run "$(printf %s "$said" | head -n 1)"; printf "%s\\n" "$said"'


def attributes_script(program: WantedProgram) -> str:
    """Sets owner, group and mode; prints the new fingerprint."""
    return _head(program) + "\n".join(
        (
            f'error=$(chown -- "$owner:$group" "$path" 2>&1 && chmod {MODE} "$path" 2>&1) || fail owner "$error"',
            _FINGERPRINT.strip(),
            'printf "%s\\n" "$now"',
        )
    )


def discard_script(program: WantedProgram) -> str:
    """Removes the staged program."""
    return f"rm -f -- {shlex.quote(stage_path(program))}"


def rollback_script(path: str) -> str:
    """Puts the program that was replaced last back over the present one; exits 1 where none was kept."""
    kept, place = shlex.quote(path + ROLLBACK_SUFFIX), shlex.quote(path)
    return f"[ -f {kept} ] && ln -f -- {kept} {place}.back && mv -f -- {place}.back {place}"


def remove_script(path: str, sha256: str, unit_path: str) -> str:
    """Removes the program and its rollback copy, unless it was replaced or a unit still runs it.

    Prints ``removed``, ``absent``, ``replaced`` or ``used``.
    """
    place, unit = shlex.quote(path), shlex.quote(unit_path)
    return "\n".join(
        (
            f"if [ ! -e {place} ]; then echo absent; exit 0; fi",
            f"if grep -qF -- {place} {unit} 2>/dev/null; then echo used; exit 0; fi",
            f"sum=$(sha256sum <{place}) || exit {FAILED}",
            f'if [ "${{sum%% *}}" != {shlex.quote(sha256)} ]; then echo replaced; exit 0; fi',
            f"rm -f -- {place} {place}{ROLLBACK_SUFFIX} && echo removed",
        )
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def curl_configuration(url: str, output: str, seconds: int) -> str:
    """Options of curl (https://curl.se/docs/manpage.html), for its standard input, since a URL may hold a login."""
    options = (
        ("url", url),
        ("output", output),
        ("max-time", str(seconds)),
        ("connect-timeout", "15"),
        ("retry", "2"),
        ("proto", "=http,https"),
        ("proto-redir", "=http,https"),
    )
    lines = [f'{name} = "{_escaped(value)}"' for name, value in options]
    return "\n".join([*lines, "fail", "location", "silent", "show-error", "globoff"]) + "\n"


NO_CURL = "nocurl"


def download_script(program: WantedProgram) -> str:
    """Starts curl in the background with the configuration from standard input; prints its process id."""
    return _head(program) + "\n".join(
        (
            f"command -v curl >/dev/null || {{ echo {NO_CURL}; exit 0; }}",
            "configuration=$(cat)",
            'rm -f -- "$part" "$part.code" "$part.said"',
            '( printf "%s\\n" "$configuration" | curl -q -K - 2>"$part.said"; echo $? >"$part.code" ) '
            ">/dev/null 2>&1 </dev/null &",
            "echo $!",
        )
    )


def progress_script(program: WantedProgram, pid: int) -> str:
    """Prints ``done <exit code> <curl's own words>``, or ``size <bytes>`` while it goes on."""
    return _head(program) + "\n".join(
        (
            f'if [ ! -e "$part.code" ] && ! kill -0 {pid:d} 2>/dev/null; then sleep 0.2; fi',
            'if [ -s "$part.code" ]; then',
            '  printf "done %s %s\\n" "$(cat "$part.code")" "$(head -n 1 "$part.said")"',
            '  rm -f -- "$part.code" "$part.said"',
            f"elif kill -0 {pid:d} 2>/dev/null; then",
            '  printf "size %s\\n" "$(stat -c %s -- "$part" 2>/dev/null || echo 0)"',
            "else echo 'done 255 curl was ended'; fi",
        )
    )


def stop_script(program: WantedProgram, pid: int) -> str:
    """Ends a download."""
    return _head(program) + (
        f"for child in $(cat /proc/{pid:d}/task/{pid:d}/children 2>/dev/null); do kill -KILL $child 2>/dev/null; done\n"
        f'kill -KILL {pid:d} 2>/dev/null; rm -f -- "$part" "$part.code" "$part.said"; true\n'
    )
