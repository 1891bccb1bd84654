"""The world as it is: the project's files, ``bin/pulumi``, the machines and Portainer's address."""

from __future__ import annotations

import fcntl
import json
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr, ValidationError

from phoenix.configuration import configure
from phoenix.errors import InputError, PortainerError
from phoenix.instances.targets import agent_connection, with_key
from phoenix.inventory import Inventory, load
from phoenix.outputs import program_outputs
from phoenix.portainer import contract, readiness
from phoenix.portainer.compose import MAXIMUM_TEXT_BYTES
from phoenix.portainer.contract import Outputs
from phoenix.portainer.readiness import Result, System
from phoenix.portainer.secret_files import read_secret
from phoenix.portainer.session import Session
from phoenix.portainer.settings import ApiSettings, ReadinessSettings, split_address
from phoenix.portainer.sync import Access
from phoenix.portainer.target import Clock, Target
from phoenix.remote import Connection, open_transport
from phoenix.settings import Settings, parse
from phoenix.settings_files import PROJECT, stack_file, stack_values, with_settings_file

M = TypeVar("M", bound=BaseModel)

PASSWORD_VARIABLE = "PHOENIX_PORTAINER_PASSWORD_FILE"  # noqa: S105 - a variable's name
API_KEY_VARIABLE = "PHOENIX_PORTAINER_API_KEY_FILE"
SETUP_TOKEN_VARIABLE = "PHOENIX_PORTAINER_SETUP_TOKEN_FILE"  # noqa: S105 - a variable's name


