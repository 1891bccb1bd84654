"""YAML documents: what is written is read back by YAML 1.1 and 1.2 alike; what is read cannot crash or hang us."""

from __future__ import annotations

import re
from typing import Any

import pytest

from phoenix.traefik import document

AMBIGUOUS = [
    "yes", "no", "on", "off", "y", "true", "null", "~", "", " ", "1", "-1", "1.5", "1.", ".5", "1e3", "+1e3", "1e+3",
    "5e0123456789", "0x1F", "0o17", "017", "0b11", "1_000", "12:30", "12:30:45", ".inf", "-.inf", ".nan", "2001-01-01",
    "2001-12-14t21:59:43.10-05:00", "=", "<<", "-", "?", ":", "- a", "a: b", "a #b", "#a", "&a", "*a", "!a", "!!str a",
    "%a", "@a", "`a`", "'a'", '"a"', "[a]", "{a}", "|", ">", "a\nb", "a\r\nb", "\ta", "a\tb", " a ", "\x7f", "\x85",
    "\u2028", "\ufeff", "ü漢🦊", "---", "...", "{{ x }}", "a\\b", "a,b", "123456789012", "1e2345678901",
]  # fmt: skip
_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
"""What the YAML 1.2 core schema takes for a number."""


@pytest.mark.parametrize("text", AMBIGUOUS, ids=ascii)
def test_every_text_stays_a_text(text: str) -> None:
    data = {"as a value": text, "in a list": [text], "as a key": {text: "x"}}
    written = document.dump(data)
    assert document.load(written) == data
    for line in written.splitlines():
        for plain in re.findall(r"(?:: |- )(\S+)$|^ +(\S+): x$", line):
            assert not _NUMBER.fullmatch("".join(plain)), line


def test_dates_stay_texts_for_traefiks_own_parser() -> None:
    assert "'2001-01-01'" in document.dump({"a": "2001-01-01"})


def test_equal_values_are_written_twice_not_aliased() -> None:
    shared = ["10.0.0.1"]
    assert document.dump({"b": shared, "a": shared}) == document.HEADER + "a:\n- 10.0.0.1\nb:\n- 10.0.0.1\n"


def test_keys_are_sorted_on_every_level_and_long_lines_stay_whole() -> None:
    rule = " || ".join(f"Host(`name-{n}.example.test`)" for n in range(200))
    written = document.dump({"b": {"z": rule, "a": 1}, "a": True})
    assert written == f"{document.HEADER}a: true\nb:\n  a: 1\n  z: {rule}\n"


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines)


LOADED: list[tuple[str, Any]] = [
    ("", None),
    ("# a comment", None),
    ("---", None),
    ("a: 1", {"a": 1}),
    ("\ufeffa: 1", {"a": 1}),
    ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ("<<: {a: 1}\nb: 2", {"a": 1, "b": 2}),
    ('1: a\n"1": b', {1: "a", "1": "b"}),
    (_bomb(4), document.load(_bomb(4))),
]


@pytest.mark.parametrize(("text", "data"), LOADED, ids=lambda value: ascii(value)[:30])
def test_right_yaml_is_read(text: str, data: Any) -> None:
    assert document.load(text) == data


REFUSED: list[tuple[str, str]] = [
    ("a: 1\na: 2", "line 2: the key 'a' stands twice in one mapping"),
    ("x:\n  b: 1\n  'b': 2", "line 3: the key 'b' stands twice in one mapping"),
    ("[{a: 1, a: 2}]", "line 1: the key 'a' stands twice in one mapping"),
    ("a: [", "line 2, column 1 is no YAML: did not find expected node content"),
    ("a:\n\t- b", "line 2, column 1 is no YAML: found character that cannot start any token"),
    ("*x", "line 1, column 1 is no YAML: found undefined alias"),
    ("a: &x [*x]", "line 1: an alias stands inside what it names"),
    ("a: &x {b: {c: *x}}", "line 1: an alias stands inside what it names"),
    (_bomb(10), "line 7 means more than 5000000 values"),
    ("? {a: b}\n: c", "line 1, column 3 is no YAML: found unhashable key"),
    ("[a]: b", "line 1, column 1 is no YAML: found unhashable key"),
    (
        "!!python/object/apply:os.system [reboot]",
        "line 1, column 1 is no YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'",
    ),
    ("a: 2001-13-45", "it holds a value that is no date or number (month must be in 1..12)"),
    ("a: 1\n---\nb: 2", "line 2, column 1 is no YAML: but found another document"),
    ("[" * 100_000 + "]" * 100_000, "it is nested too deep to be read"),
    ("{a: " * 100_000 + "}" * 100_000, "it is nested too deep to be read"),
    ("[\n" * 100_000, "it is nested too deep to be read"),
    ("- " * 100_000 + "a", "it is nested too deep to be read"),
    ("? " * 100_000 + "a", "it is nested too deep to be read"),
    ("\n".join(" " * n + "a:" for n in range(2000)), "it is nested too deep to be read"),
    ("a: \ud800", "it holds '\\ud800', which is no character"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=lambda value: ascii(value)[:30])
def test_wrong_or_hostile_yaml_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        document.load(text)
    assert str(caught.value) == said


@pytest.mark.parametrize("text", ["\x00", "a: \x01", "a: \x7f\x00"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it is no YAML: unacceptable character"):
        document.load(text)


def test_every_text_of_a_document_is_found_with_its_place() -> None:
    data = {"a": {"b": ["x", {"c": "y"}]}, 1: True, "t": ("z",)}
    assert list(document.texts(data)) == [
        ("a", "a"),
        ("a.b", "b"),
        ("a.b[0]", "x"),
        ("a.b[1].c", "c"),
        ("a.b[1].c", "y"),
        ("1", "1"),
        ("t", "t"),
        ("t[0]", "z"),
    ]


def test_template_marks_are_found_in_values_and_keys() -> None:
    data = {"http": {"middlewares": {"a{{b": {"headers": {"x": ['{{ env "HOME" }}', "fine { }"]}}}}}
    limit = "it must not hold '{{' or '}}': Traefik runs its dynamic file as a Go template"
    assert document.template_mistakes(data) == [
        f"http.middlewares.a{{{{b is 'a{{{{b': {limit}",
        f"http.middlewares.a{{{{b.headers.x[0] is '{{{{ env \"HOME\" }}}}': {limit}",
    ]
