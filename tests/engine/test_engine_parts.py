"""The pure parts: values, secrets, paths, YAML edits, the order of deletions, rendering."""

from __future__ import annotations

import io
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.assets import archive, asset
from engine.backend import parse_url
from engine.checkpoint import Resource, verify
from engine.configuration import go_json
from engine.deletion import levels
from engine.diff import DiffResult, apply_ignore_changes, apply_replace_on_changes, compare, format_path, parse_path
from engine.display.render import Palette, Renderer
from engine.errors import ConfigurationError, SecretsError, StateError, UnsupportedError
from engine.goal import Targets
from engine.monitor import parse_duration
from engine.secrets import SecretsManager
from engine.values import (
    UNKNOWN,
    Secret,
    carry_ciphertexts,
    fill_struct,
    from_json,
    from_struct,
    mask,
    reveal,
    same,
    to_json,
)
from engine.yaml_edit import edit

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
PLAIN = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _secretly(value: Any) -> Any:
    return {"open": value, "closed": Secret(value), "list": [Secret({"inner": Secret(value)})]}


@given(PLAIN)
def test_values_survive_the_wire_and_the_checkpoint(value: Any) -> None:
    from google.protobuf import struct_pb2

    properties = _secretly(value)
    over_the_wire = from_struct(fill_struct(struct_pb2.Struct(), properties))
    assert same(reveal(over_the_wire["open"]), reveal(_doubles(value)))
    assert isinstance(over_the_wire["closed"], Secret)
    sealed: dict[str, Any] = {}

    def seal(secret: Secret) -> Any:
        sealed[str(len(sealed))] = secret.value
        return {
            "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
            "ciphertext": str(len(sealed) - 1),
        }

    stored = to_json(over_the_wire, seal)
    assert same(from_json(stored, lambda text: sealed[text]), over_the_wire)


def test_an_asset_of_which_only_the_digest_is_left_reaches_the_sdk_as_one() -> None:
    from google.protobuf import struct_pb2

    signature = {"4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17", "hash": "abc"}
    read = from_json({"a": signature}, lambda text: text)
    assert read["a"].digest == "abc"
    assert fill_struct(struct_pb2.Struct(), read)["a"]["text"] == ""


