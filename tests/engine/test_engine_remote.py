"""``command:remote:*`` over real SSH connections to servers on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from engine.assets import Archive, archive, asset
from engine.errors import OutcomeUnknown, ProviderError
from engine.providers.base import Context
from engine.providers.command import COPY, REMOTE, CommandProvider
from engine.providers.ssh import Pool
from engine.values import UNKNOWN, Secret, reveal
from tests.engine.engine_ssh import SshServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    (tmp_path / "host").mkdir()
    with SshServer(tmp_path / "host") as running:
        yield running


@pytest.fixture
def provider() -> Iterator[CommandProvider]:
    pool = Pool()
    yield CommandProvider(pool)
    pool.close()


def context(kind: str = REMOTE, **options: Any) -> Context:
    return Context("urn", "name", kind, **options)


def make(provider: CommandProvider, server: SshServer, **inputs: Any) -> tuple[str, dict[str, Any]]:
    given, failures = provider.check(context(), None, {"connection": Secret(server.settings), **inputs})
    assert failures == []
    return provider.create(context(), given)


def test_create_update_delete(provider: CommandProvider, server: SshServer) -> None:
    identifier, outputs = make(
        provider, server, create="cat > f; echo out; echo err >&2", update="cat >> f", delete="rm f", stdin="text"
    )
    assert identifier.startswith("name")
    assert len(identifier) == len("name") + 8
    assert (outputs["stdout"], outputs["stderr"]) == ("out", "err")
    file = server.directory / "f"
    assert file.read_text() == "text"
    inputs = {key: value for key, value in outputs.items() if key not in ("stdout", "stderr")}
    updated = provider.update(context(), identifier, inputs, outputs, {**inputs, "stdin": " more"})
    assert file.read_text() == "text more"
    provider.delete(context(), identifier, inputs, updated)
    assert not file.exists()


def test_many_commands_share_one_connection(provider: CommandProvider, server: SshServer) -> None:
    with ThreadPoolExecutor(20) as threads:
        numbers = list(threads.map(lambda n: make(provider, server, create=f"echo {n}")[1]["stdout"], range(60)))
    assert numbers == [str(number) for number in range(60)]
    assert server.connections == 1


def test_a_dropped_connection_is_made_again(provider: CommandProvider, server: SshServer) -> None:
    make(provider, server, create="true")
    server.drop_connections()
    assert make(provider, server, create="echo back")[1]["stdout"] == "back"
    assert server.connections == 2


def test_a_connection_lost_under_a_command_is_an_unknown_outcome(provider: CommandProvider, server: SshServer) -> None:
    cut = threading.Timer(0.5, server.drop_connections)
    cut.start()
    with pytest.raises(OutcomeUnknown, match="whether it finished is unknown"):
        make(provider, server, create="sleep 3")
    cut.join()


def test_environment_reaches_the_command_whatever_the_server_accepts(
    provider: CommandProvider, server: SshServer
) -> None:
    value = 'it\'s $HOME "quoted"\nand two lines'
    _, outputs = make(
        provider, server, create='printf "%s|" "$ONE"; cat', environment={"ONE": value}, stdin="the input"
    )
    assert outputs["stdout"] == value + "|the input"


def test_environment_shows_in_no_process_list(provider: CommandProvider, server: SshServer) -> None:
    _, outputs = make(provider, server, create="cat /proc/*/cmdline", environment={"KEY": "v3ry" + "s3cret"})
    assert "v3rys3cret" not in outputs["stdout"]


def test_long_lines_and_much_output(provider: CommandProvider, server: SshServer) -> None:
    _, outputs = make(provider, server, create="head -c 300000 /dev/zero | tr '\\0' a; echo")
    assert outputs["stdout"] == "a" * 300_000
    inputs = {key: value for key, value in outputs.items() if key not in ("stdout", "stderr")}
    updated = provider.update(context(), "x", inputs, outputs, {**inputs, "update": "echo next"})
    assert updated["stdout"] == "next"


def test_a_failing_command_tells_what_it_printed_but_not_its_text(provider: CommandProvider, server: SshServer) -> None:
    with pytest.raises(ProviderError) as told:
        make(provider, server, create="echo to stdout; echo why it failed >&2; : p4ssword; exit 3")
    assert str(told.value) == "the command on 127.0.0.1 ended with exit status 3:\nwhy it failed"


def test_logging_chooses_the_streams(provider: CommandProvider, server: SshServer) -> None:
    heard: list[str] = []
    for mode in ("stdout", "stderr", "none", "stdoutAndStderr"):
        inputs, _ = provider.check(
            context(), None, {"connection": server.settings, "create": "echo o; echo e >&2", "logging": mode}
        )
        provider.create(context(log=lambda line, mode=mode: heard.append(f"{mode} {line}")), inputs)
    assert sorted(heard) == ["stderr e", "stdout o", "stdoutAndStderr e", "stdoutAndStderr o"]


def test_preview_runs_nothing(provider: CommandProvider, server: SshServer) -> None:
    inputs = {"connection": server.settings, "create": "touch made"}
    identifier, outputs = provider.create(context(preview=True), inputs)
    assert (identifier, outputs["stdout"], outputs["stderr"]) == ("", UNKNOWN, UNKNOWN)
    assert provider.update(context(preview=True), "x", inputs, {}, inputs)["stdout"] is UNKNOWN
    assert server.connections == 0


def test_jump_host(provider: CommandProvider, server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "jump").mkdir()
    with SshServer(tmp_path / "jump") as jump:
        settings = {**server.settings, "proxy": jump.settings}
        inputs, _ = provider.check(context(), None, {"connection": settings, "create": "pwd"})
        assert provider.create(context(), inputs)[1]["stdout"] == str(server.directory)
        assert (jump.connections, jump.tunnels, server.connections) == (1, 1, 1)


def test_password(provider: CommandProvider, server: SshServer) -> None:
    settings = {**server.settings, "password": "open sesame"}
    del settings["privateKey"]
    inputs, _ = provider.check(context(), None, {"connection": settings, "create": "echo in"})
    assert provider.create(context(), inputs)[1]["stdout"] == "in"


def _another_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hostKey": _another_key().export_public_key().decode()}, "is not the one in hostKey"),
        ({"hostKey": "nonsense"}, "hostKey is not a public key line"),
        ({"privateKey": "nonsense"}, "privateKey cannot be read"),
        ({"privateKey": _another_key().export_private_key().decode()}, "refused privateKey"),
        ({"privateKey": None, "password": "wrong"}, "refused password"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_connection_is_told(
    provider: CommandProvider, server: SshServer, change: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    settings = {key: value for key, value in {**server.settings, **change}.items() if value is not None}
    inputs, _ = provider.check(context(), None, {"connection": settings, "create": "true"})
    with pytest.raises(ProviderError, match=told):
        provider.create(context(), inputs)


def test_a_dead_agent_does_not_spoil_a_good_key(
    provider: CommandProvider, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/agent")
    assert make(provider, server, create="echo in")[1]["stdout"] == "in"


def test_a_port_that_accepts_and_stays_silent_is_given_up(provider: CommandProvider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {"host": "127.0.0.1", "port": silent.getsockname()[1], "perDialTimeout": 1, "dialErrorLimit": 1}
        inputs, _ = provider.check(context(), None, {"connection": settings, "create": "true"})
        with pytest.raises(ProviderError, match=r"after 2 attempt\(s\): no answer within 1 s \(perDialTimeout\)"):
            provider.create(context(), inputs)


def test_a_refused_port(provider: CommandProvider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    settings = {"host": "127.0.0.1", "port": port, "dialErrorLimit": 2}
    inputs, _ = provider.check(context(), None, {"connection": settings, "create": "true"})
    with pytest.raises(ProviderError, match=r"no connection after 3 attempt\(s\)"):
        provider.create(context(), inputs)


def test_defaults_of_a_connection_are_filled_in_and_hidden(provider: CommandProvider) -> None:
    inputs, failures = provider.check(context(), None, {"connection": {"host": "h"}, "create": "x"})
    assert failures == []
    assert isinstance(inputs["connection"], Secret)
    assert reveal(inputs["connection"]) == {
        "host": "h", "user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15
    }  # fmt: skip
    bare = {"connection": {"host": "h"}, "create": "x"}
    assert provider.diff(context(), "i", bare, {}, inputs).changes is False


@pytest.mark.parametrize(
    ("inputs", "property_"),
    [
        ({"create": "x"}, "connection"),
        ({"connection": {"host": "h"}, "create": 3}, "create"),
        ({"connection": {"host": "h"}, "logging": "loud"}, "logging"),
        ({"connection": {"host": "h"}, "creat": "x"}, "creat"),
        ({"connection": {"host": "h"}, "environment": ["A=b"]}, "environment"),
    ],
)
def test_check_names_the_wrong_field(provider: CommandProvider, inputs: dict[str, Any], property_: str) -> None:
    _, failures = provider.check(context(), None, inputs)
    assert [failure.property for failure in failures] == [property_]


def test_changed_triggers_replace_and_the_rest_updates(provider: CommandProvider) -> None:
    old = {"connection": {"host": "h"}, "create": "x", "triggers": [1]}
    assert provider.diff(context(), "i", old, {}, {**old, "triggers": [2]}).replaces
    changed = provider.diff(context(), "i", old, {}, {**old, "create": "y"})
    assert changed.changes
    assert not changed.replaces


def test_copy_a_text_and_a_file_and_a_directory(provider: CommandProvider, server: SshServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o750)
    (source / "sub" / "deep").write_bytes(b"\0\1")
    target = server.directory / "made" / "here"

    def copy(what: Any, path: Path | str) -> None:
        inputs = {"connection": Secret(server.settings), "source": what, "remotePath": str(path)}
        checked, failures = provider.check(context(COPY), None, inputs)
        assert failures == []
        provider.create(context(COPY), checked)

    copy(asset(text="hello\n"), target / "text")
    assert (target / "text").read_text() == "hello\n"
    copy(asset(path=str(source / "run")), target)
    assert (target / "run").stat().st_mode & 0o777 == 0o750
    copy(archive(str(source), None, None, ""), target)
    assert (target / "source" / "sub" / "deep").read_bytes() == b"\0\1"
    copy(Archive("", str(source) + "/"), target / "flat")
    assert (target / "flat" / "run").exists()
    (target / "text").chmod(0o600)
    copy(asset(text="again\n"), target / "text")
    assert (target / "text").stat().st_mode & 0o777 == 0o600
    assert not list(target.glob(".*")), "nothing staged is left behind"


def test_copy_refuses_a_text_over_a_directory(provider: CommandProvider, server: SshServer) -> None:
    inputs = {"connection": server.settings, "source": asset(text="x"), "remotePath": str(server.directory)}
    with pytest.raises(ProviderError, match="is a directory"):
        provider.create(context(COPY), inputs)
