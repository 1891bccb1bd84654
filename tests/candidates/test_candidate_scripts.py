"""The scripts around a candidate instance, in a real shell."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from phoenix.traefik import candidate


def test_what_a_killed_run_left_behind_goes_with_the_next_start(tmp_path: Path) -> None:
    names = ("old", "young", "new")
    old, young, new = (tmp_path / f"{candidate.PREFIX}{name}" for name in names)
    foreign = tmp_path / "somebody-elses"
    for directory in (old, young, new, foreign):
        directory.mkdir()
        (directory / "traefik.yml").write_text("log: {}\n")
    long_ago = time.time() - 60 * (candidate.STALE_MINUTES + 2)
    for directory in (old, foreign):
        os.utime(directory, (long_ago, long_ago))
    done = subprocess.run(
        ["/bin/sh", "-c", candidate.start_script("/bin/true", str(new), None)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.strip().isdigit()
    assert done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in (young, new, foreign))
