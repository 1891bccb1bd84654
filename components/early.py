"""Connecting while the program is still being built.

Only where providers run in the program's own process, as they do under the embedded engine: the official one starts
them in another, which a connection of this one is of no use to.
"""

from __future__ import annotations

import sys
import threading

from phoenix.remote import Connection, open_transport


def connect_early(connection: Connection) -> None:
    """Begin to connect and do not wait for it; what is wrong shows with the first resource that needs the target."""
    if "engine.monitor" in sys.modules:
        # Building the transport imports the SSH library, which takes as long as all the rest of a connection.
        threading.Thread(target=lambda: open_transport(connection).warm_up(), daemon=True).start()
