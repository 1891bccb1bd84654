"""Traefik's dynamic configuration as a resource: nothing goes live that Traefik would not serve."""

from __future__ import annotations

from typing import Any

import pulumi

from components.routers_gate import api_url
from components.traefik_static import file_group, file_owner
from phoenix.configuration import Configuration
from phoenix.remote import Connection, Transport, open_transport
from phoenix.remote.files import Decision
from phoenix.remote.properties import say
from phoenix.remote.remote_file import RemoteFile, RemoteFileProvider
from phoenix.settings import Settings
from phoenix.traefik import service
from phoenix.traefik.push import Push, remember

_PUSH = "push"


class DynamicFileProvider(RemoteFileProvider):
    """Proves the staged file with a second instance, and after the rename follows it until clients get it.

    Where either fails, the file on the target is the old one again, and its routes are proved to serve.
    """

    def validate(self, transport: Transport, props: dict[str, Any], staged_path: str) -> None:
        """Boot the installed Traefik with the staged file.

        Raises:
            TraefikError: Traefik would not serve exactly what the file means.
        """
        _push(transport, props).validate(staged_path)

    def verify(self, transport: Transport, props: dict[str, Any]) -> None:
        """Wait for the live API to show exactly what the file says, then send a request through each changed route.

        Raises:
            TraefikError: Traefik does not serve it.
        """
        _push(transport, props).verify()

    def rolled_back(self, transport: Transport, props: dict[str, Any]) -> None:
        """Prove that the old routes serve again.

        Raises:
            TraefikError: they do not.
        """
        _push(transport, props).rolled_back()

    def _apply(self, plain: dict[str, Any]) -> Decision:
        plain[_PUSH] = None  # the time of the first step runs from here
        connection = Connection.parse(plain["connection"])
        with Push(open_transport(connection), plain, say) as push:
            plain[_PUSH] = push
            return super()._apply(plain)


def _push(transport: Transport, props: dict[str, Any]) -> Push:
    """The push that the hooks of one operation share; it is never stored."""
    push = props.setdefault(_PUSH, Push(transport, props, say))
    assert isinstance(push, Push)  # noqa: S101 - nothing else puts anything there
    return push


def secret_if(text: str, secrets: tuple[str, ...]) -> pulumi.Input[str]:
    """A text as a secret of the stack, where parts of it are."""
    return pulumi.Output.secret(text) if secrets else text


class TraefikDynamicConfig(pulumi.ComponentResource):
    """``dynamic_conf.yml``.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        settings: where the file lies, and what is demanded of routes.
        configuration: what it holds.

    Attributes:
        file: the managed file.
        revision: what Traefik's API shows once this very content is live.
    """

    revision: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        connection: Connection,
        settings: Settings,
        configuration: Configuration,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:DynamicConfig", name, {}, opts)
        traefik, authority = settings.traefik, settings.certificate_authority
        remember(configuration.dynamic_text, configuration.dynamic)
        self.file = RemoteFile(
            f"{name}-file",
            connection=connection,
            path=traefik.dynamic_path,
            content=secret_if(configuration.dynamic_text, configuration.secrets),
            secret_values=configuration.secrets,
            mode="0640",
            owner=file_owner(connection),
            group=file_group(connection, traefik),
            provider=DynamicFileProvider(),
            properties={
                "apiUrl": api_url(traefik),
                "binary": traefik.binary,
                "static": configuration.static_text,
                "running": f"{traefik.state_directory}/{service.RUNNING_NAME}",
                "user": traefik.user,
                "probe": traefik.probe,
                "demands": [demand.to_props() for demand in configuration.demands],
                "rootFile": authority.root_file,
                "wait": authority.wait,
            },
            opts=pulumi.ResourceOptions(
                parent=self, additional_secret_outputs=["content"] if configuration.secrets else None
            ),
        )
        self.revision = pulumi.Output.from_input(configuration.dynamic_revision)
        self.register_outputs({"revision": self.revision})