@dataclass
class Live:
    """A stack of a project on this machine.

    Attributes:
        project: directory of ``Pulumi.yaml``.
        stack: the stack's name.
        outputs_file: read the outputs from here and do not ask ``pulumi``.
        password_file: before any setting.
        api_key_file: before any setting.
        setup_token_file: before any setting.
        root_file: certificate authority to trust beside the system's; before any setting.
        clock: time.
    """

    project: Path
    stack: str
    outputs_file: Path | None = None
    password_file: Path | None = None
    api_key_file: Path | None = None
    setup_token_file: Path | None = None
    root_file: Path | None = None
    clock: Clock = field(default_factory=Clock)

    # -- settings ----------------------------------------------------------------------------------------------

    @cached_property
    def _values(self) -> dict[str, Any]:
        path = stack_file(self.project, self.stack)
        values = stack_values(self.project, self.stack)
        if re.search(r"^\s*secure:\s", path.read_text(encoding="utf-8"), re.MULTILINE):
            values |= self._decrypted()
        return with_settings_file(values, self.project)

    def _decrypted(self) -> dict[str, Any]:
        """The stack's own settings, secrets in clear, as the engine that keeps them gives them."""
        text = self._pulumi(["config", "--json", "--show-secrets"])
        try:
            listed = json.loads(text)
        except ValueError:
            raise PortainerError("'pulumi config --json' printed no JSON: run it by hand to see why.") from None
        values: dict[str, Any] = {}
        for key, entry in listed.items() if isinstance(listed, dict) else ():
            if not key.startswith(f"{PROJECT}:") or not isinstance(entry, Mapping):
                continue
            value = entry.get("objectValue", entry.get("value"))
            if isinstance(value, str) and value[:1] in {"{", "["}:
                value = json.loads(value)
            values[key.removeprefix(f"{PROJECT}:")] = value
        return values

    @property
    def _source(self) -> str:
        return str(stack_file(self.project, self.stack).relative_to(self.project))

    @cached_property
    def settings(self) -> Settings:
        """The stack's settings, but for the portainer manager's own."""
        values = {key: value for key, value in self._values.items() if key != "readiness"}
        if isinstance(values.get("portainer"), Mapping):
            values["portainer"] = {key: value for key, value in values["portainer"].items() if key != "api"}
        return parse(values, self._source)

    @cached_property
    def api(self) -> ApiSettings:
        """``phoenix:portainer.api``."""
        portainer = self._values.get("portainer")
        given = portainer.get("api") if isinstance(portainer, Mapping) else None
        return _section(ApiSettings, given, f"{self._source}: phoenix:portainer.api")

    @cached_property
    def readiness(self) -> ReadinessSettings:
        """``phoenix:readiness``."""
        return _section(ReadinessSettings, self._values.get("readiness"), f"{self._source}: phoenix:readiness")

    @property
    def start_timeout(self) -> float:
        """Seconds to wait until Portainer answers."""
        return self.api.start_timeout

    @cached_property
    def _inventory_directory(self) -> Path:
        if not self.settings.inventory:
            raise InputError([f"{self._source}: phoenix:inventory is missing: name the directory of the JSON files."])
        return self.project / self.settings.inventory

    # -- outputs -----------------------------------------------------------------------------------------------

    @cached_property
    def _inventory(self) -> Inventory:
        return load(self._inventory_directory)

    @cached_property
    def _intended(self) -> Outputs:
        data = program_outputs(self._inventory, self.settings, configure(self._inventory, self.settings))
        return contract.parse(json.dumps(data), str(self._inventory_directory))

    def intended(self) -> Outputs:
        """See :class:`phoenix.portainer.sync.World`; wrong settings of any kind are found here, before all else."""
        _ = self.api, self.readiness
        return contract.read_file(self.outputs_file) if self.outputs_file else self._intended

    def outputs(self) -> Outputs:
        """See :class:`phoenix.portainer.sync.World`."""
        if self.outputs_file:
            return contract.read_file(self.outputs_file)
        text = self._pulumi(["stack", "output", "--json", "--show-secrets"])
        return contract.parse(text, f"pulumi stack output --stack {self.stack}")

    def pulumi(self, *, preview: bool) -> None:
        """See :class:`phoenix.portainer.sync.World`. What it prints goes to standard error."""
        words = ["preview"] if preview else ["up", "--yes", "--skip-preview"]
        command = [str(self.project / "bin" / "pulumi"), *words, "--stack", self.stack]
        sys.stderr.flush()
        try:
            code = subprocess.run(
                command, cwd=self.project, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False
            ).returncode
        except OSError as error:
            raise PortainerError(
                f"{command[0]} cannot be run ({error.strerror}): run this command in the project."
            ) from None
        if code != 0:
            raise PortainerError(
                f"'pulumi {words[0]} --stack {self.stack}' ended with exit code {code}; Portainer was not "
                "touched by this run: "
                "mend what it names above, then run again."
            )

    def _pulumi(self, words: list[str]) -> str:
        command = [str(self.project / "bin" / "pulumi"), *words, "--stack", self.stack]
        shown = f"'pulumi {' '.join(words)} --stack {self.stack}'"
        try:
            done = subprocess.run(
                command, cwd=self.project, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise PortainerError(
                f"{command[0]} cannot be run ({error.strerror}): run this command in the project."
            ) from None
        if done.returncode != 0:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            said = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
            raise PortainerError(
                f"{shown} ended with exit code {done.returncode} ({said[:300]}): run it by hand to see why."
            )
        return done.stdout

    def read(self, path: str) -> bytes:
        """See :class:`phoenix.portainer.sync.World`.

        Raises:
            OSError: the file cannot be read, or its path leads out of the directory of the compose files.
        """
        directory = self.settings.portainer.compose_directory
        base = (self.project / Path(directory).expanduser()) if directory else self._inventory_directory
        if path.startswith("/") or ".." in posixpath.normpath(path).split("/"):
            raise PermissionError(1, f"its path must stay below {base}")
        full = base / path
        if not full.is_file():
            raise FileNotFoundError(2, f"there is no file {full}")
        with full.open("rb") as file:
            return file.read(MAXIMUM_TEXT_BYTES + 1)

    # -- readiness ---------------------------------------------------------------------------------------------

    def system(self) -> System:
        """What a run needs, from the settings and the inventory."""
        settings, outputs = self.settings, self.intended()
        traefik = self._with_key(settings.traefik.connection)
        docker = self._docker_machines()
        connections = [traefik, *(connection for _, connection in docker)]
        gateway = outputs.gateway
        authority = settings.certificate_authority
        return System(
            traefik=traefik,
            authority_url=authority.url or f"https://ca.{outputs.internal_domain}:9000",
            authority_root_file=authority.root_file,
            hostnames=tuple(dict.fromkeys(name for route in outputs.routes.values() for name in route.hostnames)),
            gateway=(gateway.address, gateway.port) if gateway else None,
            docker=docker,
            hypervisor=self.readiness.hypervisor or readiness.hypervisor_of(connections),
        )

    def _docker_machines(self) -> tuple[tuple[str, Connection], ...]:
        """The machines of Portainer's server and agents, where the stack says how they are reached."""
        server, inventory = self._with_key(self.settings.portainer.connection), self._inventory
        if server is None or inventory.portainer_server is None:
            return ()
        machines = [(inventory.portainer_server.name, server)]
        for vm in inventory.portainer_agents:
            connection = self._with_key(agent_connection(self.settings, vm))
            if connection is not None:
                machines.append((vm.name, connection))
        return tuple(machines)

    def _with_key(self, connection: Connection | None) -> Connection | None:
        """A connection with the stack's key, where it needs one and names none."""
        return None if connection is None else with_key(connection, self.settings)

    def ready(self, report: Callable[[int, list[Result]], None]) -> list[Result]:
        """See :class:`phoenix.portainer.sync.World`."""
        checks = readiness.describe(self.system(), self.readiness.skip)
        return readiness.wait(checks, readiness.live, self.readiness, self.clock, report)

    def probe(self) -> list[Result]:
        """See :class:`phoenix.portainer.sync.World`."""
        checks = readiness.describe(self.system(), self.readiness.skip)
        return readiness.probe(checks, readiness.live, self.readiness.timeout)

    # -- Portainer ---------------------------------------------------------------------------------------------

    def access(self) -> Access:
        """See :class:`phoenix.portainer.sync.World`."""
        return self._access

    @cached_property
    def _access(self) -> Access:
        password = self._secret(self.password_file, PASSWORD_VARIABLE, self.api.password_file, "password")
        if password is None:
            # The program makes the server with this password, so that it lets us in too.
            password = self.settings.portainer.admin_password
        return Access(
            password=password,
            api_key=self._secret(self.api_key_file, API_KEY_VARIABLE, self.api.key_file, "API key"),
            setup_token=self._secret(
                self.setup_token_file, SETUP_TOKEN_VARIABLE, self.api.setup_token_file, "set-up token"
            ),
        )

    def _secret(self, option: Path | None, variable: str, setting: str | None, what: str) -> SecretStr | None:
        if option is not None:
            return read_secret(option, what)
        named = os.environ.get(variable) or setting
        return read_secret(self.project / Path(named).expanduser(), what) if named else None

    def _target(self, outputs: Outputs, *, via: str) -> Target:
        assert outputs.portainer is not None  # noqa: S101 - the workflow saw to it
        url = urlsplit(outputs.portainer.url)
        host, port = None, url.port or 443
        if via == "direct":
            host, port = outputs.portainer.server.address, outputs.portainer.server.port
        elif outputs.gateway is not None:
            host, port = outputs.gateway.address, outputs.gateway.port
        root = self.root_file or self.api.root_file
        return Target(
            outputs.portainer.hostname,
            address=host,
            port=port,
            root_file=(Path.cwd() if self.root_file else self.project) / Path(root).expanduser() if root else None,
            server_name=self.api.server_name,
        )

    def session(self, outputs: Outputs) -> Session:
        """See :class:`phoenix.portainer.sync.World`."""
        target = self._target(outputs, via=self.api.via)
        if self.api.address is not None:
            host, port = split_address(self.api.address)
            target = Target(target.hostname, host, port or target.port, target.root_file, target.server_name)
        return Session(target, timeouts=self.api.timeouts(), clock=self.clock)

    def gateway_session(self, outputs: Outputs, session: Session) -> Session:
        """See :class:`phoenix.portainer.sync.World`."""
        return session.at(self._target(outputs, via="gateway"))

    def restart_server(self) -> bool:
        """See :class:`phoenix.portainer.sync.World`."""
        connection, command = self._with_key(self.settings.portainer.connection), self.api.restart_command
        if connection is None or not command:
            return False
        with open_transport(connection) as transport:
            transport.run(command)
        return True

    @contextmanager
    def lock(self, hostname: str) -> Iterator[None]:
        """See :class:`phoenix.portainer.sync.World`."""
        directory = self.project / ".cache"
        directory.mkdir(exist_ok=True)
        path = directory / f"sync-{re.sub(r'[^A-Za-z0-9.-]', '_', hostname)}.lock"
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read(20).strip() or "unknown"
                raise PortainerError(
                    f"{path}: another sync of {hostname} is running (process {holder}): wait until it ends."
                ) from None
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield


def _section(model: type[M], given: Any, where: str) -> M:
    if given is None:
        return model()
    if not isinstance(given, Mapping):
        raise InputError([f"{where}: it has to be a mapping of settings: correct it."])
    present = {key: value for key, value in given.items() if value is not None}
    try:
        return model.model_validate(present)
    except ValidationError as error:
        mistakes = []
        for item in error.errors(include_url=False, include_input=False):
            name = ".".join([where, *(str(part) for part in item["loc"])])
            said = item["msg"].removeprefix("Value error, ")
            if item["type"] == "extra_forbidden":
                known = ", ".join(sorted(info.alias or key for key, info in model.model_fields.items()))
                said = f"there is no such setting; there are {known}"
            mistakes.append(f"{name}: {said[:1].lower()}{said[1:]}: correct it.")
        raise InputError(mistakes) from None
