"""The VMs have a Docker engine: containers run, ports are published, Compose works in both forms."""

from __future__ import annotations

import pytest

from lab.container import client
from lab.container.processes import wait_until
from lab.container.testing import ContainerLab

pytestmark = pytest.mark.container

COMPOSE = """\
services:
  answer:
    image: lab/answer:1
    command: ["/usr/bin/python3", "-c", "{program}"]
    ports: ["9001:80"]
    environment:
      GREETING: hello
"""
PROGRAM = (
    "import http.server as h, os; "
    "h.BaseHTTPRequestHandler.do_GET = lambda s: (s.send_response(200), s.end_headers(), "
    "s.wfile.write(os.environ['GREETING'].encode())); "
    "h.HTTPServer(('', 80), h.BaseHTTPRequestHandler).serve_forever()"
)
IMAGE = """
tar -C / -c usr/bin/python3 usr/bin/python3.11 usr/lib/python3.11 usr/bin/dash usr/bin/sh lib lib64 \
    usr/lib64 usr/lib/x86_64-linux-gnu | docker import - lab/answer:1
"""


@pytest.fixture
def vm(container_lab: ContainerLab) -> str:
    if not container_lab.has_docker:
        pytest.skip("the lab's VMs have no Docker engine: its packages could not be installed")
    guest = container_lab.number("agent")
    container_lab.reset(guest)
    return guest


def test_compose_up_publishes_a_port_and_comes_back_after_a_reboot(container_lab: ContainerLab, vm: str) -> None:
    container_lab.shell(vm, IMAGE, timeout=300)
    container_lab.shell(vm, "mkdir -p /srv/answer; cat >/srv/answer/compose.yaml",
                        stdin=COMPOSE.format(program=PROGRAM).encode())  # fmt: skip
    container_lab.shell(vm, "cd /srv/answer; sed -i 's/^    image/    restart: always\\n    image/' compose.yaml; "
                            "docker compose -f compose.yaml up -d", timeout=300)  # fmt: skip

    def answers() -> bool:
        try:
            answer = client.get("x", address=container_lab.address("agent"), port=9001, tls=False)
        except OSError:
            return False
        return (answer.status, answer.body) == (200, b"hello")

    assert wait_until(answers, 30), container_lab.shell(vm, "docker ps -a; docker logs $(docker ps -aq)")
    container_lab.shell(vm, "docker-compose -f /srv/answer/compose.yaml ps | grep -q Up")
    assert container_lab.pct("reboot", vm).returncode == 2, "a VM is no container"
    assert container_lab.qm("reboot", vm).returncode == 0
    container_lab.start(vm)
    assert wait_until(answers, 60), container_lab.exec(vm, "docker", "ps", "-a").stdout


def test_engine_starts_with_the_first_command(container_lab: ContainerLab, vm: str) -> None:
    assert container_lab.exec(vm, "systemctl", "is-active", "docker.service").stdout.strip() == "inactive"
    assert container_lab.shell(vm, "docker info --format '{{.Driver}}'").strip() == "overlay2"
    container_lab.wait_for(vm, "systemctl is-active docker.service")
