"""The main job, through the real commands, on the real parts: preview and up put a real Traefik to work."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from phoenix.portainer import contract
from tests.end_to_end.stack import Stack


def hostnames(stack: Stack) -> dict[str, str]:
    """Host name → name the backend answers with."""
    routes = stack.outputs()["routes"]
    return {route["hostnames"][0]: route["guest"].partition("(")[2].rstrip(")") for route in routes.values()}


def test_a_preview_changes_nothing(stack: Stack) -> None:
    changes = stack.changes()
    assert set(changes) == {"create"}
    assert not stack.dynamic.exists()
    assert not stack.path("etc/traefik/traefik.yml").exists()


def test_every_routed_host_name_is_answered_by_its_own_backend(deployed: Stack) -> None:
    expected = hostnames(deployed)
    assert len(expected) == 6
    for hostname, guest in expected.items():
        status, answer = deployed.ask(hostname)
        assert status == 200, hostname
        assert answer["service"] == guest
        assert answer["host"].partition(":")[0] == hostname


def test_the_host_header_reaches_the_https_backend_with_a_verified_certificate(deployed: Stack) -> None:
    text = deployed.dynamic.read_text()
    assert "insecureSkipVerify" not in text
    assert deployed.ask("portainer.phoenix.test", "/api/system/status")[0] == 200


def test_an_unknown_host_name_is_not_found(deployed: Stack) -> None:
    assert deployed.ask("nobody.phoenix.test")[0] == 404


def test_a_second_up_changes_nothing(deployed: Stack) -> None:
    before = {path: path.stat().st_mtime_ns for path in deployed.path("etc").rglob("*") if path.is_file()}
    assert set(deployed.changes()) == {"same"}
    assert "changes." not in deployed.up().stdout
    assert {path: path.stat().st_mtime_ns for path in deployed.path("etc").rglob("*") if path.is_file()} == before
    deployed.pulumi("preview", "--stack", "local", "--expect-no-changes")


def test_the_outputs_are_the_documented_contract(deployed: Stack) -> None:
    outputs = deployed.outputs()
    assert outputs["dockerStacks"] == "[secret]"
    shown = json.loads(
        deployed.pulumi("stack", "output", "--stack", "local", "--json", "--show-secrets").stdout,
    )
    read = contract.parse(json.dumps(shown), "stack output")
    assert read.schema_version == 1
    assert read.traefik.revision == outputs["traefik"]["revision"]
    assert read.portainer is not None
    assert read.portainer.hostname == "portainer.phoenix.test"
    assert [agent.environment for agent in read.portainer.agents] == ["apps-agent"]
    assert {stack.deployment_name for stack in read.docker_stacks} == {
        "vector_store-development",
        "notes_app-development",
    }


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def unit(stack: Stack) -> Path:
    return stack.path("etc/systemd/system/traefik.service")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda stack: edit(stack.dynamic, ":8000", ":8001"), "dynamic_conf.yml"),
        (lambda stack: stack.dynamic.unlink(), "dynamic_conf.yml"),
        (lambda stack: stack.dynamic.chmod(0o604), "dynamic_conf.yml"),
        (lambda stack: edit(stack.path("etc/traefik/traefik.yml"), "INFO", "DEBUG"), "traefik.yml"),
        (lambda stack: edit(unit(stack), "RestartSec=250ms", "RestartSec=9"), "traefik.service"),
        (lambda stack: stack.remote("systemctl stop traefik"), "traefik.service is inactive"),
        (lambda stack: stack.remote("systemctl disable traefik"), "traefik.service is disabled"),
        (lambda stack: stack.path("usr/local/bin/traefik").chmod(0o700), "mode is 0700, not 0755"),
        (lambda stack: stack.path("usr/local/bin/traefik").unlink(), "traefik was changed by hand: it is missing"),
        (lambda stack: stack.path("var/lib/traefik").chmod(0o777), "var/lib/traefik has the mode 777, not 0750"),
        (lambda stack: shutil.rmtree(stack.path("var/lib/traefik")), "var/lib/traefik is missing"),
    ],
    ids=["edited", "removed", "mode", "static", "unit", "stopped", "disabled", "program's mode", "no program",
         "state directory's mode", "no state directory"],
)  # fmt: skip
def test_drift_shows_in_a_plain_preview_and_up_mends_it(deployed: Stack, damage, named: str) -> None:
    damage(deployed)
    done = deployed.pulumi("preview", "--stack", "local", "--expect-no-changes", check=False)
    assert done.returncode != 0
    assert named in done.stdout + done.stderr
    deployed.up()
    deployed.pulumi("preview", "--stack", "local", "--expect-no-changes")
    assert deployed.ask("embedding.internal.phoenix.test")[0] == 200


def test_a_changed_inventory_changes_just_that_route(deployed: Stack) -> None:
    guests = deployed.guests()
    guests["930"] = {
        "name": "Wiki",
        "network_config": {"ip": f"{deployed.network}.0.170/24"},
        "ports": ["127.0.0.1:18070:8070/tcp"],
    }
    deployed.write_guests(guests)
    deployed.start()
    done = deployed.pulumi("preview", "--stack", "local", "--diff")
    assert "wiki.internal.phoenix.test" in done.stdout
    assert "embedding.internal.phoenix.test" not in done.stdout
    assert deployed.changes()["update"] == 2
    deployed.up()
    status, answer = deployed.ask("wiki.internal.phoenix.test")
    assert (status, answer["service"]) == (200, "Wiki")
    del guests["930"]
    deployed.write_guests(guests)
    deployed.up()
    assert deployed.ask("wiki.internal.phoenix.test")[0] == 404


def test_a_changed_static_configuration_restarts_traefik_with_it(deployed: Stack) -> None:
    deployed.change_settings(traefik={"logLevel": "WARN"})
    deployed.up()
    assert "WARN" in deployed.path("var/lib/traefik/running.yml").read_text()
    assert deployed.ask("embedding.internal.phoenix.test")[0] == 200
    deployed.pulumi("preview", "--stack", "local", "--expect-no-changes")


def test_traefik_comes_back_when_it_is_killed(deployed: Stack) -> None:
    pid = int(deployed.remote("systemctl show -p MainPID --value traefik"))
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert deployed.ask("embedding.internal.phoenix.test")[0] == 200
            break
        except (OSError, AssertionError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_wrong_inventory_stops_before_anything_is_touched(deployed: Stack) -> None:
    guests = deployed.guests()
    good = json.dumps(guests)
    guests["801"]["ports"] = ["8000:99999"]
    guests["914"]["network_config"]["ip"] = "dhcp"
    deployed.write_guests(guests)
    before = deployed.dynamic.read_bytes()
    try:
        for command in (["preview"], ["up", "--yes", "--skip-preview"]):
            done = deployed.pulumi(*command, "--stack", "local", check=False)
            said = done.stdout + done.stderr
            assert done.returncode != 0
            assert 'LXC 801 (embedding): ports[0] is "8000:99999"' in said
            assert 'LXC 914 (ollama): network_config.ip is "dhcp"' in said
        assert deployed.dynamic.read_bytes() == before
    finally:
        deployed.write_guests(json.loads(good))
    deployed.pulumi("preview", "--stack", "local", "--expect-no-changes")


def test_an_unreachable_target_is_said_in_a_preview_and_stops_up(deployed: Stack) -> None:
    connection = deployed.settings["traefik"]["connection"]
    try:
        deployed.change_settings(traefik={"connection": {**connection, "port": 1}})
        done = deployed.pulumi("preview", "--stack", "local")
        told = [line for line in done.stdout.splitlines() if "unknown" in line]
        assert len(told) == 1
        assert "any drift there are unknown: ssh " in told[0]
        assert "refused" in told[0]
        done = deployed.up(check=False)
        assert done.returncode != 0
        assert f"{deployed.network}.0.12" in done.stdout + done.stderr
    finally:
        deployed.change_settings(traefik={"connection": connection})
    deployed.up()


def test_destroy_removes_what_was_deployed_and_keeps_the_certificates(deployed: Stack) -> None:
    storage = deployed.path("var/lib/traefik/acme-internal.json")
    storage.write_text("{}")
    deployed.pulumi("destroy", "--stack", "local", "--yes", "--skip-preview")
    assert not deployed.dynamic.exists()
    assert not deployed.path("etc/traefik/traefik.yml").exists()
    assert not deployed.path("etc/systemd/system/traefik.service").exists()
    assert storage.exists()
    with pytest.raises(OSError, match="refused"):
        deployed.ask("embedding.internal.phoenix.test")
