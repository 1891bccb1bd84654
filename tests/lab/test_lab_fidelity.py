"""The lab's service manager beside a real systemd: the same commands, the same exit codes and words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.container.testing import ContainerLab, container_lab
from lab.local import Lab

__all__ = ["container_lab"]

SCENARIO = (Path(__file__).parent / "scenario.sh").read_text()


@pytest.mark.container
def test_the_stand_in_answers_as_systemd_does(container_lab: ContainerLab, session_lab: Lab) -> None:
    units = "/etc/systemd/system"
    real = container_lab.exec(container_lab.number("gateway"), "sh", "-c", SCENARIO, "sh", units)
    own_units = session_lab.settings["traefik"]["unitDirectory"]
    arguments, environment = session_lab.command("traefik", ["sh", "-c", SCENARIO, "sh", own_units])
    own = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert real.returncode == 0, real.stderr
    assert own.stdout.count(" -> ") > 90
    assert own.stdout.replace(own_units, units).splitlines() == real.stdout.splitlines()
