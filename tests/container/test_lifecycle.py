"""Up, down and what remains: nothing. Also after everything was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from lab.container import cgroups, client, core, host, rootfs, state
from lab.container.errors import ContainerLabDownError, ContainerLabError
from lab.container.machines import Runtime
from lab.container.network import Network
from lab.container.plan import BUILT_IN
from lab.container.processes import identify, wait_until

pytestmark = pytest.mark.container

NETWORK = f"198.19.{os.getpid() % 250}"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    if (reason := host.missing_right()) is not None:
        pytest.skip(reason)
    yield tmp_path / "lab"
    core.down(tmp_path / "lab")
    assert core.leftovers(Network(NETWORK)) == []


def up(directory: Path, owner: int | None = None) -> None:
    core.up(directory, network_prefix=NETWORK, docker=False, owner=os.getpid() if owner is None else owner)


def system() -> dict[str, set[str]]:
    """Everything on this machine that a lab could leave behind."""
    network = Network(NETWORK)
    return {
        "links": {path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(network.link(""))}
        | {path.name for path in Path("/sys/class/net").iterdir() if path.name == network.bridge},
        "namespaces": {path.name for path in Path("/run/netns").glob(f"*{NETWORK}*")},
        "mounts": {line for line in Path("/proc/self/mounts").read_text().splitlines() if NETWORK in line},
        "cgroups": {str(path) for path in cgroups.ROOT.glob(f"**/*{NETWORK}*")},
        "files": {str(path) for path in Path("/run/phoenix-lab").glob("*") if path.name.startswith(NETWORK)},
        "nspawn": {str(path) for path in Path("/run/systemd/nspawn").glob(f"*/*{network.bridge}*")},
    }


def test_down_leaves_nothing_behind(directory: Path) -> None:
    assert not any(system().values())
    up(directory)
    during = system()
    assert all(during[kind] for kind in ("links", "namespaces", "mounts", "cgroups", "files")), during
    assert core.down(directory) is True
    assert not any(system().values()), system()
    assert not directory.exists()
    assert core.down(directory) is False


def test_up_again_from_the_same_directory_changes_nothing(directory: Path) -> None:
    up(directory)
    before = core.status(directory)
    settings = (directory / "settings.yaml").read_bytes()
    up(directory)
    assert core.status(directory) == before
    assert (directory / "settings.yaml").read_bytes() == settings
    assert stat.S_IMODE((directory / "settings.yaml").stat().st_mode) == 0o600
    assert yaml.safe_load(settings)["traefik"]["connection"]["host"] == f"{NETWORK}.12"


def test_backends_follow_a_changed_inventory(directory: Path, tmp_path: Path) -> None:
    inventory = Path(shutil.copytree(BUILT_IN, tmp_path / "inventory"))
    path = inventory / "phoenix_lxc_configs.json"

    def start() -> None:
        core.up(directory, inventory, network_prefix=NETWORK, docker=False, owner=os.getpid())

    def service(octet: int, port: int) -> str | None:
        try:
            return str(client.get("x", address=f"{NETWORK}.{octet}", port=port, tls=False, timeout=3).json()["service"])
        except OSError:
            return None

    start()
    pids = {number: guest["pid"] for number, guest in core.status(directory)["guests"].items()}
    data = json.loads(path.read_text())
    data["lxc_configs"]["930"] = {"name": "wiki", "network_config": {"ip": "198.18.10.170/24"}, "ports": ["8070:8070"]}
    data["lxc_configs"]["801"]["ports"] = ["9000:8001"]
    del data["lxc_configs"]["914"]
    path.write_text(json.dumps(data))
    start()
    assert wait_until(lambda: service(170, 8070) == "wiki", 20)
    assert service(141, 8001) == "embedding"
    assert service(141, 8000) is None
    assert service(155, 11434) is None
    assert "wiki" in (directory / "inventory" / path.name).read_text()
    after = {number: guest["pid"] for number, guest in core.status(directory)["guests"].items()}
    assert after.pop("lxcs") != pids.pop("lxcs")
    assert after == pids, "the guests stayed as they were"
    data["lxc_configs"]["102"]["network_config"]["ip"] = "198.18.10.99/24"
    path.write_text(json.dumps(data))
    with pytest.raises(ContainerLabError, match="guest 102 was added, removed, renamed or moved"):
        start()


def test_a_network_in_use_is_refused_with_its_owner(directory: Path, tmp_path: Path) -> None:
    up(directory)
    with pytest.raises(ContainerLabError, match="is used by the lab in") as caught:
        up(tmp_path / "other")
    assert str(directory) in str(caught.value)
    assert core.status(directory)["up"] is True


def test_up_after_everything_was_killed(directory: Path) -> None:
    up(directory)
    pids = cgroups.processes(Runtime(Network(NETWORK)).cgroup)
    assert len(pids) > 20
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it was in a guest whose PID 1 was killed before
    processes = [found for pid in pids if (found := identify(pid)) is not None]
    assert wait_until(lambda: not any(process.alive for process in processes), 20)
    assert core.status(directory)["up"] is False
    assert system()["mounts"], "what was killed could not clean up"
    up(directory)
    assert core.status(directory)["up"] is True


def test_up_after_its_state_was_lost(directory: Path) -> None:
    up(directory)
    state.path(Runtime(Network(NETWORK))).unlink()
    assert core.status(directory)["up"] is False
    up(directory)
    assert core.status(directory)["up"] is True


def test_a_lab_whose_owner_was_killed_gives_way(directory: Path, tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import os, time
        from pathlib import Path
        from lab.container import core
        core.up(Path({str(tmp_path / "killed")!r}), network_prefix={NETWORK!r}, docker=False, owner=os.getpid())
        print("up", flush=True)
        time.sleep(600)
    """)
    argv = [sys.executable, "-c", program]
    owner = subprocess.Popen(
        argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
    finally:
        owner.kill()
        owner.wait()
    assert core.status(tmp_path / "killed")["up"] is True
    up(directory)
    assert core.status(directory)["up"] is True
    assert core.status(tmp_path / "killed")["up"] is False


def test_a_failed_start_leaves_nothing_behind(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.container import start

    def fail(_: object) -> None:
        raise ContainerLabError("it failed half way.")

    monkeypatch.setattr(start.Start, "_trust", fail)
    with pytest.raises(ContainerLabError, match="half way"):
        up(directory)
    assert not any(system().values()), system()
    assert not directory.exists()


def test_step_ca_itself_as_the_internal_authority(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (rootfs.CACHE / f"program-step-ca-{rootfs.STEP_CA}").exists():
        pytest.skip(
            "step-ca is not built: `PHOENIX_LAB_AUTHORITY=step-ca bin/lab up --kind container` builds it with Go"
        )
    monkeypatch.setenv("PHOENIX_LAB_AUTHORITY", "step-ca")
    up(directory)
    root = (directory / "internal-root.crt").read_text()
    assert root.count("BEGIN CERTIFICATE") == 1, "one root for the authority and for what it issues"

    def ask(path: str) -> client.Answer:
        return client.get("ca.internal.example.test", path, address=f"{NETWORK}.10", port=9000, roots=root)

    assert ask("/health").json() == {"status": "ok"}
    new_order = ask("/acme/acme/directory").json()["newOrder"]
    assert new_order == "https://ca.internal.example.test/acme/acme/new-order"
    assert ask("/roots.pem").body.decode().strip() == root.strip()


def test_another_authority_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_LAB_AUTHORITY", "letsencrypt")
    with pytest.raises(ContainerLabError, match="'letsencrypt' is no authority of the lab: give pebble or step-ca"):
        up(directory)


def test_command_line(directory: Path) -> None:
    def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "lab", arguments[0], "--directory", str(directory), *arguments[1:]]
        argv[4:4] = ["--kind", "container"]
        return subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)

    down = lab("status")
    assert down.returncode == 3
    up(directory)
    shown = lab("status", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["guests"]["102"]["systemd"] == "running"
    again = lab("up", "--network", NETWORK)
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stderr
    ran = lab("exec", "102", "--", "sh", "-c", "hostname; exit 4")
    assert (ran.returncode, ran.stdout) == (4, "traefik\n"), ran.stderr
    unknown = lab("exec", "7", "--", "true")
    assert unknown.returncode == 2
    assert "guest 7 is unknown: give one of 101, 102, 103, 1001, 1002, hypervisor or workstation." in unknown.stderr
    assert lab("down").returncode == 0
    assert lab("status").returncode == 3


def test_down_spares_a_lab_that_is_starting(directory: Path, tmp_path: Path) -> None:
    runtime = Runtime(Network(NETWORK))
    runtime.directory.mkdir(parents=True)  # as a start does first
    with ThreadPoolExecutor(1) as pool, state.exclusive(runtime):
        stopped = pool.submit(core.down, tmp_path / "other")
        state.path(runtime).parent.mkdir()
        state.write(runtime, {"directory": str(directory), "network": NETWORK, "owner": None, "guests": {}})
    assert stopped.result() is False
    assert state.read(runtime) is not None


def test_exec_without_a_lab(directory: Path) -> None:
    with pytest.raises(ContainerLabDownError, match="No container lab runs from"):
        core.exec_(directory, "102", ["true"])
