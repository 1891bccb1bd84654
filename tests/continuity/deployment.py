"""A stack deployed into the container lab with the gateway managed too, driven through the real commands."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.container.testing import ContainerLab
from phoenix.settings import deep_merge
from tests.continuity.load import Load

REPOSITORY = Path(__file__).resolve().parents[2]
LOADED = ("grafana", "ollama", "embedding")
"""Guests of the built-in inventory whose routes the load goes to."""


class Deployment:
    """Stack ``local`` in a lab, with a state of its own below ``directory``."""

    def __init__(self, lab: ContainerLab, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        self.gateway, self.traefik = lab.number("gateway"), lab.number("traefik")
        self.settings_file = directory / "settings.json"
        known = (lab.directory / "known_hosts").read_text().splitlines()
        address = lab.address("gateway")
        host_key = next(" ".join(line.split()[1:3]) for line in known if line.split()[0] == address)
        settings = {key: value for key, value in lab.settings.items() if key != "portainer"}
        settings["portainer"] = {key: lab.settings["portainer"][key] for key in ("serverName", "rootFile")}
        settings["gateway"] = {
            **settings["gateway"],
            "connection": {**settings["traefik"]["connection"], "host": address, "hostKey": host_key},
            "replaces": ["lab.conf"],
        }
        self.settings = settings
        self.write()

    def write(self) -> None:
        self.settings_file.write_text(json.dumps(self.settings))

    def change(self, **sections: Any) -> None:
        """Lay sections over the settings, deep."""
        self.settings = deep_merge(self.settings, sections)
        self.write()

    @property
    def environment(self) -> dict[str, str]:
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        return {
            **os.environ,
            "PHOENIX_SETTINGS_FILE": str(self.settings_file),
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_HOME": str(self.directory / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "",
            "NO_COLOR": "1",
            "PYTHONPATH": str(REPOSITORY),
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "engine", "--cwd", str(REPOSITORY), *arguments]

    def pulumi(self, *arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
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

    def init(self) -> None:
        self.pulumi("stack", "init", "local")

    def up(self, *, check: bool = True, **sections: Any) -> str:
        """Deploy, after a change of the settings; returns what was printed."""
        self.change(**sections)
        done = self.pulumi("up", "--stack", "local", "--yes", "--skip-preview", check=check)
        if not check:
            assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    def preview(self) -> str:
        """What a plain preview prints, drift included; wrapped lines are joined."""
        done = self.pulumi("preview", "--stack", "local", check=False)
        return re.sub(r"\s+", " ", done.stdout + done.stderr)

    def clean(self) -> bool:
        """Whether a preview finds nothing to do."""
        return self.pulumi("preview", "--stack", "local", "--expect-no-changes", check=False).returncode == 0

    def main_pid(self, unit: str = "traefik") -> int:
        pid = int(self.lab.shell(self.traefik, f"systemctl show -P MainPID {unit}"))
        assert pid > 0, f"{unit} does not run"  # and a signal to 0 would be for ourselves
        return pid

    def is_active(self, unit: str) -> str:
        return self.lab.exec(self.traefik, "systemctl", "is-active", unit).stdout.strip()

    def switched(self) -> bool:
        return self.lab.exec(self.gateway, "test", "-e", "/run/phoenix/use-standby").returncode == 0

    def gateway_log(self) -> str:
        """What NGINX said, for messages."""
        script = "tail -n 20 /var/log/nginx/error.log; journalctl -u nginx -n 20 -o short-precise --no-pager"
        return self.lab.shell(self.gateway, script)

    def hostnames(self) -> list[str]:
        return [f"{name}.{self.lab.plan.internal_domain}" for name in LOADED]

    def wait_for_certificates(self) -> None:
        """Wait until the authorities have certified every name."""
        outputs = json.loads(self.pulumi("stack", "output", "--stack", "local", "--json").stdout)
        names = {hostname for route in outputs["routes"].values() for hostname in route["hostnames"]}
        count = "curl -sf 127.0.0.1:8080/api/certificates | grep -o certFingerprint | wc -l"
        self.lab.wait_for(self.traefik, f"[ $({count}) -ge {len(names)} ]", 60)

    def load(self, rate: float = 500, *, direct: bool = False) -> Load:
        """Load on the loaded routes: through the gateway, its certificate checked, or on Traefik itself."""
        context = ssl.create_default_context(cadata=self.lab.root("public"))
        if direct:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        address = self.lab.address("traefik" if direct else "gateway")
        return Load(address, 443, self.hostnames(), rate, context)

    def reset(self) -> None:
        """Both guests as they were before anything was deployed."""
        self.lab.reset(self.gateway, self.traefik)
