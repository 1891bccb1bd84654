"""Portainer's Compose projects, their scripts, and the certificate the server shows."""

import datetime
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from phoenix.errors import InputError
from phoenix.instances import compose, scripts
from phoenix.instances.certificate import certificate_mistakes
from phoenix.instances.targets import agent_connection, check_agents
from phoenix.inventory.models import NetworkConfig, Vm
from phoenix.settings import parse

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0XzAUre3cXFjPJWL6dDacfhMXFUUGgN1eP97FKINHO"


@pytest.mark.parametrize(
    ("image", "pinned"),
    [
        ("portainer/portainer-ce:2.39.0", True),
        ("portainer/portainer-ce", False),
        ("portainer/portainer-ce:latest", False),
        ("registry.example.test:5000/portainer-ce", False),
        ("registry.example.test:5000/portainer-ce:2.39.0", True),
        (f"portainer/agent@sha256:{'a' * 64}", True),
        ("portainer/agent:2.39.0; rm -rf /", False),
        ("", False),
    ],
)
def test_an_image_is_pinned_by_a_tag_or_a_digest(image: str, pinned: bool) -> None:
    assert compose.is_pinned(image) is pinned


def test_an_unpinned_image_of_the_inventory_gives_way_to_a_pinned_default() -> None:
    assert compose.pinned_image(None, "portainer/agent:latest", "portainer/agent:2.39.0") == "portainer/agent:2.39.0"
    assert compose.pinned_image(None, "portainer/agent:2.41.0", "portainer/agent:2.39.0") == "portainer/agent:2.41.0"


def test_an_unpinned_image_of_the_stack_is_refused() -> None:
    with pytest.raises(InputError, match="not pinned: name a tag such as"):
        compose.pinned_image("portainer/agent:latest", None, "portainer/agent:2.39.0")


def test_the_server_keeps_its_data_and_reads_secrets_from_files() -> None:
    text = compose.server_compose(
        "portainer/portainer-ce:2.39.0", 9444, certificate=True, admin_password=True, agent_secret=True
    )
    project = yaml.safe_load(text)
    server = project["services"]["portainer"]
    assert server["ports"] == ["9444:9443"]
    assert "portainer_data:/data" in server["volumes"]
    assert project["volumes"] == {"portainer_data": {"name": "portainer_data"}}
    assert server["command"] == [
        "--sslcert",
        "/run/phoenix/portainer.crt",
        "--sslkey",
        "/run/phoenix/portainer.key",
        "--admin-password-file",
        "/run/phoenix/admin_password",
    ]
    assert server["env_file"] == ["agent.env"]
    assert "environment" not in server


def test_a_server_without_files_has_no_command() -> None:
    text = compose.server_compose(
        "portainer/portainer-ce:2.39.0", 9443, certificate=False, admin_password=False, agent_secret=False
    )
    server = yaml.safe_load(text)["services"]["portainer"]
    assert "command" not in server
    assert "env_file" not in server


def test_an_agent_sees_docker_and_its_volumes() -> None:
    agent = yaml.safe_load(compose.agent_compose("portainer/agent:2.39.0", 9001, agent_secret=False))["services"][
        "agent"
    ]
    assert agent["ports"] == ["9001:9001"]
    assert "/var/run/docker.sock:/var/run/docker.sock" in agent["volumes"]


@pytest.mark.parametrize(
    ("output", "phrases"),
    [
        ("portainer running\n", []),
        ("", ["the Compose project p has no container"]),
        ("portainer exited\n", ["container portainer is exited"]),
        ("a running\nb restarting\n", ["container b is restarting"]),
        ("a\n", ["container a is in no state"]),
    ],
)
def test_containers_that_do_not_run_are_named(output: str, phrases: list[str]) -> None:
    assert list(scripts.container_problems("p", output)) == phrases


