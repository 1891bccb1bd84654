"""The shell scripts that managed files are made with, for any POSIX shell with coreutils or busybox. Pure.

Each script's variable parts are assigned at its top, quoted; file content comes through standard input only. A step
that fails prints ``phoenix: <step>: <what the tool said>`` and exits with :data:`FAILED`.
"""

from __future__ import annotations

import shlex

from phoenix.remote.file_model import DesiredFile

FAILED = 73
"""Exit code of a script that stopped at one of its own checks (EX_CANTCREAT of sysexits.h)."""

ROLLBACK_SUFFIX = ".rollback"
ORPHAN_SUFFIX = ".orphan"

CONTENT_LIMIT = 4 * 1024 * 1024
"""Largest file in bytes whose content is brought over for a diff."""

FOREIGN = "somebody else has written it since"
"""What a restoring script says where another writer came between."""

STALE_MINUTES = 10
"""Age after which a staged copy that a killed run left behind is removed."""

# Standard input: one line per file, "<what is expected> <path>". Expected is a SHA-256 (bring the content when it
# differs), "-" (never bring it) or "+" (always). Each answer ends with a line that holds a single dot.
OBSERVE = f"""
while IFS= read -r line; do
  expected=${{line%% *}}; path=${{line#* }}
  if [ -h "$path" ]; then
    printf 'link %s\\n' "$(readlink -- "$path" | head -n 1)"
  elif [ ! -e "$path" ]; then
    above=${{path%/*}}
    while [ -n "$above" ] && [ ! -e "$above" ] && [ ! -h "$above" ]; do above=${{above%/*}}; done
    above=${{above:-/}}
    if [ ! -d "$above" ]; then printf 'blocked %s\\n' "$above"
    elif [ ! -x "$above" ]; then printf 'denied %s\\n' "$above"
    else echo absent; fi
  elif [ -d "$path" ]; then echo directory
  elif [ ! -f "$path" ]; then echo other
  elif [ ! -r "$path" ]; then echo unreadable
  else
    facts=$(stat -c '%a %u %g %s %U %G' -- "$path") && sum=$(sha256sum <"$path") || exit {FAILED}
    sum=${{sum%% *}}
    printf 'file %s %s\\n' "$sum" "$facts"
    rest=${{facts#* * * }}
    if [ "$expected" != - ] && [ "$expected" != "$sum" ] && [ "${{rest%% *}}" -le {CONTENT_LIMIT} ]; then
      base64 <"$path" || exit {FAILED}
    fi
  fi
  echo .
done
"""

_FAIL = f"""fail() {{ printf 'phoenix: %s: %s\\n' "$1" "$2" >&2; exit {FAILED}; }}
plain() {{
  [ ! -h "$path" ] || fail kind 'it is a symbolic link'
  [ ! -d "$path" ] || fail kind 'it is a directory'
  [ ! -e "$path" ] || [ -f "$path" ] || fail kind 'it is neither a file nor a directory'
}}
"""

_STAGE = f"""umask 077
plain
[ -d "$directory" ] || error=$( (umask 022; mkdir -p -- "$directory") 2>&1 ) || fail parent "$error"
for old in "$directory/.$name.phoenix-"*.new; do
  [ -f "$old" ] && find "$old" -type f -mmin +{STALE_MINUTES} -delete
done 2>/dev/null
trap 'rm -f -- "$stage"' EXIT
trap 'exit 143' HUP INT TERM
error=$( {{ set -C; dd bs=65536 conv=fsync >"$stage"; }} 2>&1 ) || fail write "$error"
got=$( {{ sha256sum <"$stage"; }} 2>&1 ) || fail write "$got"
[ "${{got%% *}}" = "$sum" ] || fail transfer 'the content arrived incomplete'
if [ -e "$path" ] && {{ [ -z "$owner" ] || [ -z "$group" ]; }}; then
  chown "$(stat -c %u:%g -- "$path")" "$stage" 2>/dev/null || :
fi
[ -z "$owner" ] || error=$(chown -- "$owner" "$stage" 2>&1) || fail owner "$error"
[ -z "$group" ] || error=$(chgrp -- "$group" "$stage" 2>&1) || fail group "$error"
error=$(chmod "$mode" "$stage" 2>&1) || fail mode "$error"
"""

_COMMIT = f"""plain
if [ -e "$path" ]; then
  [ ! -d "$path{ROLLBACK_SUFFIX}" ] || fail keep "$path{ROLLBACK_SUFFIX} is a directory"
  error=$( {{ ln -- "$path" "$stage.old" || cp -p -- "$path" "$stage.old"; }} 2>&1 ) || fail keep "$error"
  # another writer may have kept the same old file first: then mv refuses, and there is nothing left to do
  error=$(mv -f -- "$stage.old" "$path{ROLLBACK_SUFFIX}" 2>&1) || [ "$stage.old" -ef "$path{ROLLBACK_SUFFIX}" ] \
    || {{ rm -f -- "$stage.old"; fail keep "$error"; }}
  rm -f -- "$stage.old"
  had=kept
else
  had=new
fi
error=$(mv -f -- "$stage" "$path" 2>&1) || fail rename "$error"
trap - EXIT
sync -- "$directory" 2>/dev/null || :
echo "$had"
"""

