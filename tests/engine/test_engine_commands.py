"""The command line as a user meets it: each command and option, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.engine_process import Workspace

Make = Callable[[str], Workspace]

TWO = 'a = File("a", "one")\nb = File("b", a.length.apply(lambda n: f"{n} bytes"))\nexport("length", b.length)\n'


def test_life_of_a_stack(workspace: Make) -> None:
    space = workspace(TWO)
    assert "Created stack 'dev'" in space.run("stack", "init", "dev").stderr
    preview = space.run("preview")
    assert " +  pulumi-python:dynamic:Resource a create" in preview.stdout
    assert "length: [unknown]" in preview.stdout
    assert "+ 3 to create" in preview.stdout
    assert space.files == {}
    up = space.run("up", "--yes", "--message", "the first")
    assert "Previewing update (dev):" in up.stdout
    assert "+ 3 created" in up.stdout
    assert space.files == {"a": "one", "b": "3 bytes"}
    assert space.json("stack", "output", "--json") == {"length": 7}
    assert space.run("stack", "output", "length").stdout == "7\n"
    assert "3 unchanged" in space.run("preview", "--expect-no-changes").stdout

    space.program(TWO.replace('"one"', '"three"'))
    refused = space.run("preview", "--expect-no-changes", code=7)
    assert "no changes were expected for preview but changes were proposed" in refused.stderr
    assert "update pulumi-python:dynamic:Resource (a)" in refused.stderr
    diff = space.run("preview", "--diff", "--color", "never").stdout
    assert '~ content: "one" => "three"' in diff
    space.run("up", "--yes", "--skip-preview")

    history = space.json("stack", "history", "--json")
    assert [item["version"] for item in history] == [2, 1]
    assert history[1]["message"] == "the first"
    assert history[0]["resourceChanges"] == {"same": 1, "update": 2}
    listed = space.json("stack", "ls", "--json")
    assert listed[0]["name"] == "dev"
    assert listed[0]["current"] is True
    refused = space.run("stack", "rm", "--yes", code=1)
    assert "still has resources" in refused.stderr
    assert "- 3 deleted" in space.run("destroy", "--yes").stdout
    assert space.files == {}
    space.run("stack", "rm", "--yes")
    assert space.run("preview", code=1).stderr.startswith("error: no stack selected")


def test_drift_is_seen_and_explained_in_a_plain_preview(workspace: Make) -> None:
    space = workspace(TWO)
    space.run("stack", "select", "dev", "--create")
    space.run("up", "--yes", "--skip-preview")
    (space.directory / "world" / "a.txt").write_text("by hand")
    preview = space.run("preview", "--expect-no-changes", code=7)
    section = preview.stdout.partition("Diagnostics:")[2]
    assert "pulumi-python:dynamic:Resource (a):" in section
    assert "drift: the file of a differs" in section
    assert "told on stderr" in section
    refreshed = space.run("refresh", "--yes", "--diff", "--color", "never").stdout
    assert '~ content: "one" => "by hand"' in refreshed
    (space.directory / "world" / "a.txt").unlink()
    assert "- 1 deleted" in space.run("refresh", "--yes", "--skip-preview").stdout
    assert "+ 1 created" in space.run("up", "--yes", "--skip-preview").stdout
    assert space.files["a"] == "one"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ('raise RunError("the inventory names no host")\n', "error: the inventory names no host"),
        ('File("a", "refused")\n', "property content value {refused} has a problem: is refused"),
        ('File("a", "broken")\n', "error: the disk is broken"),
        ('File("a", "x")\nFile("a", "y")\n', "try giving it a unique name"),
        ('CustomResource("aws:s3:Bucket", "b", {})\n', "aws is not supported by the embedded engine: use the off"),
        ('ComponentResource("x:y:Z", "r", {}, None, True)\n', "remote component x:y:Z is not supported by the embedd"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_clean_message(workspace: Make, program: str, told: str) -> None:
    space = workspace(program)
    space.run("stack", "init", "dev")
    done = space.run("up", "--yes", "--skip-preview", code=1)
    assert told in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_exception_shows_the_users_frames_only(workspace: Make) -> None:
    space = workspace('def broken():\n    return {}["key"]\nbroken()\n')
    space.run("stack", "init", "dev")
    done = space.run("preview", code=1)
    assert "Program failed with an unhandled exception:" in done.stdout
    assert "KeyError: 'key'" in done.stdout
    assert "runpy" not in done.stdout
    assert "engine/sdk.py" not in done.stdout


def test_outputs_survive_a_program_that_fails(workspace: Make) -> None:
    space = workspace(TWO)
    space.run("stack", "init", "dev")
    space.run("up", "--yes", "--skip-preview")
    for broken in (TWO + 'raise Exception("boom")\n', TWO.replace('"one"', '"broken"')):
        space.program(broken)
        space.run("up", "--yes", "--skip-preview", code=1)
        assert space.json("stack", "output", "--json") == {"length": 7}


def test_configuration(workspace: Make) -> None:
    values = '{"n": c.require_int("n"), "o": c.require_object("o"), "s": c.require_secret("s")}'
    space = workspace(f'c = Config()\nexport("all", {values})\n')
    fields = "  n: {type: integer, default: 3}\n  o:\n    type: object\n    default: {deep: [1, {x: y}]}\n"
    fields += "  s: {type: string, secret: true}\n"
    space.write("Pulumi.yaml", (space.directory / "Pulumi.yaml").read_text() + "config:\n" + fields)
    settings = space.directory / "stacks" / "Pulumi.dev.yaml"
    space.run("stack", "init", "dev")
    assert "missing configuration value 's'" in space.run("preview", code=2).stderr
    assert "declared secret" in space.run("config", "set", "s", "open", code=2).stderr
    space.run("config", "set", "s", "--secret", stdin="hush hush\n")
    text = settings.read_text()
    settings.write_text("# why this stack is as it is\n" + text.replace("config:", "config: # keys"))
    space.run("config", "set", "--path", "o.deep[0].x", "z")
    space.run("config", "set", "n", "7")
    kept = settings.read_text()
    assert kept.startswith("# why this stack is as it is\n")
    assert "config: # keys" in kept
    assert "hush" not in kept
    assert space.run("config", "get", "s").stdout == "hush hush\n"
    assert space.run("config", "get", "--path", "o.deep[0].x").stdout == "z\n"
    listed = space.json("config", "--json")
    assert listed["proj:n"] == {"value": "7", "secret": False}
    assert listed["proj:s"] == {"secret": True}
    space.run("up", "--yes", "--skip-preview")
    shown = space.json("stack", "output", "--json", "--show-secrets")["all"]
    assert shown == {"n": 7, "o": {"deep": [{"x": "z"}]}, "s": "hush hush"}
    assert "hush" not in space.checkpoint.read_text()
    space.run("config", "set", "n", "seven")
    assert "must be of type 'integer'" in space.run("preview", code=2).stderr
    space.run("config", "rm", "n")
    assert "proj:n:" not in settings.read_text()


def test_passphrase(workspace: Make) -> None:
    space = workspace('export("s", Output.secret("hush"))\n')
    file = space.write("phrase", "from a file\n")
    space.run("stack", "init", "dev", PULUMI_CONFIG_PASSPHRASE="from a file")
    space.run("up", "--yes", "--skip-preview", PULUMI_CONFIG_PASSPHRASE="from a file")
    masked = space.run("stack", "output", PULUMI_CONFIG_PASSPHRASE="another")
    assert "[secret]" in masked.stdout, "what is not shown needs no key"
    assert "ciphertext" in space.run("stack", "export", PULUMI_CONFIG_PASSPHRASE="another").stdout
    wrong = space.run("stack", "output", "--show-secrets", code=1, PULUMI_CONFIG_PASSPHRASE="another")
    assert "incorrect passphrase" in wrong.stderr
    environment = space.environment(PULUMI_CONFIG_PASSPHRASE_FILE=str(file))
    del environment["PULUMI_CONFIG_PASSPHRASE"]
    done = subprocess.run(
        space.command("stack", "output", "s", "--show-secrets"), cwd=space.directory, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "hush\n"


def test_json_of_a_preview_and_events_of_an_update(workspace: Make) -> None:
    space = workspace(TWO)
    space.run("stack", "init", "dev")
    preview = space.json("preview", "--json")
    assert preview["changeSummary"] == {"create": 3}
    assert {step["op"] for step in preview["steps"]} == {"create"}
    assert "gAS" not in json.dumps(preview), "a pickled provider is a secret"
    log = space.directory / "events.jsonl"
    lines = space.run("up", "--yes", "--skip-preview", "--json", "--event-log", str(log)).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert "preludeEvent" in events[0]
    assert events[-2]["summaryEvent"]["resourceChanges"] == {"create": 3}
    assert "cancelEvent" in events[-1]
    assert len(log.read_text().splitlines()) == len(events)
    creates = [e["resourcePreEvent"]["metadata"] for e in events if "resourcePreEvent" in e]
    assert {"op", "urn", "type", "old", "new", "detailedDiff", "logical", "provider"} == set(creates[0])


def test_export_and_import(workspace: Make) -> None:
    space = workspace(TWO + 'export("s", Output.secret("hush"))\n')
    space.run("stack", "init", "dev")
    space.run("up", "--yes", "--skip-preview")
    exported = space.run("stack", "export").stdout
    assert "hush" not in exported
    assert "hush" in space.run("stack", "export", "--show-secrets").stdout
    before = space.deployment()["resources"]
    space.run("stack", "import", stdin=exported)
    assert space.deployment()["resources"] == before
    assert "3 unchanged" in space.run("preview", "--expect-no-changes").stdout
    broken = json.loads(exported)
    broken["deployment"]["resources"].reverse()
    assert "out of order" in space.run("stack", "import", stdin=json.dumps(broken), code=1).stderr
    assert "as `pulumi stack export` prints it" in space.run("stack", "import", stdin="[]", code=2).stderr


def test_stack_reference_within_the_backend(workspace: Make) -> None:
    space = workspace('export("open", "one")\nexport("closed", Output.secret("two"))\n')
    space.run("stack", "init", "other")
    space.run("up", "--yes", "--skip-preview")
    space.program(
        'r = StackReference("organization/proj/other")\n'
        'export("got", r.require_output("open"))\nexport("hid", r.require_output("closed"))\n'
    )
    space.run("stack", "init", "dev")
    space.run("up", "--yes", "--skip-preview", "--stack", "dev")
    assert space.json("stack", "output", "--json") == {"got": "one", "hid": "[secret]"}
    assert "unchanged" in space.run("preview", "--expect-no-changes").stdout


def test_state_files_are_laid_out_as_the_official_backend_has_them(workspace: Make) -> None:
    space = workspace(TWO)
    space.run("stack", "init", "dev")
    space.run("up", "--yes", "--skip-preview")
    root = space.state / ".pulumi"
    assert (root / "meta.yaml").read_text() == "version: 1\n"
    names = {re.sub(r"\d{10,}", "N", file.relative_to(root).as_posix()) for file in root.rglob("*") if file.is_file()}
    assert names == {
        "meta.yaml",
        "stacks/proj/dev.json",
        "stacks/proj/dev.json.bak",
        "history/proj/dev/dev-N.history.json",
        "history/proj/dev/dev-N.checkpoint.json",
        "backups/proj/dev/dev.N.json",
    }
    assert space.checkpoint.stat().st_mode & 0o077 == 0
    document = json.loads(space.checkpoint.read_text())
    assert document["version"] == 3
    assert document["checkpoint"]["stack"] == "organization/proj/dev"


@contextlib.contextmanager
def _slow_up(space: Workspace) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A first ``up`` of the program SLOW, begun, and what it has printed so far."""
    space.run("stack", "init", "dev")
    printed = space.state / "printed"
    with printed.open("w") as output:
        process = subprocess.Popen(
            space.command("up", "--yes", "--skip-preview"), cwd=space.directory, env=space.environment(),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for((space.directory / "begun").exists)
        yield process, printed.read_text
    finally:
        process.kill()
        process.wait()


def _wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


SLOW = """
from pulumi_command import local
l = local.Command("slow", create="echo $$ > begun; while [ ! -e go ]; do sleep 0.05; done; touch ended")
m = local.Command("after", create="touch after", opts=ResourceOptions(depends_on=[l]))
"""


def test_two_updates_at_once_and_cancel(workspace: Make) -> None:
    space = workspace(SLOW)
    with _slow_up(space) as (first, printed):
        second = space.run("up", "--yes", "--skip-preview", code=1)
        assert "the stack is currently locked by 1 lock(s)" in second.stderr
        assert f"(pid {first.pid})" in second.stderr
        (space.directory / "go").touch()
        first.wait(60)
    assert "+ 3 created" in printed()
    assert space.json("preview", "--json")["changeSummary"] == {"same": 3}
    lock = space.state / ".pulumi/locks/organization/proj/dev/x.json"
    lock.write_text(
        json.dumps({"pid": 1, "username": "anna", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"})
    )
    held = space.run("up", "--yes", code=1)
    assert "created by anna@elsewhere (pid 1)" in held.stderr
    assert "has been canceled" in space.run("cancel").stdout
    space.run("up", "--yes", "--skip-preview")


def test_interrupt_once_finishes_what_runs(workspace: Make) -> None:
    space = workspace(SLOW)
    with _slow_up(space) as (process, printed):
        process.send_signal(signal.SIGINT)
        _wait_for(lambda: "the running operations are being finished" in printed())
        (space.directory / "go").touch()
        process.wait(60)
    assert process.returncode == 8
    assert (space.directory / "ended").exists()
    assert not (space.directory / "after").exists()
    names = [item["urn"].rsplit("::", 1)[1] for item in space.deployment()["resources"]]
    assert "slow" in names
    assert "after" not in names
    assert "pending_operations" not in space.deployment()


def test_interrupt_twice_stops_at_once_and_tells_next_time(workspace: Make) -> None:
    space = workspace(SLOW)
    with _slow_up(space) as (process, printed):
        process.send_signal(signal.SIGINT)
        _wait_for(lambda: "press Ctrl-C again to stop at once" in printed())
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert process.returncode == 8
    assert not Path(f"/proc/{(space.directory / 'begun').read_text().strip()}").exists(), "the command goes on"
    (space.directory / "go").touch()
    done = space.run("up", "--yes", "--skip-preview")
    assert "slow, interrupted while creating" in done.stdout
    assert "took over the lock of" in done.stderr
    assert "pending_operations" not in space.deployment()


def test_custom_timeout_ends_the_command_itself(workspace: Make) -> None:
    space = workspace(
        "from pulumi_command import local\n"
        'c = "echo $$ > begun; exec sleep 300"\n'
        'local.Command("slow", create=c, opts=ResourceOptions(custom_timeouts=CustomTimeouts(create="2s")))\n'
    )
    space.run("stack", "init", "dev")
    done = space.run("up", "--yes", "--skip-preview", code=1)
    assert "create of slow timed out after 2 s (customTimeouts)" in done.stdout
    pid = int((space.directory / "begun").read_text())
    assert not Path(f"/proc/{pid}").exists(), "the command goes on"
    assert [item["type"] for item in space.deployment()["pending_operations"]] == ["creating"]


def test_killed_then_run_again(workspace: Make) -> None:
    space = workspace(SLOW)
    with _slow_up(space) as (process, _):
        os.killpg(process.pid, signal.SIGKILL)
    assert "interrupted while creating" in space.run("preview").stdout
    (space.directory / "go").touch()
    done = space.run("up", "--yes", "--skip-preview")
    assert "its journal was folded into the state" in done.stdout
    assert not (space.state / ".pulumi/journals/proj/dev.jsonl").exists()
    assert space.json("preview", "--json")["changeSummary"] == {"same": 3}


KILL_AT = """
import os, sys
from engine import cli, journal

write, left = journal.SnapshotManager._line, int(sys.argv.pop(1))

def line(manager, entry):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
    write(manager, entry)

journal.SnapshotManager._line = line
sys.exit(cli.main(sys.argv[1:]))
"""


def test_killed_at_every_step_of_a_real_program(workspace: Make) -> None:
    """The same with the SDK, dynamic providers and commands in a process that is killed for good."""
    command = 'local.Command("l", create="echo made >> log", delete="echo gone >> log", triggers=[{n}])\n'
    first = "from pulumi_command import local\n" + TWO + 'File("gone", "x")\n' + command.format(n=1)
    moved = 'File("a", "three", file_name="moved", opts=ResourceOptions(delete_before_replace=True))'
    second = "from pulumi_command import local\n" + TWO.replace('File("a", "one")', moved) + command.format(n=2)
    space = workspace(first)
    killer = space.write("kill.py", KILL_AT)
    space.run("stack", "init", "dev")
    space.run("up", "--yes", "--skip-preview")
    kept = {path: path.read_bytes() for path in space.state.rglob("*") if path.is_file()}
    step = 0
    while True:
        step += 1
        space.program(second)
        done = subprocess.run(
            [space.command()[0], str(killer), str(step), "up", "--yes", "--skip-preview"], cwd=space.directory,
            env=space.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
        space.run("up", "--yes", "--skip-preview")
        assert space.files == {"moved": "three", "b": "5 bytes"}
        assert space.json("preview", "--json")["changeSummary"] == {"same": 4}
        for path in space.state.rglob("*"):
            if path.is_file():
                path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)
        for name, text in {"a": "one", "b": "3 bytes", "gone": "x"}.items():
            (space.directory / "world" / f"{name}.txt").write_text(text)
        (space.directory / "world" / "moved.txt").unlink()
    assert step > 15, "the run has fewer steps than it should"


def test_live_tree_on_a_terminal(workspace: Make) -> None:
    space = workspace(TWO)
    space.run("stack", "init", "dev")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(space.directory)
        environment = {**space.environment(), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        os.execve(space.command()[0], space.command("up", "--yes"), environment)  # noqa: S606 - the engine
    seen = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, "the engine says nothing"
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    _, status = os.waitpid(pid, 0)
    text = seen.decode()
    assert os.waitstatus_to_exitcode(status) == 0
    assert "└─ pulumi-python:dynamic:Resource" in text
    assert "\x1b[32m" in text
    assert re.search(r"created \(\d", text)
    os.close(terminal)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("up",), 2, "--yes or --skip-preview or --preview-only must be passed"),
        (("up", "--yes", "--policy-pack", "p"), 1, "use the official CLI"),
        (("preview", "--plan", "p"), 1, "use the official CLI"),
        (("watch",), 1, "use the official CLI"),
        (("login", "https://app.pulumi.com"), 2, "the backend https://app.pulumi.com is not supported"),
        (("stack", "init", "a/b/c/d e"), 2, "invalid stack name"),
        (("stack", "init", "x", "--secrets-provider", "awskms://k"), 2, "use the official CLI"),
        (("stack", "select", "nothere"), 6, "no stack named 'nothere' found"),
        (("config", "get", "nothere", "--stack", "dev"), 6, "no stack named 'dev' found"),
        (("--cwd", "/nowhere", "preview"), 1, "/nowhere"),
        (("preview", "--parallel", "many"), 1, "invalid int value"),
    ],
)
def test_refusals(workspace: Make, arguments: tuple[str, ...], code: int, told: str) -> None:
    space = workspace("")
    if arguments[0] in ("up", "preview"):
        space.run("stack", "init", "dev")
    done = space.run(*arguments, code=code)
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is not a checkpoint"),
        (b'{"version": 3, "checkpoint": []}', "is not a checkpoint"),
        (b'{"version": 9, "checkpoint": {"latest": {}}}', "use the official CLI"),
        (b'{"version": 3, "checkpoint": {"latest": {"resources": [{"type": "x"}]}}}', "no urn or type"),
        (b"\xff\xfe\x00", "is not a checkpoint"),
    ],
)
def test_damaged_checkpoint_is_named_and_left_alone(workspace: Make, content: bytes, told: str) -> None:
    space = workspace("")
    space.run("stack", "init", "dev")
    space.checkpoint.write_bytes(content)
    for command in (("preview",), ("up", "--yes", "--skip-preview"), ("stack", "output")):
        done = space.run(*command, code=None)
        assert done.returncode in (1, 2)
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    assert space.checkpoint.read_bytes() == content


def test_changed_passphrase_salt_is_refused(workspace: Make) -> None:
    space = workspace("")
    space.run("stack", "init", "dev")
    space.run("up", "--yes", "--skip-preview")
    settings: Path = space.directory / "stacks" / "Pulumi.dev.yaml"
    other = "encryptionsalt: v1:AAAAAAAAAAA=:v1:AAAAAAAAAAAAAAAA:AAAA\n"
    settings.write_text(other)
    assert "different encryption salts" in space.run("preview", code=1).stderr
