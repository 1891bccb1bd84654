"""The service scripts in a real shell: what they mend and put back."""

from __future__ import annotations

import dataclasses
import getpass
import grp
import os
import subprocess
from pathlib import Path

from phoenix.settings import parse
from phoenix.traefik import continuity, private_directories, service


def test_what_refused_to_run_is_taken_back_on_a_full_disk(tmp_path: Path) -> None:
    """No second copy can be made: the kept one itself goes back."""
    static = tmp_path / "traefik.yml"
    static.write_text("new")
    (tmp_path / "traefik.yml.rollback").write_text("old")
    own = dataclasses.replace(
        continuity.service(parse({"internalDomain": "internal.example.test"}, "x")), static_path=str(static)
    )
    for name in ("cp", "systemctl"):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {int(name == 'cp')}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", service.restore_script(own, ("static",))],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout.split() == [str(static)], done.stderr
    assert static.read_text() == "old"
    assert (tmp_path / "traefik.yml.refused").read_text() == "new"


def test_the_account_and_its_directories_are_looked_at_and_mended(tmp_path: Path) -> None:
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    missing, loose = tmp_path / "state dir", tmp_path / "logs"
    loose.mkdir(mode=0o777)
    loose.chmod(0o777)
    places = [str(missing), str(loose)]

    def run(script: str) -> dict[str, str]:
        done = subprocess.run(["/bin/sh", "-ec", script], capture_output=True, text=True, timeout=20, check=True)
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    look = private_directories.look_script(user, places)
    assert list(private_directories.problems(user, places, run(look))) == [
        f"{missing} is missing",
        f"{loose} has the mode 777, not 0750",
    ]
    assert run(private_directories.mend_script(user, group, places)) == {}
    assert run(look) == {}
    nobody = private_directories.look_script("nobody-yet", [])
    assert list(private_directories.problems("nobody-yet", [], run(nobody))) == [
        "the account nobody-yet does not exist"
    ]
    assert private_directories.look_script("", places) == private_directories.mend_script("", "", places) == ""
