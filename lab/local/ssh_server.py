"""An SSH server where OpenSSH's is not installed: asyncssh, with commands, SFTP and forwarded connections.

``python -m lab.local.ssh_server CONFIGURATION``: a JSON list of hosts, each with ``address``, ``port``, ``host_key``,
``authorized_keys``, ``session`` (the script each session runs in) and ``user``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import asyncssh

from lab.local.hosts import session_environment

_CHUNK = 65536


class _Server(asyncssh.SSHServer):
    """Lets the lab's own user in, with the lab's key, and forwards connections as a jump host does."""

    def __init__(self, user: str, authorized_keys: str) -> None:
        self._user = user
        self._authorized_keys = authorized_keys
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection, to set its keys."""
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        """Offer keys to nobody but the lab's user."""
        if username == self._user and self._connection is not None:
            self._connection.set_authorized_keys(self._authorized_keys)
        return True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """Open the connection a client wants to have forwarded."""
        del dest_host, dest_port, orig_host, orig_port
        return True


class _Files(asyncssh.SFTPServer):
    """The machine's files, with relative paths taken from the host's home, as sftp-server started there does."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: str) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """Make a client's path absolute."""
        return os.path.join(self._home, path)  # noqa: PTH118 - paths are bytes here

    def realpath(self, path: bytes) -> bytes:
        """What ``pwd`` shows."""
        return os.path.realpath(os.path.join(self._home, path))  # noqa: PTH118


class _Sessions:
    def __init__(self, session: Path) -> None:
        self._session = session
        self._running: set[int] = set()

    async def handle(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run what a client asks for in the session script, with its input, output, signals and exit code."""
        environment = {**session_environment(), "SSH_ORIGINAL_COMMAND": process.command or ""}
        peer, own = process.get_extra_info("peername"), process.get_extra_info("sockname")
        if peer and own:
            environment["SSH_CONNECTION"] = f"{peer[0]} {peer[1]} {own[0]} {own[1]}"
        child = await asyncio.create_subprocess_exec(
            str(self._session),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._running.add(child.pid)
        assert child.stdout is not None  # noqa: S101 - asked for just above
        assert child.stderr is not None  # noqa: S101
        feeding = asyncio.ensure_future(_feed(process, child))
        try:
            await asyncio.gather(_copy(child.stdout, process.stdout), _copy(child.stderr, process.stderr), child.wait())
            status = child.returncode or 0
            if status < 0:
                process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
            else:
                process.exit(status)
        except (BrokenPipeError, ConnectionError, asyncssh.Error):
            process.close()
        finally:
            feeding.cancel()
            self._running.discard(child.pid)
            if child.returncode is None:
                _signal_group(child.pid, signal.SIGHUP)

    def end(self) -> None:
        """Hang up on every session."""
        for pid in self._running:
            _signal_group(pid, signal.SIGHUP)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def _feed(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    stdin = child.stdin
    if stdin is None:
        return
    open_input = True
    while True:
        try:
            data = await process.stdin.read(_CHUNK)
        except asyncssh.SignalReceived as received:
            number = getattr(signal, f"SIG{received.signal}", None)
            if number is not None:
                _signal_group(child.pid, number)
            continue
        except (asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
            continue
        except (asyncssh.Error, ConnectionError):
            _signal_group(child.pid, signal.SIGHUP)
            return
        if not data:
            if open_input:
                open_input = False
                stdin.close()
            if process.channel.is_closing():
                # The client hung up: sshd would send its session a hang-up as well.
                _signal_group(child.pid, signal.SIGHUP)
                return
            await asyncio.sleep(0.05)
            continue
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            stdin.write(data)
            await stdin.drain()


async def _copy(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()


async def serve(configurations: list[dict[str, Any]]) -> None:
    """Run until SIGTERM.

    Args:
        configurations: one for each host, as in the module's description.
    """
    # Commands are ended by a hang-up, though whoever started the lab may ignore it, as under nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    running = [await _listen(configuration) for configuration in configurations]
    await ended.wait()
    for sessions, listener in running:
        sessions.end()
        listener.close()


async def _listen(configuration: dict[str, Any]) -> tuple[_Sessions, asyncssh.SSHAcceptor]:
    sessions = _Sessions(Path(configuration["session"]))
    listener = await asyncssh.listen(
        configuration["address"],
        configuration["port"],
        server_factory=lambda: _Server(configuration["user"], configuration["authorized_keys"]),
        server_host_keys=[configuration["host_key"]],
        process_factory=sessions.handle,
        sftp_factory=lambda channel: _Files(channel, configuration["home"]),
        allow_scp=True,
        encoding=None,
        line_editor=False,
        password_auth=False,
        kbdint_auth=False,
        gss_host=None,
        reuse_address=True,
    )
    return sessions, listener


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