def _doubles(value: Any) -> Any:
    """Numbers are doubles on the wire, whole ones come back as integers."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        number = float(value)
        return int(Decimal(repr(number))) if number.is_integer() and abs(number) < 1e21 else number
    if isinstance(value, dict):
        return {key: _doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_doubles(item) for item in value]
    return value


def test_numbers_are_written_as_go_writes_them() -> None:
    written = to_json([12345678901234567890.0, 1e21, 2.5, -0.0, 2.0**53], lambda secret: secret)
    assert [str(number) for number in written] == ["12345678901234567000", "1e+21", "2.5", "0", "9007199254740992"]


def test_unknown_and_special_values_survive_the_wire() -> None:
    from google.protobuf import struct_pb2

    properties = {"u": UNKNOWN, "s": Secret(UNKNOWN), "a": asset(text="x"), "l": [asset(path=__file__)]}
    back = from_struct(fill_struct(struct_pb2.Struct(), properties))
    assert back["u"] is UNKNOWN
    assert back["s"].value is UNKNOWN
    assert back["a"].digest == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert same(back, properties)


def test_archive_digest_is_the_official_engines(tmp_path: Path) -> None:
    """The digest of an archive with one file ``f.txt`` holding "hi", as the official engine records it."""
    (tmp_path / "f.txt").write_text("hi\n")
    member = asset(path=str(tmp_path / "f.txt"))
    official = "69917a6063c242c3c66820f1e924a00a10af51b16b51aa983dc6d987a12a71c1"
    assert archive(None, None, {"f.txt": member}, "").digest == official
    assert archive(str(tmp_path), None, None, "").digest == official


def test_secrets_show_themselves_nowhere(secrets: SecretsManager) -> None:
    secret = Secret({"key": "hush"})
    assert "hush" not in f"{secret} {secret!r} {mask({'a': [secret]})}"
    assert "hush" not in str(secrets.encrypt(secret))
    assert secrets.decrypt(secrets.encrypt(secret)["ciphertext"]) == {"key": "hush"}


def test_nested_secrets_come_back_as_secrets(secrets: SecretsManager) -> None:
    outer = Secret([Secret("in")])
    back = secrets.decrypt(secrets.encrypt(outer)["ciphertext"])
    assert back == [Secret("in")]


def test_official_ciphertext_is_read() -> None:
    """Made by the official CLI: passphrase empty, value "pulumi" (the check value of a salt)."""
    salt = "v1:xorlBWL9tsw=:v1:Zt220C5dM2IdrBOz:A5Yc3Ba/4B1D7M8b5qHUd6/wyxIJtg=="
    assert SecretsManager(salt, "").decrypt_text(salt.split(":", 2)[2]) == "pulumi"
    with pytest.raises(SecretsError, match="incorrect passphrase"):
        SecretsManager(salt, "wrong").key()
    with pytest.raises(SecretsError, match="must be set with PULUMI_CONFIG_PASSPHRASE"):
        SecretsManager(salt, None).key()


@pytest.mark.parametrize("text", ["v1:a", "v2:AAAA:AAAA", "v1:AAAAAAAAAAAAAAAA:AAAA", "", "v1:***:***"])
def test_damaged_ciphertext(secrets: SecretsManager, text: str) -> None:
    with pytest.raises(SecretsError, match="cannot be decrypted"):
        secrets.decrypt_text(text)


def test_ciphertexts_are_carried_to_unchanged_secrets_only() -> None:
    old = {"a": Secret("x", "c1"), "l": [Secret("y", "c2")]}
    new: dict[str, Any] = {"a": Secret("x"), "l": [Secret("z")]}
    carry_ciphertexts(new, old)
    assert new["a"].ciphertext == "c1"
    assert new["l"][0].ciphertext is None


@given(st.lists(st.text(min_size=1, max_size=6) | st.integers(0, 9), min_size=1, max_size=4))
def test_paths_survive(parts: list[str | int]) -> None:
    path = tuple(part if isinstance(part, int) else part.replace("\\", "/").replace("*", "x") for part in parts)
    assert parse_path(format_path(path)) == path


@pytest.mark.parametrize("text", ["a[", "a[x]", '["open', "..."])
def test_malformed_paths(text: str) -> None:
    with pytest.raises(ConfigurationError, match="malformed"):
        parse_path(text)


def test_comparison_ignores_secretness_and_tells_kinds() -> None:
    old = {"a": 1, "b": {"c": [1, 2]}, "s": Secret("x"), "gone": 0}
    new = {"a": True, "b": {"c": [1, 3, 4]}, "s": "x", "more": UNKNOWN}
    assert {format_path(path): kind for path, kind in compare(old, new).items()} == {
        "a": "update", "b.c[1]": "update", "b.c[2]": "add", "gone": "delete", "more": "add",
    }  # fmt: skip


IGNORED: list[tuple[Any, ...]] = [
    ({"a": 1}, {"a": 2}, ["a"], {"a": 1}),
    ({}, {"a": 2, "b": 1}, ["a"], {"b": 1}),
    ({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}, ["a.b"], {"a": {"b": 1, "c": 3}}),
    ({"a": [1, 2]}, {"a": [3, 4]}, ["a[1]"], {"a": [3, 2]}),
    ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["a[*].b"], {"a": [{"b": 1}]}),
    ({"a": 1}, {}, ["*"], {"a": 1}),
    ({"a": Secret({"b": 1})}, {"a": Secret({"b": 2})}, ["a.b"], {"a": Secret({"b": 1})}),
    # what was a secret stays one
    ({"a": Secret("x")}, {"a": Secret("y")}, ["a"], {"a": Secret("x")}),
    ({"a": Secret("x")}, {"a": "y"}, ["a"], {"a": Secret("x")}),
    ({"a": Secret({"b": "x"})}, {"a": {"b": "y"}}, ["a.b"], {"a": {"b": Secret("x")}}),
    ({"a": Secret(["x", "y"])}, {"a": ["z", "y"]}, ["a[0]"], {"a": [Secret("x"), "y"]}),
    # elements that were added or removed cannot be ignored
    ({"a": [1, 2]}, {"a": [3]}, ["a[1]"], {"a": [3]}, ["a[1]"]),
    ({"a": [1, 2]}, {"a": [3]}, ["a[*]"], {"a": [1]}, ["a[*]"]),
    ({"l": [{"n": 1}, {"n": 2}]}, {"l": [{"n": 9}]}, ["l[*].n"], {"l": [{"n": 1}]}, ["l[*].n"]),
    ({"e": {"a": {"b": 1}}}, {}, ["e.a.b"], {}, ["e.a.b"]),
    ({"e": {"a": 1}}, {"e": {"b": 2}}, ["e.*"], {"e": {"a": 1}}),
    ({}, {"e": {"a": {"b": 1}}}, ["e.a.b"], {"e": {"a": {"b": 1}}}, ["e.a.b"]),
    ({"e": 1}, {"e": {"b": 1}}, ["e.b"], {"e": {}}),
    ({"a": 1}, {"a": 2}, ["b", "b.c", "a[3]", "c[0]"], {"a": 2}),
    ({"a": {"b": 1}}, {"a": 2}, ["a.b"], {"a": 2}, ["a.b"]),
    # malformed ones are passed over
    ({"v": 1}, {"v": 2}, ["v..x", "[v"], {"v": 2}),
    ({"v": 1}, {"v": 2}, [""], {"v": 2}, [""]),
]


@pytest.mark.parametrize("row", IGNORED, ids=[" ".join(row[2]) for row in IGNORED])
def test_ignored_changes(row: tuple[Any, ...]) -> None:
    old, new, patterns, result, *failed = row
    found, not_followed = apply_ignore_changes(new, old, patterns)
    assert same(found, result)
    assert not_followed == (failed[0] if failed else [])


def test_replace_on_changes_needs_the_providers_detail() -> None:
    told = DiffResult(True, detailed={"triggers[0]": "update", "stdin": "update"})
    apply_replace_on_changes(told, ["triggers[*]"])
    assert told.detailed == {"triggers[0]": "update-replace", "stdin": "update"}
    assert told.replaces
    untold = DiffResult(True)
    apply_replace_on_changes(untold, ["triggers[*]"])
    assert not untold.replaces


YAML = """# the stack
encryptionsalt: v1:x  # keep
config:
  # first
  p:a: one # of two
  p:text: |
    line 1
    line 2

  # last
  p:list:
    - 1
    - {x: y}
