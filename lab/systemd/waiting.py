"""Waiting that something else can cut short."""

from __future__ import annotations

import asyncio
import math
from typing import Any


class Alarm:
    """Wakes everybody who waits on it; a ring while nobody waits is not kept."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake all who wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float, future: asyncio.Future[Any] | None = None) -> None:
        """Wait for a ring, for ``future``, or until ``timeout`` seconds (``inf``: no limit) have passed.

        The waiter is known before this first gives way, so that no ring is lost between a caller's last look
        at its conditions and the wait.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait(
                {waiter, future} if future is not None else {waiter},
                timeout=None if math.isinf(timeout) else max(timeout, 0.0),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._waiters.discard(waiter)
