"""What the embedded engine does as the official CLI does: each row was seen with both (3.260)."""

from __future__ import annotations

import json
from typing import Any, Protocol

import pytest

from tests.engine.engine_process import Workspace

LOGGING = """
import json, pathlib
from pulumi.dynamic import *

class Logging(ResourceProvider):
    def note(self, method, values):
        shown = {k: [type(v).__name__, repr(v)] for k, v in values.items() if k != "__provider"}
        with pathlib.Path("seen.jsonl").open("a") as log:
            log.write(json.dumps([method, shown]) + "\\n")
    def check(self, old, new):
        self.note("check", new)
        return CheckResult(new, [])
    def diff(self, identifier, old, new):
        keys = [k for k in new if k != "out" and new[k] != old.get(k)]
        return DiffResult(changes=bool(keys or old.keys() - new.keys() - {"out"}))
    def create(self, props):
        self.note("create", props)
        return CreateResult(props.get("id", "made"), {**props, "out": eval(props.get("returns", "1"))})
    def update(self, identifier, old, new):
        return UpdateResult({**new, "out": 1})

class Thing(Resource):
    out: Output
    def __init__(self, name, opts=None, **props):
        super().__init__(Logging(), name, {"out": None, **props}, opts)
"""


class Make(Protocol):
    def __call__(self, program: str) -> Workspace: ...


@pytest.fixture
def workspace(workspace: Make) -> Make:
    """A workspace with the logging things beside its program."""

    def make(program: str) -> Workspace:
        space = workspace(program)
        space.write("logging_things.py", "import pulumi\nfrom pulumi import *\n" + LOGGING)
        return space

    return make


def things(text: str) -> str:
    return f"from logging_things import Thing\n{text}"


def seen(space: Workspace, method: str) -> dict[str, Any]:
    """What a method was called with last: name → type and value."""
    calls = [json.loads(line) for line in (space.directory / "seen.jsonl").read_text().splitlines()]
    found: dict[str, Any] = [values for name, values in calls if name == method][-1]
    return found


def test_ignored_secrets_stay_secrets(stack: Make) -> None:
    program = "Thing('a', v=Output.secret('topsecret{}'), n={}, opts=ResourceOptions(ignore_changes=['v']))"
    space = stack(things(program.format(1, 1)))
    space.run("up", "--yes", "--skip-preview")
    space.program(things(program.format(2, 2)))
    space.run("up", "--yes", "--skip-preview")
    assert "topsecret" not in space.checkpoint.read_text()
    space.run("preview", "--expect-no-changes")


def test_what_becomes_a_secret_is_one_in_the_outputs_too(stack: Make) -> None:
    space = stack(things("Thing('a', v='hush')"))
    space.run("up", "--yes", "--skip-preview")
    space.program(things("Thing('a', v=Output.secret('hush'))"))
    space.run("up", "--yes", "--skip-preview")
    assert "hush" not in space.checkpoint.read_text()


def test_numbers_that_json_has_not(stack: Make) -> None:
    space = stack("export('i', float('inf'))\nexport('n', float('nan'))")
    space.run("up", "--yes", "--skip-preview")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    json.loads(space.checkpoint.read_text(), parse_constant=refuse)
    assert "7ff0000000000000" in space.checkpoint.read_text()
    json.loads(space.run("stack", "output", "--json").stdout, parse_constant=refuse)
    assert space.json("preview", "--json")["changeSummary"] == {"same": 1}


def test_replace_with_is_a_feature_of_version_4(stack: Make) -> None:
    space = stack("a = File('a', 'one')\nFile('b', 'one', opts=ResourceOptions(replace_with=[a]))")
    space.run("up", "--yes", "--skip-preview")
    document = json.loads(space.checkpoint.read_text())
    assert (document["version"], document["features"]) == (4, ["replaceWith"])
    exported = space.run("stack", "export").stdout
    assert json.loads(exported)["version"] == 4
    space.run("stack", "import", stdin=exported)
    space.run("preview", "--expect-no-changes")


