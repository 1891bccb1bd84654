"""Real SSH servers on loopback, and stand-ins for the hypervisor's `pct` and `qm` that run real shells."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh


def _install_shims() -> Path:
    """Copy the stand-ins to a directory of this run, with the interpreter of this run: `env python3` may be slow."""
    directory = Path(tempfile.mkdtemp(prefix="phoenix-shims-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    for shim in (Path(__file__).parent / "shims").iterdir():
        copy = directory / shim.name
        copy.write_text(shim.read_text().replace("#!/usr/bin/env python3\n", f"#!{sys.executable} -IS\n", 1))
        copy.chmod(0o755)
    return directory


SHIMS = _install_shims()


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@dataclass
class Keys:
    """A client's key pair and a server's, as files that OpenSSH accepts."""

    directory: Path
    client: asyncssh.SSHKey = field(init=False)
    host: asyncssh.SSHKey = field(init=False)

    def __post_init__(self) -> None:
        self.client = asyncssh.generate_private_key("ssh-ed25519")
        self.host = asyncssh.generate_private_key("ssh-ed25519")
        self.directory.chmod(0o700)
        for name, key in (("client", self.client), ("host", self.host)):
            path = self.directory / name
            path.touch(mode=0o600)
            path.write_bytes(key.export_private_key())
        self.authorized.write_bytes(self.client.export_public_key())
        self.authorized.chmod(0o600)

    @property
    def client_file(self) -> Path:
        return self.directory / "client"

    @property
    def host_file(self) -> Path:
        return self.directory / "host"

    @property
    def authorized(self) -> Path:
        return self.directory / "authorized_keys"

    @property
    def host_line(self) -> str:
        return self.host.export_public_key().decode().strip()


class AsyncsshServer:
    """An SSH server in a thread of its own; every command runs in a real `sh`."""

    def __init__(self, keys: Keys, environment: dict[str, str], noise: str = "") -> None:
        self.keys = keys
        self.port = 0
        self.logins = 0
        self.commands: list[str] = []
        self._environment = environment
        self._noise = noise
        self._loop = asyncio.new_event_loop()
        self._live: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen(0))

    def _call(self, coroutine) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _listen(self, port: int) -> None:
        outer = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                self._connection = conn
                outer._live.add(conn)
                outer.logins += 1

            def connection_lost(self, exc: Exception | None) -> None:
                outer._live.discard(self._connection)

            def connection_requested(self, *_args: object) -> bool:
                return True

        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            port,
            server_factory=Server,
            server_host_keys=[self.keys.host],
            authorized_client_keys=str(self.keys.authorized),
            process_factory=self._run,
            encoding=None,
            reuse_address=True,
        )
        self.port = self._acceptor.get_port()

    async def _run(self, process: asyncssh.SSHServerProcess) -> None:
        command = str(process.command)
        self.commands.append(command)
        script = f"{self._noise}\n{command}" if self._noise else command
        child = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            script,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )

        # asyncssh's own redirect() reads a pipe twice at a time under load, and then drops the whole connection
        async def pump(source, sink) -> None:
            with contextlib.suppress(OSError, asyncssh.Error):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()

        async def feed() -> None:
            await pump(process.stdin, child.stdin)
            child.stdin.close()

        feeder = asyncio.ensure_future(feed())
        try:
            await asyncio.gather(pump(child.stdout, process.stdout), pump(child.stderr, process.stderr))
            code = await child.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
        finally:
            feeder.cancel()
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)
        await process.wait_closed()

    def drop(self) -> None:
        """Cut every live connection, and go on listening."""

        async def cut() -> None:
            for connection in list(self._live):
                connection.abort()

        self._call(cut())

    def stop_listening(self) -> None:
        async def stop() -> None:
            assert self._acceptor is not None
            self._acceptor.close()
            await self._acceptor.wait_closed()

        self._call(stop())
        self.drop()

    def listen_again(self) -> None:
        self._call(self._listen(self.port))

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.stop_listening()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def find_sshd() -> str | None:
    return shutil.which("sshd") or next(
        (p for p in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if Path(p).exists()), None
    )


def sshd_problem() -> str | None:
    """Why OpenSSH's server cannot run here, or None. As root on Debian it is installed."""
    if find_sshd() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", "openssh-server"],
            check=False,
            capture_output=True,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            timeout=300,
        )
    if find_sshd() is None:
        return "OpenSSH's sshd is not installed and cannot be installed here"
    shell = pwd.getpwuid(os.geteuid()).pw_shell
    if shell.endswith(("nologin", "false")):
        return f"OpenSSH's sshd lets nobody in whose login shell is {shell}"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return None


@contextlib.contextmanager
def openssh_server(keys: Keys, directory: Path, environment: dict[str, str], more: str = "") -> Iterator[int]:
    """Run OpenSSH's sshd on a free loopback port; yields the port."""
    sshd = find_sshd()
    assert sshd is not None
    port = free_port()
    configuration = directory / "sshd_config"
    configuration.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {keys.host_file}\nAuthorizedKeysFile {keys.authorized}\n"
        "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
        f"PermitRootLogin prohibit-password\nPidFile none\nSetEnv PATH={environment['PATH']}\n{more}\n"
    )
    log = directory / "sshd.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(configuration)], stdout=output, stderr=output)
    try:
        wait_for_port(port, lambda: process.poll() is None or sys.exit(log.read_text()))
        yield port
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int, alive, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while True:
        alive()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                probe.recv(4)
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
