"""The container lab, and a stack deployed there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.container.testing import ContainerLab, container_lab
from tests.continuity.deployment import Deployment

__all__ = ["container_lab"]


@pytest.fixture(scope="module")
def deployment(container_lab: ContainerLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Guests as new, and the stack with its standby deployed; one for a module's tests, which run in order."""
    made = Deployment(container_lab, tmp_path_factory.mktemp("continuity"))
    made.reset()
    made.init()
    made.up()
    yield made
    made.reset()
