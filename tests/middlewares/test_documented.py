"""What docs/install.md and docs/middlewares.md show is what the settings take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.settings import parse
from phoenix.traefik.install_settings import InstallSettings
from phoenix.traefik.middleware_models import KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def examples() -> list[dict[str, Any]]:
    found = []
    for name in ("install.md", "middlewares.md"):
        blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)
        found += [yaml.safe_load(block)["config"] for block in blocks]
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: next(iter(example)))
def test_every_example_is_right(example: dict[str, Any]) -> None:
    settings = parse({key.removeprefix("phoenix:"): value for key, value in example.items()}, "docs")
    assert settings.source == "docs"


def test_every_kind_and_key_is_told() -> None:
    told = set(re.findall(r"`([A-Za-z0-9]+)`", (DOCS / "middlewares.md").read_text(encoding="utf-8")))
    assert set(KINDS) <= told
    told = set(re.findall(r"`([A-Za-z0-9]+)`", (DOCS / "install.md").read_text(encoding="utf-8")))
    assert {field.alias for field in InstallSettings.model_fields.values()} <= told
