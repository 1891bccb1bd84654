"""Host keys as ``pulumi_command`` wants them: always one public key, never unchecked."""

from __future__ import annotations

from pathlib import Path

from phoenix.errors import InputError
from phoenix.remote.connection import Connection, Jump

_PREFERENCE = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


def host_key_of(hop: Connection | Jump) -> str:
    """The server's public key line, from the connection or from its known_hosts file.

    The official provider then accepts this one key's algorithm only, so of several keys the most modern is taken:
    servers refuse ``ssh-rsa`` since OpenSSH 8.8.

    Raises:
        InputError: the file cannot be read or does not know the host.
    """
    if hop.host_key is not None:
        return hop.host_key
    import asyncssh

    path = Path(hop.known_hosts_file or "").expanduser()
    host = hop.host or ""
    try:
        known = asyncssh.read_known_hosts(str(path))
    except (OSError, ValueError) as error:
        raise InputError(
            [f"{path}: the known_hosts file cannot be read ({error}): name another, or set hostKey."]
        ) from None
    trusted = asyncssh.match_known_hosts(known, host, "", hop.port)[0]
    keys = {key.get_algorithm(): key.export_public_key("openssh").decode().strip() for key in trusted}
    for algorithm in (*_PREFERENCE, *sorted(keys)):
        if algorithm in keys:
            return " ".join(keys[algorithm].split()[:2])
    raise InputError(
        [
            f"{path}: it holds no key of {hop.address}: add what `ssh-keyscan -p {hop.port} {host}` prints, "
            "once you trust it."
        ]
    )
