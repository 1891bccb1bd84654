"""The container lab that the session's tests share."""

from __future__ import annotations

from lab.container.testing import container_lab

__all__ = ["container_lab"]
