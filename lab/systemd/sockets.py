"""Listens for a service and starts it on demand: systemd.socket(5)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import stat
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from lab.systemd.settings import Definition, SocketSettings
from lab.systemd.unit import DONE, FAILED, Keeper, Unit

_ADDRESS = re.compile(r"(?:\[(?P<six>[^]]+)\]|(?P<four>[^:/]+)):(?P<port>\d+)|(?P<only>\d+)")


class SocketUnit(Unit):
    """One socket unit and its open sockets.

    Args:
        activate: starts the service of this unit; gives how the job ended.
    """

    def __init__(
        self, definition: Definition, keeper: Keeper, activate: Callable[[SocketUnit], Awaitable[str]]
    ) -> None:
        super().__init__(definition, keeper)
        self.sockets: list[socket.socket] = []
        self._activate = activate
        self._triggers: deque[float] = deque()
        self._task: asyncio.Task[None] | None = None
        self._watching = False

    @property
    def settings(self) -> SocketSettings:
        """The ``[Socket]`` section as loaded."""
        return self.definition.socket

    def named(self) -> list[tuple[int, str]]:
        """The descriptors to hand over, with the name of each."""
        return [(each.fileno(), self.settings.descriptor_name) for each in self.sockets]

    async def start(self) -> str:
        """Open the sockets and listen."""
        if self.active_state == "active":
            return DONE
        self.result = "success"
        try:
            for address in self.settings.streams:
                self.sockets.append(self._open(address, socket.SOCK_STREAM))
            for address in self.settings.datagrams:
                self.sockets.append(self._open(address, socket.SOCK_DGRAM))
        except (OSError, ValueError) as error:
            self._close()
            reason = getattr(error, "strerror", None) or error
            self.log(f"{self.name}: Failed to create listening socket ({address}): {reason}")
            self._fail("resources")
            return FAILED
        self.log(f"Listening on {self.label}.")
        self.set_state("active", "listening")
        self._watch()
        return DONE

    async def stop(self) -> str:
        """Close the sockets."""
        if self.active_state != "active":
            return DONE
        self._close()
        self.log(f"Closed {self.label}.")
        self.set_state("inactive", "dead")
        return DONE

    def service_changed(self, active: str, sub: str) -> None:
        """Take note of the state of the service this unit starts: listen only while it does not run."""
        if self.active_state != "active":
            return
        if active in {"inactive", "failed"} or sub == "auto-restart":
            self.set_state("active", "listening")
            self._watch()
        else:
            self._unwatch()
            self.set_state("active", "running")

    def _open(self, address: str, kind: int) -> socket.socket:
        settings = self.settings
        if address.startswith(("/", "@")):
            return self._open_path(address, kind)
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise ValueError(f"{address!r} is neither an address with a port nor a path")
        family = socket.AF_INET if match["four"] else socket.AF_INET6
        host, port = match["four"] or match["six"] or "::", int(match["port"] or match["only"])
        if match["only"] and not socket.has_dualstack_ipv6():
            family, host = socket.AF_INET, "0.0.0.0"  # noqa: S104 - what ListenStream=<port> means
        opened = socket.socket(family, kind)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if settings.reuse_port:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if settings.free_bind:
                opened.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND of ip(7)
            if settings.no_delay and kind == socket.SOCK_STREAM:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.bind((host, port))
            return self._listening(opened, kind)
        except OSError:
            opened.close()
            raise

    def _open_path(self, address: str, kind: int) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, kind)
        try:
            if address.startswith("@"):
                opened.bind("\0" + address[1:])
                return self._listening(opened, kind)
            path = Path(address)
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(path.lstat().st_mode):
                    path.unlink()
            opened.bind(address)
            path.chmod(self.settings.mode)
            return self._listening(opened, kind)
        except OSError:
            opened.close()
            raise

    def _listening(self, opened: socket.socket, kind: int) -> socket.socket:
        if kind == socket.SOCK_STREAM:
            opened.listen(self.settings.backlog)
        opened.setblocking(False)
        return opened

    def _watch(self) -> None:
        if self._watching:
            return
        self._watching = True
        for each in self.sockets:
            asyncio.get_running_loop().add_reader(each, self._triggered)

    def _unwatch(self) -> None:
        if not self._watching:
            return
        self._watching = False
        for each in self.sockets:
            asyncio.get_running_loop().remove_reader(each)

    def _close(self) -> None:
        self._unwatch()
        for each in self.sockets:
            name = each.getsockname()
            each.close()
            if self.settings.remove_on_stop and isinstance(name, str) and name.startswith("/"):
                with contextlib.suppress(OSError):
                    os.unlink(name)  # noqa: PTH108
        self.sockets = []

    def _triggered(self) -> None:
        self._unwatch()
        now = time.monotonic()
        while self._triggers and self._triggers[0] <= now - self.settings.trigger_interval:
            self._triggers.popleft()
        if len(self._triggers) >= self.settings.trigger_burst:
            self.log(f"{self.name}: Trigger limit hit, refusing further activation.")
            self._close()
            self._fail("trigger-limit-hit")
            return
        self._triggers.append(now)
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        outcome = await self._activate(self)
        if self.active_state != "active":
            return
        if outcome == "start-limit-hit":
            self._close()
            self._fail("service-start-limit-hit")
        elif outcome == FAILED and self.sub_state == "listening":
            self._watch()

    def _fail(self, result: str) -> None:
        self.result = result
        self.log(f"{self.name}: Failed with result '{result}'.")
        self.set_state("failed", "failed")
