"""RemoteFile: the provider called as an engine calls it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dill
import pytest
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime import rpc
from remote_file_providers import HookedProvider
from remote_servers import SHIMS, free_port

from phoenix.errors import RemoteError, TraefikError, UnreachableError
from phoenix.remote import reachability
from phoenix.remote.remote_file import RemoteFileProvider

PROVIDER = RemoteFileProvider()


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "_failures", {})


@pytest.fixture
def path(area: Path) -> Path:
    return area / "x.yml"


def inputs(path: Path, content: str = "a: 1\n", connection: Any = None, **more: Any) -> dict[str, Any]:
    """What an engine hands to a provider; numbers are floats there."""
    return {
        "connection": connection or {"transport": "local", "connectTimeout": 10.0},
        "path": str(path),
        "content": content,
        "mode": "0644",
        "__provider": "pickled",
        **more,
    }


def created(path: Path, content: str = "a: 1\n", **more: Any) -> dict[str, Any]:
    outs = PROVIDER.create(inputs(path, content, **more)).outs
    assert outs is not None
    return outs


def plain_preview(outs: dict[str, Any], news: dict[str, Any] | None = None) -> Any:
    return PROVIDER.diff("id", outs, news if news is not None else {k: v for k, v in outs.items() if k != "sha256"})


def test_create_and_a_preview_without_change(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path)
    assert path.read_text() == "a: 1\n"
    assert outs["sha256"] == hashlib.sha256(b"a: 1\n").hexdigest()
    result = plain_preview(outs)
    assert (result.changes, result.replaces) == (False, [])
    assert capsys.readouterr().out == ""


def test_another_pickle_of_the_provider_is_no_change(path: Path) -> None:
    outs = created(path)
    assert plain_preview(outs, {**outs, "__provider": "pickled by a newer SDK"}).changes is False


def test_drift_is_explained(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path, "a: 1\nb: 2\n")
    path.write_text("a: 1\nb: 3\n")
    path.chmod(0o600)
    assert plain_preview(outs).changes is True
    shown = capsys.readouterr().out
    assert f"{path} was changed by hand: +1 -1 lines, mode is 0600, not 0644\n" in shown
    assert "\n-b: 2\n+b: 3\n" in shown
    PROVIDER.update("id", outs, outs)
    assert path.read_text() == "a: 1\nb: 2\n"
    assert Path(f"{path}.rollback").read_text() == "a: 1\nb: 3\n"
    assert plain_preview(outs).changes is False


def test_a_removed_file_comes_back(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path)
    path.unlink()
    assert plain_preview(outs).changes is True
    assert "was removed by hand" in capsys.readouterr().out
    PROVIDER.update("id", outs, outs)
    assert path.read_text() == "a: 1\n"


def test_a_file_that_became_a_link_is_told_and_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path)
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert plain_preview(outs).changes is True
    assert "symbolic link to /etc/hostname" in capsys.readouterr().out
    with pytest.raises(RemoteError, match="manage that file, or remove the link"):
        PROVIDER.update("id", outs, outs)


def test_secret_content_is_never_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path, "TOP-SECRET-ONE\n", contentSecret=True)
    path.write_text("TOP-SECRET-TWO\n")
    assert plain_preview(outs).changes is True
    shown = capsys.readouterr().out
    assert "+1 -1 lines [secret]" in shown
    assert "TOP-SECRET" not in shown


def test_secret_values_are_masked(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path, "user TOP-SECRET end\n", secretValues=["TOP-SECRET"])
    path.write_text("changed\nuser TOP-SECRET end\n")
    plain_preview(outs)
    shown = capsys.readouterr().out
    assert "+changed" in shown
    assert " user [secret] end" in shown


def test_a_changed_input_is_a_change(path: Path) -> None:
    outs = created(path)
    for key, value in (("content", "new"), ("mode", "0600"), ("owner", "root"), ("summary", {"routes": "5"})):
        result = plain_preview(outs, {**outs, key: value})
        assert (result.changes, result.replaces) == (True, [])


def test_a_changed_path_replaces_and_the_old_goes_last(path: Path, area: Path) -> None:
    outs = created(path)
    news = inputs(area / "y.yml")
    result = plain_preview(outs, news)
    assert (result.changes, result.replaces, result.delete_before_replace) == (True, ["path"], False)
    PROVIDER.create(news)
    PROVIDER.delete("id", outs)
    assert sorted(entry.name for entry in area.iterdir()) == ["y.yml"]


def test_unknown_inputs_in_a_preview(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path)
    path.write_text("by hand\n")
    result = plain_preview(outs, {**outs, "content": rpc.UNKNOWN, "connection": rpc.UNKNOWN})
    assert result.changes is True
    assert "was changed by hand" in capsys.readouterr().out
    assert PROVIDER.check({}, {**inputs(path), "content": rpc.UNKNOWN, "path": rpc.UNKNOWN}).failures == []


def test_secrets_in_the_sdks_wrapping(path: Path) -> None:
    """An engine may leave secrets marked; the provider sees through that."""

    def secret(value: Any) -> dict[str, Any]:
        return {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": value}

    news = inputs(path, connection=secret({"transport": "local"}))
    news["content"] = secret("wrapped\n")
    outs = PROVIDER.create(news).outs
    assert path.read_text() == "wrapped\n"
    assert outs is not None
    assert outs["content"] == secret("wrapped\n")
    assert plain_preview(outs).changes is False


def test_adopting_what_is_there(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("a: 1\n")
    path.chmod(0o644)
    before = path.stat()
    created(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "was there already just so" in capsys.readouterr().out
    assert not Path(f"{path}.rollback").exists()


def test_creating_over_something_else_keeps_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("precious\n")
    outs = created(path)
    assert Path(f"{path}.rollback").read_text() == "precious\n"
    assert f"kept as {path}.rollback" in capsys.readouterr().out
    PROVIDER.delete("id", outs)
    assert not path.exists()
    assert Path(f"{path}.rollback").read_text() == "precious\n"


def test_content_that_is_the_same_is_not_sent_again(path: Path) -> None:
    outs = created(path)
    before = path.stat().st_ino
    PROVIDER.update("id", outs, inputs(path, mode="0600", summary={"note": "other"}))
    assert path.stat().st_ino == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_deployed_before_goes_with_the_file(path: Path, area: Path) -> None:
    first = created(path, "one\n")
    second = PROVIDER.update("id", first, inputs(path, "two\n")).outs
    assert second is not None
    third = PROVIDER.update("id", second, inputs(path, "two\n", mode="0600")).outs
    assert Path(f"{path}.rollback").read_text() == "one\n"
    assert plain_preview(third or {}).changes is False
    PROVIDER.delete("id", third or {})
    assert list(area.iterdir()) == []


def test_delete_keeps_what_was_changed_by_hand(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path)
    path.write_text("by hand\n")
    PROVIDER.delete("id", outs)
    assert Path(f"{path}.orphan").read_text() == "by hand\n"
    assert f"kept as {path}.orphan" in capsys.readouterr().out
    PROVIDER.delete("id", outs)


def test_read_brings_the_live_state(path: Path) -> None:
    outs = created(path, "one\n")
    same = PROVIDER.read("id", outs)
    assert same.outs == outs
    path.write_text("two\n")
    path.chmod(0o600)
    result = PROVIDER.read("id", outs)
    assert result.id == "id"
    assert result.outs is not None
    assert result.inputs is not None
    assert (result.outs["content"], result.outs["mode"], result.inputs["content"]) == ("two\n", "0600", "two\n")
    assert plain_preview(result.outs, outs).changes is True
    path.unlink()
    assert PROVIDER.read("id", outs).id == ""


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("path", "relative", "is not absolute"),
        ("path", 7.0, "must be an absolute path"),
        ("mode", "rw-r--r--", "is no file mode"),
        ("mode", 644.0, "is no file mode"),
        ("owner", "a b", "is no user or group"),
        ("content", 5.0, "must be text, not float"),
        ("content", "\ud800", "lone surrogate"),
        ("connection", {"transport": "ssh"}, "needs a host"),
        ("connection", "ssh", "must be a map, not str"),
    ],
)
def test_check_names_field_and_remedy(path: Path, field: str, value: object, says: str) -> None:
    result = PROVIDER.check({}, {**inputs(path), field: value})
    assert [failure.property for failure in result.failures] == [field]
    assert says in result.failures[0].reason


def test_check_brings_inputs_into_one_form(path: Path) -> None:
    result = PROVIDER.check({}, inputs(path, mode="600", owner=None))
    assert result.failures == []
    assert result.inputs["mode"] == "0600"


# Hooks


def test_hooks_run_in_order(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    provider = HookedProvider()
    outs = provider.create(inputs(path, "good one\n", log=str(log))).outs
    assert outs is not None
    with pytest.raises(TraefikError, match=r"unknown key; nothing was changed\."):
        provider.update("id", outs, inputs(path, "refuse-staged\n", log=str(log)))
    with pytest.raises(TraefikError, match=r"route r1 is not served; the old file was put back\."):
        provider.update("id", outs, inputs(path, "refuse-live\n", log=str(log)))
    assert path.read_text() == "good one\n"
    assert log.read_text().splitlines() == [
        "validate good one",
        "verify good one",
        "validate refuse-staged",
        "validate refuse-live",
        "verify refuse-live",
        "rolled back to good one",
    ]


def test_an_expected_error_has_no_traceback(path: Path, tmp_path: Path) -> None:
    with pytest.raises(TraefikError) as caught:
        HookedProvider().create(inputs(path, "refuse-staged\n", log=str(tmp_path / "log")))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("provider", [RemoteFileProvider(), HookedProvider()])
def test_a_provider_is_pickled_by_reference(provider: RemoteFileProvider) -> None:
    text = serialize_provider(provider)
    assert len(base64.b64decode(text)) < 200
    assert type(dill.loads(base64.b64decode(text))) is type(provider)  # noqa: S301 - made here


# A target that cannot be reached


@pytest.fixture
def unreachable(ssh_data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], socket.socket]]:
    """A connection to a port that accepts and stays silent, and its socket to count attempts with."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.setblocking(False)
        yield {**ssh_data, "port": silent.getsockname()[1], "connectTimeout": 0.3}, silent


