"""SSH over asyncssh: one connection, kept open, host key always checked, one reconnect after a silent death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal as signals
import socket
from pathlib import Path
from typing import Any

import asyncssh

from phoenix.errors import UnreachableError
from phoenix.remote import loop
from phoenix.remote.carriers import OUTPUT_LIMIT, RawAnswer
from phoenix.remote.connection import Connection, Jump
from phoenix.remote.transport import first_line

SESSION_LIMIT = 8
"""Commands at a time on one connection; sshd's MaxSessions is 10 by default (sshd_config(5))."""

KEEPALIVE_SECONDS = 15


class SshCarrier:
    """Executes argument lists on an SSH server, through at most one jump host."""

    def __init__(self, connection: Connection) -> None:
        self._settings = connection
        self._hops: list[asyncssh.SSHClientConnection] = []
        self._connecting: asyncio.Task[asyncssh.SSHClientConnection] | None = None
        self._sessions: asyncio.Semaphore | None = None

    def execute(self, arguments: list[str], stdin: bytes, limit: float) -> RawAnswer:
        """See :meth:`phoenix.remote.carriers.Carrier.execute`."""
        return loop.call(self._execute(shlex.join(arguments), stdin, limit))

    def close(self) -> None:
        """Close the connection and its jump host's; a later command opens them again."""
        loop.call(self._close())

    async def _execute(self, command: str, stdin: bytes, limit: float) -> RawAnswer:
        if self._sessions is None:
            self._sessions = asyncio.Semaphore(SESSION_LIMIT)
        async with self._sessions:
            kept = bool(self._hops) and not self._hops[-1].is_closed()
            server = await self._connected()
            started = await self._start(server, command)
            if isinstance(started, Exception) and kept:
                await self._forget(server)
                server = await self._connected()
                started = await self._start(server, command)
            if isinstance(started, Exception):
                await self._forget(server)
                raise UnreachableError(
                    f"{self._settings.description} does not start a command ({_reason(started)}): "
                    "look at the SSH server's log there."
                )
            return await self._finish(*started, stdin, limit)

    async def _start(
        self, server: asyncssh.SSHClientConnection, command: str
    ) -> tuple[asyncssh.SSHClientChannel[bytes], _Session] | Exception:
        """Open a session and ask for the command.

        Returns:
            The channel, or the error when it is certain that the command did not start.
        """
        session = _Session()
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                channel, _ = await server.create_session(lambda: session, command, encoding=None)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            if not session.opened:
                return error
            raise UnreachableError(
                f"{self._settings.description} was lost while a command started ({_reason(error)}), "
                "so it is not known whether it ran: run again."
            ) from None
        return channel, session

    async def _finish(
        self, channel: asyncssh.SSHClientChannel[bytes], session: _Session, stdin: bytes, limit: float
    ) -> RawAnswer:
        try:
            if stdin:
                channel.write(stdin)
            channel.write_eof()
        except OSError:
            pass  # the command ended without reading its input, and its exit code says the rest
        try:
            async with asyncio.timeout(limit):
                lost = await asyncio.shield(session.closed)
        except (TimeoutError, asyncio.CancelledError) as error:
            _end(channel)
            if isinstance(error, asyncio.CancelledError):
                raise
            return session.answer(timed_out=True)
        if session.overflowed:
            return session.answer()
        if session.exit_code is None:
            raise UnreachableError(
                f"{self._settings.description} was lost while a command ran ({_reason(lost)}), "
                "so it is not known how far it got: run again."
            )
        return session.answer()

    async def _connected(self) -> asyncssh.SSHClientConnection:
        """Return the live connection; callers that come while it is being made share that one attempt."""
        if self._hops and not self._hops[-1].is_closed():
            return self._hops[-1]
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._connect())
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> asyncssh.SSHClientConnection:
        await self._close()
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
        agent = isinstance(hop, Connection) and hop.agent
        options: dict[str, Any] = {
            "port": hop.port,
            "username": hop.user,
            "known_hosts": _trusted(hop, what),
            "client_keys": _keys(hop, what),
            "agent_path": _agent_socket(hop, what) if agent else None,
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
                return await asyncssh.connect(hop.host, tunnel=tunnel, **options)
        except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
            raise UnreachableError(_explain(what, hop, error, limit)) from None

    async def _forget(self, server: asyncssh.SSHClientConnection) -> None:
        if self._hops and self._hops[-1] is server:
            await self._close()

    async def _close(self) -> None:
        hops, self._hops = self._hops, []
        for server in reversed(hops):
            server.abort()


class _Session(asyncssh.SSHClientSession[bytes]):
    """Gathers what one command writes."""

    def __init__(self) -> None:
        self.opened = False
        self.overflowed = False
        self.exit_code: int | None = None
        self.closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._output = bytearray()
        self._errors = bytearray()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.opened = True
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        (self._output if datatype is None else self._errors).extend(data)
        if len(self._output) + len(self._errors) > OUTPUT_LIMIT and self._channel is not None:
            self.overflowed = True
            _end(self._channel)

    def eof_received(self) -> bool:
        return True  # a command may close its output and go on reading

    def exit_status_received(self, status: int) -> None:
        self.exit_code = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        del core_dumped, msg, lang
        self.exit_code = 128 + signals.Signals[f"SIG{signal}"].value if signal in _SIGNALS else 255

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(exc)

    def answer(self, *, timed_out: bool = False) -> RawAnswer:
        """Return what came so far."""
        code = 128 + signals.SIGKILL if self.exit_code is None else self.exit_code
        return RawAnswer(code, bytes(self._output), bytes(self._errors), timed_out, self.overflowed)


_SIGNALS = frozenset(member.name.removeprefix("SIG") for member in signals.Signals)


def _end(channel: asyncssh.SSHClientChannel[bytes]) -> None:
    """Kill a command and close its channel; whatever the server makes of it, this side is done with it."""
    with contextlib.suppress(OSError):
        channel.send_signal("KILL")
    channel.abort()


def _trusted(hop: Connection | Jump, what: str) -> Any:
    """Return asyncssh's ``known_hosts``: the one trusted key, or the file's path."""
    if hop.host_key is not None:
        try:
            return ([asyncssh.import_public_key(hop.host_key)], [], [])
        except asyncssh.KeyImportError as error:
            raise UnreachableError(
                f"{what}: its hostKey is no public key ({error}): copy the line that `ssh-keyscan` prints."
            ) from None
    path = Path(hop.known_hosts_file or "").expanduser()
    if not os.access(path, os.R_OK):
        raise UnreachableError(
            f"{what}: knownHostsFile {path} does not exist or cannot be read: "
            f"write it with `ssh-keyscan -p {hop.port} {hop.host}`, or give hostKey."
        )
    return str(path)


def _keys(hop: Connection | Jump, what: str) -> list[asyncssh.SSHKey]:
    """Read the private key a hop names; its text never reaches a message."""
    if hop.private_key is not None:
        name, text = "privateKey", hop.private_key.get_secret_value().encode()
        if not text.endswith(b"\n"):
            text += b"\n"
    elif hop.private_key_file is not None:
        path = Path(hop.private_key_file).expanduser()
        name = f"privateKeyFile {path}"
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UnreachableError(
                f"{what}: {name} cannot be read ({error.strerror}): correct the path or its permissions."
            ) from None
    else:
        return []
    try:
        return [asyncssh.import_private_key(text)]
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        remedy = (
            "put it into an SSH agent and set agent: true"
            if "passphrase" in str(error).lower() or isinstance(error, asyncssh.KeyEncryptionError)
            else "give a private key in OpenSSH or PEM form"
        )
        raise UnreachableError(f"{what}: {name} cannot be used as a key: {remedy}.") from None


def _agent_socket(hop: Connection | Jump, what: str) -> str | None:
    """Return the agent's socket; without a live one a configured key must do."""
    path = os.environ.get("SSH_AUTH_SOCK", "")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            probe.connect(path)
    except OSError:
        if hop.private_key is not None or hop.private_key_file is not None:
            return None
        found = f"SSH_AUTH_SOCK={path} does not answer" if path else "SSH_AUTH_SOCK is not set"
        raise UnreachableError(
            f"{what}: agent is true, but {found}: start ssh-agent and ssh-add the key, or set privateKeyFile."
        ) from None
    return path


def _explain(what: str, hop: Connection | Jump, error: Exception, limit: float) -> str:
    """Turn a failed connection attempt into one sentence with its remedy."""
    source = "hostKey" if hop.host_key is not None else f"knownHostsFile {hop.known_hosts_file}"
    scan = f"`ssh-keyscan -p {hop.port} {hop.host}`"
    match error:
        case asyncssh.HostKeyNotVerifiable():
            problem = (
                f"the server's host key is not the one in {source}: if the server was installed anew, "
                f"take its key with {scan}; if not, something else answers there"
            )
        case asyncssh.KeyExchangeFailed() if "host key" in str(error):
            problem = (
                f"the server has no host key of the kind that {source} holds: take another of its keys with {scan}"
            )
        case asyncssh.PermissionDenied():
            problem = (
                f"the server does not let {hop.user} in with the key it was offered: "
                "add the public key to authorized_keys there, or correct user or the private key"
            )
        case TimeoutError():
            problem = f"no answer within {limit:g} s: check address, firewall and sshd, or raise connectTimeout"
        case ConnectionRefusedError():
            problem = f"connection refused: nothing listens on port {hop.port}; start sshd or correct port"
        case socket.gaierror():
            problem = f"the name {hop.host} does not resolve: correct host, or use an address"
        case _:
            problem = f"cannot connect ({_reason(error)}): check that an SSH server runs there"
    return f"{what}: {problem}."


def _reason(error: Exception | None) -> str:
    if error is None:
        return "the connection was closed"
    return first_line(str(error).encode()) or type(error).__name__
