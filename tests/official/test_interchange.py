"""A stack made by either engine continues in the other: nothing changes, secrets stay readable."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.engine_process import Workspace
from tests.engine.engine_ssh import SshServer

pytestmark = pytest.mark.official


class Pair:
    """One project and one state, and two engines that take turns."""

    def __init__(self, directory: Path, pulumi: str, first: str) -> None:
        self.space = Workspace(directory, "")
        self.pulumi = pulumi
        self.turn = first

    def run(self, engine: str, *arguments: str, code: int | None = 0) -> Any:
        self.space.pulumi = self.pulumi if engine == "official" else None
        return self.space.run(*arguments, code=code)

    def next(self, *arguments: str, code: int | None = 0) -> Any:
        """Run in the engine whose turn it is, then both must agree that nothing is left to do."""
        done = self.run(self.turn, *arguments, code=code)
        self.turn = "embedded" if self.turn == "official" else "official"
        return done

    def agree(self) -> None:
        for engine in ("official", "embedded"):
            self.run(engine, "preview", "--expect-no-changes")
        outputs = [
            json.loads(self.run(e, "stack", "output", "--json", "--show-secrets").stdout)
            for e in ("official", "embedded")
        ]
        assert outputs[0] == outputs[1]

    def ciphertexts(self) -> set[str]:
        return set(re.findall(r'"ciphertext":"([^"]+)"', self.space.checkpoint.read_text()))


@pytest.fixture(params=["official", "embedded"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, pulumi: str) -> Pair:
    made = Pair(tmp_path, pulumi, request.param)
    made.next("stack", "init", "dev")
    made.next("config", "set", "--secret", "token", "s3cret")
    return made


ONE = """
class Group(ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("t:index:Group", name, {"size": 1}, opts)
        self.file = File(f"{name}-file", Config().require_secret("token"), opts=ResourceOptions(parent=self))
        self.register_outputs({"length": self.file.length})

g = Group("g")
a = File("a", "one")
b = File("b", a.length.apply(lambda n: f"a has {n}"), opts=ResourceOptions(depends_on=[g]))
export("secret", Config().require_secret("token"))
export("nested", {"n": [1, 2.5, True, None], "s": g.file.content})
export("length", b.length)
"""


def test_life(pair: Pair) -> None:
    """Create, update, replace, delete, rename with an alias, refresh after drift, destroy: taking turns."""
    space = pair.space
    space.program(ONE)
    pair.next("up", "--yes")
    pair.agree()
    space.program(ONE.replace('"one"', '"three"'))
    pair.next("up", "--yes")
    pair.agree()
    assert space.files["b"] == "a has 5"
    pair.next("refresh", "--yes")
    pair.agree()

    space.program(ONE.replace('File("a", "one")', 'File("a", "three", file_name="moved")'))
    assert "+-1 replaced" in pair.next("up", "--yes", "--skip-preview", "--color", "never").stdout
    pair.agree()
    assert "a" not in space.files
    assert space.files["moved"] == "three"

    renamed = ONE.replace('g = Group("g")', 'g = Group("h", ResourceOptions(aliases=[Alias(name="g")]))')
    renamed = renamed.replace('f"{name}-file", ', '"g-file", ')
    calls = len(space.calls)
    space.program(renamed.replace('File("a", "one")', 'File("a", "three", file_name="moved")'))
    pair.next("up", "--yes", "--skip-preview")
    pair.agree()
    assert space.calls[calls:] == [], "a rename touches nothing"

    (space.directory / "world" / "b.txt").write_text("by hand")
    for engine in ("official", "embedded"):
        assert pair.run(engine, "preview", "--expect-no-changes", code=7)
    pair.next("refresh", "--yes")
    pair.next("up", "--yes")
    pair.agree()
    assert space.files["b"] == "a has 5"

    space.program('a = File("a", "three", file_name="moved")\nexport("length", a.length)\n')
    pair.next("up", "--yes")
    pair.agree()
    assert set(space.files) == {"moved"}
    pair.next("destroy", "--yes")
    assert space.files == {}
    assert not space.deployment().get("resources")
    pair.next("stack", "rm", "--yes")


def test_failed_update_and_recovery(pair: Pair) -> None:
    space = pair.space
    space.program('a = File("a", "one")\nb = File("b", "two", opts=ResourceOptions(depends_on=[a]))\n')
    pair.next("up", "--yes", "--skip-preview")
    space.program(
        'a = File("a", "broken")\nb = File("b", "three", opts=ResourceOptions(depends_on=[a]))\nFile("c", "x")\n'
    )
    assert "the disk is broken" in pair.next("up", "--yes", "--skip-preview", code=1).stdout
    assert space.files["b"] == "two"
    space.program(
        'a = File("a", "mended")\nb = File("b", "three", opts=ResourceOptions(depends_on=[a]))\nFile("c", "x")\n'
    )
    pair.next("up", "--yes", "--skip-preview")
    pair.agree()
    assert space.files == {"a": "mended", "b": "three", "c": "x"}


def test_unchanged_secrets_keep_their_ciphertexts(pair: Pair) -> None:
    pair.space.program(ONE)
    pair.run("official", "up", "--yes", "--skip-preview")
    before = pair.ciphertexts()
    pair.run("embedded", "up", "--yes", "--skip-preview")
    assert pair.ciphertexts() == before
    pair.space.program(ONE.replace('"one"', '"three"'))
    pair.run("embedded", "up", "--yes", "--skip-preview")
    assert len(pair.ciphertexts() & before) >= len(before) - 2
    for engine in ("official", "embedded"):
        assert pair.run(engine, "config", "get", "token").stdout == "s3cret\n"
        assert "s3cret" in pair.run(engine, "stack", "export", "--show-secrets").stdout


def test_exported_state_imports_into_the_other(pair: Pair) -> None:
    space = pair.space
    space.program(ONE)
    pair.next("up", "--yes", "--skip-preview")
    file = space.directory / "exported.json"
    pair.next("stack", "export", "--file", str(file))
    pair.next("stack", "import", "--file", str(file))
    pair.agree()


def test_same_words_exit_codes_and_event_shapes(pair: Pair) -> None:
    """Both engines tell the same steps of the same program, and end with the same codes."""
    pair.space.program(ONE)
    previews = {e: json.loads(pair.run(e, "preview", "--json").stdout) for e in ("official", "embedded")}
    told = {e: sorted((step["op"], step["urn"]) for step in d["steps"]) for e, d in previews.items()}
    assert told["official"] == told["embedded"]
    assert previews["official"]["changeSummary"] == previews["embedded"]["changeSummary"]
    assert previews["official"]["config"] == previews["embedded"]["config"]
    pair.run("official", "up", "--yes", "--skip-preview")
    pair.space.program(ONE.replace('"one"', '"three"'))
    previews = {e: json.loads(pair.run(e, "preview", "--json").stdout) for e in ("official", "embedded")}
    told = {e: sorted((step["op"], step["urn"]) for step in d["steps"]) for e, d in previews.items()}
    assert told["official"] == told["embedded"]
    for arguments in (
        ("preview", "--expect-no-changes"),
        ("up", "--non-interactive"),
        ("stack", "select", "nothere"),
        ("config", "get", "nothere"),
        ("stack", "output", "nothere"),
        ("stack", "rm", "--yes"),
    ):
        codes = {e: pair.run(e, *arguments, code=None).returncode for e in ("official", "embedded")}
        assert codes["official"] == codes["embedded"], arguments
    pair.space.program('raise RunError("stop here")\n')
    ends = {e: pair.run(e, "preview", code=None) for e in ("official", "embedded")}
    assert ends["official"].returncode == ends["embedded"].returncode
    for end in ends.values():
        assert "error: stop here" in end.stdout


COMMANDS = """
from pulumi_command import local
l = local.Command("l", create="echo made", update="echo updated", delete="true", triggers=[1], environment={"A": "b"})
m = local.Command("m", create="cat", stdin=Output.secret("hush"))
export("l", l.stdout)
export("m", m.stdout)
"""


def test_commands(pair: Pair) -> None:
    if shutil.which("pulumi-resource-command") is None:
        pytest.skip("pulumi-resource-command is not on PATH, and would have to be downloaded")
    space = pair.space
    space.program(COMMANDS)
    pair.next("up", "--yes", "--skip-preview")
    pair.agree()
    space.program(COMMANDS.replace('"b"', '"c"'))
    pair.next("up", "--yes", "--skip-preview")
    pair.agree()
    assert json.loads(pair.run("embedded", "stack", "output", "--json").stdout)["l"] == "updated"
    space.program(COMMANDS.replace("[1]", "[2]"))
    assert "+-1 replaced" in pair.next("up", "--yes", "--skip-preview", "--color", "never").stdout
    pair.agree()


REMOTE = """
from pulumi_command import remote
connection = remote.ConnectionArgs(
    host="127.0.0.1", port={port}, user="root", private_key={private_key!r}, host_key={host_key!r}, dial_error_limit=2,
)
r = remote.Command("r", connection=connection, create="cat > f; echo made", update="cat > f; echo updated",
    delete="rm f", stdin="one", add_previous_output_in_env=False)
c = remote.CopyToRemote("c", connection=connection, source=StringAsset("text"), remote_path={copied!r})
export("r", r.stdout)
"""


def test_remote_commands(pair: Pair, tmp_path: Path) -> None:
    """Connections and their keys are recorded alike: each engine takes over without a change."""
    if shutil.which("pulumi-resource-command") is None:
        pytest.skip("pulumi-resource-command is not on PATH, and would have to be downloaded")
    (tmp_path / "host").mkdir()
    with SshServer(tmp_path / "host") as server:
        settings = server.settings
        program = REMOTE.format(
            port=server.port,
            private_key=settings["privateKey"],
            host_key=settings["hostKey"].strip(),
            copied=str(server.directory / "copied"),
        )
        pair.space.program(program)
        pair.next("up", "--yes", "--skip-preview")
        pair.agree()
        before = pair.ciphertexts()
        pair.run("embedded", "up", "--yes", "--skip-preview")
        assert pair.ciphertexts() == before
        pair.space.program(program.replace('"one"', '"two"'))
        pair.next("up", "--yes", "--skip-preview")
        pair.agree()
        assert (server.directory / "f").read_text() == "two"
        pair.next("destroy", "--yes", "--skip-preview")
        assert not (server.directory / "f").exists()


PROGRAMS = {
    "values": """
from pulumi_command import local
odd = [1, 2.5, 1e21, 123456789012345678, True, None, {"z": 1, "a": [None]}, "x" * 300, Output.secret({"k": [1]}), ""]
x = local.Command("x", create="printf 'ü\\\\n€ <&>'", environment={"B": "ü€<&>", "A": "1"}, triggers=odd)
for name, value in {"f": 1 / 3, "big": 12345678901234567890, "e": [], "o": {}, "n": None, "out": x.stdout}.items():
    export(name, value)
export("s", Output.secret([{"a": Output.secret("b")}]))
""",
    "assets": """
from pulumi_command import local
import pathlib
pathlib.Path("data").mkdir(exist_ok=True)
for name in "ab":
    pathlib.Path(f"data/{name}.txt").write_text(name)
x = local.Command(
    "x", create="echo hi > data/made.txt", asset_paths=["data/*.txt", "!data/b.txt"], archive_paths=["data/**"]
)
export("run", local.run(command="echo run", asset_paths=["data/a.txt"]).stdout)
export("assets", x.assets)
export("archive", x.archive)
export("all", [FileAsset("data/a.txt"), AssetArchive({"f": StringAsset("x"), "d": FileArchive("data")})])
""",
    "options": """
O = ResourceOptions
class Group(ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("t:index:Group", name, {"p": Output.secret("x")}, opts)
        self.register_outputs({"q": 1})

g = Group("g")
h = Group("h", O(parent=g))
a = File("a", "one", opts=O(parent=h, ignore_changes=["content"], additional_secret_outputs=["length"]))
b = File("b", a.content, opts=O(
    deleted_with=a, retain_on_delete=True, custom_timeouts=CustomTimeouts(create="5m", delete="1h30m"),
    delete_before_replace=True, replace_on_changes=["name"],
))
c = File("c", "x", opts=O(depends_on=[b], aliases=[Alias(name="old"), Alias(type_="x:y:Z")], parent=h))
export("urn", c.urn)
""",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_odd_values_assets_and_options(pair: Pair, program: str) -> None:
    if program != "options" and shutil.which("pulumi-resource-command") is None:
        pytest.skip("pulumi-resource-command is not on PATH, and would have to be downloaded")
    pair.space.program(PROGRAMS[program])
    # After its own refresh the official engine cannot read an asset in an output any more.
    for operation in ("up", "up") if program == "assets" else ("up", "up", "refresh", "refresh"):
        pair.next(operation, "--yes", "--skip-preview")
        pair.agree()
    pair.next("destroy", "--yes", "--skip-preview")


def test_interrupted_operation_is_understood_by_the_other(pair: Pair) -> None:
    """An operation left pending by one engine is brought to its end by either."""
    space = pair.space
    space.program('a = File("a", "one")\n')
    pair.run("embedded", "up", "--yes", "--skip-preview")
    document = json.loads(space.checkpoint.read_text())
    latest = document["checkpoint"]["latest"]
    entry = next(item for item in latest["resources"] if item["urn"].endswith("::a"))
    latest["pending_operations"] = [{"resource": entry, "type": "updating"}]
    space.checkpoint.write_text(json.dumps(document))
    assert "interrupted while updating" in pair.run("embedded", "preview").stdout
    pair.run(pair.turn, "up", "--yes", "--skip-preview")
    assert not space.deployment().get("pending_operations")
    pair.agree()
