"""The NGINX gateway's site: checked by NGINX, proved by the running gateway, taken back where either refuses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.configuration import Program
from components.told import ToldProvider
from components.traefik_static import file_owner
from phoenix.errors import CommandError, InputError, PhoenixError, RemoteError
from phoenix.gateway import scripts, site
from phoenix.gateway.plan import first_hostname, plan
from phoenix.gateway.scripts import Place
from phoenix.remote import Connection, Transport, open_transport
from phoenix.remote.http import fetch_http
from phoenix.remote.properties import one_sentence, plain_properties
from phoenix.remote.remote_file import RemoteFile, RemoteFileProvider

WAIT_SECONDS = 10.0
CLOSING_SECONDS = 3.0
POLL_SECONDS = 0.05


class SiteFileProvider(RemoteFileProvider):
    """Lets NGINX read the staged file, enables and reloads, and waits until the gateway runs with this very site."""

    def validate(self, transport: Transport, props: Mapping[str, Any], staged_path: str) -> None:
        """Have NGINX check the site by itself.

        Raises:
            RemoteError: it refuses it; with its own words.
        """
        done = transport.run(scripts.check_script(Place.parse(props["place"]), staged_path), check=False)
        if done.exit_code != 0:
            raise RemoteError(f"{props['path']}: NGINX refuses it: {_words(done.stderr, props, staged_path)}.")

    def verify(self, transport: Transport, props: Mapping[str, Any]) -> None:
        """Put the site into service.

        Raises:
            RemoteError: NGINX refuses the whole configuration, or does not run with it; what was changed beside the
                file is put back.
        """
        activate(transport, props)

    def rolled_back(self, transport: Transport, props: Mapping[str, Any]) -> None:
        """Have NGINX take over the old site again."""
        done = transport.run(scripts.reload_script(Place.parse(props["place"])), check=False)
        if done.exit_code != 0:
            raise RemoteError(f"NGINX refuses the old site as well: {_words(done.stderr, props)}")

    @one_sentence
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Take the site out of service before its file goes, and put back what it replaced."""
        props = plain_properties(_props)
        transport, place = open_transport(Connection.parse(props["connection"])), Place.parse(props["place"])
        transport.run(scripts.deactivate_script(place))
        super().delete(_id, _props)
        done = transport.run(scripts.reload_script(place), check=False)
        if done.exit_code != 0:
            raise RemoteError(f"{place.path} is gone, but NGINX refuses what is left: {_words(done.stderr, props)}.")


def activate(transport: Transport, props: Mapping[str, Any]) -> None:
    """Enable the site, reload NGINX, and wait until it runs with it.

    A reload cuts idle connections, and with them a request that is just on its way. So clients are asked to leave
    theirs first, which takes :data:`CLOSING_SECONDS`.

    Raises:
        RemoteError: with NGINX's own words; links are as they were before.
    """
    place = Place.parse(props["place"])
    if transport.run(scripts.closing_script(place)).stdout:
        time.sleep(CLOSING_SECONDS)
    try:
        done = transport.run(scripts.activate_script(place), check=False)
        if done.exit_code != 0:
            raise RemoteError(f"{place.path}: NGINX refuses the configuration: {_words(done.stderr, props)}.")
        try:
            _wait(transport, props)
        except BaseException:
            transport.run(scripts.undo_script(place, done.text.splitlines()), check=False)
            raise
    finally:
        transport.run(scripts.kept_script(place), check=False)


