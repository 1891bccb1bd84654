"""``command:local:*`` on this machine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from engine.assets import Asset
from engine.errors import ProviderError, UnsupportedError
from engine.providers.base import Context, run_limited
from engine.providers.command import LOCAL, RUN, CommandProvider
from engine.providers.ssh import Pool
from engine.values import reveal


@pytest.fixture
def provider() -> CommandProvider:
    return CommandProvider(Pool())


def context(kind: str = LOCAL, **options: Any) -> Context:
    return Context("urn", "name", kind, **options)


def test_all_inputs(provider: CommandProvider, tmp_path: Path) -> None:
    inputs = {
        "create": "import os, sys; print(sys.stdin.read(), os.environ['A'], os.getcwd()); open('made', 'w')",
        "interpreter": ["python3", "-c"],
        "dir": str(tmp_path),
        "environment": {"A": "b"},
        "stdin": "in",
        "assetPaths": ["m*", "!made2"],
        "archivePaths": ["**"],
    }
    (tmp_path / "made2").touch()
    _, outputs = provider.create(context(), inputs)
    assert outputs["stdout"] == f"in b {tmp_path}"
    assert list(outputs["assets"]) == ["made"]
    assert isinstance(outputs["assets"]["made"], Asset)
    assert [name for name, _ in outputs["archive"].assets] == ["made", "made2"]


def test_previous_output_is_in_the_environment(provider: CommandProvider) -> None:
    inputs = {"create": "echo one", "update": "echo $PULUMI_COMMAND_STDOUT two"}
    _, outputs = provider.create(context(), inputs)
    assert provider.update(context(), "x", inputs, outputs, inputs)["stdout"] == "one two"
    without = {**inputs, "addPreviousOutputInEnv": False}
    assert provider.update(context(), "x", inputs, outputs, without)["stdout"] == "two"


def test_a_long_previous_output_does_not_break_the_update(provider: CommandProvider) -> None:
    inputs = {"create": "head -c 200000 /dev/zero | tr '\\0' a", "update": "echo fine"}
    _, outputs = provider.create(context(), inputs)
    assert len(outputs["stdout"]) == 200_000
    assert provider.update(context(), "x", inputs, outputs, inputs)["stdout"] == "fine"


def test_update_without_update_runs_create(provider: CommandProvider) -> None:
    inputs = {"create": "echo again"}
    assert provider.update(context(), "x", inputs, {}, inputs)["stdout"] == "again"


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"create": "echo why >&2; exit 4"}, "the command here ended with exit status 4:\nwhy"),
        ({"create": "kill -9 $$"}, "the command here ended by signal SIGKILL"),
        ({"create": "x", "interpreter": ["/no/such"]}, "/no/such cannot be started: No such file or directory"),
        ({"create": "x", "dir": "/no/such"}, "/bin/sh cannot be started in /no/such: No such file or directory"),
    ],
)
def test_failures(provider: CommandProvider, inputs: dict[str, Any], told: str) -> None:
    with pytest.raises(ProviderError) as error:
        provider.create(context(), inputs)
    assert str(error.value) == told


def test_a_process_left_in_the_background_is_not_waited_for(provider: CommandProvider) -> None:
    _, outputs = run_limited(20, "create", lambda: provider.create(context(), {"create": "sleep 60 & echo done"}))
    assert outputs["stdout"] == "done"


def test_cancelling_ends_the_command(provider: CommandProvider) -> None:
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    with pytest.raises(ProviderError, match="SIGKILL"):
        provider.create(context(cancelled=cancelled), {"create": "sleep 60"})


def test_run_function(provider: CommandProvider) -> None:
    outputs = provider.invoke(context(RUN), RUN, {"command": "echo here"})
    assert reveal(outputs["stdout"]) == "here"


def test_what_is_not_supported_is_refused_by_name(provider: CommandProvider) -> None:
    for kind in ("command:remote:CopyFile", "command:local:Other"):
        with pytest.raises(UnsupportedError, match=f"{kind} is not supported .* use the official CLI"):
            provider.check(context(kind), None, {})
    with pytest.raises(UnsupportedError, match="use the official CLI"):
        provider.invoke(context("command:local:other"), "command:local:other", {})
