"""A model of Traefik's container and the gateway, for tests of the order of steps: it knows when a request would fail.

It answers the very scripts that go to a real container, by comparing them with those that the product makes. After
each command, and in the middle of those that stop something, it asks itself whether a request would be answered.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from phoenix.errors import UnreachableError
from phoenix.gateway import scripts as gateway_scripts
from phoenix.gateway.scripts import Place
from phoenix.gateway.settings import GatewaySettings
from phoenix.remote.transport import Completed, ContextManaged, raise_for_exit
from phoenix.traefik import service as scripts
from phoenix.traefik.service import SOCKETS, Service

MAIN, STANDBY = 8080, 8081
SERVICE = Service(
    static_path="/etc/traefik/traefik.yml",
    unit_path="/etc/systemd/system/traefik.service",
    binary="/usr/local/bin/traefik",
    state_directory="/var/lib/traefik",
    standby=True,
    standby_always=False,
    sockets=False,
    standby_static_path="/etc/traefik/traefik-standby.yml",
    standby_unit_path="/etc/systemd/system/traefik-standby.service",
)
PLACE = Place.of(GatewaySettings())
ADDRESS = "192.0.2.12"
CERTIFICATES = ("a" * 64, "b" * 64)


@dataclass
class Instance:
    """One Traefik."""

    running: bool = False
    version: int = 0
    booting: int = 0
    connections: int = 0

    @property
    def serves(self) -> bool:
        """It answers requests as meant; while it boots it accepts them and answers 404."""
        return self.running and self.booting == 0


@dataclass
class World:
    """Everything there is, and what went wrong in it.

    Attributes:
        disk: the version that lies on disk; ``kept`` the one in the rollback copies.
        bad_for_main, bad_for_standby: versions with which that instance does not start.
        cut_after: number of commands after which the connection is lost; None: never.
        commands: how many there were.
        lost: each moment in which a request would have failed.
    """

    main: Instance = field(default_factory=lambda: Instance(running=True, version=1))
    standby: Instance = field(default_factory=Instance)
    disk: int = 2
    kept: int = 1
    bad_for_main: frozenset[int] = frozenset()
    bad_for_standby: frozenset[int] = frozenset()
    switch: bool = False
    cut_after: int | None = None
    commands: int = 0
    lost: list[str] = field(default_factory=list)
    service: Service = SERVICE

    def look(self, moment: str) -> None:
        """Note it where a request would fail now; from shared sockets, whoever serves takes it."""
        if self.service.sockets:
            if not (self.main.serves or self.standby.serves):
                self.lost.append(f"command {self.commands}: {moment}")
            return
        first, second = (self.standby, self.main) if self.switch else (self.main, self.standby)
        target = first if first.running else second
        if not target.serves:
            self.lost.append(f"command {self.commands}: {moment}")

    def count(self) -> None:
        self.commands += 1
        if self.cut_after is not None and self.commands > self.cut_after:
            raise UnreachableError("the connection was cut")

    def stop(self, instance: Instance, name: str) -> None:
        """End an instance; whoever still has a connection to it loses a request."""
        if instance.running and instance.connections and not self.service.sockets:
            self.lost.append(f"command {self.commands}: {name} was ended under {instance.connections} connections")
        instance.running, instance.booting = False, 0
        self.look(f"{name} is down")

    def boot(self, instance: Instance, version: int) -> None:
        instance.running, instance.version, instance.booting, instance.connections = True, version, 3, 0
        self.look("an instance boots")

    def tick(self) -> None:
        """Time passes: what boots gets on, and connections follow the switch."""
        for instance in (self.main, self.standby):
            instance.booting = max(0, instance.booting - 1)
        used = self.standby if self.switch and self.standby.running else self.main
        for instance in (self.main, self.standby):
            instance.connections = 3 if instance is used else max(0, instance.connections - 1)


class Target(ContextManaged):
    """Traefik's container."""

    description = "the container"

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, script: str, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True) -> Completed:
        self.world.count()
        code, output = self._do(script, stdin)
        self.world.tick()
        self.world.look(script.splitlines()[-1])
        done = Completed("a command", code, output.encode(), b"" if code == 0 else b"Job failed")
        return raise_for_exit(done) if check else done

    def _do(self, script: str, stdin: bytes) -> tuple[int, str]:  # noqa: PLR0911 - one for each script there is
        world, service = self.world, self.world.service
        if script in (scripts.prepare_script(service), scripts.inspect_script(service)):
            return 0, self._state()
        for instance, name, bad, starting in (
            (world.main, "Traefik", world.bad_for_main, scripts.restart_script(service)),
            (world.standby, "the standby", world.bad_for_standby, scripts.start_standby_script()),
        ):
            if script == starting:
                world.stop(instance, name)
                if world.disk in bad:
                    return 1, ""
                world.boot(instance, world.disk)
                return 0, ""
        if script == scripts.stop_standby_script():
            world.stop(world.standby, "the standby")
            return 0, ""
        if script == scripts.restore_script(service, ("static",)):
            world.disk = world.kept
            return 0, f"{service.static_path}\n"
        if script.startswith("journalctl"):
            return 0, "2026-01-01T00:00:00Z ERR command traefik error: nothing works\n"
        assert stdin, f"an unknown script: {script}"
        return 0, "".join(map(self._answer, stdin.decode().splitlines()))

    def _state(self) -> str:
        main, standby = self.world.main, self.world.standby
        sockets = " ".join(["active" if self.world.service.sockets else "inactive"] * len(SOCKETS))
        return "\n".join(
            (
                "stale=no",
                "enabled=enabled",
                f"active={'active' if main.running else 'failed'}",
                f"due={'static' if main.running and main.version != self.world.disk else ''}",
                f"standby={'active' if standby.running else 'inactive'}",
                f"standby-due={'static' if standby.running and standby.version != self.world.disk else ''}",
                f"sockets={sockets}",
                "",
            )
        )

    def _answer(self, line: str) -> str:
        """The API's answer to one line of :mod:`phoenix.remote.http`'s input."""
        curl = base64.b64decode(line.split(" ")[4]).decode()
        url = urlsplit(curl.splitlines()[0].partition('"')[2].rpartition('"')[0])
        instance = self.world.main if url.port == MAIN else self.world.standby
        if not instance.running:
            return ". 7\n"
        status, body = 200, json.dumps({"http": {"routers": {"errors": 0}, "services": {"errors": 0}}})
        if "certificates" in url.path:
            body = json.dumps([{"certFingerprint": one} for one in CERTIFICATES] if instance.serves else [])
        elif "middlewares" in url.path and not instance.serves:
            status = 404
        answer = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        return f"{base64.b64encode(answer).decode()}\n. 0\n"


class Front(ContextManaged):
    """The gateway's container."""

    description = "the gateway"

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, script: str, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True) -> Completed:
        world = self.world
        world.count()
        output = ""
        if script == gateway_scripts.switch_script(PLACE, to_standby=True):
            world.switch = True
        elif script == gateway_scripts.switch_script(PLACE, to_standby=False):
            world.switch = False
        elif script == gateway_scripts.switched_script(PLACE):
            output = "yes" if world.switch else "no"
        elif script == gateway_scripts.connections_script(ADDRESS, 443):
            output = str(world.main.connections)
        elif script == gateway_scripts.connections_script(ADDRESS, 8443):
            output = str(world.standby.connections)
        else:
            raise AssertionError(f"an unknown script: {script}")
        world.tick()
        world.look(script.splitlines()[-1])
        return Completed("a command", 0, output.encode())
