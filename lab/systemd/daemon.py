"""The service manager as a process: ``python -m lab.systemd.daemon ROOT SOCKET JOURNAL [OWNER COMMAND…]``.

With ``OWNER``, a process id, it runs ``COMMAND`` once that process has ended: so a lab does not outlive a test run that
was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from lab.systemd.commands import Systemctl
from lab.systemd.manager import Manager

_REQUEST_LIMIT = 1024 * 1024


async def serve(root: Path, address: Path, journal: Path, after: list[str]) -> None:
    """Run until SIGTERM; then stop every unit.

    Args:
        root: the host's directory.
        address: the Unix socket that the ``systemctl`` stand-in talks to; its directory holds the
            notification sockets as well.
        journal: the journal's file.
        after: a process id, and the command to run once it has ended; empty for none.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    manager = Manager(root, address.parent, journal)
    manager.boot()
    systemctl = Systemctl(manager)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError, asyncio.IncompleteReadError):
            arguments = json.loads(await reader.readuntil(b"\n"))
            reply = await systemctl.run([str(each) for each in arguments])
            body = json.dumps({"code": reply.code, "out": reply.out, "err": reply.err})
            writer.write(body.encode())
            await writer.drain()
        writer.close()

    address.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, address, limit=_REQUEST_LIMIT)
    address.chmod(0o600)
    if after:
        _after(int(after[0]), after[1:])
    await manager.start_enabled()
    async with server:
        await ended.wait()
    await manager.shut_down()
    address.unlink(missing_ok=True)


def _after(owner: int, command: list[str]) -> None:
    loop = asyncio.get_running_loop()

    def ended() -> None:
        subprocess.Popen(command, cwd="/", start_new_session=True)

    try:
        descriptor = os.pidfd_open(owner)
    except ProcessLookupError:
        ended()
        return

    def readable() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        ended()

    loop.add_reader(descriptor, readable)


def main() -> None:
    """Entry point."""
    root, address, journal = map(Path, sys.argv[1:4])
    asyncio.run(serve(root, address, journal, sys.argv[4:]))


if __name__ == "__main__":
    main()