@pytest.mark.parametrize(
    ("props", "says"),
    [
        ("returns='{1, 2}'", "the provider returned a set in out, which no state can hold"),
        ('returns=\'{"a": [b"x"]}\'', "the provider returned a bytes in out.a[0]"),
        ("id=''", "the provider returned the id ''"),
        ("id=5", "the provider returned the id 5.0"),
    ],
)
def test_what_no_state_can_hold_is_the_providers_error(stack: Make, props: str, says: str) -> None:
    space = stack(things(f"Thing('a', {props})\nFile('b', 'one')"))
    done = space.run("up", "--yes", "--skip-preview", code=1)
    assert says in done.stdout
    assert not space.deployment().get("pending_operations")


def test_a_provider_sees_what_the_sdks_host_gives_it(stack: Make) -> None:
    program = """
first = Thing('first', n=8080, f=1.5, b=True, nothing={'k': None, 'l': 1}, w=[{'q': None}], s=Output.secret(None))
Thing('second', unknown=first.out, text=StringAsset('hi'), file=FileAsset('things.py'))
"""
    space = stack(things(program))
    space.run("preview")
    assert seen(space, "check")["unknown"][0] == "Unknown"
    space.run("up", "--yes", "--skip-preview")
    calls = [json.loads(line) for line in (space.directory / "seen.jsonl").read_text().splitlines()]
    first = next(values for name, values in calls if name == "create" and "n" in values)
    assert first["n"] == ["float", "8080.0"]
    assert first["b"] == ["bool", "True"]
    assert first["nothing"] == ["dict", "{'l': 1.0}"]
    assert first["w"] == ["list", "[{}]"]
    assert "s" not in first
    second = seen(space, "create")
    assert (second["text"][0], second["file"][0]) == ("StringAsset", "FileAsset")
    assert '"n":8080,' in space.checkpoint.read_text()
    space.program(things(program.strip().splitlines()[0]))
    space.run("up", "--yes", "--skip-preview")
    space.run("preview", "--expect-no-changes")


def test_a_logged_error_fails_nothing(stack: Make) -> None:
    space = stack("File('gone', 'one')")
    space.run("up", "--yes", "--skip-preview")
    space.program("pulumi.log.error('so it goes')\nb = File('b', 'one')\npulumi.log.error('again', b)\nexport('z', 1)")
    done = space.run("up", "--yes")
    assert "so it goes" in done.stdout
    assert space.files == {"b": "one"}
    assert space.json("stack", "output", "--json") == {"z": 1}


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (
            "File('x', 'one', 'a', ResourceOptions(aliases=[Alias(name='a')]))\n"
            "File('y', 'one', 'a', ResourceOptions(aliases=[Alias(name='a')]))",
            "Duplicate resource alias",
        ),
        (
            "x = File('x', 'one', 'a', ResourceOptions(aliases=[Alias(name='a')]))\n"
            "File('a', 'one', opts=ResourceOptions(depends_on=[x]))",
            "conflicting with alias on resource",
        ),
    ],
)
def test_aliases_that_clash_are_refused(stack: Make, program: str, says: str) -> None:
    space = stack("File('a', 'one')")
    space.run("up", "--yes", "--skip-preview")
    space.program(program)
    assert says in space.run("preview", code=1).stdout
    assert space.files == {"a": "one"}


def test_an_explicit_provider_holds_what_the_official_engine_records(stack: Make) -> None:
    space = stack("import pulumi_command\npulumi_command.Provider('p')")
    space.run("up", "--yes", "--skip-preview")
    found = next(item for item in space.deployment()["resources"] if item["urn"].endswith("::p"))
    assert found["inputs"].keys() >= {"version", "__internal", "__pulumi-go-provider-version"}
    space.run("preview", "--expect-no-changes")


def test_elements_of_a_command_must_be_texts(stack: Make) -> None:
    space = stack("from pulumi_command import local\nlocal.Command('c', create='true', environment={'A': 1})")
    assert "must hold strings, got int" in space.run("preview", code=1).stdout


