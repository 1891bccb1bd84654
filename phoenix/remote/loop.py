"""The one background thread that asyncio runs on, so that the rest of the product can stay synchronous."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_lock = threading.Lock()
_current: tuple[int, asyncio.AbstractEventLoop] | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop of this process, started on first use; a forked child gets its own."""
    global _current  # noqa: PLW0603 - one loop per process is the point of this module
    with _lock:
        if _current is None or _current[0] != os.getpid() or _current[1].is_closed():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="phoenix-remote", daemon=True).start()
            _current = (os.getpid(), loop)
        return _current[1]


def call(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine on the background loop and wait for its result; an interrupt cancels it."""
    future = asyncio.run_coroutine_threadsafe(coroutine, background_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def start(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on the background loop and do not wait for it."""
    asyncio.run_coroutine_threadsafe(coroutine, background_loop())
