"""The preview ahead of an update: a process of its own, beside which the update gets ready.

The program runs in both, one after the other, as in the official engine; its providers' looks in the preview and its
second run, up to the first registration, go on side by side.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

from engine.errors import DeploymentFailed
from engine.secrets import SecretsManager


class Preview:
    """A forked child that previews. To be made while this process has but one thread.

    Args:
        manager: derives the stack's key here, and hands it to the child.
        run: previews; calls what it is given when the program has been read: nothing of it was registered by then.
    """

    def __init__(self, manager: SecretsManager, run: Callable[[Callable[[], None]], object]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        key_out, key_in = os.pipe()
        read_out, read_in = os.pipe()
        self._status: int | None = None
        self._child = os.fork()
        if self._child == 0:
            os.close(key_in)
            os.close(read_out)
            manager.take(key_out)
            _end(lambda: run(lambda: _tell(read_in)))
        os.close(key_out)
        os.close(read_in)
        self._read = read_out
        manager.start(key_in)

    def wait_until_read(self) -> None:
        """Wait until the program has been read there, or the preview is over."""
        while True:
            try:
                os.read(self._read, 1)
                return
            except KeyboardInterrupt:
                continue  # the child hears it too and ends in its own way

    def succeed(self) -> None:
        """Wait for its end.

        Raises:
            DeploymentFailed: it failed, or was interrupted, and has said so.
        """
        while self._status is None:
            try:
                _, status = os.waitpid(self._child, 0)
                self._status = os.waitstatus_to_exitcode(status)
                os.close(self._read)
            except KeyboardInterrupt:
                continue
        if self._status != 0:
            failed = DeploymentFailed("the preview failed")
            failed.exit_code = self._status
            raise failed


def _tell(pipe: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits any more
        os.write(pipe, b".")


def _end(run: Callable[[], object]) -> None:
    """End the child with what a run comes to."""
    code = 70
    try:
        run()
        code = 0
    except DeploymentFailed as error:
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - a child must end here
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        code = getattr(error, "exit_code", 70)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
