"""The unit file's syntax, against the rules of systemd.syntax(7), systemd.time(7) and systemd.service(5)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.systemd.unit_file import (
    UnitSyntaxError,
    boolean,
    commands,
    duration,
    environment_file,
    parse,
    specifiers,
    split_words,
)

PATH = Path("/etc/systemd/system/x.service")


def test_entries_comments_and_continuations() -> None:
    text = (
        "# c\n; c\n[Unit]\nDescription = two  words \n[Service]\nExecStart=/bin/a \\\n# inside\n  b\n\nno equals sign\n"
    )
    unit = parse(text, PATH)
    assert [(entry.section, entry.key, entry.value) for entry in unit.entries] == [
        ("Unit", "Description", "two  words"),
        ("Service", "ExecStart", "/bin/a  b"),
    ]
    assert unit.entries[1].line == 6
    assert unit.warnings == [f"{PATH}:10: Missing '=', ignoring line."]


def test_assignment_before_any_section_is_ignored() -> None:
    unit = parse("A=1\n[Unit]\nB=2\n", PATH)
    assert [entry.key for entry in unit.entries] == ["B"]
    assert "outside of section" in unit.warnings[0]


def test_an_empty_assignment_clears_a_list_and_unsets_a_value() -> None:
    unit = parse("[Service]\nExecStart=/a\nExecStart=\nExecStart=/b\nUser=x\nUser=\n", PATH)
    assert unit.every("Service", "ExecStart") == ["/b"]
    assert unit.last("Service", "User") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5), ("5s", 5), ("250ms", 0.25), ("1min 30s", 90), ("1min30s", 90), ("2h", 7200), ("1d", 86400),
        ("100us", 1e-4), ("0", 0), ("1.5s", 1.5), ("1w", 604800), ("infinity", math.inf),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "abc", "5 parsecs", "-5", "5s x"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UnitSyntaxError):
        duration(text)


def test_booleans() -> None:
    assert all(boolean(text) for text in ("1", "yes", "Y", "true", "T", "on"))
    assert not any(boolean(text) for text in ("0", "no", "N", "false", "F", "off"))
    with pytest.raises(UnitSyntaxError):
        boolean("maybe")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b  c", ["a", "b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ("'a \"b' c", ['a "b', "c"]),
        ('x"a b"y', ["xa by"]),
        (r"a\x20b", ["a b"]),
        (r"a\sb\t", ["a b\t"]),
        (r'"\"q\""', ['"q"']),
        ('""', [""]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize("text", ['"a', "'a b", r"a\q", "a\\"])
def test_what_is_no_list_of_words(text: str) -> None:
    with pytest.raises(UnitSyntaxError):
        split_words(text)


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=20), max_size=5))
def test_quoted_words_come_back(words: list[str]) -> None:
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    assert split_words(quoted) == words


def test_command_prefixes() -> None:
    ((plain, ignored, named, literal, privileged),) = [
        [commands(line)[0] for line in ("/bin/a b", "-/bin/a b", "@/bin/a name b", ":/bin/a $X", "+/bin/a")]
    ]
    assert (plain.path, plain.arguments) == ("/bin/a", ("/bin/a", "b"))
    assert ignored.ignore_failure
    assert (named.path, named.arguments) == ("/bin/a", ("name", "b"))
    assert literal.expanded({"X": "y"}) == ["/bin/a", "$X"]
    assert privileged.as_manager


def test_several_commands_on_a_line() -> None:
    assert [command.arguments for command in commands("/bin/a ; -/bin/b c")] == [("/bin/a",), ("/bin/b", "c")]


@pytest.mark.parametrize("line", ["-", "@/bin/a", '/bin/a "b'])
def test_what_is_no_command(line: str) -> None:
    with pytest.raises(UnitSyntaxError):
        commands(line)


def test_variables_in_commands() -> None:
    (command,) = commands("/bin/kill -HUP $MAINPID ${A}-x $WORDS $NONE $$$$ a$A")
    assert command.expanded({"MAINPID": "7", "A": "a b", "WORDS": "one 'two three'"}) == [
        "/bin/kill", "-HUP", "7", "a b-x", "one", "two three", "$$", "a$A",
    ]  # fmt: skip


def test_specifiers() -> None:
    expand = specifiers({"i": "web", "S": "/var/lib"})
    assert expand("%S/x@%i 100%% %?") == "/var/lib/x@web 100% %?"


def test_environment_file() -> None:
    text = "# c\n; c\nA=1\nB = 'two words' \nC=\"x\"\nD=a\\\nb\nno\nE=\n"
    assert environment_file(text) == {"A": "1", "B": "two words", "C": "x", "D": "ab", "E": ""}
