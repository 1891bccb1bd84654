"""Traefik's program as a resource: pinned by version and checksum, installed, upgraded and downgraded alike."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from components.traefik_static import file_owner
from phoenix.configuration import Configuration
from phoenix.errors import RemoteError, UnreachableError
from phoenix.remote import Connection, Transport, open_transport
from phoenix.remote.masking import mask
from phoenix.remote.properties import one_sentence, plain_properties, say
from phoenix.remote.reachability import forget_failure, known_failure, note_failure
from phoenix.settings import TraefikSettings
from phoenix.traefik import document, install_scripts
from phoenix.traefik.dynamic import revision
from phoenix.traefik.install import ProgramState, WantedProgram, decide, wanted, wanted_properties
from phoenix.traefik.install_transfer import install, observe
from phoenix.traefik.prove import prove

IDENTITY = ("path", "version", "sha256", "archiveMember", "owner", "group")
"""What makes it another program; where the same one is taken from does not."""


class ProgramProvider(ResourceProvider):
    """Looks at the program at each preview, and brings it in by rename once it is proved."""

    @one_sentence
    def create(self, props: dict[str, Any]) -> CreateResult:
        """Install it; one that is right already is left alone, and not removed with the resource either."""
        plain = plain_properties(props)
        return CreateResult(plain["path"], self._install(props, plain, {}))

    @one_sentence
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Bring it into its wanted state; what is right is not transferred."""
        return UpdateResult(self._install(_news, plain_properties(_news), plain_properties(_olds)))

    def _install(self, props: Mapping[str, Any], plain: Mapping[str, Any], olds: Mapping[str, Any]) -> dict[str, Any]:
        connection = Connection.parse(plain["connection"])
        transport = open_transport(connection)
        program = wanted(plain, olds)
        observed = _observe(transport, program.path, olds)
        done = install(transport, program, say, lambda staged: _prove(transport, plain, staged), observed)
        forget_failure(connection)
        return {
            **props,
            "installedSha256": done.sha256,
            "fingerprint": done.fingerprint,
            "placed": done.action == "install" or bool(olds.get("placed")),
        }

    @one_sentence
    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Whether another program is wanted, or the one that is there is not the one that was installed."""
        olds, news = plain_properties(_olds), plain_properties(_news)
        changed = any(olds.get(key) != news.get(key) for key in IDENTITY)
        replaced = olds.get("path") != news.get("path")
        drifted = self._drifted(olds, wanted(olds, olds), Connection.parse(news["connection"]))
        return DiffResult(
            changes=changed or drifted,
            replaces=["path"] if replaced else [],
            stables=[] if replaced else ["path"],
            delete_before_replace=False,
        )

    def _drifted(self, olds: Mapping[str, Any], program: WantedProgram, connection: Connection) -> bool:
        if known_failure(connection) is not None:  # and was told once
            return False
        try:
            decision = decide(program, _observe(open_transport(connection), program.path, olds))
        except RemoteError as error:
            if isinstance(error, UnreachableError):
                note_failure(connection, str(error))
            say(f"{program.path}: drift is unknown: {error}")
            return False
        if decision.action != "nothing":
            say(f"{program.path} was changed by hand: {decision.reason}")
        return decision.action != "nothing"

    @one_sentence
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """See whether it is there; what was installed stays recorded, so that the next preview shows how it differs."""
        plain = plain_properties(props)
        observed = _observe(open_transport(Connection.parse(plain["connection"])), plain["path"], plain)
        return ReadResult("", {}) if observed.file.kind == "absent" else ReadResult(id_, props)

    @one_sentence
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove what was put there, unless it was replaced by hand or a unit still runs it."""
        plain = plain_properties(_props)
        path = plain["path"]
        if not plain.get("placed"):
            say(f"{path} was there before, and stays")
            return
        transport = open_transport(Connection.parse(plain["connection"]))
        script = install_scripts.remove_script(path, plain.get("installedSha256") or "", plain.get("unitPath") or "")
        result = transport.run(script, timeout=install_scripts.CHECK_SECONDS).text.strip()
        if result == "used":
            say(f"{path} stays, since {plain['unitPath']} still runs it")
        elif result == "replaced":
            say(f"{path} was replaced by hand since it was installed, and stays")


def _observe(transport: Transport, path: str, recorded: Mapping[str, Any]) -> ProgramState:
    known = recorded if recorded.get("path") == path else {}
    return observe(transport, path, known.get("fingerprint") or "", known.get("installedSha256") or "")


def _prove(transport: Transport, plain: Mapping[str, Any], staged: str) -> None:
    """Boot the staged program with the static configuration it shall run and the routes that are served now.

    Raises:
        TraefikError: it refuses one of them; the program in its place stays.
    """
    live = transport.run(f"cat -- {shlex.quote(plain['dynamicPath'])} 2>/dev/null", check=False).text
    try:
        dynamic = document.load(live)
    except ValueError:
        dynamic = None  # broken by hand: what shall be there is proved when it is pushed
    ours = isinstance(dynamic, Mapping) and revision(dynamic) is not None
    static = document.load(plain["staticConfiguration"])
    prove(transport, staged, static, dynamic if ours else None, user=plain.get("user") or "root")


class Program(Resource, module="traefik", name="Program"):
    """The program behind :class:`TraefikBinary`."""

    installedSha256: pulumi.Output[str]  # noqa: N815 - an output's name

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        outputs = {"installedSha256": None, "fingerprint": None, "placed": None}
        super().__init__(ProgramProvider(), name, {**outputs, **props}, opts)


class TraefikBinary(pulumi.ComponentResource):
    """Traefik's program.

    Args:
        name: the resource's name.
        connection: Traefik's container.
        traefik: version, place and source; ``install`` must be set.
        configuration: what it is proved with before it takes the old one's place.
        project: directory that a relative file name starts from.

    Attributes:
        digest: SHA-256 of the program, hex.
    """

    digest: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        connection: Connection,
        traefik: TraefikSettings,
        configuration: Configuration,
        project: Path,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:traefik:Binary", name, {}, opts)
        owner = file_owner(connection)
        properties = wanted_properties(traefik, str(project), owner, owner if owner == "root" else traefik.group)
        login = any(mask(url) != url for url in properties["urls"])
        self.program = Program(
            f"{name}-program",
            {
                **properties,
                "urls": pulumi.Output.secret(properties["urls"]) if login else properties["urls"],
                "connection": pulumi.Output.secret(connection.to_props()),
                "unitPath": traefik.unit_path,
                "staticConfiguration": configuration.static_text,
                "dynamicPath": traefik.dynamic_path,
                "user": traefik.user,
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.digest = self.program.installedSha256
        self.register_outputs({"digest": self.digest})
