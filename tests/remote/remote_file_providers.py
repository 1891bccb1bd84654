"""Providers with hooks, in a module of their own so that a state can name them by reference."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from phoenix.errors import TraefikError
from phoenix.remote import Transport
from phoenix.remote.remote_file import RemoteFileProvider


class HookedProvider(RemoteFileProvider):
    """Refuses what the content asks it to refuse, and writes down the order of things."""

    def validate(self, transport: Transport, props: dict[str, Any], staged_path: str) -> None:
        self._log(props, "validate", transport, staged_path)
        if "refuse-staged" in props["content"]:
            raise TraefikError("Traefik said: unknown key.")

    def verify(self, transport: Transport, props: dict[str, Any]) -> None:
        self._log(props, "verify", transport, props["path"])
        if "refuse-live" in props["content"]:
            raise TraefikError("route r1 is not served.")

    def rolled_back(self, transport: Transport, props: dict[str, Any]) -> None:
        self._log(props, "rolled back to", transport, props["path"])

    @staticmethod
    def _log(props: dict[str, Any], what: str, transport: Transport, path: str) -> None:
        with Path(props["log"]).open("a") as log:
            log.write(f"{what} {transport.run(f'cat {shlex.quote(path)} 2>&1').text.strip()}\n")
