"""Words of a systemd unit: whatever a path holds arrives whole, and nothing starts a new line or directive."""

from __future__ import annotations

import pytest
from installations import configured, texts

from phoenix.traefik import unit

WORDS: list[tuple[str, str]] = [
    ("/usr/local/bin/traefik", "/usr/local/bin/traefik"),
    ("/opt/my traefik", '"/opt/my traefik"'),
    ("/a%n", '"/a%%n"'),
    ("/a$HOME", '"/a$$HOME"'),
    ('/a"b', '"/a\\"b"'),
    ("/a'b", '"/a\'b"'),
    ("/a\\b", '"/a\\\\b"'),
    ("/a;b", '"/a;b"'),
    ("/ü", "/ü"),
]


@pytest.mark.parametrize(("text", "word"), WORDS)
def test_a_word_is_escaped(text: str, word: str) -> None:
    assert unit.argument(text) == word


@pytest.mark.parametrize("text", ["/a\nExecStartPost=/bin/sh", "/a\r", "/a\t", "/a\x00", "\x1b[0m"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must not hold control characters: systemd reads a unit line by line"):
        unit.argument(text)


def test_every_line_of_the_unit_is_a_header_a_section_or_a_directive() -> None:
    paths = {"configDirectory": "/srv/my config", "stateDirectory": "/srv/my state"}
    text = configured(texts(), {"traefik": paths}).unit_text
    assert text.endswith("\n")
    for line in text.splitlines():
        assert not line or line.startswith(("#", "[")) or line.partition("=")[0].isalnum(), line
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    directives = dict(line.split("=", 1) for line in lines)
    assert directives["User"] == "traefik"
    assert directives["ExecStart"] == '/usr/local/bin/traefik --configFile="/srv/my config/traefik.yml"'
    assert directives["Restart"] == "always"
    assert directives["Type"] == "notify"
