"""OpenSSH's own sshd as the lab's SSH server, one for each host, as root or not."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
from pathlib import Path

_SEARCH = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/usr/local/bin"
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)
_NO_LOGIN = {"nologin", "false", "true", "sync"}


def find() -> Path | None:
    """Where sshd is installed, on PATH or in the directories of system programs."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{_SEARCH}")
    return Path(found) if found else None


def refusal() -> str | None:
    """Why sshd would let nobody in as this user, or None: it starts every command through the login shell."""
    try:
        shell = pwd.getpwuid(os.getuid()).pw_shell
    except KeyError:
        return f"user id {os.getuid()} has no entry in the user database"
    if Path(shell).name in _NO_LOGIN or not os.access(shell or "/bin/sh", os.X_OK):
        return f"the login shell {shell} lets nobody in"
    return None


def session_script(root: Path, marker: str) -> str:
    """The program that every session runs in: it sets the host's PATH and home, then does what was asked.

    A login shell may change PATH in its start-up files; this comes after it.

    Args:
        root: the host's directory.
        marker: ``NAME=value``, put into the environment so that the lab finds its sessions.
    """
    path = f"{root / 'bin'}:{root / 'usr/local/bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return f"""#!/bin/sh
export {shlex.quote(marker)}
export PATH={shlex.quote(path)}
export HOME={shlex.quote(str(root / "root"))}
cd "$HOME" || exit 1
if [ -n "$SSH_ORIGINAL_COMMAND" ]; then
    command=$SSH_ORIGINAL_COMMAND
    unset SSH_ORIGINAL_COMMAND
    exec /bin/sh -c "$command"
fi
exec "${{SHELL:-/bin/sh}}"
"""


def configuration(address: str, port: int, host_key: Path, authorized_keys: Path, session: Path, pid_file: Path) -> str:
    """sshd_config(5) of one host.

    ``StrictModes no``: the lab may lie below a directory that others can write to; its own files are 0600.
    """
    sftp = next((path for path in _SFTP_SERVERS if Path(path).exists()), None)

    def quoted(path: Path) -> str:
        return f'"{path}"'

    lines = [
        f"ListenAddress {address}:{port}",
        f"HostKey {quoted(host_key)}",
        f"AuthorizedKeysFile {quoted(authorized_keys)}",
        f"PidFile {quoted(pid_file)}",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PubkeyAuthentication yes",
        "PermitRootLogin prohibit-password",
        "PermitUserEnvironment no",
        "PrintMotd no",
        "UseDNS no",
        "X11Forwarding no",
        "AllowTcpForwarding yes",
        "MaxSessions 200",
        "MaxStartups 200",
        "LogLevel VERBOSE",
        f"ForceCommand {shlex.quote(str(session))}",
    ]
    if sftp:
        lines.append(f"Subsystem sftp {sftp}")
    return "\n".join(lines) + "\n"


def prepare_privilege_separation() -> None:
    """As root, sshd wants an empty directory of root's; Debian's unit makes it, and no unit started us."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