def run_with_docker(script: str, tmp_path: Path, *, plugin: bool) -> list[str]:
    """Run a script with a `docker` on PATH that writes down how it is called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log = tmp_path / "log"
    for name, known in (("docker", plugin), ("docker-compose", not plugin)):
        program = programs / name
        refuse = '[ "$1 $2" != "compose version" ] || exit 1' if name == "docker" and not known else ":"
        program.write_text(f'#!/bin/sh\n{refuse}\necho "{name} $*" >>"{log}"\n')
        program.chmod(0o755)
    sh = shutil.which("sh")
    assert sh
    subprocess.run([sh, "-c", script], env={"PATH": f"{programs}:/usr/bin:/bin"}, check=True, capture_output=True)
    return log.read_text().splitlines()


@pytest.mark.parametrize("plugin", [True, False], ids=["docker compose", "docker-compose"])
def test_compose_runs_as_plugin_or_program(tmp_path: Path, plugin: bool) -> None:
    directory = tmp_path / "with 'quote"
    directory.mkdir()
    (directory / "compose.yml").touch()
    calls = run_with_docker(scripts.up_script(str(directory), "portainer"), tmp_path, plugin=plugin)
    name = "docker compose" if plugin else "docker-compose"
    assert calls[-1] == f"{name} -p portainer -f compose.yml up -d --remove-orphans"


@pytest.mark.parametrize(("remove", "ending"), [(False, "down"), (True, "down --volumes")])
def test_volumes_go_only_where_that_is_asked_for(tmp_path: Path, remove: bool, ending: str) -> None:
    (tmp_path / "compose.yml").touch()
    calls = run_with_docker(scripts.down_script(str(tmp_path), "p", remove_data=remove), tmp_path, plugin=True)
    assert calls[-1].endswith(f"compose.yml {ending}")


@dataclass
class Pair:
    certificate: bytes
    key: bytes


def make(names: list[x509.GeneralName], *, days: int = 30) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "portainer.example.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=60))
        .not_valid_after(NOW + datetime.timedelta(days=days))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


GOOD = make([x509.DNSName("portainer.example.test"), x509.DNSName("*.internal.test")])


@pytest.mark.parametrize(
    ("certificate", "key", "server_name", "phrase"),
    [
        (GOOD.certificate, GOOD.key, "portainer.example.test", None),
        (GOOD.certificate, GOOD.key, "PORTAINER.example.test", None),
        (GOOD.certificate, GOOD.key, "a.internal.test", None),
        (GOOD.certificate, GOOD.key, "a.b.internal.test", "does not carry the name a.b.internal.test"),
        (GOOD.certificate, GOOD.key, "192.0.2.1", "does not carry the name 192.0.2.1"),
        (b"nothing", GOOD.key, "portainer.example.test", "holds no PEM certificate"),
        (GOOD.certificate, b"nothing", "portainer.example.test", "holds no PEM key"),
        (GOOD.certificate, make([]).key, "portainer.example.test", "does not belong to the key"),
        (make([]).certificate, None, "portainer.example.test", "a common name alone does not count"),
    ],
)
def test_a_certificate_traefik_would_refuse_is_named(
    certificate: bytes, key: bytes | None, server_name: str, phrase: str | None
) -> None:
    found = "; ".join(certificate_mistakes(certificate, key or b"", server_name, NOW))
    assert found == "" if phrase is None else phrase in found


def test_an_expired_certificate_is_named() -> None:
    pair = make([x509.DNSName("portainer.example.test")], days=-1)
    assert list(certificate_mistakes(pair.certificate, pair.key, "portainer.example.test", NOW)) == [
        "is valid from 2026-04-02 until 2026-05-31, not today"
    ]


VM = Vm(kind="vm", vmid=1002, name="apps", network_config=NetworkConfig(ip="192.0.2.102/24"))


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ({"transport": "qm", "guest": 1001}, {"guest": 1002}),
        ({"transport": "ssh", "host": "192.0.2.101", "knownHostsFile": "~/k"}, {"host": "192.0.2.102"}),
    ],
)
def test_an_agent_is_reached_as_its_server_is(connection: dict[str, object], expected: dict[str, object]) -> None:
    found = agent_connection(parse({"portainer": {"connection": connection}}, "s"), VM)
    assert found is not None
    assert {name: getattr(found, name) for name in expected} == expected


def test_an_agent_whose_host_key_nobody_knows_is_refused() -> None:
    connection = {"transport": "ssh", "host": "192.0.2.101", "hostKey": KEY_LINE}
    with pytest.raises(InputError, match=r"phoenix:portainer\.agents\.apps is missing: VM 1002 \(apps\) runs an agent"):
        agent_connection(parse({"portainer": {"connection": connection}}, "s"), VM)


def test_a_connection_for_a_vm_without_an_agent_is_refused() -> None:
    settings = parse({"portainer": {"agents": {"nobody": {"transport": "qm", "guest": 1002}}}}, "s")
    with pytest.raises(InputError, match="names 'nobody', which is no VM with an agent \\(there are: apps\\)"):
        check_agents(settings, (VM,))
