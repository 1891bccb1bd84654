"""Finds out which sandboxing directives Traefik's container allows, by trying them there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from phoenix.remote import Connection, open_transport
from phoenix.remote.properties import one_sentence, plain_properties, say
from phoenix.traefik import hardening

TRY_SECONDS = 120.0


class HardeningProvider(ResourceProvider):
    """Tries once, and again when the directives change or on ``refresh``; a preview does not start units."""

    @one_sentence
    def create(self, props: dict[str, Any]) -> CreateResult:
        """Try the directives."""
        return CreateResult("hardening", {**props, "without": self._try(props)})

    @one_sentence
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Try the directives."""
        return UpdateResult({**_news, "without": self._try(_news)})

    @one_sentence
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Try them again: the container may have got other rights since."""
        return ReadResult(id_, {**props, "without": self._try(props)})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Whether other directives are asked for, or another account."""
        olds, news = plain_properties(_olds), plain_properties(_news)
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in ("directives", "user")))

    def _try(self, props: Mapping[str, Any]) -> list[str]:
        plain = plain_properties(props)
        connection = Connection.parse(plain["connection"])
        script = hardening.probe_script(plain["user"], [(name, value) for name, value in plain["directives"]])
        done = open_transport(connection).run(script, timeout=TRY_SECONDS)
        names = [name for name, _ in plain["directives"]]
        without = [name for name in names if name in hardening.refused(done.text)]
        if hardening.CANNOT_TRY in done.text.split():
            say(f"{connection.description}: systemd-run does not work there, so Traefik's unit is not hardened")
        elif without:
            say(f"{connection.description} does not allow {', '.join(without)}: left out of Traefik's unit")
        return without


class Hardening(Resource, module="traefik", name="Hardening"):
    """What the container allows.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        user: account the directives are tried with.

    Attributes:
        without: names of the directives to leave out.
    """

    without: pulumi.Output[list[str]]

    def __init__(
        self, name: str, connection: Connection, user: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        props = {
            "connection": pulumi.Output.secret(connection.to_props()),
            "user": user,
            "directives": [[key, value] for key, value in hardening.DIRECTIVES],
            "without": None,
        }
        super().__init__(HardeningProvider(), name, props, opts)
