"""Guests have a real systemd: units start, stop, restart, come back after a crash and a reboot."""

from __future__ import annotations

import socket
import subprocess

import pytest

from lab.container.testing import ContainerLab

pytestmark = pytest.mark.container

UNIT = """\
[Unit]
Description=A service of the tests

[Service]
Type=notify
NotifyAccess=all
User=traefik
AmbientCapabilities=CAP_NET_BIND_SERVICE
ProtectSystem=strict
PrivateTmp=yes
NoNewPrivileges=yes
StateDirectory=probe
ExecStart=/bin/sh -c 'echo started >>/var/lib/probe/starts; systemd-notify --ready; exec sleep 1000'
Restart=always
RestartSec=0

[Install]
WantedBy=multi-user.target
"""


@pytest.fixture
def probe(container_lab: ContainerLab) -> str:
    """A unit in Traefik's container, which is put back first."""
    guest = container_lab.number("traefik")
    container_lab.reset(guest)
    container_lab.shell(guest, "cat >/etc/systemd/system/probe.service", stdin=UNIT.encode())
    container_lab.shell(guest, "systemctl daemon-reload && systemctl start probe")
    return guest


def starts(lab: ContainerLab, guest: str) -> int:
    return lab.shell(guest, "cat /var/lib/probe/starts").count("started")


def test_every_guest_has_finished_booting(container_lab: ContainerLab) -> None:
    for machine in container_lab.plan.machines:
        assert container_lab.shell(machine.number, "systemctl is-system-running").strip() == "running"
        assert container_lab.shell(machine.number, "readlink /proc/1/exe").strip() == "/usr/lib/systemd/systemd"
        assert container_lab.shell(machine.number, "hostname").strip() == machine.name.lower()


def test_start_stop_and_restart(container_lab: ContainerLab, probe: str) -> None:
    assert container_lab.shell(probe, "systemctl is-active probe").strip() == "active"
    container_lab.shell(probe, "systemctl restart probe")
    assert starts(container_lab, probe) == 2
    container_lab.shell(probe, "systemctl stop probe")
    stopped = container_lab.exec(probe, "systemctl", "is-active", "probe")
    assert (stopped.returncode, stopped.stdout.strip()) == (3, "inactive")


def test_crash_is_followed_by_a_restart(container_lab: ContainerLab, probe: str) -> None:
    before = container_lab.shell(probe, "systemctl show -P MainPID probe").strip()
    container_lab.shell(probe, f"kill -9 {before}")
    container_lab.wait_for(probe, f'pid=$(systemctl show -P MainPID probe); [ "$pid" != 0 ] && [ "$pid" != {before} ]')
    container_lab.wait_for(probe, "systemctl is-active probe")
    assert container_lab.shell(probe, "systemctl show -P NRestarts probe").strip() == "1"


def test_user_capabilities_and_hardening_apply(container_lab: ContainerLab, probe: str) -> None:
    pid = container_lab.shell(probe, "systemctl show -P MainPID probe").strip()
    status = container_lab.shell(probe, f"cat /proc/{pid}/status")
    ambient = next(line.split()[1] for line in status.splitlines() if line.startswith("CapAmb:"))
    assert int(ambient, 16) == 1 << 10, "CAP_NET_BIND_SERVICE and nothing else"
    assert "NoNewPrivs:\t1" in status
    uid = container_lab.shell(probe, "id -u traefik").strip()
    assert f"Uid:\t{uid}\t{uid}" in status
    refused = container_lab.exec(probe, "nsenter", f"--target={pid}", "--mount", "touch", "/etc/x")
    assert "Read-only file system" in refused.stderr


def test_only_enabled_units_survive_a_reboot(container_lab: ContainerLab, probe: str) -> None:
    boot = container_lab.shell(probe, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1")
    assert container_lab.pct("reboot", probe).returncode == 0
    container_lab.start(probe)  # waits until it is up again
    assert container_lab.exec(probe, "systemctl", "is-active", "probe").returncode == 3
    container_lab.shell(probe, "systemctl enable probe")
    assert container_lab.pct("reboot", probe).returncode == 0
    container_lab.start(probe)
    assert container_lab.shell(probe, "systemctl is-active probe").strip() == "active"
    assert container_lab.shell(probe, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1") != boot


def test_reset_puts_the_files_back(container_lab: ContainerLab) -> None:
    guest = container_lab.number("traefik")
    container_lab.shell(guest, "rm -rf /etc/traefik /usr/local/bin/traefik; echo x >/etc/left-over; rm /etc/hostname")
    container_lab.reset(guest)
    assert container_lab.exec(guest, "test", "-e", "/etc/left-over").returncode == 1
    assert "Version:" in container_lab.shell(guest, "/usr/local/bin/traefik version; test -d /etc/traefik")
    reached = subprocess.run(
        container_lab.ssh(container_lab.address("traefik"), "hostname"), capture_output=True, text=True, check=False
    )
    assert (reached.returncode, reached.stdout.strip()) == (0, container_lab.plan.machine("traefik").name.lower())


def test_a_stopped_guest_is_not_reachable_and_comes_back(container_lab: ContainerLab) -> None:
    guest, address = container_lab.number("agent"), container_lab.address("agent")
    container_lab.stop(guest)
    with pytest.raises(OSError, match=r"refused|unreachable|timed out|No route"):
        socket.create_connection((address, 22), timeout=5).close()
    container_lab.start(guest)
    socket.create_connection((address, 22), timeout=5).close()


def test_guests_cannot_leave_the_network(container_lab: ContainerLab) -> None:
    guest = container_lab.number("traefik")
    refused = container_lab.exec(guest, "ip", "route", "get", "192.0.2.1")
    assert "Network is unreachable" in refused.stderr
