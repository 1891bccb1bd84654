"""Traefik's static configuration as a resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from phoenix.configuration import Configuration
from phoenix.remote import Connection, Transport
from phoenix.remote.remote_file import RemoteFile, RemoteFileProvider
from phoenix.settings import TraefikSettings
from phoenix.traefik.prove import prove
from phoenix.traefik.push import parsed


class StaticFileProvider(RemoteFileProvider):
    """Proves the staged file with a second instance before it takes the old one's place."""

    def validate(self, transport: Transport, props: Mapping[str, Any], staged_path: str) -> None:
        """Boot the installed Traefik with the candidate.

        Raises:
            TraefikError: Traefik does not start with it.
        """
        prove(transport, props["binary"], parsed(props["content"]), None, user=props.get("user") or "root")


def file_owner(connection: Connection) -> str:
    """Who owns managed files: root, or the account we log in as where that may not give files away."""
    return "root" if connection.sudo or connection.transport not in ("ssh", "local") else connection.user


def file_group(connection: Connection, traefik: TraefikSettings) -> str:
    """The group that may read them: Traefik's."""
    del connection
    return traefik.group


class TraefikStaticConfig(pulumi.ComponentResource):
    """``traefik.yml``.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        traefik: where the file lies.
        configuration: what it holds.

    Attributes:
        file: the managed file.
        digest: SHA-256 of its content, hex; what restarts Traefik when it changes.
    """

    digest: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        connection: Connection,
        traefik: TraefikSettings,
        configuration: Configuration,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:StaticConfig", name, {}, opts)
        self.file = RemoteFile(
            f"{name}-file",
            connection=connection,
            path=traefik.static_path,
            content=configuration.static_text,
            mode="0644",
            owner=file_owner(connection),
            group=file_group(connection, traefik),
            provider=StaticFileProvider(),
            properties={"binary": traefik.binary, "user": traefik.user},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.digest = self.file.sha256
        self.register_outputs({"digest": self.digest})
