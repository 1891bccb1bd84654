"""The preview ahead of an update, and the update that gets ready beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from tests.engine.engine_process import Workspace

READ_TWICE = """
import os, pathlib, time
log = pathlib.Path("reads.log")
with log.open("a") as file:
    file.write("begins\\n")
time.sleep(0.3)
with log.open("a") as file:
    file.write("ends\\n")
print("read by", "a preview" if pulumi.runtime.is_dry_run() else "an update")
File("a", "one")
"""


class Make(Protocol):
    def __call__(self, program: str) -> Workspace: ...


def test_the_program_is_never_read_twice_at_once(stack: Make) -> None:
    space = stack(READ_TWICE)
    done = space.run("up", "--yes")
    assert (space.directory / "reads.log").read_text().split() == ["begins", "ends"] * 2
    shown = done.stdout
    before, after = shown.split("Updating (dev):")
    assert "read by a preview" in before
    assert "+ 2 to create" in before
    assert "read by an update" in after
    assert "+ 2 created" in after
    assert "an update" not in before
    assert shown.startswith("Previewing update (dev):")


FAILING = {
    "the program": "raise pulumi.RunError('it is not to be')",
    "the program after its first resource": "File('a', 'one')\nraise pulumi.RunError('it is not to be')",
    "a check": "File('a', 'refused')",
    "a program that ends itself": "File('a', 'one')\nimport sys\nsys.exit(3)",
    "only in an update": "if not pulumi.runtime.is_dry_run():\n    File('a', 'one')\nelse:\n    File('a', 'refused')",
}


@pytest.mark.parametrize("program", FAILING.values(), ids=FAILING)
def test_a_preview_that_fails_leaves_nothing_begun(stack: Make, program: str) -> None:
    space = stack(program)
    before = space.checkpoint.read_bytes()
    done = space.run("up", "--yes", code=None)
    assert done.returncode == space.run("preview", code=None).returncode != 0
    assert "Updating" not in done.stdout
    assert "defect" not in done.stderr
    assert space.checkpoint.read_bytes() == before
    assert space.files == {}
    assert space.json("stack", "history", "--json") == []
    assert not list((space.state / ".pulumi" / "locks").rglob("*.json"))


def test_nothing_is_refreshed_after_a_preview_that_fails(stack: Make) -> None:
    space = stack("File('a', 'one')\nFile('b', 'one')")
    space.run("up", "--yes", "--skip-preview")
    (space.directory / "world" / "a.txt").write_text("by hand")
    (space.directory / "world" / "b.txt").unlink()
    before = space.checkpoint.read_bytes()
    space.program("File('a', 'one')\nFile('b', 'one')\nFile('c', 'refused')")
    done = space.run("up", "--yes", "--refresh", code=None)
    assert done.returncode != 0
    assert "Updating" not in done.stdout
    assert space.checkpoint.read_bytes() == before
    space.program("File('a', 'one')\nFile('b', 'one')")
    space.run("up", "--yes", "--refresh")
    assert space.files == {"a": "one", "b": "one"}


@pytest.mark.parametrize("options", [("--skip-preview",), ()], ids=["without a preview", "with one"])
def test_a_wrong_passphrase_is_told_before_anything_is_begun(stack: Make, options: tuple[str, ...]) -> None:
    space = stack("File('a', 'one')\npulumi.export('s', Output.secret('hidden'))")
    space.run("up", "--yes", "--skip-preview")
    space.program("File('a', 'two')\npulumi.export('s', Output.secret('hidden'))")
    before = space.checkpoint.read_bytes()
    done = space.run("up", "--yes", *options, code=1, PULUMI_CONFIG_PASSPHRASE="another")
    assert done.stderr.count("incorrect passphrase") == 1
    assert space.files == {"a": "one"}
    assert space.checkpoint.read_bytes() == before
    assert len(space.json("stack", "history", "--json")) == 1


def test_an_interrupted_preview_ends_the_update_with_it(stack: Make) -> None:
    space = stack("""
import pathlib, time
from pulumi_command import local
File("a", "one")
def slow(text):
    pathlib.Path("looked").touch()
    time.sleep(20)
    return text
File("b", Output.from_input("x").apply(slow))
""")
    process = subprocess.Popen(
        space.command("up", "--yes"), cwd=space.directory, env=space.environment(), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = 60.0
        while not (space.directory / "looked").exists():
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
            deadline -= 0.05
            assert deadline > 0
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                continue
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 8
    assert "Updating" not in out
    assert space.files == {}
    assert space.deployment() is None


def test_an_event_log_has_the_preview_whole_before_the_update(stack: Make, tmp_path: Path) -> None:
    space = stack("File('a', 'one')")
    log = tmp_path / "events.jsonl"
    space.run("up", "--yes", "--event-log", str(log))
    events = [json.loads(line) for line in log.read_text().splitlines()]
    ends = [number for number, event in enumerate(events) if "summaryEvent" in event]
    begins = [number for number, event in enumerate(events) if "preludeEvent" in event]
    assert [events[number]["summaryEvent"]["isPreview"] for number in ends] == [True, False]
    assert begins[0] < ends[0] < begins[1] < ends[1]