def test_outputs_of_a_run_that_failed_come_over_those_there_were(stack: Make) -> None:
    space = stack("File('a', 'one')\nexport('kept', 1)")
    space.run("up", "--yes", "--skip-preview")
    world = space.directory / "world"
    (world / "a.txt").unlink()
    (world / "a.txt").mkdir()
    space.program("")
    space.run("up", "--yes", "--skip-preview", code=1)
    assert space.json("stack", "output", "--json") == {"kept": 1}
    (world / "a.txt").rmdir()
    rows = (
        ("export('new', 2)\nraise pulumi.RunError('later')", {"kept": 1, "new": 2}),
        ("export('newer', 3)\nFile('b', 'broken')", {"kept": 1, "new": 2, "newer": 3}),
        ("this is no Python", {"kept": 1, "new": 2, "newer": 3}),
        ("export('kept', 4)\nFile('b', 'refused')", {"kept": 4, "new": 2, "newer": 3}),
    )
    for program, outputs in rows:
        space.program(program)
        space.run("up", "--yes", "--skip-preview", code=1)
        assert space.json("stack", "output", "--json") == outputs
    space.program("export('only', 5)")
    space.run("up", "--yes", "--skip-preview")
    assert space.json("stack", "output", "--json") == {"only": 5}


def test_a_read_that_fails_does_not_keep_others_from_being_read(stack: Make) -> None:
    space = stack("for name in 'abc':\n    File(name, 'one')")
    space.run("up", "--yes", "--skip-preview")
    world = space.directory / "world"
    (world / "a.txt").unlink()
    (world / "a.txt").mkdir()
    for name in "bc":
        (world / f"{name}.txt").write_text("by hand")
    space.run("refresh", "--yes", "--skip-preview", "--parallel", "1", code=1)
    found = [item for item in space.deployment()["resources"] if item.get("id") in ("b", "c")]
    contents = {item["id"]: item["outputs"]["content"] for item in found}
    assert contents == {"b": "by hand", "c": "by hand"}


def test_what_is_required_counts_for_a_program_only(stack: Make) -> None:
    space = stack("File('a', pulumi.Config().require('text'))")
    project = space.directory / "Pulumi.yaml"
    project.write_text(project.read_text() + "config: {text: {type: string}}\n")
    assert "missing configuration value" in space.run("preview", code=2).stderr
    space.run("config", "set", "text", "one")
    space.run("up", "--yes", "--skip-preview")
    space.run("config", "rm", "text")
    space.run("config")
    space.run("refresh", "--yes")
    space.run("destroy", "--yes")
    assert space.files == {}


def test_a_secret_setting_is_listed_without_a_passphrase(stack: Make) -> None:
    space = stack("")
    space.run("config", "set", "--secret", "token", "hush")
    space.run("config", "set", "--path", "object.plain", "3")
    space.run("config", "set", "--path", "object.hidden", "--secret", "hush")
    listed = space.run("config", PULUMI_CONFIG_PASSPHRASE="another").stdout
    assert "hush" not in listed
    assert "[secret]" in listed
    shown = space.json("preview", "--json")["config"]
    assert json.loads(shown["proj:object"]) == {"hidden": "[secret]", "plain": 3}
    assert "incorrect passphrase" in space.run("config", "get", "token", code=1, PULUMI_CONFIG_PASSPHRASE="x").stderr


def test_flags_as_scripts_write_them(stack: Make) -> None:
    space = stack("File('a', 'one')\nexport('five', 5)")
    space.run("up", "--skip-preview")
    assert "changeSummary" in space.json("preview", "--json=true", "--diff=false")
    assert space.run("stack", "output", "five", "--shell").stdout == "five=5\n"
    assert space.run("up", "--yes", "--preview-only", code=1).stderr.startswith("error: --yes and --preview-only")
    refused = space.run("config", "set", "a", "b", "--secret", "--plaintext", code=1).stderr
    assert "only one of --secret and --plaintext" in refused
    assert "is no directory" in space.run("stack", "ls", code=1, PULUMI_BACKEND_URL="file:///nowhere/at/all").stderr
    space.run("stack", "init", "acme/proj/x", code=2)
    space.run("stack", "init", "organization/other/x", code=2)
    assert "name is missing" in space.run("stack", "init", code=1).stderr
    done = space.run("destroy", "--yes", "--skip-preview", "--remove")
    assert "and the history and configuration removed" in done.stdout
    assert not (space.directory / "stacks" / "Pulumi.dev.yaml").exists()
    assert space.json("stack", "ls", "--json") == []


