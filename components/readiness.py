"""The gate in front: nothing is put into Traefik's container before it is reachable and complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.probe import LiveProvider
from phoenix.errors import PhoenixError, RemoteError
from phoenix.remote import Connection, Transport
from phoenix.traefik.readiness import Check, combined, failures, mending

WAIT_SECONDS = 15.0


class ReadinessProvider(LiveProvider):
    """Runs every check in one round trip, until all hold or the limit is reached."""

    what = "readiness"
    interval = 1.0
    unreachable_is_a_change = True

    def problems(self, transport: Transport, props: Mapping[str, Any]) -> list[str]:
        """A phrase, with its remedy, for each check that fails."""
        parts = [Check(**check) for check in props["checks"]]
        done = transport.run(combined(parts), check=False)
        return list(failures(parts, done.text))

    def mend(self, transport: Transport, props: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Put right what needs nobody's decision: an ACME storage that others may read."""
        script = mending([Check(**check) for check in props["checks"]])
        if script:
            transport.run(script, check=False)

    def failure(self, props: Mapping[str, Any], problems: list[str]) -> PhoenixError:
        """Names the target and every failing check."""
        target = Connection.parse(props["connection"]).description
        return RemoteError(f"{target} is not ready: {'; '.join(problems)}; waited {props['timeout']:g} s.")


class Readiness(Resource, module="readiness", name="Probe"):
    """The probe behind :class:`ReadinessGate`."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ReadinessProvider(), name, dict(props), opts)


class ReadinessGate(pulumi.ComponentResource):
    """Holds back all that depends on it until the target can be worked on.

    Args:
        name: the resource's name.
        connection: the target.
        checks: what must hold there.
        timeout: how long to wait for it, in seconds.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        checks: tuple[Check, ...],
        timeout: float = WAIT_SECONDS,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:readiness:Gate", name, {}, opts)
        self.probe = Readiness(
            f"{name}-probe",
            {
                "connection": pulumi.Output.secret(connection.to_props()),
                "checks": [asdict(check) for check in checks],
                "timeout": timeout,
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
