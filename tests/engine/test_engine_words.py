"""Options may stand anywhere in a command line, as with the official CLI."""

from __future__ import annotations

import pytest

from engine.cli import _arranged


@pytest.mark.parametrize(
    ("given", "arranged"),
    [
        ("config set --path a.b --secret v", "config set --path --secret a.b v"),
        ("-C dir stack output --json key -s dev", "stack output -C dir --json -s dev key"),
        ("stack --stack dev rm --yes=true", "stack rm --stack dev --yes"),
        ("up --yes=false --diff=true -f", "up --diff -f"),
        ("up -ys dev", "up -ys dev"),
        ("up --refresh=true --parallel 4", "up --refresh --parallel 4"),
        ("dn --yes", "dn --yes"),
        ("config set n -5", "config set n -5"),
        ("config set n -- -v --json", "config set n -- -v --json"),
        ("stack select -c name", "stack select -c name"),
        ("stack output stack", "stack output stack"),
        ("--event-log=x preview -t urn -t other", "preview --event-log=x -t urn -t other"),
        ("config set --secret", "config set --secret"),
        ("up -s", "up -s"),
        ("", ""),
    ],
)
def test_arranged(given: str, arranged: str) -> None:
    assert _arranged(given.split()) == arranged.split()
