"""What the waiting process imports of what the preview's tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.imports import is_installed


def test_only_packages_outside_the_project_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the project may register resources as it loads."""
    (tmp_path / "infrastructure.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert is_installed("yaml")
    assert is_installed("json")
    assert not is_installed("infrastructure")
    assert not is_installed("no_such_package")
    assert not is_installed("")


def test_the_parent_has_what_the_child_imported(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import sys\nsys.stdout.write('loaded ')\n")
    (tmp_path / "parent.py").write_text(
        """
import os, sys
from engine.imports import Follower
follower = Follower()
child = os.fork()
if child == 0:
    follower.lead()
    import own, yaml, csv, email.mime.text
    sys.stdout.flush()
    os._exit(0)
follower.follow()
os.waitpid(child, 0)
follower.finish()
print([name in sys.modules for name in ("yaml", "csv", "email", "email.mime.text", "own")])
"""
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "parent.py")],
        env={**os.environ, "PYTHONPATH": f"{root}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "loaded [True, True, True, False, False]"
