"""SSH servers on loopback for the remote provider's tests: real commands, real SFTP, real tunnels."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any, Self

import asyncssh


class _Server(asyncssh.SSHServer):
    def __init__(self, owner: SshServer) -> None:
        self.owner = owner

    def connection_made(self, conn: Any) -> None:
        self.owner.connections += 1
        self.owner.live.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: Any) -> bool:
        return bool(key == self.owner.accepted)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "open sesame"

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        self.owner.tunnels += 1
        return True


class SshServer:
    """A server on its own thread.

    Attributes:
        connections: how many were made.
        tunnels: how many were forwarded (a jump host).
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.user_key = asyncssh.generate_private_key("ssh-ed25519")
        self.accepted = self.user_key.convert_to_public()
        self.private_key = self.user_key.export_private_key().decode()  # another text at each export
        self.connections = 0
        self.tunnels = 0
        self.live: list[Any] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Any = None
        self._children: list[asyncio.subprocess.Process] = []

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        async def stop() -> None:
            self._server.close()
            for connection in self.live:
                connection.abort()
            for child in self._children:
                if child.returncode is None:
                    child.kill()
                await child.wait()
            await asyncio.sleep(0.05)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Server(self),
            server_host_keys=[self.host_key],
            process_factory=self._process,
            sftp_factory=True,
            encoding=None,
            allow_scp=False,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _process(self, process: Any) -> None:
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command,
            cwd=self.directory,
            env={"PATH": os.environ["PATH"]},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._children.append(child)
        out, err = await child.communicate(await process.stdin.read())
        process.stdout.write(out)
        process.stderr.write(err)
        code = child.returncode or 0
        if code < 0:
            process.exit_with_signal("KILL", core_dumped=False)
        else:
            process.exit(code)

    def drop_connections(self) -> None:
        """Cut every connection, as a restart of the server would."""

        async def cut() -> None:
            for connection in self.live:
                connection.abort()
            self.live.clear()

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    @property
    def settings(self) -> dict[str, Any]:
        """What a program's ``connection`` says."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "privateKey": self.private_key,
            "hostKey": self.host_key.export_public_key().decode(),
            "dialErrorLimit": 0,
            "perDialTimeout": 5,
        }
