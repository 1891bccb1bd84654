"""``phoenix routes``, ``render`` and ``topology`` as a user runs them: output, exit codes, nothing half-written."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from installations import PROJECT, inventory_of, lxc, primary, texts, write

from phoenix.cli.commands import phoenix

FILES = ("dynamic_conf.yml", "traefik.service", "traefik.yml")


def _run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "phoenix.cli", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    directory = tmp_path / "inventory"
    directory.mkdir()
    return write(
        directory, texts({"801": lxc(ports=["8001:8000"])}, [primary(traefik_service={"name": "d", "port": 1})])
    )


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    directory = tmp_path / "bad"
    directory.mkdir()
    files = texts({"801": lxc(ports=["0"]), "802": lxc("b`", ports=["80"])}, [primary(), {"name": "x\x1b[2J"}])
    return write(directory, files)


def test_the_route_table(good: Path) -> None:
    done = _run("routes", "--inventory", good)
    assert done.stdout == (
        "HOST NAME                  BACKEND               CERTIFICATE RESOLVER  ROUTER            GUEST\n"
        "app.internal.example.test  http://10.0.0.5:8000  internal-resolver     app-router        LXC 801 (app)\n"
        "portainer.example.test     https://10.0.0.101:1  external-resolver     portainer-router  VM 1001 (Portainer)\n"
        "d.internal.example.test    https://10.0.0.101:1  internal-resolver     portainer-router  VM 1001 (Portainer)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_route_table_for_machines(good: Path) -> None:
    done = _run("routes", "--inventory", good, "--json")
    data = json.loads(done.stdout)
    assert data["internalDomain"] == "internal.example.test"
    assert data["routes"]["app-router"] == {
        "hostnames": ["app.internal.example.test"],
        "rule": "Host(`app.internal.example.test`)",
        "url": "https://app.internal.example.test",
        "service": "app-service",
        "backend": "http://10.0.0.5:8000",
        "certResolver": "internal-resolver",
        "guest": "LXC 801 (app)",
    }
    assert (done.returncode, done.stderr) == (0, "")


def test_an_installation_without_routes_says_so(tmp_path: Path) -> None:
    done = _run("routes", "--inventory", write(tmp_path, texts()))
    assert (done.returncode, done.stdout) == (0, "No guest of this inventory asks to be routed.\n")


def test_rendered_files_are_those_of_the_configuration(good: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = _run("render", "--inventory", good, "--output", out)
    assert sorted(path.name for path in out.iterdir()) == list(FILES)
    lines = done.stdout.splitlines()
    assert lines[:-1] == [
        f"{out / name}  {(out / name).stat().st_size} bytes"
        for name in ("traefik.yml", "dynamic_conf.yml", "traefik.service")
    ]
    assert re.fullmatch(r"revision [0-9a-f]{12}, 2 routes", lines[-1])
    assert (done.returncode, done.stderr) == (0, "")


def test_rendering_again_changes_no_byte(good: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run("render", "--inventory", good, "--output", out)
    before = {name: (out / name).read_bytes() for name in FILES}
    _run("render", "--inventory", good, "--output", out, PYTHONHASHSEED="7")
    assert {name: (out / name).read_bytes() for name in FILES} == before


def test_a_stacks_settings_apply(tmp_path: Path) -> None:
    write(tmp_path, inventory_of("local"))
    done = _run("render", "--inventory", tmp_path, "--stack", "production", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "email: hostmaster@example.com" in (tmp_path / "out" / "traefik.yml").read_text(encoding="utf-8")


WRONG = [
    "error: phoenix_vm_configs.json: vms[1] (x\\x1b[2J): vmid is missing: add it.",
    'error: phoenix_lxc_configs.json: LXC 801 (app): ports[0] is "0": it must be a port mapping such as "8001:8000", '
    "with ports from 1 to 65535; correct it there.",
    'error: phoenix_lxc_configs.json: LXC 802 (b`): name is "b`": it must begin and end with a letter or digit and '
    "hold only letters, digits, dots, hyphens and underscores, 128 characters at most; correct it there.",
]


@pytest.mark.parametrize("command", ["routes", "topology", "render"])
def test_a_wrong_inventory_exits_2_with_a_sentence_per_mistake(bad: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / "out"
    more: list[str | Path] = ["--output", out] if command == "render" else []
    done = _run(command, "--inventory", bad, *more)
    assert done.stderr.splitlines() == WRONG
    assert (done.returncode, done.stdout) == (2, "")
    assert not out.exists()


def test_a_wrong_inventory_leaves_what_was_rendered_before(good: Path, bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run("render", "--inventory", good, "--output", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert _run("render", "--inventory", bad, "--output", out).returncode == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_an_output_that_cannot_be_written_changes_none_of_the_files(good: Path, tmp_path: Path) -> None:
    """The last file's place is taken by a directory: the others are not replaced either, and nothing stays behind."""
    out = tmp_path / "out"
    (out / "traefik.service").mkdir(parents=True)
    (out / "traefik.yml").write_text("old", encoding="utf-8")
    done = _run("render", "--inventory", good, "--output", out)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {out}/traefik.service: it cannot be written (it is a directory): name another --output.\n"
    )
    assert sorted(path.name for path in out.iterdir()) == ["traefik.service", "traefik.yml"]
    assert (out / "traefik.yml").read_text(encoding="utf-8") == "old"


