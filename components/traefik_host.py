"""What Traefik needs in its container before its files come: an account and directories."""

from __future__ import annotations

import shlex

import pulumi

from components.actions import action
from phoenix.remote import Connection
from phoenix.settings import TraefikSettings


def prepare_script(traefik: TraefikSettings) -> str:
    """A script that makes account and directories where they are missing, and sets their mode and owner.

    The state directory holds the ACME storage, so it is for Traefik's user alone; the storage itself is never touched.
    """
    user, group = shlex.quote(traefik.user), shlex.quote(traefik.group)
    config = shlex.quote(traefik.config_directory)
    dynamic = shlex.quote(f"{traefik.config_directory}/dynamic")
    units = shlex.quote(traefik.unit_directory)
    private = " ".join(shlex.quote(path) for path in (traefik.state_directory, traefik.log_directory))
    return "\n".join(
        (
            "set -eu",
            f"getent group {group} >/dev/null || groupadd --system {group}",
            f"id -u {user} >/dev/null 2>&1 || useradd --system --gid {group} --no-create-home "
            f"--home-dir / --shell /usr/sbin/nologin {user}",
            f"mkdir -p {config} {dynamic} {units}",
            f"mkdir -p {private}",
            f"chmod 0750 {private}",
            f'if [ "$(id -u)" = 0 ]; then chown {user}:{group} {private}; fi',
        )
    )


class TraefikHost(pulumi.ComponentResource):
    """Account and directories. They stay when the stack goes: the state directory holds certificates.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        traefik: account and directories.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        traefik: TraefikSettings,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:Host", name, {}, opts)
        self.prepared = action(
            f"{name}-prepare",
            connection,
            run=prepare_script(traefik),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
