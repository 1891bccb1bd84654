"""Each option of the command line, and each option of a resource, as programs and users give them."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.engine.engine_process import Workspace

Make = Callable[[str], Workspace]

A = "urn:pulumi:dev::proj::pulumi-python:dynamic:Resource::a"


def test_options_of_operations(workspace: Make) -> None:
    space = workspace('a = File("a", "one")\nb = File("b", "two")\nexport("l", a.length)\n')
    space.run("stack", "init", "dev", "--no-select")
    assert "no stack selected" in space.run("preview", code=1).stderr
    here = ("--cwd", str(space.directory), "--stack", "dev")
    space.write("elsewhere", "")
    assert "+ 3 to create" in space.run("preview", *here, "--color", "never").stdout
    assert "\x1b[32m" in space.run("preview", "-s", "dev", "--color", "always").stdout
    assert "\x1b[" not in space.run("preview", "-s", "dev", "--color", "always", "--json").stdout
    one = space.run("up", *here, "--yes", "--skip-preview", "--target", A, "--parallel", "1", "--message", "only a")
    assert "+ 2 created" in one.stdout
    assert space.files == {"a": "one"}
    refused = space.run("up", *here, "--non-interactive", code=2)
    assert "must be passed in to proceed when running in non-interactive mode" in refused.stderr
    space.run("stack", "select", "dev")
    space.run("up", "--yes", "--skip-preview", "--suppress-outputs", "--show-sames")
    assert space.files == {"a": "one", "b": "two"}
    unknown = space.run("up", "--yes", "--skip-preview", "--target", A + "x", code=1)
    assert "could not be found in the stack" in unknown.stdout
    (space.directory / "world" / "a.txt").unlink()
    assert "+ 1 created" in space.run("up", "--yes", "--skip-preview", "--refresh").stdout
    assert "- 1 deleted" in space.run("destroy", "--yes", "--skip-preview", "--target", "**::a").stdout
    assert space.files == {"b": "two"}
    assert [item["message"] for item in space.json("stack", "history", "--json")][-1] == "only a"
    space.run("config", "set", "token", "ab3XkZ9qLm2Pw8Rt5Vy1", "--plaintext")
    space.run("up", "--yes", "--config", "more=1", "--event-log", str(space.directory / "log"))
    assert json.loads((space.directory / "log").read_text().splitlines()[0])["preludeEvent"]["config"] == {
        "proj:token": "ab3XkZ9qLm2Pw8Rt5Vy1", "proj:more": "1",
    }  # fmt: skip
    space.run("destroy", "--yes", "--skip-preview", "--remove")
    assert space.json("stack", "ls", "--json") == []


def test_login_names_the_backend_of_commands_that_name_none(workspace: Make) -> None:
    space = workspace("")
    other = space.directory / "other state"
    assert "is no directory" in space.run("login", f"file://{other}", code=2).stderr
    other.mkdir()
    assert "Logged in to" in space.run("login", f"file://{other}").stdout
    space.run("stack", "init", "there", PULUMI_BACKEND_URL="")
    assert (other / ".pulumi/stacks/proj/there.json").exists()
    assert space.run("stack", "--show-name", PULUMI_BACKEND_URL="").stdout == "there\n"


RESOURCES = """
from pulumi_command import local
O = ResourceOptions
class Group(ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("t:index:Group", name, {{}}, opts)
g = Group("g", O(protect=True))
a = File("a", "{0}", opts=O(ignore_changes=["content"]))
inherits = File("inherits", "x", opts=O(parent=g))
kept = File("kept", "x", opts=O(retain_on_delete=True))
hidden = File("hidden", "x", opts=O(additional_secret_outputs=["length"]))
first = File("first", "x", "first{0}", O(delete_before_replace=True, depends_on=[a]))
l = local.Command("l", create="true", environment={{"A": "{0}"}}, opts=O(replace_on_changes=["environment.A"]))
export("hidden", hidden.length)
"""


def test_options_of_resources(workspace: Make) -> None:
    space = workspace(RESOURCES.format("one") + 'goes = File("goes", "x", opts=O(deleted_with=a))\nFile("old", "x")\n')
    space.run("stack", "init", "dev")
    space.run("up", "--yes", "--skip-preview")
    assert space.json("stack", "output", "--json") == {"hidden": "[secret]"}
    calls = len(space.calls)
    space.program(RESOURCES.format("two") + 'File("new", "x", "old", O(aliases=[Alias(name="old")]))\n')
    done = space.run("up", "--yes", "--skip-preview", "--color", "never").stdout
    assert space.files["a"] == "one"
    assert "+-2 replaced" in done, "replace_on_changes, and the renamed file"
    assert space.calls[calls:] == ["delete firstone", "create firsttwo", "delete goes"]
    space.program(RESOURCES.format("two").replace("kept =", "#").replace("inherits =", "#"))
    failed = space.run("up", "--yes", "--skip-preview", code=1).stdout
    assert "it is protected" in failed
    assert {"kept", "inherits"} <= set(space.files)
    space.program('a = File("a", "one")\ngoes = File("goes", "x", opts=ResourceOptions(deleted_with=a))\n')
    refused = space.run("destroy", "--yes", "--skip-preview", code=1).stdout
    assert "it is protected" in refused


def test_every_method_of_a_dynamic_provider(workspace: Make) -> None:
    """configure, check, diff, create, read, update and delete, with secrets opened and unknowns as the SDK has them."""
    space = workspace("")
    space.write(
        "all.py",
        "from pulumi.dynamic import *\n"
        "LOG = __import__('pathlib').Path(__file__).with_name('log')\n"
        "def note(*words):\n"
        "    with LOG.open('a') as log: print(*words, file=log)\n"
        "class All(ResourceProvider):\n"
        "    def configure(self, request): self.region = request.config.require('region')\n"
        "    def check(self, old, new):\n"
        "        note('check', new['x'])\n"
        "        return CheckResult({**new, 'region': self.region}, [])\n"
        "    def diff(self, id_, old, new): note('diff', old['x']); return DiffResult(old['x'] != new['x'])\n"
        "    def create(self, props): note('create', props['x'], props['region']); return CreateResult('id', props)\n"
        "    def read(self, id_, props): note('read', id_); return ReadResult(id_, props)\n"
        "    def update(self, id_, old, new): note('update', old['x'], new['x']); return UpdateResult(new)\n"
        "    def delete(self, id_, props): note('delete', props['x'])\n",
    )
    program = (
        "from pulumi.dynamic import Resource\nfrom all import All\n"
        'class R(Resource):\n    x: Output[str]\n    region: Output[str]\nR(All(), "r", {{"x": Output.secret("{}"), '
        '"region": None}})\n'
    )
    space.program(program.format("1"))
    space.run("stack", "init", "dev")
    space.run("config", "set", "region", "here")
    space.run("up", "--yes", "--skip-preview")
    space.program(program.format("2"))
    space.run("up", "--yes", "--skip-preview", "--refresh")
    space.run("destroy", "--yes", "--skip-preview")
    noted = (space.directory / "log").read_text().splitlines()
    assert noted == ["check 1", "create 1 here", "read id", "diff 1", "check 2", "diff 1", "update 1 2", "delete 2"]
    assert '"x":"1"' not in space.checkpoint.with_name("dev.json.bak").read_text()


def test_refusals_in_programs_name_the_official_cli(workspace: Make) -> None:
    space = workspace("")
    space.run("stack", "init", "dev")
    refused = {
        'File("a", "x", opts=ResourceOptions(import_="x"))': "importing x (the import_ option)",
        'File("a", "x", opts=ResourceOptions(transforms=[lambda args: None]))': "transform",
        'runtime.register_resource_transform(lambda args: None)': "transform",
        'File("a", "x", opts=ResourceOptions(hooks=ResourceHookBinding(before_create=[lambda args: None])))': "hook",
        'from pulumi_command import remote\nremote.Command.get("r", "id")': "reading the existing resource r",
        'CustomResource("random:index/randomPet:RandomPet", "r", {})': "the provider plugin random",
        'ProviderResource("aws", "p", {})': "aws",
        'runtime.invoke("aws:s3:getBucket", {})': "aws",
        'StackReference("organization/proj/nothere")': "no stack named 'nothere' found",
    }  # fmt: skip
    for program, told in refused.items():
        space.program(program + "\n")
        done = space.run("preview", code=1)
        shown = done.stdout + done.stderr
        assert told in shown, program
        assert "use the official CLI" in shown or "nothere" in told, f"{program}\n{shown}"
