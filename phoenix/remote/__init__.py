"""How bytes and commands reach a guest: connections, transports, managed files, HTTP from inside a guest.

Nothing here knows of Traefik or Portainer. The pure parts (:mod:`~phoenix.remote.connection`,
:mod:`~phoenix.remote.commands`, the deciding half of :mod:`~phoenix.remote.files`) do no I/O; everything else goes
through one interface, :class:`~phoenix.remote.transport.Transport`, which has a recording twin for tests.
:mod:`~phoenix.remote.remote_file` is not imported here, because it needs Pulumi.
"""

from phoenix.remote.connection import Connection, Jump
from phoenix.remote.pool import close_all, open_transport
from phoenix.remote.recording import RecordingTransport
from phoenix.remote.transport import Completed, Transport
from phoenix.remote.wrapping import wrap_command

__all__ = [
    "Completed",
    "Connection",
    "Jump",
    "RecordingTransport",
    "Transport",
    "close_all",
    "open_transport",
    "wrap_command",
]