def test_a_stack_of_outputs_alone_can_be_removed(stack: Make) -> None:
    space = stack("export('a', 1)")
    space.run("up", "--yes", "--skip-preview")
    space.run("stack", "rm", "--yes")


def test_an_import_ends_pending_operations(stack: Make) -> None:
    space = stack("File('a', 'one')")
    space.run("up", "--yes", "--skip-preview")
    document = json.loads(space.run("stack", "export").stdout)
    resource = next(item for item in document["deployment"]["resources"] if item["urn"].endswith("::a"))
    document["deployment"]["pending_operations"] = [{"resource": resource, "type": "creating"}]
    done = space.run("stack", "import", stdin=json.dumps(document))
    assert "removing pending operation 'creating'" in done.stderr
    assert "pending_operations" not in space.deployment()


def test_json_of_diagnostics(stack: Make) -> None:
    space = stack("pulumi.log.warn('careful')\nprint('hello')")
    found = space.json("preview", "--json")["diagnostics"]
    assert {"message": "hello\n", "severity": "info"} in found
    assert "warning: careful\n" in [item["message"] for item in found]
    log = space.directory / "events.jsonl"
    space.run("preview", "--event-log", str(log))
    events = [json.loads(line).get("diagnosticEvent") for line in log.read_text().splitlines()]
    assert [event["prefix"] for event in events if event and event["severity"] == "warning"] == ["warning: "]


def test_timeouts_of_whole_seconds_are_read_again(stack: Make) -> None:
    timeouts = "opts=ResourceOptions(custom_timeouts=CustomTimeouts(create='30s', update='1.5s'))"
    space = stack(f"File('a', 'one', {timeouts})")
    space.run("up", "--yes", "--skip-preview")
    resource = next(item for item in space.deployment()["resources"] if item["urn"].endswith("::a"))
    assert json.dumps(resource["customTimeouts"]) == '{"create": 30, "update": 1.5}'
    space.run("stack", "export")
    space.program(f"File('a', 'two', {timeouts})")
    space.run("up", "--yes", "--skip-preview")
    space.run("preview", "--expect-no-changes")
    space.run("destroy", "--yes", "--skip-preview")


def test_history_tells_no_secret_inside_an_object(stack: Make) -> None:
    space = stack("")
    space.run("config", "set", "--path", "object.plain", "3")
    space.run("config", "set", "--path", "object.hidden", "hush", "--secret")
    space.run("up", "--yes", "--skip-preview")
    (entry,) = space.json("stack", "history", "--json")
    assert entry["config"]["proj:object"] == {"secret": True}
    (entry,) = space.json("stack", "history", "--json", "--show-secrets")
    assert entry["config"]["proj:object"]["objectValue"] == {"hidden": "hush", "plain": 3}


def test_a_targeted_update_that_failed_is_brought_to_its_end_with_its_dependents(stack: Make) -> None:
    program = """
a = File('a', '{}', '{}', ResourceOptions(delete_before_replace=True))
File('b', 'one', opts=ResourceOptions(replace_with=[a]))
"""
    space = stack(program.format("one", "first"))
    space.run("up", "--yes", "--skip-preview")
    urn = next(item["urn"] for item in space.deployment()["resources"] if item["urn"].endswith("::a"))
    space.program(program.format("broken", "second"))
    space.run("up", "--yes", "--skip-preview", "--target", urn, code=1)
    assert space.files == {}
    space.program(program.format("two", "second"))
    done = space.run("up", "--yes", "--skip-preview", "--target", urn)
    assert "+-2 replaced" in done.stdout, done.stdout
    assert space.files == {"second": "two", "b": "one"}
    assert not [item for item in space.deployment()["resources"] if item.get("pendingReplacement")]
