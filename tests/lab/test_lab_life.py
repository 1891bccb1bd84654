"""The lab's own life: up, down, what is in the way, what was left behind, and nothing touched that is not its own."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabDownError, LabError
from lab.local import Lab
from lab.local.layout import Layout
from lab.local.processes import Process, boot_id, end, start_time
from lab.testing import REPOSITORY, Result, Session, wait_for

INVENTORY = Path(__file__).parent / "fixtures/inventory"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """An inventory that the test may change."""
    return Path(shutil.copytree(INVENTORY, tmp_path / "inventory"))


@pytest.fixture
def make(tmp_path: Path, network: str, inventory: Path) -> Iterator[Any]:
    """Makes labs in one directory; what is up at the end is ended."""

    def lab(**more: Any) -> Lab:
        return Lab(
            **{"directory": tmp_path / "lab", "network": network, "inventory": inventory, "ssh": "asyncssh", **more}
        )

    yield lab
    lab().down()


def answers(address: str, port: int) -> str | None:
    connection = http.client.HTTPConnection(address, port, timeout=20)
    try:
        connection.request("GET", "/")
        return str(json.loads(connection.getresponse().read())["service"])
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()


def change_guests(inventory: Path, **guests: Any) -> None:
    path = inventory / "phoenix_lxc_configs.json"
    content = json.loads(path.read_text())
    for number, guest in guests.items():
        if guest is None:
            del content["lxc_configs"][number.removeprefix("g")]
        else:
            content["lxc_configs"][number.removeprefix("g")] = guest
    path.write_text(json.dumps(content))


def command(*arguments: str) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_up_is_done_once(make: Any, network: str) -> None:
    lab = make()
    first = lab.up()
    assert first["change"] == "started"
    second = make().up()
    assert second["change"] == "unchanged"
    assert second["processes"] == first["processes"]
    assert answers(f"{network}.0.141", 8000) == "embedding"


def test_what_up_writes(make: Any, network: str) -> None:
    lab = make()
    lab.up()
    for path in (lab.layout.settings, lab.layout.record, lab.layout.client_key, lab.layout.authority / "root.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    traefik = lab.settings["traefik"]
    assert Path(traefik["binary"]).samefile(lab.layout.traefik / "usr/local/bin/traefik")
    assert os.access(traefik["binary"], os.X_OK)
    install = traefik["install"]
    assert not Path(install["file"]).samefile(traefik["binary"]), "what is done to one lab's program concerns no other"
    assert install["sha256"] == hashlib.sha256(Path(traefik["binary"]).read_bytes()).hexdigest()
    for key in ("configDirectory", "stateDirectory", "logDirectory", "unitDirectory"):
        assert Path(traefik[key]).is_dir()
        assert Path(traefik[key]).is_relative_to(lab.layout.traefik)
    assert stat.S_IMODE(Path(traefik["stateDirectory"]).stat().st_mode) == 0o700
    assert traefik["connection"]["host"] == f"{network}.0.12"
    assert lab.settings["portainer"]["connection"]["host"] == f"{network}.0.101"
    assert Path(lab.settings["certificateAuthority"]["rootFile"]).read_text().startswith("-----BEGIN CERTIFICATE-----")
    # Traefik is not running: starting it is the deployment's work.
    assert lab.status()["services"] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((f"{network}.0.12", 8082), timeout=5)


def test_down_leaves_nothing(make: Any, tmp_path: Path) -> None:
    lab = make()
    record = lab.up()
    lab.layout.traefik.joinpath("etc/systemd/system/nap.service").write_text("[Service]\nExecStart=/bin/sleep 600\n")
    session = Session(lab)
    assert session.run("systemctl start nap; (sleep 600 &) >/dev/null 2>&1 </dev/null").code == 0
    napping = int(session.run("systemctl show -P MainPID nap").out)
    marker = f"PHOENIX_LAB={record['id']}".encode()
    assert marked(marker)
    assert lab.down() is True
    assert not (tmp_path / "lab").exists()
    assert not marked(marker)
    assert start_time(napping) is None
    assert lab.down() is False
    with pytest.raises(LabDownError):
        lab.status()


def marked(marker: bytes) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and marker in (entry / "environ").read_bytes().split(b"\0"):
                found.append(entry.name)
    return found


def test_what_is_not_the_labs_stays(make: Any, tmp_path: Path) -> None:
    mine = tmp_path / "lab/mine"
    mine.parent.mkdir()
    mine.write_text("x")
    lab = make()
    lab.up()
    lab.down()
    assert mine.read_text() == "x"


def test_a_foreign_directory_in_the_way(make: Any, tmp_path: Path) -> None:
    foreign = tmp_path / "lab/ssh/id_ed25519"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("somebody's key")
    with pytest.raises(LabError, match="is in the way and not this lab's") as caught:
        make().up()
    assert str(foreign.parent) in str(caught.value)
    assert make().down() is False
    assert foreign.read_text() == "somebody's key"


def test_a_taken_port_is_named_and_nothing_is_left(make: Any, tmp_path: Path, network: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((f"{network}.0.141", 8000))
        taken.listen()
        with pytest.raises(LabError) as caught:
            make().up()
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert f"{network}.0.141:8000 for the backend of embedding is taken" in text
    assert "--network" in text
    assert "\n" not in text
    assert not (tmp_path / "lab/lab.json").exists()
    assert not (tmp_path / "lab/traefik").exists()


def test_two_guests_with_one_port(make: Any, inventory: Path) -> None:
    same = {"name": "same", "network_config": {"ip": "10.0.0.12/24"}, "ports": ["8000"]}
    change_guests(inventory, g950=same)
    with pytest.raises(LabError, match="is wanted by Traefik's entry point web and by the backend of same"):
        make().up()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_lab_is_cleaned_up_by_itself(make: Any, network: str, number: int) -> None:
    lab = make()
    before = lab.up()
    for process in before["processes"]:
        os.kill(process["pid"], number)
    wait_for(lambda: not any(start_time(each["pid"]) == each["start_time"] for each in before["processes"]), "the end")
    assert lab.status()["up"] is False
    after = make().up()
    assert after["change"] == "started"
    assert after["id"] != before["id"]
    assert answers(f"{network}.0.141", 8000) == "embedding"


def test_a_half_dead_lab_is_cleaned_up_by_itself(make: Any) -> None:
    lab = make()
    before = lab.up()
    os.kill(before["processes"][0]["pid"], signal.SIGKILL)
    wait_for(lambda: not lab.status()["up"], "the end of one process")
    assert make().up()["change"] == "started"
    assert all(start_time(each["pid"]) != each["start_time"] for each in before["processes"])


def test_a_damaged_record_is_cleaned_up(make: Any) -> None:
    lab = make()
    record = lab.up()
    lab.layout.record.write_text("{")
    with pytest.raises(LabError, match="cannot be read"):
        lab.status()
    # Without its record the lab's own processes cannot be told from others: they keep their ports.
    with pytest.raises(LabError, match="is taken"):
        make().up()
    end([Process(**each) for each in record["processes"]])
    assert make().up()["change"] == "started"


def test_a_pid_that_is_anothers_by_now_is_left_alone(make: Any) -> None:
    lab = make()
    lab.up()
    with subprocess.Popen(["/bin/sleep", "600"]) as other:
        record = json.loads(lab.layout.record.read_text())
        record["processes"].append({"name": "old", "pid": other.pid, "start_time": 1, "boot": boot_id()})
        lab.layout.record.write_text(json.dumps(record))
        lab.down()
        assert other.poll() is None
        other.kill()


def test_guests_come_and_go(make: Any, inventory: Path, network: str) -> None:
    lab = make()
    lab.up()
    change_guests(
        inventory, g930={"name": "wiki", "network_config": {"ip": "10.0.0.170/24"}, "ports": ["8070"]}, g914=None
    )
    assert answers(f"{network}.0.155", 11434) == "ollama"
    kept = http.client.HTTPConnection(f"{network}.0.141", 8000, timeout=20)
    kept.request("GET", "/")
    kept.getresponse().read()
    changed = make().up()
    assert changed["change"] == "changed"
    assert answers(f"{network}.0.170", 8070) == "wiki"
    assert answers(f"{network}.0.155", 11434) is None
    # Those that stay never notice.
    kept.request("GET", "/")
    assert kept.getresponse().status == 200
    kept.close()
    assert "wiki" in (lab.inventory / "phoenix_lxc_configs.json").read_text()
    assert make().up()["change"] == "unchanged"


def test_a_change_that_cannot_be_is_taken_back(make: Any, inventory: Path, network: str) -> None:
    lab = make()
    lab.up()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((f"{network}.0.170", 8070))
        taken.listen()
        change_guests(
            inventory, g930={"name": "wiki", "network_config": {"ip": "10.0.0.170/24"}, "ports": ["8070"]}, g914=None
        )
        with pytest.raises(LabError, match=r"wiki cannot listen on .*: Address already in use"):
            make().up()
    assert answers(f"{network}.0.155", 11434) == "ollama"
    assert make().up()["change"] == "changed"


def test_a_certificate_follows_its_names(make: Any, inventory: Path) -> None:
    make().up()
    path = inventory / "phoenix_hypervisor_config.json"
    path.write_text(path.read_text().replace("Portainer.Phoenix.Test", "other.phoenix.test"))
    changed = make().up()
    assert changed["change"] == "changed"
    assert make().settings["portainer"]["serverName"] == "other.phoenix.test"


def test_another_network_is_refused_while_up(make: Any, network: str) -> None:
    make().up()
    with pytest.raises(LabError, match=rf"is up on {network}, not on 127\.99"):
        make(network="127.99").up()
    assert make(network=None).up()["change"] == "unchanged"
    assert make(network=None, inventory=None).up()["change"] == "unchanged"


def test_two_labs_side_by_side(make: Any, tmp_path: Path, inventory: Path) -> None:
    from lab.testing import local_lab

    lab = make()
    lab.up()
    with local_lab(tmp_path / "second", inventory, "asyncssh") as other:
        assert other.network != lab.network
        assert lab.status()["up"]
        assert other.status()["up"]
    assert lab.status()["up"]


def test_a_long_path(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unix sockets have paths of 107 bytes at most: then they lie in a private directory elsewhere."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    directory = tmp_path / ("long " * 20)
    lab = make(directory=directory)
    lab.up()
    runtime = lab.layout.runtime
    assert runtime.parent == Path("/tmp")
    assert runtime.stat().st_mode & 0o066 == 0
    assert Session(lab).run("systemctl is-system-running").out == "running\n"
    lab.down()
    assert not runtime.exists()


def test_the_runtime_directory_of_somebody_else(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "x")
    layout.directory.mkdir()
    layout.runtime.symlink_to(tmp_path)
    with pytest.raises(LabError, match="belongs to another user"):
        layout.make_runtime()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network": "10.0"}, "no pair of numbers on loopback"),
        ({"network": "127.1.2"}, "no pair of numbers on loopback"),
        ({"network": "127.x"}, "no pair of numbers on loopback"),
        ({"directory": "/tmp/a'b"}, "cannot carry"),
        ({"directory": "/tmp/a%b"}, "cannot carry"),
    ],
)
def test_bad_arguments(options: dict[str, str], words: str) -> None:
    with pytest.raises(LabError, match=words):
        Lab(**options)  # type: ignore[arg-type]


def test_no_inventory(make: Any, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is no directory"):
        make(inventory=tmp_path / "nowhere").up()
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabError, match=r"phoenix_lxc_configs\.json is missing"):
        make(inventory=tmp_path / "empty").up()


def test_the_stacks_own_inventory_is_in_the_default_network() -> None:
    from lab.local import inventory as inventories
    from lab.local.lab import DEFAULT_INVENTORY, DEFAULT_NETWORK

    assert inventories.in_network(DEFAULT_INVENTORY, DEFAULT_NETWORK)
    assert len(inventories.read(DEFAULT_INVENTORY).backends) >= 4


def test_a_lab_ends_with_its_owner(make: Any, tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as owner:
        lab = make(owner=owner.pid)
        record = lab.up()
        assert lab.status()["up"]
        owner.kill()
    wait_for(lambda: not (tmp_path / "lab").exists(), "the end of the lab")
    assert not any(start_time(each["pid"]) == each["start_time"] for each in record["processes"])


def test_portainers_api(make: Any, network: str) -> None:
    lab = make(portainer="2.39")
    assert lab.up()["change"] == "started"
    trusted = ssl.create_default_context(cafile=lab.settings["portainer"]["rootFile"])
    connection = http.client.HTTPSConnection(f"{network}.0.101", 9443, context=trusted, timeout=20)
    connection.request("GET", "/api/system/status")
    assert json.loads(connection.getresponse().read())["Version"] == "2.39.0"
    connection.close()
    assert make(portainer=None).up()["change"] == "unchanged"
    with pytest.raises(LabError, match=r"is up with --portainer 2\.39, not plain"):
        make(portainer="plain").up()


# The command line


def test_the_command_line(tmp_path: Path, network: str, inventory: Path) -> None:
    directory = str(tmp_path / "a lab")
    where = ("--directory", directory)
    try:
        assert command("status", *where).code == 3
        assert command("reload", *where).code == 3
        # It returns, and nothing it started holds its output open: otherwise this would run into its time limit.
        up = command("up", *where, "--network", network, "--inventory", str(inventory))
        assert up.code == 0, up.err
        assert up.out == f"The lab in {directory} is up. Settings: {directory}/settings.yaml\n"
        assert command("up", *where).out.startswith(f"The lab in {directory} is up already: nothing to do.")
        status = command("status", *where, "--json")
        assert status.code == 0
        found = json.loads(status.out)
        assert found["up"] is True
        assert found["network"] == network
        assert "privateKey" not in status.out
        table = command("status", *where)
        assert "backend embedding" in table.out
        assert "\x1b" not in table.out
        done = command("exec", *where, "traefik", "--", "sh", "-c", "echo hello; exit 4")
        assert (done.code, done.out) == (4, "hello\n")
        assert command("exec", *where, "nowhere", "--", "true").code == 2
        assert "==> backends <==" in command("logs", *where).out
        assert command("logs", *where, "nothing").code == 3
        change_guests(inventory, g914=None)
        assert "follows the inventory now" in command("reload", *where).out
        down = command("down", *where, "--json")
        assert json.loads(down.out)["existed"] is True
        assert command("down", *where).out.endswith("was not up.\n")
    finally:
        Lab(directory, network).down()


def test_mistakes_on_the_command_line_are_one_sentence(tmp_path: Path) -> None:
    done = command("up", "--directory", str(tmp_path / "lab"), "--network", "8.8")
    assert done.code == 2
    assert done.err.startswith("lab: --network '8.8' is no pair")
    assert done.err.count("\n") == 1
