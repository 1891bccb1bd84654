"""SSH over asyncssh: one connection, kept open, host key always checked, one reconnect after a silent death."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal as signals
from typing import Any

from phoenix.errors import UnreachableError
from phoenix.remote.connection import Connection, Jump
from phoenix.remote.ssh_trust import agent_socket, explain, keys, reason, trusted
from phoenix.remote.streams import BusyError, Output, RawAnswer, Sink, Stream
from phoenix.ssh_library import asyncssh

KEEPALIVE_SECONDS = 15

_SIGNALS = frozenset(member.name.removeprefix("SIG") for member in signals.Signals)


class SshCarrier:
    """Executes argument lists on an SSH server, through at most one jump host. Used on the background loop only."""

    def __init__(self, connection: Connection) -> None:
        self._settings = connection
        self._hops: list[asyncssh.SSHClientConnection] = []
        self._connecting: asyncio.Task[asyncssh.SSHClientConnection] | None = None

    async def execute(self, arguments: list[str], stdin: bytes, limit: float) -> RawAnswer:
        """See :meth:`phoenix.remote.carriers.Carrier.execute`."""
        output = Output()
        stream = await self._started(arguments, output)
        answer = await output.finished(stream, stdin, limit)
        if answer is None:
            raise UnreachableError(
                f"{self._settings.description} was lost while a command ran ({output.reason}), "
                "so it is not known how far it got: run again."
            )
        return answer

    async def start(self, arguments: list[str], sink: Sink) -> Stream:
        """See :meth:`phoenix.remote.carriers.Carrier.start`."""
        return await self._started(arguments, sink)

    async def close(self) -> None:
        """Close the connection and its jump host's; a later command opens them again."""
        hops, self._hops = self._hops, []
        for server in reversed(hops):
            server.abort()

    async def _started(self, arguments: list[str], sink: Sink) -> _SshStream:
        """Start a command; on a kept connection that turns out to be dead, once more on a new one."""
        command = shlex.join(arguments)
        kept = bool(self._hops) and not self._hops[-1].is_closed()
        server = await self._connected()
        started = await self._start(server, command, sink)
        if isinstance(started, Exception) and kept:
            await self._forget(server)
            server = await self._connected()
            started = await self._start(server, command, sink)
        if isinstance(started, Exception):
            await self._forget(server)
            raise UnreachableError(
                f"{self._settings.description} does not start a command ({reason(started)}): "
                "look at the SSH server's log there."
            )
        return started

    async def _start(self, server: asyncssh.SSHClientConnection, command: str, sink: Sink) -> _SshStream | Exception:
        """Open a session and ask for the command.

        Returns:
            The error where the connection is dead and it is certain that the command did not start.

        Raises:
            BusyError: the server opens no further session.
            UnreachableError: the connection was lost when the command may have started.
        """
        session = _Session(sink)
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                channel, _ = await server.create_session(lambda: session, command, encoding=None)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            if session.opened:
                raise UnreachableError(
                    f"{self._settings.description} was lost while a command started ({reason(error)}), "
                    "so it is not known whether it ran: run again."
                ) from None
            if isinstance(error, asyncssh.ChannelOpenError) and not server.is_closed():
                raise BusyError from None
            return error
        return _SshStream(channel)

    async def _connected(self) -> asyncssh.SSHClientConnection:
        """Return the live connection; callers that come while it is being made share that one attempt."""
        if self._hops and not self._hops[-1].is_closed():
            return self._hops[-1]
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._connect())
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> asyncssh.SSHClientConnection:
        await self.close()
        hops: list[asyncssh.SSHClientConnection] = []
        try:
            for hop in (self._settings.jump, self._settings):
                if hop is not None:
                    hops.append(await self._connect_hop(hop, hops[-1] if hops else None))
        except BaseException:
            for server in reversed(hops):
                server.abort()
            raise
        self._hops = hops
        return hops[-1]

    async def _connect_hop(
        self, hop: Connection | Jump, tunnel: asyncssh.SSHClientConnection | None
    ) -> asyncssh.SSHClientConnection:
        what = f"ssh {hop.address}" if isinstance(hop, Connection) else f"jump host {hop.address}"
        limit = self._settings.connect_timeout
        named = hop.private_key is not None or hop.private_key_file is not None
        options: dict[str, Any] = {
            "port": hop.port,
            "username": hop.user,
            "known_hosts": trusted(hop, what),
            "client_keys": keys(hop if named else self._settings, what),  # a jump host's default is the target's key
            "agent_path": agent_socket(hop, what) if self._settings.agent else None,
            "password": None,
            "preferred_auth": "publickey",
            "config": None,
            "gss_host": None,
            "x509_trusted_certs": None,
            "keepalive_interval": KEEPALIVE_SECONDS,
            "login_timeout": limit,
        }
        if not options["client_keys"] and not options["agent_path"]:
            raise UnreachableError(
                f"{what}: no key to log in with: set privateKeyFile, privateKey or agent on the connection."
            )
        try:
            async with asyncio.timeout(limit):
                try:
                    return await asyncssh.connect(hop.host, tunnel=tunnel, **options)
                except asyncssh.ConnectionLost:
                    # A server that refuses what we ask for may hang up before its reason is read: ask once more.
                    return await asyncssh.connect(hop.host, tunnel=tunnel, **options)
        except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
            raise UnreachableError(explain(what, hop, error, limit)) from None

    async def _forget(self, server: asyncssh.SSHClientConnection) -> None:
        if self._hops and self._hops[-1] is server:
            await self.close()


class _SshStream:
    """A command's session; see :class:`phoenix.remote.worker.Stream`."""

    def __init__(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = channel

    def write(self, data: bytes) -> None:
        if data:
            self._channel.write(data)

    def write_eof(self) -> None:
        self._channel.write_eof()

    def abort(self) -> None:
        """Kill the command and close its session; whatever the server makes of it, this side is done with it."""
        with contextlib.suppress(OSError):
            self._channel.send_signal("KILL")
        self._channel.abort()


class _Session(asyncssh.SSHClientSession[bytes]):
    """Hands what one command writes to a sink."""

    def __init__(self, sink: Sink) -> None:
        self.opened = False
        self._sink = sink
        self._exit_code: int | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        del chan
        self.opened = True

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._sink.feed(data, error=datatype is not None)

    def eof_received(self) -> bool:
        return True  # a command may close its output and go on reading

    def exit_status_received(self, status: int) -> None:
        self._exit_code = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        del core_dumped, msg, lang
        self._exit_code = 128 + signals.Signals[f"SIG{signal}"].value if signal in _SIGNALS else 255

    def connection_lost(self, exc: Exception | None) -> None:
        self._sink.ended(self._exit_code, reason(exc))
