"""Traefik's files and unit, written by hand into a lab: what the product does, without the product."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import yaml

from lab.local import Lab
from lab.testing import Result, Session, systemctl


class Deployment:
    """Traefik's files and unit, written by hand into a lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.settings: dict[str, Any] = lab.settings["traefik"]
        self.session = Session(lab)
        self.configuration = Path(self.settings["configDirectory"])
        self.units = Path(self.settings["unitDirectory"])
        self.host, _, port = self.settings["webAddress"].partition(":")
        self.port = int(port)
        self.dynamic = self.configuration / "dynamic_conf.yml"

    def write(
        self,
        *,
        dynamic: bool = True,
        service: str = "",
        entry_points: dict[str, Any] | None = None,
        resolvers: dict[str, Any] | None = None,
        routers: dict[str, Any] | None = None,
    ) -> None:
        """Write the static file, the dynamic file and the unit; without ``routers`` one for o.test on web."""
        static: dict[str, Any] = {
            "entryPoints": {
                "traefik": {"address": self.settings["apiAddress"]},
                **(entry_points or {"web": {"address": self.settings["webAddress"]}}),
            },
            "api": {"insecure": True},
            "ping": {},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        }
        if resolvers:
            static["certificatesResolvers"] = resolvers
        if dynamic:
            static["providers"] = {"file": {"filename": str(self.dynamic), "watch": True}}
        (self.configuration / "traefik.yml").write_text(yaml.safe_dump(static))
        backend = next(each for each in self.lab.record()["backends"] if each["name"] == "ollama")
        url = f"http://{backend['address']}:{backend['port']}"
        self.dynamic.write_text(
            yaml.safe_dump(
                {
                    "http": {
                        "routers": routers or {"o": {"rule": "Host(`o.test`)", "entryPoints": ["web"], "service": "o"}},
                        "services": {"o": {"loadBalancer": {"servers": [{"url": url}]}}},
                    }
                }
            )
        )
        (self.units / "traefik.service").write_text(
            f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nWatchdogSec=20\n{service}\n"
            f'ExecStart="{self.settings["binary"]}" "--configFile={self.configuration}/traefik.yml"\n'
            "ExecReload=/bin/kill -HUP $MAINPID\n[Install]\nWantedBy=multi-user.target\n"
        )

    def systemctl(self, command: str) -> Result:
        return systemctl(self.lab.layout.runtime / "systemd", *command.split())

    def value(self, name: str) -> str:
        return self.systemctl(f"show -P {name} traefik").out.strip()

    def ask(self, timeout: float = 20) -> int:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", "/", headers={"Host": "o.test"})
            response = connection.getresponse()
            if response.status == 200:
                assert json.loads(response.read())["service"] == "ollama"
            return response.status
        finally:
            connection.close()

    def routed(self) -> bool:
        try:
            return self.ask() == 200
        except OSError:
            return False
