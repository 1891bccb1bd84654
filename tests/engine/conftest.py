from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.secrets import SecretsManager
from tests.engine.engine_memory import Laboratory
from tests.engine.engine_process import Workspace


@pytest.fixture(scope="session")
def secrets() -> SecretsManager:
    """One manager for all tests: its key takes a fifth of a second to derive."""
    return SecretsManager.create("test")


@pytest.fixture
def lab(tmp_path: Path, secrets: SecretsManager) -> Laboratory:
    return Laboratory(tmp_path, secrets)


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[[str], Workspace]:
    return lambda program: Workspace(tmp_path, program)


@pytest.fixture
def stack(workspace: Callable[[str], Workspace]) -> Callable[[str], Workspace]:
    """A workspace whose stack has been made."""

    def make(program: str) -> Workspace:
        space = workspace(program)
        space.run("stack", "init", "dev")
        return space

    return make
