"""The tree and its text: every value arrives whole, and nothing ends a directive early."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.gateway.nginx import Argument, Comment, Condition, Node, Template, block, directive, quoted, serialize

WORDS: list[tuple[Argument, str]] = [
    ("on", "on"),
    ("", '""'),
    ("10.0.0.12:443", "10.0.0.12:443"),
    ("[::1]:443", "[::1]:443"),
    ("*.example.test", "*.example.test"),
    ("/etc/nginx/my site.conf", '"/etc/nginx/my site.conf"'),
    ("a;b", '"a;b"'),
    ("a}b{", '"a}b{"'),
    ('a"b', '"a\\"b"'),
    ("a\\b", '"a\\\\b"'),
    ("a#b", '"a#b"'),
    ("a'b", '"a\'b"'),
    ("ü", '"ü"'),
    (Template("https://$host$request_uri"), "https://$host$request_uri"),
    (Template("https://${host}:8443$request_uri"), '"https://${host}:8443$request_uri"'),
    (Template("a b $host"), '"a b $host"'),
]


@pytest.mark.parametrize(("argument", "text"), WORDS)
def test_a_word_is_written(argument: Argument, text: str) -> None:
    assert quoted(argument) == text


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x00", "a\x7f", "\t"])
def test_control_characters_are_refused(text: str) -> None:
    for argument in (text, Template(text)):
        with pytest.raises(ValueError, match="must not hold control characters"):
            quoted(argument)
    with pytest.raises(ValueError, match="must not hold control characters"):
        serialize([Comment(text)])


def test_a_plain_text_holds_no_variable() -> None:
    with pytest.raises(ValueError, match="NGINX would take what follows as a variable"):
        quoted("$host")


@pytest.mark.parametrize("text", ["$hostt", "$", "a$b", "${body}", "$http_cookie"])
def test_a_template_names_only_known_variables(text: str) -> None:
    with pytest.raises(ValueError, match="which the gateway's site does not use"):
        Template(text)


def test_own_variables_are_known() -> None:
    assert quoted(Template("https://$phoenix_websecure")) == "https://$phoenix_websecure"


def test_the_tree_is_indented() -> None:
    nodes: list[Node] = [
        Comment("x"),
        block("map", Template("$host"), Template("$phoenix_x"), children=[directive("", "close")]),
        block("server", children=[directive("listen", 443, "ssl"), Condition("/run/x", (directive("return", 444),))]),
    ]
    assert serialize(nodes) == (
        "# x\n"
        "map $host $phoenix_x {\n"
        '    "" close;\n'
        "}\n"
        "server {\n"
        "    listen 443 ssl;\n"
        "    if ( -f /run/x ) {\n"
        "        return 444;\n"
        "    }\n"
        "}\n"
    )


def words(text: str) -> Iterator[str]:
    """NGINX's own reading of a file (ngx_conf_read_token), as far as our output goes: words, ``;``, ``{`` and ``}``."""
    position = 0
    while position < len(text):
        character = text[position]
        if character.isspace():
            position += 1
        elif character in ";{}":
            yield character
            position += 1
        elif character == "#":
            position = text.index("\n", position)
        elif character == '"':
            found = []
            position += 1
            while text[position] != '"':
                if text[position] == "\\" and text[position + 1] in "\"'\\":
                    position += 1
                found.append(text[position])
                position += 1
            position += 1
            assert text[position] in " ;{\n", "a quoted word ends with a blank"
            yield "".join(found)
        else:
            end = position
            while not text[end].isspace() and text[end] not in ";{":
                end += 1
            yield text[position:end]
            position = end


PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="$\x7f"), max_size=30)


@given(st.lists(st.lists(PLAIN, max_size=4), max_size=5))
def test_any_text_is_read_back_as_it_was_meant(lines: list[list[str]]) -> None:
    text = serialize([block("server", children=[directive("set_x", *line) for line in lines])])
    expected = ["server", "{"]
    for line in lines:
        expected += ["set_x", *line, ";"]
    assert list(words(text)) == [*expected, "}"]
