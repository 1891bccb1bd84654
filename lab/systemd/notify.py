"""The notification socket of one service: sd_notify(3)."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")
_LIMIT = 4096


class NotifySocket:
    """Receives a service's state messages.

    Args:
        path: where the socket is made; shorter than 108 bytes.
        receive: called with the sender's process id and the assignments of each message.
    """

    def __init__(self, path: Path, receive: Callable[[int, dict[str, str]], None]) -> None:
        self.path = path
        self._receive = receive
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(path))
        # The service may run as another user; who sent what is told by the kernel.
        path.chmod(0o666)
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    _LIMIT, socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(16 * 4)
                )
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return
            pid = 0
            for level, kind, content in ancillary:
                if level != socket.SOL_SOCKET:
                    continue
                if kind == socket.SCM_CREDENTIALS:
                    pid = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
                elif kind == socket.SCM_RIGHTS:
                    # A barrier, or a file for the descriptor store: closing it is the answer to the first.
                    numbers = array.array("i", content[: len(content) - len(content) % 4])
                    for number in numbers:
                        with contextlib.suppress(OSError):
                            os.close(number)
            lines = data.decode(errors="replace").splitlines()
            self._receive(pid, dict(line.split("=", 1) for line in lines if "=" in line))

    def close(self) -> None:
        """Stop listening and remove the socket."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self.path.unlink(missing_ok=True)
