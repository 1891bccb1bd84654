"""Traefik's program, installed, upgraded, downgraded and mended: always a real one, always by rename."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest
from programs import OTHER_VERSION, REAL_VERSION, FileServer, Source

from phoenix.errors import InputError, PhoenixError, RemoteError, TraefikError
from phoenix.remote import Transport
from phoenix.traefik import install_transfer
from phoenix.traefik.install import version_in
from phoenix.traefik.install_transfer import install, observe


def version_of(path: str) -> str | None:
    return version_in(subprocess.run([path, "version"], capture_output=True, text=True, check=True).stdout)


class Telling(list[str]):
    """What an installation says."""

    def __call__(self, line: str) -> None:
        self.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self)


def test_a_file_of_this_machine_then_nothing_then_another_and_back(
    transport: Transport, wanted: Any, real: Source, other: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = wanted(real)
    told = Telling()
    first = install(transport, program, told)
    assert (first.action, first.sha256) == ("install", real.sha256)
    assert version_of(program.path) == REAL_VERSION
    assert "185 MB sent" in told.text

    # right already: nothing is done, nothing is even looked for, and the source may be gone
    told.clear()
    again = install(transport, dataclasses.replace(program, file="/nowhere"), told)
    assert (again.action, again.fingerprint) == ("nothing", first.fingerprint)
    assert told == []

    # a downgrade, while the old program runs; it is asked for its proof before it takes the old one's place
    running = subprocess.Popen([program.path, "--api=false", "--entryPoints.x.address=127.0.0.1:0"])
    proved: list[str] = []

    def prove(staged: str) -> None:
        assert version_of(program.path) == REAL_VERSION
        proved.append(str(version_of(staged)))

    try:
        lower = install(transport, wanted(other), told, prove)
        assert (lower.action, lower.sha256) == ("install", other.sha256)
        assert proved == [OTHER_VERSION]
        assert version_of(program.path) == OTHER_VERSION
        assert version_of(f"{program.path}.rollback") == REAL_VERSION
        assert running.poll() is None
    finally:
        running.kill()
        running.wait(10)

    # and up again, in pieces
    monkeypatch.setattr(install_transfer, "PIECE", 60_000_000)
    monkeypatch.setattr(install_transfer, "SAY_SECONDS", 0.0)
    told.clear()
    assert install(transport, program, told).action == "install"
    assert version_of(program.path) == REAL_VERSION
    assert "120 MB of 185 MB sent" in told.text
    names = sorted(path.name for path in Path(program.path).parent.iterdir())
    assert names == ["traefik", "traefik.rollback"]


def test_a_refused_proof_leaves_the_old_program(transport: Transport, wanted: Any, real: Source, other: Source) -> None:
    program = wanted(real)
    install(transport, program, Telling())

    def prove(staged: str) -> None:
        raise TraefikError(f"{version_of(staged)} does not start with it.")

    with pytest.raises(TraefikError, match=r"3\.7\.14 does not start with it"):
        install(transport, wanted(other), Telling(), prove)
    assert version_of(program.path) == REAL_VERSION
    assert [path.name for path in Path(program.path).parent.iterdir()] == ["traefik"]


def test_mode_and_owner_are_mended_without_a_transfer(transport: Transport, wanted: Any, real: Source) -> None:
    program = wanted(real)
    installed = install(transport, program, Telling())
    Path(program.path).chmod(0o700)
    told = Telling()
    done = install(transport, dataclasses.replace(program, file="/nowhere"), told)
    assert done.action == "attributes"
    assert told == []
    assert Path(program.path).stat().st_mode & 0o7777 == 0o755
    assert done.fingerprint != installed.fingerprint


def test_the_checksum_is_computed_only_where_something_changed(transport: Transport, wanted: Any, real: Source) -> None:
    program = wanted(real)
    done = install(transport, program, Telling())
    # a fingerprint that fits is believed, whatever was recorded with it
    trusted = observe(transport, program.path, done.fingerprint, "f" * 64)
    assert trusted.file.sha256 == "f" * 64
    with Path(program.path).open("ab") as content:
        content.write(b"x")
    seen = observe(transport, program.path, done.fingerprint, "f" * 64)
    assert seen.file.sha256 not in ("f" * 64, real.sha256)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"program_sha256": ""}, "only the archive can tell"),
        ({"program_sha256": "0" * 64}, "it is another program"),
    ],
)
def test_an_archive_is_unpacked_and_its_program_checked(
    transport: Transport, wanted: Any, archive: Source, other: Source, how: dict[str, str], says: str
) -> None:
    told = Telling()
    first = install(transport, wanted(archive, member="traefik", program_sha256=other.sha256), told)
    assert first.sha256 == other.sha256
    told.clear()
    second = wanted(archive, member="traefik", **how)
    if how["program_sha256"]:
        with pytest.raises(TraefikError, match="step program"):
            install(transport, second, told)
    else:
        assert install(transport, second, told).action == "nothing"
    assert says in told.text
    assert version_of(second.path) == OTHER_VERSION


def test_curl_in_the_container_downloads_and_the_mirror_comes_first(
    transport: Transport, wanted: Any, archive: Source, other: Source, server: FileServer
) -> None:
    server.asked.clear()
    urls = (f"{server.url}/missing.tar.gz", f"{server.url}/{archive.path.name}")
    told = Telling()
    done = install(transport, wanted(archive, member="traefik", urls=urls, fetch_from="container"), told)
    assert done.sha256 == other.sha256
    assert server.asked[0] == "/missing.tar.gz"
    assert server.asked[-1] == f"/{archive.path.name}"
    assert "404" in told.text
    assert "the next source is tried" in told.text


def test_this_machine_downloads_where_the_container_cannot(
    transport: Transport,
    wanted: Any,
    archive: Source,
    other: Source,
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(install_transfer, "_download_there", lambda *_: "there is no curl in the container")
    url = f"{server.url}/{archive.path.name}"
    told = Telling()
    assert install(transport, wanted(archive, member="traefik", urls=(url,)), told).sha256 == other.sha256
    assert "this machine downloads it instead" in told.text
    # kept by checksum: once for all containers
    server.asked.clear()
    program = wanted(
        archive, member="traefik", urls=(url,), fetch_from="here", path=str(tmp_path / "second" / "traefik")
    )
    assert install(transport, program, Telling()).sha256 == other.sha256
    assert server.asked == []


def test_a_file_in_the_container(transport: Transport, wanted: Any, archive: Source, other: Source) -> None:
    program = wanted(archive, member="traefik", container_file=str(archive.path))
    assert install(transport, program, Telling()).sha256 == other.sha256
    assert archive.path.exists()


BAD: list[tuple[str, dict[str, Any], type[PhoenixError], str]] = [
    ("another version", {"version": "3.7.13"}, TraefikError, r"it is Traefik 3\.7\.14, not 3\.7\.13"),
    ("another checksum", {"sha256": "0" * 64}, InputError, "its SHA-256 is [0-9a-f]{64}, not 0{64}"),
    ("a missing file", {"file": "/nowhere/traefik.tar.gz"}, InputError, "'/nowhere/traefik.tar.gz': it cannot be read"),
    (
        "a missing member",
        {"member": "treafik"},
        RemoteError,
        "step unpack.*correct phoenix:traefik.install.archiveMember",
    ),
    ("a missing container file", {"container_file": "/nowhere/t"}, RemoteError, "step source.*/nowhere/t"),
    (
        "no way out of the container",
        {"urls": ("http://127.0.0.1:1/t",), "fetch_from": "container"},
        RemoteError,
        "cannot download Traefik .*or set fetchFrom to here",
    ),
    ("no way out at all", {"urls": ("http://127.0.0.1:1/t",), "fetch_from": "here"}, PhoenixError, "to this machine"),
]


@pytest.mark.parametrize(("change", "kind", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_refused_leaves_nothing(
    transport: Transport,
    wanted: Any,
    archive: Source,
    change: dict[str, Any],
    kind: type[PhoenixError],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program = wanted(archive, **{"member": "traefik", **change})
    with pytest.raises(kind, match=says):
        install(transport, program, Telling())
    assert not Path(program.path).exists()
    assert not list(Path(program.path).parent.glob("*.new"))


def test_a_program_that_is_no_traefik(transport: Transport, wanted: Any, real: Source, tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh\necho Version 3\n")
    from programs import source

    with pytest.raises(TraefikError, match="does not say Traefik's version"):
        install(transport, wanted(source(path, REAL_VERSION)), Telling())
    path.write_text("\x7fELF no program")
    with pytest.raises(TraefikError, match="step run"):
        install(transport, wanted(source(path, REAL_VERSION)), Telling())


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_what_is_no_file_is_not_replaced(transport: Transport, wanted: Any, real: Source, kind: str) -> None:
    program = wanted(real)
    place = Path(program.path)
    place.parent.mkdir()
    if kind == "link":
        place.symlink_to(real.path)
    else:
        place.mkdir()
    with pytest.raises(RemoteError, match="is not replaced: it is a "):
        install(transport, program, Telling())


def test_a_transfer_goes_on_where_it_broke(transport: Transport, wanted: Any, archive: Source, other: Source) -> None:
    from phoenix.traefik import install_scripts

    program = wanted(archive, member="traefik")
    transport.run(install_scripts.prepare_script(program))
    half = archive.path.read_bytes()[:1_000_000]
    transport.run(install_scripts.append_script(program, 0), stdin=half)
    with pytest.raises(RemoteError, match="somebody else transfers it"):
        install_transfer._run(transport, program, install_scripts.append_script(program, 5), stdin=b"x")
    assert install(transport, program, Telling()).sha256 == other.sha256
