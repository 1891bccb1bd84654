"""Managed files when things go wrong: the target is whole, and the message names cause and remedy."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_files import leftovers, wanted

from phoenix.errors import PhoenixError, RemoteError
from phoenix.remote import Connection, Transport, open_transport
from phoenix.remote.carriers import LocalCarrier
from phoenix.remote.file_scripts import put_script, staged_path
from phoenix.remote.files import DesiredFile, apply, observe, put, remove
from phoenix.remote.guests import ShellTransport
from phoenix.remote.streams import RawAnswer

LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY = 1


@contextlib.contextmanager
def mounted(directory: Path, options: str) -> Iterator[None]:
    """Mount a tmpfs there, or skip where that is not allowed."""
    if LIBC.mount(b"phoenix", bytes(directory), b"tmpfs", 0, options.encode()) != 0:
        pytest.skip(f"a file system cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        LIBC.umount2(bytes(directory), 2)


def test_a_full_disk(transport: Transport, area: Path) -> None:
    with mounted(area, "size=64k"):
        path = area / "x.yml"
        path.write_text("old\n")
        with pytest.raises(RemoteError) as caught:
            put(transport, wanted(path, b"x" * 200_000))
        message = str(caught.value)
        assert message.startswith(f"{path} on {transport.description} is not changed (step write: ")
        assert message.endswith("No space left on device): free space there.")
        assert path.read_text() == "old\n"
        assert [entry.name for entry in area.iterdir()] == ["x.yml"]


def test_a_disk_that_is_full_when_the_old_file_shall_come_back(transport: Transport, area: Path) -> None:
    with mounted(area, "size=64k"):
        path = area / "x.yml"
        path.write_text("old\n")

        def refuse() -> None:
            with contextlib.suppress(OSError):
                (area / "full").write_bytes(b"x" * 200_000)
            raise RemoteError("it does not serve")

        with pytest.raises(RemoteError, match="the old file was put back"):
            put(transport, wanted(path, b"x" * 20_000), verify=refuse)
        assert path.read_text() == "old\n"
        assert leftovers(area) == []


def test_a_read_only_target(transport: Transport, area: Path) -> None:
    with mounted(area, "size=64k"):
        path = area / "x.yml"
        path.write_text("old\n")
        assert LIBC.mount(None, bytes(area), None, 32 | MS_RDONLY, None) == 0  # MS_REMOUNT
        with pytest.raises(RemoteError, match=r"Read-only file system\): mount it writable"):
            put(transport, wanted(path))
        with pytest.raises(RemoteError, match=r"Read-only file system\): mount it writable"):
            put(transport, wanted(area / "new" / "x.yml"))
        assert path.read_text() == "old\n"


class NobodyCarrier(LocalCarrier):
    """Runs commands here as a user who owns nothing."""

    async def execute(self, arguments: list[str], stdin: bytes, limit: float) -> RawAnswer:
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        return await super().execute([*nobody, *arguments] if os.geteuid() == 0 else arguments, stdin, limit)


@pytest.fixture
def unprivileged() -> Transport:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("util-linux's setpriv is missing")
    return ShellTransport(Connection(transport="local"), NobodyCarrier())


def test_no_permission(unprivileged: Transport) -> None:
    with tempfile.TemporaryDirectory() as name:
        area = Path(name)
        area.chmod(0o755)
        path = area / "x.yml"
        path.write_text("old\n")
        shut = area / "shut"
        (shut / "below").mkdir(parents=True)
        path.chmod(0o000)
        shut.chmod(0o000)
        area.chmod(0o555)
        try:
            for target in (path, area / "new" / "x.yml", area / "y.yml"):
                with pytest.raises(RemoteError, match=r"Permission denied\): log in as root, or set sudo: true"):
                    put(unprivileged, wanted(target))
            assert observe(unprivileged, str(path)).kind == "unreadable"
            hidden = observe(unprivileged, str(shut / "below" / "x.yml"))
            assert (hidden.kind, hidden.detail) == ("denied", str(shut))
            with pytest.raises(RemoteError, match="the user of this connection may not search"):
                apply(unprivileged, wanted(shut / "below" / "x.yml"))
            with pytest.raises(RemoteError, match="the user of this connection may not read it"):
                apply(unprivileged, wanted(path))
            with pytest.raises(RemoteError, match="step remove"):
                remove(unprivileged, str(path), "0" * 64)
        finally:
            area.chmod(0o755)
            shut.chmod(0o755)
            path.chmod(0o644)
        assert path.read_text() == "old\n"


def test_unknown_accounts(local: Transport, area: Path) -> None:
    path = area / "x.yml"
    path.write_text("old\n")
    for field, says in (("owner", "create that user there first"), ("group", "create that group there first")):
        desired = DesiredFile(str(path), b"new", "0644", **{field: "nobody-of-this-name"})
        if os.geteuid() == 0 or field == "owner":
            with pytest.raises(RemoteError, match=says):
                put(local, desired)
    assert path.read_text() == "old\n"
    assert leftovers(area) == []


def test_a_rollback_name_that_is_taken(local: Transport, area: Path) -> None:
    path = area / "x.yml"
    path.write_text("old\n")
    Path(f"{path}.rollback").mkdir()
    with pytest.raises(RemoteError, match=r"step keep: .*x\.yml\.rollback is a directory"):
        put(local, wanted(path))
    assert path.read_text() == "old\n"
    assert leftovers(area) == []


def test_content_that_arrives_incomplete(local: Transport, area: Path) -> None:
    path = area / "x.yml"
    path.write_text("old\n")
    done = local.run(put_script(wanted(path, b"whole content"), "0123"), stdin=b"whole con", check=False)
    assert (done.exit_code, done.complaint) == (73, "phoenix: transfer: the content arrived incomplete")
    assert path.read_text() == "old\n"
    assert leftovers(area) == []


def test_a_staged_name_that_exists_is_not_followed(local: Transport, area: Path) -> None:
    path, victim = area / "x.yml", area / "victim"
    victim.write_text("precious")
    Path(staged_path(str(path), "0123")).symlink_to(victim)
    done = local.run(put_script(wanted(path), "0123"), stdin=b"new\n", check=False)
    assert done.exit_code == 73
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle(area: Path, how: signal.Signals) -> None:
    path = area / "x.yml"
    path.write_text("old\n")
    process = subprocess.Popen(
        ["sh", "-c", put_script(wanted(path, b"x" * 1_000_000), "0123")], stdin=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    process.stdin.write(b"x" * 500_000)
    process.stdin.flush()
    staged = Path(staged_path(str(path), "0123"))
    deadline = time.monotonic() + 10
    while not (staged.exists() and staged.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert staged.stat().st_mode & 0o077 == 0
    os.killpg(process.pid, how)
    process.wait(10)
    with contextlib.suppress(OSError):
        process.stdin.close()
    assert path.read_text() == "old\n"
    assert staged.exists() == (how == signal.SIGKILL)


def test_what_a_killed_run_left_is_removed_later(local: Transport, area: Path) -> None:
    path = area / "x.yml"
    old, young = Path(staged_path(str(path), "00")), Path(staged_path(str(path), "11"))
    for file in (old, young):
        file.write_text("half")
    os.utime(old, (1, 1))
    put(local, wanted(path))
    assert leftovers(area) == [young.name]


def test_a_connection_cut_in_the_middle(server, make_connection, area: Path) -> None:
    path = area / "x.yml"
    path.write_text("old\n")
    transport = open_transport(make_connection("ssh"))
    reached = threading.Event()

    def cut() -> None:
        deadline = time.monotonic() + 10
        while not leftovers(area) and time.monotonic() < deadline:
            time.sleep(0.001)
        reached.set()
        server.drop()

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        with pytest.raises(PhoenixError):
            put(transport, wanted(path, os.urandom(40_000_000)))
    finally:
        thread.join()
    assert reached.is_set()
    assert path.read_text() == "old\n"


def test_two_writers_at_once(make_connection, area: Path) -> None:
    """Whoever is last, the file and its rollback copy are whole versions of somebody."""
    path = area / "x.yml"
    contents = [bytes([65 + number]) * 50_000 for number in range(4)]
    put(open_transport(make_connection("local")), wanted(path, contents[0]))
    seen: set[bytes] = set()
    stop = threading.Event()
    errors: list[Exception] = []

    def write(content: bytes, name: str) -> None:
        try:
            for _ in range(5):
                put(open_transport(make_connection(name)), wanted(path, content))
        except Exception as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    writers = [
        threading.Thread(target=write, args=(content, name))
        for content, name in zip(contents, ("local", "ssh", "ssh", "local"), strict=True)
    ]
    reader.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert errors == []
    assert seen <= set(contents)
    assert Path(f"{path}.rollback").read_bytes() in contents
    assert leftovers(area) == []
