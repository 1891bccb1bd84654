"""Whom to trust and how to log in, as asyncssh takes it; and why a connection failed, as people read it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from phoenix.errors import UnreachableError
from phoenix.remote.connection import Connection, Jump
from phoenix.remote.transport import first_line
from phoenix.ssh_library import asyncssh


def trusted(hop: Connection | Jump, what: str) -> Any:
    """Return asyncssh's ``known_hosts``: the one trusted key, or the file's path."""
    if hop.host_key is not None:
        try:
            return ([asyncssh.import_public_key(hop.host_key)], [], [])
        except asyncssh.KeyImportError as error:
            raise UnreachableError(
                f"{what}: its hostKey is no public key ({error}): copy the line that `ssh-keyscan` prints."
            ) from None
    path = Path(hop.known_hosts_file or "").expanduser()
    if not os.access(path, os.R_OK):
        raise UnreachableError(
            f"{what}: knownHostsFile {path} does not exist or cannot be read: "
            f"write it with `ssh-keyscan -p {hop.port} {hop.host}`, or give hostKey."
        )
    return str(path)


def keys(hop: Connection | Jump, what: str) -> list[asyncssh.SSHKey]:
    """Read the private key a hop names; its text never reaches a message."""
    if hop.private_key is not None:
        name, text = "privateKey", hop.private_key.get_secret_value().encode()
        if not text.endswith(b"\n"):
            text += b"\n"
    elif hop.private_key_file is not None:
        path = Path(hop.private_key_file).expanduser()
        name = f"privateKeyFile {path}"
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UnreachableError(
                f"{what}: {name} cannot be read ({error.strerror}): correct the path or its permissions."
            ) from None
    else:
        return []
    try:
        return [asyncssh.import_private_key(text)]
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        remedy = (
            "put it into an SSH agent and set agent: true"
            if "passphrase" in str(error).lower() or isinstance(error, asyncssh.KeyEncryptionError)
            else "give a private key in OpenSSH or PEM form"
        )
        raise UnreachableError(f"{what}: {name} cannot be used as a key: {remedy}.") from None


def agent_socket(hop: Connection | Jump, what: str) -> str | None:
    """Return the agent's socket; without a live one a configured key must do."""
    path = os.environ.get("SSH_AUTH_SOCK", "")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            probe.connect(path)
    except OSError:
        if hop.private_key is not None or hop.private_key_file is not None:
            return None
        found = f"SSH_AUTH_SOCK={path} does not answer" if path else "SSH_AUTH_SOCK is not set"
        raise UnreachableError(
            f"{what}: agent is true, but {found}: start ssh-agent and ssh-add the key, or set privateKeyFile."
        ) from None
    return path


def explain(what: str, hop: Connection | Jump, error: Exception, limit: float) -> str:
    """Turn a failed connection attempt into one sentence with its remedy."""
    source = "hostKey" if hop.host_key is not None else f"knownHostsFile {hop.known_hosts_file}"
    scan = f"`ssh-keyscan -p {hop.port} {hop.host}`"
    match error:
        case asyncssh.HostKeyNotVerifiable():
            problem = (
                f"the server's host key is not the one in {source}: if the server was installed anew, "
                f"take its key with {scan}; if not, something else answers there"
            )
        case asyncssh.KeyExchangeFailed() if "host key" in str(error):
            problem = (
                f"the server has no host key of the kind that {source} holds: take another of its keys with {scan}"
            )
        case asyncssh.PermissionDenied():
            problem = (
                f"the server does not let {hop.user} in with the key it was offered: "
                "add the public key to authorized_keys there, or correct user or the private key"
            )
        case TimeoutError():
            problem = f"no answer within {limit:g} s: check address, firewall and sshd, or raise connectTimeout"
        case ConnectionRefusedError():
            problem = f"connection refused: nothing listens on port {hop.port}; start sshd or correct port"
        case socket.gaierror():
            problem = f"the name {hop.host} does not resolve: correct host, or use an address"
        case _:
            problem = f"cannot connect ({reason(error)}): check that an SSH server runs there"
    return f"{what}: {problem}."


def reason(error: Exception | None) -> str:
    """What an error says, in a line."""
    if error is None:
        return "the connection was closed"
    return first_line(str(error).encode()) or type(error).__name__