_RESTORE = f"""plain
now=$( {{ sha256sum <"$path"; }} 2>&1 ) || fail restore "$now"
[ "${{now%% *}}" = "$sum" ] || fail restore '{FOREIGN}'
if [ "$had" = kept ]; then
  # where there is no room for a second copy, the kept one itself goes back: a rename needs none
  error=$( {{ cp -p -- "$path{ROLLBACK_SUFFIX}" "$stage" && mv -f -- "$stage" "$path"; }} 2>&1 ) \\
    || {{ rm -f -- "$stage"; error=$(mv -f -- "$path{ROLLBACK_SUFFIX}" "$path" 2>&1); }} || fail restore "$error"
else
  error=$(rm -f -- "$path" 2>&1) || fail restore "$error"
fi
sync -- "$directory" 2>/dev/null || :
"""

_ATTRIBUTES = """plain
[ -z "$owner" ] || error=$(chown -- "$owner" "$path" 2>&1) || fail owner "$error"
[ -z "$group" ] || error=$(chgrp -- "$group" "$path" 2>&1) || fail group "$error"
error=$(chmod "$mode" "$path" 2>&1) || fail mode "$error"
"""

_REMOVE = f"""kept="$path{ROLLBACK_SUFFIX}"
if [ -n "$rollback" ] && [ -f "$kept" ] && [ ! -h "$kept" ]; then
  now=$( {{ sha256sum <"$kept"; }} 2>/dev/null ) && [ "${{now%% *}}" = "$rollback" ] && rm -f -- "$kept" 2>/dev/null
fi
if [ -h "$path" ] || {{ [ -e "$path" ] && [ ! -f "$path" ]; }}; then echo foreign; exit 0; fi
if [ ! -e "$path" ]; then echo absent; exit 0; fi
now=$( {{ sha256sum <"$path"; }} 2>&1 ) || fail remove "$now"
if [ "${{now%% *}}" = "$sum" ]; then
  error=$(rm -f -- "$path" 2>&1) || fail remove "$error"
  echo removed
else
  [ ! -d "$path{ORPHAN_SUFFIX}" ] || fail remove "$path{ORPHAN_SUFFIX} is a directory"
  error=$(mv -f -- "$path" "$path{ORPHAN_SUFFIX}" 2>&1) || fail remove "$error"
  echo orphaned
fi
sync -- "$directory" 2>/dev/null || :
"""


def staged_path(path: str, token: str) -> str:
    """Where the content waits: hidden, beside the target, with an ending that no configuration directory loads."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}.phoenix-{token}.new"


def _variables(path: str, token: str, sha256: str) -> str:
    directory, _, name = path.rpartition("/")
    values = {
        "path": path,
        "directory": directory or "/",
        "name": name,
        "stage": staged_path(path, token),
        "sum": sha256,
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def _wanted(desired: DesiredFile) -> str:
    return f"mode={desired.mode}\nowner={desired.owner or ''}\ngroup={desired.group or ''}\n"


def stage_script(desired: DesiredFile, token: str) -> str:
    """Write standard input beside the target and leave it there."""
    return _variables(desired.path, token, desired.sha256) + _wanted(desired) + _FAIL + _STAGE + "trap - EXIT\n"


def commit_script(desired: DesiredFile, token: str) -> str:
    """Keep the old file and rename the staged one over the target; prints ``kept`` or ``new``."""
    trap = "trap 'rm -f -- \"$stage\"' EXIT\n"
    return _variables(desired.path, token, desired.sha256) + _FAIL + trap + _COMMIT


def put_script(desired: DesiredFile, token: str) -> str:
    """Stage and commit in one."""
    return _variables(desired.path, token, desired.sha256) + _wanted(desired) + _FAIL + _STAGE + _COMMIT


def restore_script(desired: DesiredFile, token: str, *, kept: bool) -> str:
    """Put the rollback copy back, or remove the file where there was none."""
    had = "had=kept\n" if kept else "had=new\n"
    return _variables(desired.path, token, desired.sha256) + had + _FAIL + _RESTORE


def discard_script(desired: DesiredFile, token: str) -> str:
    """Remove the staged copy."""
    return f"rm -f -- {shlex.quote(staged_path(desired.path, token))}\n"


def attributes_script(desired: DesiredFile) -> str:
    """Change owner, group and mode of the target."""
    return _variables(desired.path, "-", "") + _wanted(desired) + _FAIL + _ATTRIBUTES


def remove_script(path: str, sha256: str, rollback_sha256: str) -> str:
    """Remove the target if its content is still `sha256`, else move it aside; the rollback copy likewise."""
    return _variables(path, "-", sha256) + f"rollback={rollback_sha256}\n" + _FAIL + _REMOVE
