"""Portainer's server and agents on their VMs, touched only behind a right Traefik."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.actions import action
from components.probe import LiveProvider
from components.traefik_static import file_owner
from phoenix.errors import CommandError, PhoenixError, PortainerError
from phoenix.instances import scripts
from phoenix.remote import Connection, Transport
from phoenix.remote.http import Request, fetch_many
from phoenix.remote.remote_file import RemoteFile

WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Instance:
    """One Compose project.

    Attributes:
        project: its name.
        directory: where it lies on the VM.
        compose: text of ``compose.yml``.
        secret_files: name → content of the files beside it, for root alone.
        health_url: what answers once it is up, from inside the VM.
        health_status: with this status.
        remove_data: whether its volumes go with it.
    """

    project: str
    directory: str
    compose: str
    secret_files: Mapping[str, str]
    health_url: str
    health_status: int
    remove_data: bool = False


class InstanceProvider(LiveProvider):
    """Sees stopped or missing containers and a silent API at every preview, and brings the project up again."""

    what = "Portainer"
    interval = 0.5

    def problems(self, transport: Transport, props: Mapping[str, Any]) -> list[str]:
        """A phrase for each container that does not run, or for the API that does not answer."""
        found = list(scripts.container_problems(props["project"], transport.run(props["inspect"]).text))
        if found:
            return found
        (answer,) = fetch_many(transport, [Request(props["healthUrl"], timeout=5, insecure=True)])
        if isinstance(answer, CommandError):
            return [f"{props['healthUrl']} does not answer"]
        if answer.status != props["healthStatus"]:
            return [f"{props['healthUrl']} answers {answer.status}, not {props['healthStatus']}"]
        return []

    def mend(self, transport: Transport, props: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Bring the project up; nothing is done where it is."""
        if old is not None:
            transport.run(props["up"], timeout=WAIT_SECONDS)

    def failure(self, props: Mapping[str, Any], problems: list[str]) -> PhoenixError:
        """Names the VM and what does not hold."""
        target = Connection.parse(props["connection"]).description
        return PortainerError(
            f"{target}: {'; '.join(problems)}, after {props['timeout']:g} s: "
            f"read `docker compose -p {props['project']} logs` there."
        )


class InstanceState(Resource, module="portainer", name="InstanceState"):
    """The live state behind :class:`PortainerInstance`."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(InstanceProvider(), name, dict(props), opts)


class PortainerInstance(pulumi.ComponentResource):
    """A Compose project: its files, then ``docker compose up``, then proof that it answers.

    A changed file is an update in place; unchanged, nothing runs. Destroying it removes the containers and keeps the
    data, unless the stack asks for more.

    Args:
        name: the resource's name.
        connection: the VM.
        instance: what runs there.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        instance: Instance,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:portainer:Instance", name, {}, opts)
        here = pulumi.ResourceOptions(parent=self)
        patient = connection.model_copy(update={"command_timeout": max(connection.command_timeout, 600.0)})
        prepared = action(f"{name}-directory", connection, run=scripts.directory_script(instance.directory), opts=here)
        after_directory = pulumi.ResourceOptions(parent=self, depends_on=[prepared])
        files = {"compose.yml": instance.compose, **instance.secret_files}
        managed = [
            RemoteFile(
                f"{name}-{file.replace('_', '-').replace('.', '-')}",
                connection=connection,
                path=f"{instance.directory}/{file}",
                content=pulumi.Output.secret(text) if file in instance.secret_files else text,
                mode="0600",
                owner=file_owner(connection),
                opts=after_directory,
            )
            for file, text in sorted(files.items())
        ]
        started = action(
            f"{name}-up",
            patient,
            run=scripts.up_script(instance.directory, instance.project),
            delete=scripts.down_script(instance.directory, instance.project, remove_data=instance.remove_data),
            changes_with=digest_of(files),
            opts=pulumi.ResourceOptions(parent=self, depends_on=managed),
        )
        self.state = InstanceState(
            f"{name}-state",
            {
                "connection": pulumi.Output.secret(connection.to_props()),
                "project": instance.project,
                "inspect": scripts.inspect_script(instance.project),
                "up": scripts.up_script(instance.directory, instance.project),
                "healthUrl": instance.health_url,
                "healthStatus": instance.health_status,
                "timeout": WAIT_SECONDS,
            },
            pulumi.ResourceOptions(parent=self, depends_on=[started]),
        )
        self.register_outputs({})


def digest_of(files: Mapping[str, str]) -> str:
    """Names a project's files; one-way, so that it may be shown though some of them are secret."""
    summed = hashlib.sha256()
    for name, text in sorted(files.items()):
        summed.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(text.encode()).digest())
    return summed.hexdigest()


class PortainerDeployment(pulumi.ComponentResource):
    """Runs the stack's own deploy command on the Portainer VM, again whenever the command changes.

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