"""


@pytest.mark.parametrize(
    ("path", "value", "remove"),
    [
        (("config", "p:a"), "two", False),
        (("config", "p:text"), "one line", False),
        (("config", "p:list"), [1, {"x": "z"}], False),
        (("config", "p:new"), {"deep": [1]}, False),
        (("encryptionsalt",), "v1:y", False),
        (("config", "p:a"), None, True),
        (("config", "p:list"), None, True),
        (("config", "p:none"), None, True),
    ],
)
def test_yaml_edits_change_one_key_and_keep_the_rest(path: tuple[str, ...], value: Any, remove: bool) -> None:
    before, after = yaml.safe_load(YAML), yaml.safe_load(edited := edit(YAML, path, value, remove=remove))
    target = before if len(path) == 1 else before["config"]
    if remove:
        target.pop(path[-1], None)
    else:
        target[path[-1]] = value
    assert after == before
    for comment in ("# the stack", "# first", "# last"):
        assert comment in edited


@pytest.mark.parametrize("text", ["", "encryptionsalt: x\n", "config: {}\n", "config:\n  a: b", "config: {a: b}\n"])
def test_yaml_edits_of_odd_files(text: str) -> None:
    after = yaml.safe_load(edit(text, ("config", "p:k"), {"secure": "v1:x"}))
    assert after["config"]["p:k"] == {"secure": "v1:x"}
    assert {k: v for k, v in after.items() if k != "config"} == {
        k: v for k, v in (yaml.safe_load(text) or {}).items() if k != "config"
    }


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=20))
def test_deletion_levels_put_dependents_first(edges: list[list[int]]) -> None:
    items = [
        Resource(f"urn:{n}", "t", dependencies=[f"urn:{d}" for d in needed if d < n]) for n, needed in enumerate(edges)
    ]
    order = {id(item): number for number, level in enumerate(levels(items)) for item in level}
    assert len(order) == len(items)
    for item in items:
        for needed in item.dependencies:
            assert order[id(item)] < order[id(items[int(needed[4:])])]


def test_verify_refuses_disorder_and_doubles() -> None:
    first, second = Resource("a", "t"), Resource("b", "t", dependencies=["a"])
    verify([first, second])
    verify([first, second, Resource("a", "t", delete=True)])
    with pytest.raises(StateError, match="out of order"):
        verify([second, first])
    with pytest.raises(StateError, match="twice"):
        verify([first, Resource("a", "t")])


def test_targets() -> None:
    targets = Targets(["urn:pulumi:dev::p::t:index:T$x:y:Z::name", "**::other", "urn:*:dev::p::a::*"])
    assert targets.match("urn:pulumi:dev::p::t:index:T$x:y:Z::name")
    assert targets.match("anything::other")
    assert targets.match("urn:pulumi:dev::p::a::b")
    assert not targets.match("urn:pulumi:dev::p::a::b:c")
    assert not targets.match("urn:pulumi:dev::p::t:index:TAx:y:Z::name")
    assert not Targets([])


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1h30m", 5400), ("500ms", 0.5), ("1.5m", 90)])
def test_durations(text: str, seconds: float) -> None:
    assert math.isclose(parse_duration(text), seconds)


def test_backend_urls(tmp_path: Path) -> None:
    assert parse_url("file:///a/b%20c", tmp_path) == Path("/a/b c")
    assert parse_url("file://state", tmp_path) == tmp_path / "state"
    assert parse_url("file://~", tmp_path) == Path.home()
    for url in ("https://api.pulumi.com", "s3://bucket", "nonsense"):
        with pytest.raises(UnsupportedError, match="use the official CLI"):
            parse_url(url, tmp_path)


def test_json_as_go_writes_it() -> None:
    assert go_json({"b": "<&>", "a": [1, None]}) == '{"a":[1,null],"b":"\\u003c\\u0026\\u003e"}'


def _diff(old: Any, new: Any) -> str:
    return "\n".join(Renderer(Palette(enabled=False)).difference({"k": old}, {"k": new}, 6))


def test_text_is_shown_line_by_line() -> None:
    old = "".join(f"line {number}\n" for number in range(100))
    shown = _diff(old, old.replace("line 50\n", "line fifty\n"))
    assert "- line 50" in shown
    assert "+ line fifty" in shown
    assert len(shown.splitlines()) < 12


def test_maps_are_shown_key_by_key() -> None:
    old = {f"router{number}": {"rule": str(number)} for number in range(100)}
    shown = _diff(old, {**old, "router7": {"rule": "new"}, "more": {"rule": "x"}})
    assert '~ rule: "7" => "new"' in shown
    assert "+ more" in shown
    assert "(99 unchanged)" in shown
    assert len(shown.splitlines()) < 12


def test_secrets_are_masked_in_diffs() -> None:
    shown = _diff({"a": Secret("hush"), "b": 1}, {"a": Secret("whisper"), "b": 2})
    assert "[secret] => [secret]" in shown
    assert "hush" not in shown
    assert "whisper" not in shown
    text = _diff(Secret("hush\nhush\n"), Secret("hush\nwhisper\n"))
    assert text.strip() == "~ k: [secret] => [secret]"


def test_capture_gives_each_thread_its_own_resource() -> None:
    import sys
    from concurrent.futures import ThreadPoolExecutor

    from engine.capture import capturing, working_for

    told: list[tuple[str, str]] = []
    with capturing(lambda urn, _stream, text: told.append((urn, text))):
        sys.stdout.write("program\n")

        def work(urn: str) -> None:
            with working_for(urn):
                for number in range(50):
                    print(urn, number)  # noqa: T201
                sys.stdout.write("unfinished")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, [f"urn{number}" for number in range(8)]))
    assert ("", "program\n") in told
    for number in range(8):
        mine = "".join(text for urn, text in told if urn == f"urn{number}")
        assert mine == "".join(f"urn{number} {line}\n" for line in range(50)) + "unfinished\n"
    assert not isinstance(sys.stdout, io.StringIO)
