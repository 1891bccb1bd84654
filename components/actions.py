"""Actions on a target as ``pulumi_command`` resources, whichever way the target is reached.

Rules that the official provider's behaviour asks for: ``host_key`` always set; no ``triggers`` (a changed one
replaces, and the old ``delete`` would then run after the new ``create``), a change comes in through ``stdin``
instead; output is not handed to the next run; every command has a limit on the target's side.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_command import local, remote

from components.host_keys import host_key_of
from phoenix.errors import InputError
from phoenix.remote import wrap_command
from phoenix.remote.connection import OVER_SSH, Connection, Jump

DIAL_ATTEMPTS = 3
SECONDS_TO_DIAL = 5


def action(
    name: str,
    connection: Connection,
    *,
    run: str,
    delete: str | None = None,
    changes_with: pulumi.Input[str] = "",
    opts: pulumi.ResourceOptions | None = None,
) -> pulumi.CustomResource:
    """Run a script on a target when it is first needed, and again whenever ``changes_with`` changes.

    Args:
        name: the resource's name.
        connection: the target.
        run: a POSIX shell script without secrets; it may read ``changes_with`` on stdin and need not.
        delete: script for when the resource goes.
        changes_with: what the action depends on, for example a file's digest.
        opts: resource options.
    """
    limit = connection.command_timeout
    # The script must not lose its stdin's end by never reading it: the writer would see a broken pipe.
    create = wrap_command(connection, f"cat >/dev/null\n{run}", timeout=limit)
    remove = wrap_command(connection, delete, timeout=limit) if delete else None
    if connection.transport not in OVER_SSH:
        return local.Command(
            name,
            create=create,
            update=create,
            delete=remove,
            stdin=changes_with,
            add_previous_output_in_env=False,
            opts=opts,
        )
    return remote.Command(
        name,
        connection=connection_args(connection),
        create=create,
        update=create,
        delete=remove,
        stdin=changes_with,
        add_previous_output_in_env=False,
        opts=opts,
    )


def connection_args(connection: Connection) -> pulumi.Output[remote.ConnectionArgs]:
    """A connection as ``pulumi_command`` wants it; a secret as a whole, since it may hold a key."""
    if connection.host is None:
        raise InputError([f"{connection.description}: pulumi_command needs a host: use a transport over ssh."])
    return pulumi.Output.secret(
        remote.ConnectionArgs(
            host=connection.host,
            port=connection.port,
            user=connection.user,
            private_key=private_key(connection),
            host_key=host_key_of(connection),
            agent_socket_path=None,
            dial_error_limit=DIAL_ATTEMPTS - 1,
            per_dial_timeout=SECONDS_TO_DIAL,
            proxy=_proxy(connection.jump, private_key(connection)) if connection.jump else None,
        )
    )


def _proxy(jump: Jump, targets_key: str | None) -> remote.ProxyConnectionArgs:
    if jump.host is None:
        raise InputError(["the jump host has no host: add one."])
    return remote.ProxyConnectionArgs(
        host=jump.host,
        port=jump.port,
        user=jump.user,
        private_key=private_key(jump) or targets_key,
        host_key=host_key_of(jump),
        dial_error_limit=DIAL_ATTEMPTS - 1,
        per_dial_timeout=SECONDS_TO_DIAL,
    )


def private_key(hop: Connection | Jump) -> str | None:
    """The private key's text: from the connection itself or from its file; None leaves it to the agent.

    Raises:
        InputError: the file cannot be read.
    """
    from pathlib import Path

    if hop.private_key is not None:
        return hop.private_key.get_secret_value()
    if hop.private_key_file is None:
        return None
    path = Path(hop.private_key_file).expanduser()
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(
            [f"{path}: the private key for {hop.address} cannot be read ({reason}): name another."]
        ) from None


def depends_on(*resources: pulumi.Resource | None) -> Sequence[pulumi.Resource]:
    """The resources that are there."""
    return [resource for resource in resources if resource is not None]