def _wait(transport: Transport, props: Mapping[str, Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while found := not_serving(transport, props):
        if time.monotonic() >= deadline:
            said = scripts.words(transport.run(scripts.errors_script(), check=False).text)
            said = f"; NGINX says: {said}" if said else ""
            raise RemoteError(f"{props['place']['path']}: {found} after {WAIT_SECONDS:g} s{said}.")
        time.sleep(POLL_SECONDS)


def not_serving(transport: Transport, props: Mapping[str, Any]) -> str:
    """How the running NGINX does not serve this very site; empty where it does."""
    place, revision = Place.parse(props["place"]), props["revision"]
    if _live_revision(transport, place) != revision:
        return "the running NGINX has another site than the one on disk, or does not answer"
    done = transport.run(scripts.answers_script(place, props.get("hostname")), timeout=20, check=False)
    if done.exit_code != 0:
        return f"its port {place.port} does not answer ({done.complaint or 'no connection'})"
    return ""


def _live_revision(transport: Transport, place: Place) -> str | None:
    """The revision of the site NGINX runs with; None where it runs with none of ours."""
    try:
        answer = fetch_http(transport, place.revision_url(site.REVISION_PATH), {"Host": site.PROBE_HOST}, timeout=5)
    except CommandError:
        return None
    return answer.body.decode("ascii", "replace").strip() if answer.status == 200 else None


def _words(stderr: bytes, props: Mapping[str, Any], staged: str = "") -> str:
    text = stderr.decode("utf-8", "replace")
    real = {staged: props["place"]["path"]} if staged else None
    return scripts.words(text, real) or " ".join(text.split())[:300] or "it says nothing"


class SiteStateProvider(ToldProvider):
    """Sees a lost link, a stopped NGINX or one that runs with another site at every preview, and mends them."""

    what = "gateway"

    def problems(self, transport: Transport, props: Mapping[str, Any]) -> list[str]:
        """A phrase for each way in which the site is not in service."""
        place = Place.parse(props["place"])
        found = list(scripts.problems(place, transport.run(scripts.inspect_script(place)).text))
        if not found and (phrase := not_serving(transport, props)):
            found.append(phrase)
        return found

    def mend(self, transport: Transport, props: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Enable, start or reload, where something does not hold."""
        if self.problems(transport, props):
            activate(transport, props)

    def failure(self, props: Mapping[str, Any], problems: list[str]) -> PhoenixError:
        """Says what is not as it shall be."""
        target = Connection.parse(props["connection"]).description
        return RemoteError(f"{target}: {'; '.join(problems)}; waited {props['timeout']:g} s.")


class SiteState(Resource, module="gateway", name="SiteState"):
    """The live state behind :class:`GatewaySite`."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(SiteStateProvider(), name, dict(props), opts)


class GatewaySite(pulumi.ComponentResource):
    """The site's file, its link, and proof that NGINX runs with it.

    Args:
        name: the resource's name.
        connection: the gateway's container.
        planned: what the site is made of.
        hostname: a routed host name, to ask the https port for; None where nothing is routed.

    Attributes:
        connection, place, upstream: where the switch between Traefik and its standby lies, and what it switches.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        planned: site.Site,
        hostname: str | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("phoenix:gateway:Site", name, {}, opts)
        text = site.render(planned)
        self.connection, self.upstream = connection, planned.upstream
        self.place = place = Place.of(planned.settings)
        live = {"place": place.to_props(), "revision": site.revision_of(text), "hostname": hostname}
        owner = file_owner(connection)
        self.file = RemoteFile(
            f"{name}-file",
            connection=connection,
            path=place.path,
            content=text,
            mode="0644",
            owner=owner,
            group=owner,
            provider=SiteFileProvider(),
            properties=live,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.state = SiteState(
            f"{name}-state",
            {"connection": pulumi.Output.secret(connection.to_props()), **live, "timeout": WAIT_SECONDS},
            pulumi.ResourceOptions(parent=self, depends_on=[self.file]),
        )
        self.register_outputs({})


def build_gateway(program: Program, opts: pulumi.ResourceOptions | None = None) -> GatewaySite | None:
    """The gateway's site where the stack says how its container is reached, else nothing.

    Raises:
        pulumi.RunError: the site cannot be made from what the stack says.
    """
    connection = program.gateway
    if connection is None:
        return None
    try:
        planned = plan(program.inventory, program.settings, program.configuration)
    except InputError as error:
        raise pulumi.RunError("\n".join(error.mistakes)) from None
    return GatewaySite("gateway-site", connection, planned, first_hostname(program.configuration), opts)
