"""Traefik's dynamic configuration as a resource: nothing goes live that Traefik would not serve."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pulumi

from components.routers_gate import api_url
from components.traefik_static import file_group, file_owner
from phoenix.configuration import Configuration
from phoenix.errors import TraefikError
from phoenix.remote import Connection, Transport
from phoenix.remote.remote_file import RemoteFile, RemoteFileProvider
from phoenix.settings import TraefikSettings
from phoenix.traefik import document, service
from phoenix.traefik.prove import differences, prove

WAIT_SECONDS = 10.0
POLL_SECONDS = 0.03


class DynamicFileProvider(RemoteFileProvider):
    """Proves the staged file with a second instance, and after the rename waits until the running one serves it.

    Where either fails, the file on the target is the old one again.
    """

    def validate(self, transport: Transport, props: Mapping[str, Any], staged_path: str) -> None:
        """Boot the installed Traefik with the staged file.

        Raises:
            TraefikError: Traefik would not serve exactly what the file means.
        """
        static, dynamic = document.load(props["static"]), document.load(props["content"])
        prove(transport, props["binary"], static, dynamic, staged_path)

    def verify(self, transport: Transport, props: Mapping[str, Any]) -> None:
        """Wait for the live API to show exactly what the file says.

        Where Traefik does not run yet there is nothing to prove: the gate behind the service does it.

        Raises:
            TraefikError: it does not within :data:`WAIT_SECONDS`.
        """
        if transport.run(f"systemctl is-active --quiet {service.UNIT}", check=False).exit_code != 0:
            return
        intended = document.load(props["content"])
        deadline = time.monotonic() + WAIT_SECONDS
        while found := differences(transport, props["apiUrl"], intended):
            if time.monotonic() >= deadline:
                words = service.errors_in_log(transport.run(service.log_script(), check=False).text)
                said = f"; Traefik says: {'; '.join(words)}" if words else ""
                raise TraefikError(
                    f"{props['path']}: Traefik does not serve it after {WAIT_SECONDS:g} s: {'; '.join(found[:5])}{said}"
                )
            time.sleep(POLL_SECONDS)


def secret_if(text: str, secrets: tuple[str, ...]) -> pulumi.Input[str]:
    """A text as a secret of the stack, where parts of it are."""
    return pulumi.Output.secret(text) if secrets else text


class TraefikDynamicConfig(pulumi.ComponentResource):
    """``dynamic_conf.yml``.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        traefik: where the file lies.
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
        traefik: TraefikSettings,
        configuration: Configuration,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:DynamicConfig", name, {}, opts)
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
            },
            opts=pulumi.ResourceOptions(
                parent=self, additional_secret_outputs=["content"] if configuration.secrets else None
            ),
        )
        self.revision = pulumi.Output.from_input(configuration.dynamic_revision)
        self.register_outputs({"revision": self.revision})
