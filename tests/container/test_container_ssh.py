"""Guests and hypervisor let the lab's key in over ssh, and nobody else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.container.testing import ContainerLab

pytestmark = pytest.mark.container


def run(argv: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)


def test_exit_code_stdin_and_both_outputs(container_lab: ContainerLab) -> None:
    done = run(container_lab.ssh(container_lab.address("traefik"), "cat; echo oops >&2; exit 7"), b"in\0put\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in\0put\n", b"oops\n")


def test_every_machine_lets_the_labs_key_in(container_lab: ContainerLab) -> None:
    for address in [machine.address for machine in container_lab.plan.machines] + [container_lab.plan.hypervisor]:
        done = run(container_lab.ssh(address, "id -un"))
        assert (done.returncode, done.stdout) == (0, b"root\n"), done.stderr


def test_a_user_with_sudo(container_lab: ContainerLab) -> None:
    done = run(container_lab.ssh(container_lab.address("traefik"), "id -un; sudo -n id -un", user="phoenix_user"))
    assert (done.returncode, done.stdout) == (0, b"phoenix_user\nroot\n"), done.stderr


def test_through_the_hypervisor(container_lab: ContainerLab) -> None:
    done = run(
        container_lab.ssh(
            container_lab.address("traefik"),
            'echo "$SSH_CONNECTION" | cut -d" " -f1',
            jump=container_lab.plan.hypervisor,
        )
    )
    assert (done.returncode, done.stdout.decode().strip()) == (0, container_lab.plan.hypervisor), done.stderr


def test_pct_over_ssh(container_lab: ContainerLab) -> None:
    guest = container_lab.number("traefik")
    done = run(container_lab.ssh(container_lab.plan.hypervisor, f"pct exec {guest} -- sh -c 'cat; exit 5'"), b"data")
    assert (done.returncode, done.stdout) == (5, b"data"), done.stderr


def test_another_key_and_another_host_key_are_refused(container_lab: ContainerLab, tmp_path: Path) -> None:
    address = container_lab.address("traefik")
    stranger = tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)])
    argv = container_lab.ssh(address, "true")
    argv[argv.index("-i") + 1] = str(stranger)
    assert b"Permission denied" in run(argv).stderr
    known = tmp_path / "known_hosts"
    known.write_text(f"{address} {(stranger.with_suffix('.pub')).read_text()}")
    argv = [word.replace(str(container_lab.directory / "known_hosts"), str(known)) for word in
            container_lab.ssh(address, "true")]  # fmt: skip
    assert b"Host key verification failed" in run(argv).stderr
