"""Traefik's program as a resource: what a preview shows of it, and what `up` and `destroy` do, on a real target."""

from __future__ import annotations

import getpass
import grp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import Source

from components.traefik_binary import ProgramProvider
from phoenix.errors import TraefikError
from phoenix.remote import close_all
from phoenix.settings import parse
from phoenix.traefik import document
from phoenix.traefik.install import wanted_properties

STATIC = {
    "entryPoints": {"websecure": {"address": ":443"}, "traefik": {"address": "127.0.0.1:8080"}},
    "providers": {"file": {"filename": "/nowhere/dynamic_conf.yml", "watch": True}},
}


@pytest.fixture
def props(tmp_path: Path, real: Source) -> Iterator[dict[str, Any]]:
    """The resource's inputs, as the component makes them."""
    settings = parse(
        {
            "traefik": {
                "binary": str(tmp_path / "bin" / "traefik"),
                "install": {"file": str(real.path), "sha256": real.sha256},
            }
        },
        "stacks/Pulumi.test.yaml",
    )
    group = grp.getgrgid(os.getgid()).gr_name
    yield {
        **wanted_properties(settings.traefik, "/nowhere", getpass.getuser(), group),
        "connection": {"transport": "local"},
        "unitPath": str(tmp_path / "traefik.service"),
        "staticConfiguration": document.dump(STATIC),
        "dynamicPath": str(tmp_path / "dynamic_conf.yml"),
        "user": getpass.getuser(),
    }
    close_all()
    shutil.rmtree(tmp_path)


def test_what_a_preview_shows_is_mended(
    props: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    provider = ProgramProvider()
    created = provider.create(props)
    outputs = dict(created.outs or {})
    path = Path(created.id or "")
    assert path == tmp_path / "bin" / "traefik"
    assert outputs["placed"] is True

    def preview() -> tuple[bool, str]:
        capsys.readouterr()
        return bool(provider.diff(str(path), outputs, props).changes), capsys.readouterr().out

    def mend() -> None:
        outputs.update(provider.update(str(path), outputs, props).outs or {})
        assert preview() == (False, "")

    assert preview() == (False, "")
    # where the same program comes from does not matter
    assert not provider.diff(str(path), outputs, {**props, "file": "/elsewhere"}).changes

    path.chmod(0o700)
    assert preview() == (True, f"{path} was changed by hand: mode is 0700, not 0755\n")
    mend()

    with path.open("ab") as content:
        content.write(b"x")
    changed, said = preview()
    assert changed
    assert "was changed by hand: it is another program (" in said
    mend()

    path.unlink()
    assert preview() == (True, f"{path} was changed by hand: it is missing\n")
    mend()

    # where the target cannot be reached, drift is unknown, and that is all
    lost = {**props, "connection": {"transport": "pct", "guest": 102}}
    assert not provider.diff(str(path), outputs, lost).changes
    assert "drift is unknown" in capsys.readouterr().out

    # a unit that still runs it keeps it; else it goes with the resource
    unit = Path(props["unitPath"])
    unit.write_text(f"ExecStart={path}\n")
    provider.delete(str(path), outputs)
    assert path.exists()
    assert "stays, since" in capsys.readouterr().out
    unit.unlink()
    provider.delete(str(path), outputs)
    assert list(path.parent.iterdir()) == []


def test_a_program_that_was_there_before_is_left(
    props: dict[str, Any], real: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(props["path"])
    path.parent.mkdir()
    shutil.copy(real.path, path)
    path.chmod(0o755)
    provider = ProgramProvider()
    outputs = provider.create({**props, "file": "/nowhere"}).outs or {}
    assert outputs["placed"] is False
    assert capsys.readouterr().out == ""
    provider.delete(str(path), outputs)
    assert path.exists()
    assert "was there before, and stays" in capsys.readouterr().out


def test_a_static_configuration_that_the_new_program_refuses(props: dict[str, Any]) -> None:
    wrong = {**STATIC, "entryPoints": {**STATIC["entryPoints"], "web": {"address": ":80", "nope": 1}}}
    with pytest.raises(TraefikError, match=r"does not start with it: .*nope"):
        ProgramProvider().create({**props, "staticConfiguration": document.dump(wrong)})
    assert not Path(props["path"]).exists()


def test_another_place_or_another_program_is_a_change(props: dict[str, Any]) -> None:
    provider = ProgramProvider()
    olds = {**props, "installedSha256": props["programSha256"], "fingerprint": "", "placed": True}
    close_all()
    replaced = provider.diff("", olds, {**props, "path": "/nowhere/traefik"})
    assert replaced.replaces == ["path"]
    for change in ({"version": "3.7.14"}, {"sha256": "0" * 64}, {"owner": "somebody"}):
        assert provider.diff("", olds, {**props, **change}).changes


def test_settings_name_one_place() -> None:
    from phoenix.errors import InputError

    sha256 = "0" * 64
    url = "https://mirror.example.test/v{version}/traefik_v{version}_linux_amd64.tar.gz"
    install = {"url": url, "mirrors": ["http://10.0.0.9/traefik-{version}.tgz"], "sha256": sha256.upper()}
    traefik = parse({"traefik": {"version": "3.7.14", "install": install}}, "s").traefik
    found = wanted_properties(traefik, "/project", "root", "root")
    assert found["urls"] == [
        "http://10.0.0.9/traefik-3.7.14.tgz",
        "https://mirror.example.test/v3.7.14/traefik_v3.7.14_linux_amd64.tar.gz",
    ]
    assert (found["archiveMember"], found["programSha256"], found["sha256"]) == ("traefik", "", sha256)
    plain = parse({"traefik": {"install": {"file": "bin/traefik", "sha256": sha256}}}, "s").traefik
    found = wanted_properties(plain, "/project", "root", "root")
    assert (found["file"], found["archiveMember"], found["programSha256"]) == ("/project/bin/traefik", "", sha256)
    for wrong, says in (
        ({"sha256": sha256}, "must have exactly one of url, file and containerFile (it has none)"),
        ({"url": url, "file": "x", "sha256": sha256}, "(it has url, file)"),
        ({"file": "x"}, "sha256 is missing"),
        ({"file": "x", "sha256": "abc"}, "64 hexadecimal digits"),
        ({"file": "x", "sha256": sha256, "mirrors": ["https://m/x"]}, "must have url besides mirrors"),
        ({"file": "x", "sha256": sha256, "programSha256": sha256}, "must not have programSha256"),
        ({"url": "ftp://m/x", "sha256": sha256}, "must be an http or https URL"),
        ({"url": "https://m/x y", "sha256": sha256}, "must be an http or https URL"),
        ({"url": url, "sha256": sha256, "archiveMember": "../traefik"}, "name of a file within the archive"),
        ({"url": url, "sha256": sha256, "fetchFrom": "there"}, "fetchFrom"),
    ):
        with pytest.raises(InputError) as refused:
            parse({"traefik": {"install": wrong}}, "s")
        assert says in str(refused.value)