def test_an_output_that_is_a_file(good: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x", encoding="utf-8")
    done = _run("render", "--inventory", good, "--output", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path}/out: it cannot be written (File exists): name another --output.\n"


ARGUMENTS: list[tuple[list[str], int, str]] = [
    (["routes"], 2, "--inventory is missing: name the directory with the hypervisor's JSON files, or a --stack."),
    (["routes", "--inventory", "/nowhere"], 2, "/nowhere: the inventory is no directory"),
    (["routes", "--stack", "../x"], 2, "a name holds letters, digits, hyphens, underscores and dots"),
    (["routes", "--stack", "nowhere"], 2, "there is no such file: `bin/pulumi stack init nowhere` makes it."),
    (["render", "--stack", "local"], 2, "Missing option '--output'"),
    (["routes", "--bogus"], 2, "No such option"),
    (["bogus"], 2, "No such command 'bogus'"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), ARGUMENTS, ids=lambda value: str(value)[:40])
def test_wrong_arguments_exit_2_without_a_traceback(arguments: list[str], code: int, said: str) -> None:
    done = _run(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def _on_a_terminal(*arguments: str | Path, **environment: str) -> str:
    """What a command writes to a terminal."""
    ours, its = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "phoenix.cli", *map(str, arguments)],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "TERM": "xterm", "COLUMNS": "200", **environment},
            stdout=its,
            stderr=its,
            check=False,
            timeout=120,
        )
        assert done.returncode in (0, 2)
        os.close(its)
        its = -1
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says EIO once the other side is closed and all is read
                break
            if not part:
                break
            shown += part
        return shown.decode()
    finally:
        os.close(ours)
        if its != -1:
            os.close(its)


@pytest.mark.parametrize("command", ["routes", "bad"])
def test_colour_is_for_terminals_and_no_color_is_heeded(good: Path, bad: Path, command: str) -> None:
    arguments = ("routes", "--inventory", good if command == "routes" else bad)
    coloured = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    assert "\x1b[" in _on_a_terminal(*arguments, **coloured) or "NO_COLOR" in os.environ
    assert "\x1b[" not in _on_a_terminal(*arguments, NO_COLOR="1")
    piped = _run(*arguments)
    assert "\x1b[" not in piped.stdout + piped.stderr


def test_a_reader_that_goes_away_is_no_error(good: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "phoenix.cli", "routes", "--inventory", str(good)],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_topology_goes_to_a_file_in_the_form_its_name_says(good: Path, tmp_path: Path) -> None:
    for name, begin in (("a.svg", "<svg "), ("a.mmd", "flowchart LR"), ("a.txt", "clients\n")):
        done = _run("topology", "--inventory", good, "--output", tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begin)
    assert _run("topology", "--inventory", good, "--format", "svg").stdout == (tmp_path / "a.svg").read_text("utf-8")


def test_a_topology_that_cannot_be_written(good: Path, tmp_path: Path) -> None:
    done = _run("topology", "--inventory", good, "--output", tmp_path / "nowhere" / "a.svg")
    assert done.returncode == 2
    said = (
        f"error: {tmp_path}/nowhere/a.svg: it cannot be written (No such file or directory): name another --output.\n"
    )
    assert done.stderr == said


def test_every_command_explains_itself() -> None:
    runner = CliRunner()
    listed = runner.invoke(phoenix, ["--help"])
    assert listed.exit_code == 0
    for name in ("routes", "render", "topology"):
        shown = runner.invoke(phoenix, [name, "-h"])
        assert shown.exit_code == 0
        assert "--inventory" in shown.output
        assert name in listed.output


def test_the_paths_users_give_may_hold_bytes_that_are_no_text(good: Path, tmp_path: Path) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    done = subprocess.run(
        [sys.executable, "-m", "phoenix.cli", "render", "--inventory", str(good), "--output", os.fsencode(out)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(out.iterdir())) == 3
