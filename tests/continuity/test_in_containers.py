"""The service in real containers: the unit's promises, reload in every state, the standby, the sockets."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from phoenix.remote import Connection, open_transport
from phoenix.traefik import hardening
from tests.continuity.deployment import Deployment

pytestmark = pytest.mark.container

DYNAMIC = "/etc/traefik/dynamic/dynamic_conf.yml"


def api(deployment: Deployment, path: str, port: int = 8080) -> Any:
    return json.loads(deployment.lab.shell(deployment.traefik, f"curl -sf 127.0.0.1:{port}{path}"))


def fingerprints(deployment: Deployment, port: int = 8080) -> set[str]:
    return {entry["certFingerprint"] for entry in api(deployment, "/api/certificates", port)}


def digests(deployment: Deployment) -> dict[str, str]:
    """Of the ACME storage, which nobody but Traefik may touch."""
    files = deployment.lab.files(deployment.traefik) / "var/lib/traefik"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files.glob("acme-*.json")}


def test_the_process_is_as_small_as_the_unit_says(deployment: Deployment) -> None:
    lab, guest = deployment.lab, deployment.traefik
    status = lab.shell(guest, f"cat /proc/{deployment.main_pid()}/status")
    fields = {key: value.split() for key, _, value in (line.partition(":") for line in status.splitlines())}
    user = lab.shell(guest, "id -u traefik").strip()
    assert set(fields["Uid"]) == {user}
    assert {int(fields[key][0], 16) for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {1 << 10}
    assert fields["NoNewPrivs"] == ["1"]
    assert fields["Seccomp"] == ["2"]
    shown = lab.shell(guest, "systemctl show traefik -p WatchdogUSec -p Type -p Restart -p NRestarts")
    assert set(shown.split()) == {"WatchdogUSec=2min", "Type=notify", "Restart=always", "NRestarts=0"}
    files = lab.shell(guest, "stat -c '%a %U %n' /var/lib/traefik /var/lib/traefik/acme-*.json")
    assert files.splitlines()[0] == "750 traefik /var/lib/traefik"
    assert all(line.startswith("600 traefik ") for line in files.splitlines()[1:])
    enter = f"nsenter --target={deployment.main_pid()} --mount"
    for path in ("/etc/x", "/usr/x", "/var/x"):
        assert lab.exec(guest, "sh", "-c", f"{enter} touch {path}").returncode != 0, path
    for unit in ("traefik.service", "traefik-standby.service"):
        said = lab.exec(guest, "systemd-analyze", "verify", f"/etc/systemd/system/{unit}")
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_probe_finds_what_a_container_refuses(deployment: Deployment) -> None:
    """A directive that ends in 226/NAMESPACE is named, whatever stands beside it; all of ours work here."""
    transport = open_transport(Connection.parse(deployment.settings["traefik"]["connection"]))
    broken = [("BindReadOnlyPaths", "/does/not/exist"), ("PrivateTmp", "true"), ("RootDirectory", "/does/not/exist")]
    said = transport.run(hardening.probe_script("traefik", broken)).text
    assert said.split() == ["BindReadOnlyPaths", "RootDirectory"]
    assert transport.run(hardening.probe_script("traefik")).text == ""
    assert transport.run(hardening.probe_script("nobody-of-that-name")).text.split() == ["*"]
    assert deployment.lab.shell(deployment.traefik, "systemctl --failed --plain --no-legend") == ""


def reload(deployment: Deployment) -> int:
    return deployment.lab.exec(deployment.traefik, "systemctl", "reload", "traefik").returncode


def test_a_reload_is_safe_while_it_serves(deployment: Deployment) -> None:
    pid = deployment.main_pid()
    assert [reload(deployment) for _ in range(3)] == [0, 0, 0]
    assert deployment.main_pid() == pid
    assert deployment.lab.get(deployment.hostnames()[0], roots=deployment.lab.root("public")).status == 200


def test_a_reload_is_safe_where_the_file_provider_never_started(deployment: Deployment) -> None:
    """There a HUP, which the old unit sent, ends Traefik while systemctl says all is well."""
    lab, guest = deployment.lab, deployment.traefik
    lab.shell(guest, f"mv {DYNAMIC} {DYNAMIC}.away; systemctl restart traefik")
    try:
        lab.wait_for(guest, "curl -sf 127.0.0.1:8080/ping")
        pid = deployment.main_pid()
        assert reload(deployment) == 0
        assert deployment.main_pid() == pid
        assert deployment.is_active("traefik") == "active"
    finally:
        lab.shell(guest, f"mv {DYNAMIC}.away {DYNAMIC}; systemctl restart traefik")
    lab.wait_for(guest, "curl -sf 127.0.0.1:8080/api/overview | grep -q File")


def test_a_reload_is_safe_right_after_a_start_and_of_a_stopped_unit(deployment: Deployment) -> None:
    lab, guest = deployment.lab, deployment.traefik
    lab.exec(guest, "sh", "-c", "systemctl restart traefik; systemctl reload traefik")
    assert deployment.is_active("traefik") == "active"
    # A Traefik that is told to end within its first 0.2 s takes ten seconds to do so, and calls that a failure.
    lab.wait_for(guest, "curl -sf 127.0.0.1:8080/api/overview | grep -q File")
    lab.shell(guest, "systemctl stop traefik")
    assert reload(deployment) != 0
    assert deployment.is_active("traefik") == "inactive"
    lab.shell(guest, "systemctl start traefik")
    lab.wait_for(guest, "curl -sf 127.0.0.1:8080/ping")


def test_a_reload_of_an_instance_that_hangs_fails_and_ends_nothing(deployment: Deployment) -> None:
    pid = deployment.main_pid()
    deployment.lab.shell(deployment.traefik, f"kill -STOP {pid}")
    try:
        assert reload(deployment) != 0
    finally:
        deployment.lab.shell(deployment.traefik, f"kill -CONT {pid}")
    assert deployment.main_pid() == pid
    assert deployment.is_active("traefik") == "active"


def test_the_standby_serves_the_same_and_asks_no_authority(deployment: Deployment) -> None:
    lab, guest = deployment.lab, deployment.traefik
    deployment.wait_for_certificates()
    before = digests(deployment)
    lab.shell(guest, "systemctl start traefik-standby")
    try:
        lab.wait_for(guest, "curl -sf 127.0.0.1:8081/api/certificates | grep -q certFingerprint")
        assert fingerprints(deployment, 8081) >= fingerprints(deployment)
        ours = {name for name in api(deployment, "/api/rawdata")["routers"] if name.endswith("@file")}
        assert ours == {name for name in api(deployment, "/api/rawdata", 8081)["routers"] if name.endswith("@file")}
        copies = lab.shell(guest, "stat -c '%a %U' /var/lib/traefik/standby /var/lib/traefik/standby/acme-*.json")
        assert copies.splitlines() == ["700 traefik", "600 traefik", "600 traefik"]
        said = lab.shell(guest, "journalctl -u traefik-standby -o cat --no-pager")
        assert "requesting certificates" not in said
        assert "acme.public-ca.test" not in said
    finally:
        lab.shell(guest, "systemctl stop traefik-standby")
    assert lab.exec(guest, "test", "-e", "/var/lib/traefik/standby").returncode == 1, "no key is left behind"
    assert digests(deployment) == before
    assert deployment.is_active("traefik-standby") == "inactive"


def test_with_sockets_no_connection_is_refused(deployment: Deployment) -> None:
    """Directly at Traefik, without the gateway: what waits is answered, by 404 while Traefik reads its routes."""
    deployment.up(traefik={"continuity": "sockets"})
    names = "traefik-web.socket traefik-websecure.socket"
    assert deployment.lab.shell(deployment.traefik, f"systemctl is-active {names}")
    paths = [f"/etc/systemd/system/{name}" for name in ("traefik.service", *names.split())]
    said = deployment.lab.exec(deployment.traefik, "systemd-analyze", "verify", *paths)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert deployment.clean()
    level = "WARN" if deployment.settings["traefik"].get("logLevel") != "WARN" else "INFO"
    with deployment.load(200, direct=True) as load:
        load.run_for(1)
        said = deployment.up(traefik={"logLevel": level})
        load.run_for(1)
        assert "traefik-standby.service serves after" in said, "it takes connections from the same sockets meanwhile"
        assert "static changed" in said
        assert deployment.is_active("traefik-standby") in ("inactive", "deactivating")
        pid = deployment.main_pid()
        deployment.lab.shell(deployment.traefik, f"kill -9 {pid}")
        deployment.lab.wait_for(deployment.traefik, f"[ $(systemctl show -P MainPID traefik) -gt 0{pid} ]")
        load.run_for(2)
    assert load.counts.sent > 300
    assert "ConnectionRefusedError" not in load.counts.broken, load.counts
    assert set(load.counts.answered) <= {200, 404}, load.counts


def test_changing_the_means_leaves_nothing_of_the_old_ones(deployment: Deployment) -> None:
    deployment.up(traefik={"continuity": "none"})
    both = "traefik-web.socket traefik-websecure.socket"
    found = deployment.lab.exec(deployment.traefik, "systemctl", "is-active", *both.split()).stdout
    assert found.split() == ["inactive", "inactive"]
    left = deployment.lab.shell(
        deployment.traefik, "ls /etc/systemd/system /etc/traefik; systemctl --failed --plain -q"
    )
    assert "standby" not in left
    assert "socket" not in left.replace("sockets.target", "")
    assert deployment.clean()
