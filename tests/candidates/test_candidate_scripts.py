"""The scripts around a candidate instance, in a real shell."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from phoenix.traefik import candidate
from phoenix.traefik.named_files import NamedFile, check_script
from phoenix.traefik.surroundings import own_addresses


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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to look with the eyes of another account")
def test_a_log_that_traefiks_account_could_not_make_is_told(tmp_path: Path) -> None:
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)

    def told(path: Path, user: str = "nobody") -> str:
        script = check_script(NamedFile(str(path), "log", "here"), user)
        return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False, timeout=20).stdout

    assert f"cannot be made by the account nobody, which may not write {tmp_path}" in told(tmp_path / "file")
    assert told(tmp_path / "file", "root") == ""
    assert told(tmp_path / "file", "nobody-yet") == ""
    os.chown(tmp_path, 65534, 65534)
    assert told(tmp_path / "file") == ""


def test_the_machines_own_addresses_are_read() -> None:
    output = "127.0.0.1\n198.18.10.12\n00000000000000000000000000000001\nanywhere 0\n0\n"
    assert own_addresses(output) == {"127.0.0.1", "198.18.10.12", "::1"}
    assert own_addresses("198.18.10.12\nanywhere 1\n") is None
    assert own_addresses("") is None
