"""Fixtures: one real Traefik for all candidates, with clients that ask it meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_traefik import Clients, LiveTraefik, live_traefik

from phoenix.remote import close_all

SYSTEMCTL = """#!/bin/sh
# Stands in for systemd's: the one service of these tests runs.
exit 0
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveTraefik]:
    directory = tmp_path_factory.mktemp("traefik")
    # Other accounts may pass: as root, the files are looked at with the eyes of Traefik's account.
    for parent in (directory, directory.parent):
        parent.chmod(0o755)
    with live_traefik(directory) as running:
        yield running
    close_all()


@pytest.fixture(scope="module")
def clients(live: LiveTraefik) -> Iterator[Clients]:
    asking = Clients(live.websecure)
    yield asking
    asking.close()


@pytest.fixture
def service_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the product see a running service, and no journal."""
    for name in ("systemctl", "journalctl"):
        program = tmp_path / name
        program.write_text(SYSTEMCTL)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
