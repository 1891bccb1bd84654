"""Managed files: the same life over every transport."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest

from phoenix.errors import InputError, RemoteError
from phoenix.remote import Transport
from phoenix.remote.files import DesiredFile, apply, observe, observe_many, put, remove

OWNER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


def wanted(path: Path, content: bytes = b"new\n", mode: str = "0644") -> DesiredFile:
    return DesiredFile(str(path), content, mode)


def leftovers(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir() if "phoenix-" in entry.name)


def test_a_files_whole_life(transport: Transport, area: Path) -> None:
    path = area / "dynamic conf.yml"
    assert observe(transport, str(path)).kind == "absent"

    first = DesiredFile(str(path), b"one\n", "0640", OWNER, GROUP)
    assert apply(transport, first).action == "create"
    state = observe(transport, str(path))
    assert (state.mode, state.owner, state.group, state.size) == ("0640", OWNER, GROUP, 4)
    assert (state.sha256, state.content) == (first.sha256, None)
    assert apply(transport, first).action == "nothing"

    second = DesiredFile(str(path), bytes(range(256)) * 9, "0640", str(os.geteuid()), str(os.getegid()))
    assert apply(transport, second).action == "replace"
    assert path.read_bytes() == second.content
    assert Path(f"{path}.rollback").read_bytes() == b"one\n"

    path.chmod(0o777)
    decision = apply(transport, second)
    assert (decision.action, decision.reason) == ("attributes", "mode is 0777, not 0640")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640

    assert remove(transport, str(path), second.sha256) == "removed"
    assert remove(transport, str(path), second.sha256) == "absent"
    assert leftovers(area) == []


def test_missing_parents_are_0755(transport: Transport, area: Path) -> None:
    path = area / "etc" / "traefik" / "dynamic" / "x.yml"
    before = os.umask(0o077)
    try:
        put(transport, wanted(path))
    finally:
        os.umask(before)
    for directory in (path.parent, path.parent.parent, path.parent.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_many_in_one_trip(transport: Transport, area: Path) -> None:
    (area / "file").write_bytes(b"\0\xff binary \n.\n")
    (area / "empty").write_bytes(b"")
    (area / "link").symlink_to("file")
    (area / "dangling").symlink_to("nowhere")
    (area / "directory").mkdir()
    os.mkfifo(area / "pipe")
    names = ["file", "empty", "link", "dangling", "directory", "pipe", "absent", "file/below", "dangling/below"]
    states = observe_many(transport, {str(area / name): "+" for name in names})
    kinds = [states[str(area / name)].kind for name in names]
    assert kinds == ["file", "file", "link", "link", "directory", "other", "absent", "blocked", "blocked"]
    assert states[str(area / "file")].content == b"\0\xff binary \n.\n"
    assert states[str(area / "empty")].content == b""
    assert states[str(area / "link")].detail == "file"
    assert states[str(area / "file/below")].detail == str(area / "file")


def test_content_comes_only_when_it_differs(transport: Transport, area: Path) -> None:
    desired = wanted(area / "x.yml")
    put(transport, desired)
    assert observe(transport, desired.path, expected=desired.sha256).content is None
    assert observe(transport, desired.path, expected="0" * 64).content == b"new\n"


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_what_is_no_file_is_left_alone(transport: Transport, area: Path, kind: str) -> None:
    path = area / "x.yml"
    (area / "real").write_text("real")
    if kind == "link":
        path.symlink_to("real")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    for way in (apply, put):
        with pytest.raises(RemoteError) as caught:
            way(transport, wanted(path))
        assert str(path) in str(caught.value)
    assert remove(transport, str(path), wanted(path).sha256) == "foreign"
    assert (path.is_symlink(), path.is_dir(), path.is_fifo()) == (kind == "link", kind == "directory", kind == "pipe")
    assert (area / "real").read_text() == "real"
    assert leftovers(area) == []


def test_a_changed_file_is_kept_as_orphan(transport: Transport, area: Path) -> None:
    desired = wanted(area / "x.yml")
    put(transport, desired)
    Path(desired.path).write_text("by hand\n")
    assert remove(transport, desired.path, desired.sha256) == "orphaned"
    assert Path(f"{desired.path}.orphan").read_text() == "by hand\n"
    assert not Path(desired.path).exists()


def test_hooks_see_staged_and_live(transport: Transport, area: Path) -> None:
    path = area / "x.yml"
    path.write_text("old\n")
    seen: list[str] = []

    def validate(staged: str) -> None:
        assert Path(staged).parent == area
        assert not staged.endswith((".yml", ".yaml", ".toml"))
        seen.append(f"staged {Path(staged).read_text()!r} live {path.read_text()!r}")

    put(transport, wanted(path), validate, lambda: seen.append(f"live {path.read_text()!r}"))
    assert seen == ["staged 'new\\n' live 'old\\n'", "live 'new\\n'"]
    assert leftovers(area) == []


def test_a_refused_candidate_never_goes_live(transport: Transport, area: Path) -> None:
    path = area / "x.yml"
    path.write_text("old\n")

    def refuse(_staged: str) -> None:
        raise RemoteError("Traefik said: field not found, node: nope.")

    with pytest.raises(RemoteError, match=r"field not found, node: nope; nothing was changed\."):
        put(transport, wanted(path), refuse)
    assert path.read_text() == "old\n"
    assert sorted(entry.name for entry in area.iterdir()) == ["x.yml"]


@pytest.mark.parametrize("existed", [True, False])
def test_a_failed_check_puts_the_old_back(transport: Transport, area: Path, existed: bool) -> None:
    path = area / "x.yml"
    if existed:
        path.write_text("old\n")
        path.chmod(0o600)
    order: list[str] = []

    def fail() -> None:
        order.append(path.read_text())
        raise RemoteError("route r1 is not served.")

    with pytest.raises(RemoteError, match=r"route r1 is not served; the (old|new) file was (put back|removed)"):
        put(transport, wanted(path), None, fail, lambda: order.append("proved"))
    assert order == ["new\n", "proved"]
    assert path.exists() == existed
    if existed:
        assert path.read_text() == "old\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert leftovers(area) == []


def test_any_other_error_of_a_hook_gets_a_note(local: Transport, area: Path) -> None:
    path = area / "x.yml"
    path.write_text("old\n")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        put(local, wanted(path), None, interrupt)
    assert caught.value.__notes__ == ["the old file was put back"]
    assert path.read_text() == "old\n"


def test_somebody_elses_change_is_not_rolled_back_over(local: Transport, area: Path) -> None:
    path = area / "x.yml"
    path.write_text("old\n")

    def fail() -> None:
        path.write_text("third\n")
        raise RemoteError("not served.")

    with pytest.raises(RemoteError, match="somebody else has written it since"):
        put(local, wanted(path), None, fail)
    assert path.read_text() == "third\n"


def test_an_unmanaged_owner_is_kept(local: Transport, area: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    path = area / "x.yml"
    path.write_text("old\n")
    os.chown(path, 12345, 23456)
    put(local, wanted(path))
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
    state = observe(local, str(path))
    assert (state.owner, state.group) == ("12345", "23456")
    put(local, DesiredFile(str(path), b"x", "4755", "0", "0"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o4755
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("relative/x.yml", "is not absolute"),
        ("", "must be an absolute path"),
        ("/etc//x.yml", "shortest form"),
        ("/etc/../x.yml", "shortest form"),
        ("/etc/./x.yml", "shortest form"),
        ("/etc/traefik/", "shortest form"),
        ("/", "shortest form"),
        ("/etc/x\ny.yml", "line break"),
        ("/etc/x\0y", "control character"),
        ("/etc/x\x1b[2Jy", "control character"),
        ("/etc/\udcff", "not valid UTF-8"),
        ("/" + "a" * 201, "limits of 3900 and 200"),
        ("/a" * 2000, "limits of 3900 and 200"),
    ],
)
def test_hostile_paths_are_refused(path: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        DesiredFile(path, b"")


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a'b",
        'a"b',
        "a`id`b",
        "$(id)",
        "a;b",
        "-rf",
        "*",
        "a\\b",
        "ü",
        "#x",
        "~",
        "!x",
        "a&b",
        "--",
        "%s%n",
        "[x]",
    ],
)
def test_awkward_names_are_quoted(local: Transport, area: Path, name: str) -> None:
    desired = DesiredFile(str(area / name / name), b"one", "0600")
    assert apply(local, desired).action == "create"
    assert apply(local, DesiredFile(desired.path, b"two", "0600")).action == "replace"
    assert observe(local, desired.path, expected="+").content == b"two"
    assert sorted(os.listdir(area / name)) == sorted([name, f"{name}.rollback"])  # noqa: PTH208 - names only
    assert remove(local, desired.path, "0" * 64) == "orphaned"
    assert sorted(os.listdir(area)) == [name]  # noqa: PTH208 - names only


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "644x"), ("mode", "0999"), ("mode", "7"), ("mode", "00644"), ("mode", 420), ("mode", "0644;id"),
        ("owner", "a b"), ("owner", ""), ("owner", "-R"), ("owner", "a:b"), ("owner", "$(id)"), ("owner", 0),
        ("owner", "4294967295"), ("group", "a\nb"), ("group", "x" * 40), ("group", "*"),
    ],
)  # fmt: skip
def test_hostile_attributes_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        DesiredFile("/etc/x", b"", **{field: value})  # type: ignore[arg-type]
