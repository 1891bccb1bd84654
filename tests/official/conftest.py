from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def official_cli() -> str | None:
    """Return the official CLI on PATH, which this repository's bin/pulumi is not."""
    directories = [d for d in os.environ.get("PATH", "").split(os.pathsep) if Path(d).resolve() != REPOSITORY / "bin"]
    return shutil.which("pulumi", path=os.pathsep.join(directories))


@pytest.fixture(scope="session")
def pulumi() -> str:
    found = official_cli()
    if found is None:
        pytest.skip("the official Pulumi CLI is not on PATH (https://www.pulumi.com/docs/install/)")
    return found
