"""One live transport per connection and process."""

from __future__ import annotations

import atexit
import os
import threading

from phoenix.remote.connection import Connection
from phoenix.remote.guests import ShellTransport, make_transport
from phoenix.remote.transport import Completed, ContextManaged

_lock = threading.Lock()
_pool: dict[tuple[int, Connection], ShellTransport] = {}


class PooledTransport(ContextManaged):
    """A lease of a pooled transport: closing it leaves the connection open for the next."""

    def __init__(self, transport: ShellTransport) -> None:
        self._transport = transport
        self.connection = transport.connection
        self.description = transport.description

    def run(self, script: str, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True) -> Completed:
        """See :meth:`phoenix.remote.transport.Transport.run`."""
        return self._transport.run(script, stdin=stdin, timeout=timeout, check=check)

    def warm_up(self) -> None:
        """See :meth:`phoenix.remote.guests.ShellTransport.warm_up`."""
        self._transport.warm_up()

    def close(self) -> None:
        """Give the connection back to the pool; :func:`close_all` really closes it."""


def open_transport(connection: Connection) -> PooledTransport:
    """Return a transport; nothing is connected before its first command.

    Args:
        connection: equal connections share one SSH connection in this process.
    """
    with _lock:
        key = (os.getpid(), connection)
        if key not in _pool:
            _pool[key] = make_transport(connection)
        return PooledTransport(_pool[key])


def close_all() -> None:
    """Close every connection of this process; transports handed out before connect anew when used."""
    with _lock:
        mine = [transport for (pid, _), transport in _pool.items() if pid == os.getpid()]
        _pool.clear()
    for transport in mine:
        transport.close()


atexit.register(close_all)
