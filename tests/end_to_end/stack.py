"""A stack in a lab of its own, driven through the real commands."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.local.lab import Lab
from phoenix.remote import Connection, open_transport

REPOSITORY = Path(__file__).resolve().parents[2]
LXC_FILE = "phoenix_lxc_configs.json"
TEMPLATE_NETWORK = "127.10"


@dataclass
class Stack:
    """Stack ``local`` with an inventory, a lab and a state of its own below ``directory``."""

    directory: Path
    network: str

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory"

    def copy_inventory(self) -> None:
        """The local stack's inventory, moved to this stack's network."""
        shutil.copytree(REPOSITORY / "stacks/inventory/local", self.inventory)
        for path in self.inventory.glob("phoenix_*.json"):
            path.write_text(path.read_text().replace(f"{TEMPLATE_NETWORK}.", f"{self.network}."))

    @property
    def lab(self) -> Lab:
        return Lab(self.directory / "lab", self.network, self.inventory)

    @property
    def environment(self) -> dict[str, str]:
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        return {
            **os.environ,
            "PHOENIX_SETTINGS_FILE": str(self.directory / "settings.json"),
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_HOME": str(self.directory / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "",
            "NO_COLOR": "1",
            "PYTHONPATH": str(REPOSITORY),
        }

    def start(self) -> None:
        """Bring the lab up, or in line with the inventory, and take its settings."""
        import yaml

        self.lab.up()
        settings = yaml.safe_load((self.directory / "lab" / "settings.yaml").read_text())
        (self.directory / "settings.json").write_text(json.dumps(settings))

    @property
    def settings(self) -> dict[str, Any]:
        return json.loads((self.directory / "settings.json").read_text())

    def change_settings(self, **sections: Any) -> None:
        """Lay sections over the stack's settings, key by key."""
        settings = self.settings
        for name, value in sections.items():
            settings[name] = {**settings.get(name, {}), **value} if isinstance(value, dict) else value
        (self.directory / "settings.json").write_text(json.dumps(settings))

    def remote(self, script: str) -> str:
        """Run a script in the Traefik container."""
        connection = Connection.parse(self.settings["traefik"]["connection"])
        return open_transport(connection).run(script).text

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """What bin/pulumi runs where there is no official CLI."""
        return [sys.executable, "-m", "engine", "--cwd", str(REPOSITORY), *arguments]

    def pulumi(self, *arguments: str, check: bool = True, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run the embedded engine as bin/pulumi would."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"pulumi {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done

    def up(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.pulumi("up", "--stack", "local", "--yes", "--skip-preview", *arguments, check=check)

    def changes(self) -> dict[str, int]:
        """What a preview would do: operation → number of resources."""
        done = self.pulumi("preview", "--stack", "local", "--json")
        return json.loads(done.stdout)["changeSummary"]

    def outputs(self) -> dict[str, Any]:
        return json.loads(self.pulumi("stack", "output", "--stack", "local", "--json").stdout)

    def path(self, *parts: str) -> Path:
        """A path in the Traefik container."""
        return self.directory.joinpath("lab", "traefik", *parts)

    @property
    def dynamic(self) -> Path:
        return self.path("etc/traefik/dynamic/dynamic_conf.yml")

    def guests(self) -> dict[str, Any]:
        return json.loads((self.inventory / LXC_FILE).read_text())["lxc_configs"]

    def write_guests(self, guests: dict[str, Any]) -> None:
        (self.inventory / LXC_FILE).write_text(json.dumps({"lxc_configs": guests}))

    def ask(self, hostname: str, path: str = "/") -> tuple[int, dict[str, Any]]:
        """One request through Traefik: status and the backend's JSON."""
        with contextlib.closing(self.connection(hostname)) as connection:
            return ask(connection, path)

    def connection(self, hostname: str) -> http.client.HTTPSConnection:
        """A connection with Traefik that may be kept."""
        host, _, port = self.settings["traefik"]["websecureAddress"].rpartition(":")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(hostname)
        connection.sock = context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname=hostname)
        return connection


def ask(connection: http.client.HTTPSConnection, path: str = "/") -> tuple[int, dict[str, Any]]:
    """One request over a kept connection: status and the backend's JSON."""
    connection.request("GET", path, headers={"Host": connection.host})
    response = connection.getresponse()
    body = response.read()
    with contextlib.suppress(ValueError):
        return response.status, json.loads(body)
    return response.status, {}
