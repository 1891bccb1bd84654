"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from installations import PROJECT

from phoenix.settings import parse
from phoenix.settings_reference import BEGIN, reference

DOCS = PROJECT / "docs"
PAGES = [DOCS / "architecture.md", DOCS / "configuration.md", PROJECT / "CHANGELOG.md", *sorted(DOCS.glob("adr/*.md"))]


def test_the_reference_of_the_settings_is_that_of_the_models() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    written = BEGIN + text.partition(BEGIN)[2]
    said = "write it anew: put what `python -m phoenix.settings_reference` prints into docs/configuration.md"
    assert written == reference(), said


def test_every_key_has_a_type_and_a_meaning() -> None:
    rows = [line.split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    for _, kind, default, _ in rows:
        assert kind.strip()
        assert kind != "value"
        assert default.strip()


def _examples() -> list[Any]:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("example", _examples(), ids=lambda example: next(iter(example)))
def test_every_example_is_right(example: dict[str, Any]) -> None:
    values = {key.removeprefix("phoenix:"): value for key, value in example["config"].items()}
    assert parse(values, "docs/configuration.md").environment == "production"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith(("https://", "http://")):
            assert (path.parent / target).exists(), target


def test_the_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((DOCS / "adr").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
