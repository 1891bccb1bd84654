"""Portainer on its VM, touched only behind a right Traefik."""

from __future__ import annotations

import pulumi

from components.actions import action
from phoenix.remote import Connection


class PortainerDeployment(pulumi.ComponentResource):
    """Runs the stack's deploy command on the Portainer VM, again whenever the command changes.

    Args:
        name: the resource's name.
        connection: the Portainer VM.
        deploy_command: a POSIX shell script, such as ``docker compose up -d``.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        deploy_command: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:portainer:Deployment", name, {}, opts)
        self.deployed = action(
            f"{name}-deploy",
            connection,
            run=deploy_command,
            changes_with=deploy_command,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
