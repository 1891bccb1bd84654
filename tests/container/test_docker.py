"""The VMs have a Docker engine: images come from the lab's registry, Compose works, containers survive a reboot."""

from __future__ import annotations

import json

import pytest
import yaml

from lab.container import client
from lab.container.client import Answer
from lab.container.processes import wait_until
from lab.container.testing import ContainerLab

pytestmark = pytest.mark.container

COMPOSE = yaml.safe_dump(
    {
        "services": {
            "answer": {
                "image": "lab/answer:1",
                "ports": ["9001:80"],
                "restart": "always",
                "environment": {"GREETING": "hello"},
            }
        }
    }
)


@pytest.fixture
def vm(container_lab: ContainerLab) -> str:
    if not container_lab.has_docker:
        pytest.skip("the lab's VMs have no Docker engine: its packages could not be installed")
    guest = container_lab.number("agent")
    container_lab.reset(guest)
    return guest


def ask(lab: ContainerLab, port: int, path: str, *, tls: bool = False) -> Answer | None:
    try:
        return client.get("localhost", path, address=lab.address("agent"), port=port, tls=tls)
    except OSError:
        return None


def test_compose_up_publishes_a_port_and_comes_back_after_a_reboot(container_lab: ContainerLab, vm: str) -> None:
    container_lab.shell(vm, "mkdir -p /srv/answer; cat >/srv/answer/compose.yaml", stdin=COMPOSE.encode())
    container_lab.shell(vm, "docker compose -f /srv/answer/compose.yaml up -d", timeout=300)

    def answers() -> bool:
        answer = ask(container_lab, 9001, "/")
        return answer is not None and answer.json()["environment"]["GREETING"] == "hello"

    assert wait_until(answers, 30), container_lab.shell(vm, "docker ps -a; docker logs $(docker ps -aq) 2>&1")
    container_lab.shell(vm, "docker-compose -f /srv/answer/compose.yaml ps | grep -q Up")
    assert container_lab.pct("reboot", vm).returncode == 2, "a VM is no container"
    assert container_lab.qm("reboot", vm).returncode == 0
    container_lab.start(vm)
    assert wait_until(answers, 60), container_lab.exec(vm, "docker", "ps", "-a").stdout


def test_engine_starts_with_the_first_command(container_lab: ContainerLab, vm: str) -> None:
    assert container_lab.exec(vm, "systemctl", "is-active", "docker.service").stdout.strip() == "inactive"
    assert container_lab.shell(vm, "docker info --format '{{.Driver}}'").strip() == "overlay2"
    container_lab.wait_for(vm, "systemctl is-active docker.service")


def test_portainers_images_answer_as_portainer_does(container_lab: ContainerLab, vm: str) -> None:
    run = "docker run -d --name {name} -p {port} {image}"
    container_lab.shell(vm, run.format(name="agent", port="9001:9001", image="portainer/agent:2.39.0"), timeout=300)
    container_lab.shell(vm, "umask 077; echo a-password-of-the-tests >/root/password")
    container_lab.shell(
        vm,
        run.format(
            name="server",
            port="9443:9443 -v /root/password:/run/password:ro",
            image="portainer/portainer-ce:2.39.0 --admin-password-file /run/password",
        ),
        timeout=300,
    )
    assert wait_until(lambda: (found := ask(container_lab, 9001, "/ping", tls=True)) is not None
                      and found.status == 204, 30)  # fmt: skip
    assert wait_until(
        lambda: (
            (found := ask(container_lab, 9443, "/api/users/admin/check", tls=True)) is not None and found.status == 204
        ),
        30,
    ), container_lab.shell(vm, "docker logs server 2>&1")
    status = ask(container_lab, 9443, "/api/system/status", tls=True)
    assert status is not None
    assert status.json()["Version"] == "2.39.0"


def test_an_image_that_does_not_exist(container_lab: ContainerLab, vm: str) -> None:
    refused = container_lab.exec(vm, "docker", "pull", "nobody/nothing:1", timeout=300)
    assert refused.returncode == 1
    assert "name unknown" in refused.stderr
    refused = container_lab.exec(vm, "docker", "pull", "lab/answer:99", timeout=300)
    assert "manifest unknown" in refused.stderr
    assert json.loads(container_lab.shell(vm, "docker image ls --format '{{json .}}' | head -1") or "{}") == {}