def attempts(silent: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            silent.accept()[0].close()
            count += 1
    return count


def test_a_preview_goes_on_and_asks_once(
    path: Path, unreachable: tuple[dict[str, Any], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    connection, silent = unreachable
    outs = inputs(path, connection=connection, sha256="0" * 64)
    for number in range(5):
        assert plain_preview({**outs, "path": f"/x{number}"}).changes is True
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "drift is unknown: ssh " in lines[0]
    assert "no answer within 0.3 s" in lines[0]
    assert attempts(silent) == 1


def test_up_fails_with_cause_and_remedy(path: Path, ssh_data: dict[str, Any]) -> None:
    outs = inputs(path, connection={**ssh_data, "port": free_port()}, sha256="0" * 64)
    for operation in (
        lambda: PROVIDER.create(outs),
        lambda: PROVIDER.update("id", outs, outs),
        lambda: PROVIDER.delete("id", outs),
        lambda: PROVIDER.read("id", outs),
    ):
        with pytest.raises(UnreachableError, match="connection refused: nothing listens") as caught:
            operation()
        assert "\n" not in str(caught.value)


def test_up_tries_again_after_a_preview_gave_up(path: Path, ssh_data: dict[str, Any], server: Any) -> None:
    outs = created(path, connection=ssh_data)
    server.stop_listening()
    assert plain_preview(outs).changes is True
    server.listen_again()
    assert plain_preview(outs).changes is True
    PROVIDER.update("id", outs, outs)
    assert plain_preview(outs).changes is False


def test_a_changed_target_is_told(path: Path, ssh_data: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    outs = created(path)
    assert plain_preview(outs, {**outs, "connection": ssh_data}).changes is True
    assert "the target changes to ssh " in capsys.readouterr().out


# Under a real Pulumi program

PROGRAM = """
import os, pulumi
from phoenix.errors import InputError
from phoenix.remote.remote_file import RemoteFile
from remote_file_providers import HookedProvider

config = pulumi.Config()
connection = config.require_secret_object("connection")
content = config.get_secret("content") or "plain: text\\n"
try:
    file = RemoteFile("conf", connection=connection, path=os.environ["TARGET"], content=content, mode="640",
        summary={"routes": "2"}, provider=HookedProvider(), properties={"log": os.environ["LOG"]})
except InputError as error:
    raise pulumi.RunError(str(error))
pulumi.export("sha256", file.sha256)
"""


@pytest.fixture
def pulumi(tmp_path: Path, path: Path) -> Any:
    """A function that runs the embedded engine on a small project; returns exit code and all output."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: phoenix\nruntime: python\n")
    (project / "__main__.py").write_text(PROGRAM)
    environment = {
        **os.environ,
        "PATH": f"{SHIMS}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(Path(__file__).parent), *sys.path[1:]]),
        "PULUMI_BACKEND_URL": f"file://{project}",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "TARGET": str(path),
        "LOG": str(tmp_path / "log"),
        "NO_COLOR": "1",
    }

    def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "engine", *arguments],
            cwd=project, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    run.project = project  # type: ignore[attr-defined]
    assert run("stack", "init", "dev")[0] == 0
    return run


def test_under_a_real_program(pulumi: Any, path: Path, ssh_data: dict[str, Any]) -> None:
    assert pulumi("config", "set", "--secret", "--stack", "dev", "connection", json.dumps(ssh_data))[0] == 0
    code, shown = pulumi("up", "--stack", "dev", "--yes", "--skip-preview")
    assert code == 0, shown
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("plain: text\n", 0o640)
    code, shown = pulumi("preview", "--stack", "dev", "--expect-no-changes")
    assert code == 0, shown

    path.write_text("plain: edited\n")
    code, shown = pulumi("preview", "--stack", "dev", "--expect-no-changes")
    assert code != 0
    assert "+plain: edited" in shown
    assert str(path) in shown

    pulumi("config", "set", "--secret", "--stack", "dev", "content", "TOP-SECRET refuse-live\n")
    code, shown = pulumi("up", "--stack", "dev", "--yes", "--skip-preview")
    assert code != 0
    assert "route r1 is not served; the old file was put back." in shown
    assert "Traceback" not in shown
    assert "TOP-SECRET" not in shown
    assert path.read_text() == "plain: edited\n"

    pulumi("config", "set", "--secret", "--stack", "dev", "content", "TOP-SECRET fine\n")
    assert pulumi("up", "--stack", "dev", "--yes", "--skip-preview")[0] == 0
    path.write_text("TOP-SECRET-EDIT\n")
    code, shown = pulumi("preview", "--stack", "dev", "--diff")
    assert "+1 -1 lines [secret]" in shown
    assert "TOP-SECRET" not in shown

    code, shown = pulumi("destroy", "--stack", "dev", "--yes", "--skip-preview")
    assert code == 0, shown
    assert not path.exists()
    stored = b"".join(file.read_bytes() for file in (pulumi.project / ".pulumi").rglob("*") if file.is_file())
    assert stored
    assert b"TOP-SECRET" not in stored
    assert str(ssh_data["port"]).encode() not in stored


def test_a_program_whose_target_is_dead(pulumi: Any, ssh_data: dict[str, Any]) -> None:
    def connect(data: dict[str, Any]) -> None:
        pulumi("config", "set", "--secret", "--stack", "dev", "connection", json.dumps(data))

    connect(ssh_data)
    assert pulumi("up", "--stack", "dev", "--yes", "--skip-preview")[0] == 0
    connect({**ssh_data, "port": free_port()})
    code, shown = pulumi("preview", "--stack", "dev")
    assert code == 0, shown
    code, shown = pulumi("up", "--stack", "dev", "--yes", "--skip-preview")
    assert code != 0
    assert "connection refused: nothing listens on port" in shown
    assert "Traceback" not in shown
