"""Kept SSH connections: one for each connection and run, shared by all that use it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from engine.errors import OutcomeUnknown, ProviderError

# sshd's MaxSessions is 10 by default: leave room for others on the same connection.
SESSIONS: Final = 8
# Longer values are not offered over SSH's env request, whose packets sshd bounds.
LARGEST_OPTIONAL: Final = 32 * 1024


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    exit_code: int
    stdout: str
    stderr: str
    signal: str = ""


@dataclass
class _Kept:
    connection: Any
    sessions: asyncio.Semaphore
    jump: Any = None


@dataclass
class Pool:
    """The connections of one run, on an event loop of their own."""

    _kept: dict[str, asyncio.Task[_Kept]] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the pool's loop and wait for its result."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="engine-ssh", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def run(
        self,
        settings: dict[str, Any],
        command: str,
        *,
        stdin: str,
        environment: dict[str, str],
        optional_environment: dict[str, str],
        log: Callable[[str, str], None],
        cancelled: threading.Event,
    ) -> Ran:
        """Run a command on a remote host.

        ``environment`` reaches the command whatever sshd accepts: it is handed over on the standard
        input, ahead of the command's own, and so shows in no process list.

        Raises:
            ProviderError: the host cannot be reached, or the connection broke.
        """
        content = stdin.encode()
        if environment:
            exports = "".join(f"export {_name(k)}={shlex.quote(v)}\n" for k, v in environment.items()).encode()
            command = f'eval "$(dd bs=1 count={len(exports)} 2>/dev/null)"; {command}'
            content = exports + content
        offered = {k: v for k, v in optional_environment.items() if len(v) < LARGEST_OPTIONAL}

        async def work() -> Ran:
            kept = await self.connection(settings)
            async with kept.sessions:
                process = await self._open_session(settings, kept, command, offered)
                return await _finish(process, content, log, cancelled, _where(settings))

        ran: Ran = self.submit(work())
        return ran

    async def _open_session(
        self, settings: dict[str, Any], kept: _Kept, command: str, environment: dict[str, str]
    ) -> Any:
        import asyncssh

        try:
            return await kept.connection.create_process(command, env=environment, encoding=None)
        except (asyncssh.Error, OSError):
            # The kept connection died since its last use; the command has not begun.
            kept = await self.connection(settings, again=True)
        try:
            return await kept.connection.create_process(command, env=environment, encoding=None)
        except (asyncssh.Error, OSError) as error:
            raise ProviderError(f"{_where(settings)}: no session could be opened: {error}") from None

    async def connection(self, settings: dict[str, Any], *, again: bool = False) -> _Kept:
        """Return the kept connection, made at the first use."""
        key = json.dumps(settings, sort_keys=True, default=str)
        task = self._kept.get(key)
        if task is None or (again and task.done()):
            task = asyncio.get_running_loop().create_task(_connect(settings))
            self._kept[key] = task
        try:
            return await asyncio.shield(task)
        except Exception:
            if self._kept.get(key) is task:
                del self._kept[key]
            raise

    def close(self) -> None:
        """Close every connection and the loop."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return

        async def shut() -> None:
            for task in self._kept.values():
                if task.done() and not task.cancelled() and task.exception() is None:
                    kept = task.result()
                    kept.connection.abort()
                    if kept.jump is not None:
                        kept.jump.abort()
                else:
                    task.cancel()
            self._kept.clear()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(shut(), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)


def _name(key: str) -> str:
    if not key.isidentifier() or not key.isascii():
        raise ProviderError(f"environment: {key!r} is no name of an environment variable")
    return key


def _where(settings: dict[str, Any]) -> str:
    return f"ssh {settings.get('user', 'root')}@{settings.get('host')}:{int(settings.get('port') or 22)}"


async def _finish(
    process: Any, content: bytes, log: Callable[[str, str], None], cancelled: threading.Event, where: str
) -> Ran:
    import asyncssh

    collected: dict[str, list[bytes]] = {"stdout": [], "stderr": []}

    async def drain(name: str, stream: Any) -> None:
        rest = b""
        while chunk := await stream.read(65536):
            collected[name].append(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                log(name, line.decode(errors="replace"))
        if rest:
            log(name, rest.decode(errors="replace"))

    async def feed() -> None:
        try:
            if content:
                process.stdin.write(content)
                await process.stdin.drain()
            process.stdin.write_eof()
        except (OSError, asyncssh.Error):
            pass  # the command did not read its input: its own affair

    async def watch() -> None:
        while not cancelled.is_set():
            await asyncio.sleep(0.25)
        process.kill()

    watcher = asyncio.ensure_future(watch())
    try:
        await asyncio.gather(feed(), drain("stdout", process.stdout), drain("stderr", process.stderr))
        await process.wait_closed()
    except (asyncssh.Error, OSError):
        pass  # told below: there is no exit status
    finally:
        watcher.cancel()
    texts = {name: b"".join(parts).decode(errors="replace") for name, parts in collected.items()}
    if process.exit_signal is not None:
        return Ran(1, texts["stdout"], texts["stderr"], process.exit_signal[0])
    if process.exit_status is None:
        raise OutcomeUnknown(f"{where}: the connection was lost while the command ran; whether it finished is unknown")
    return Ran(process.exit_status, texts["stdout"], texts["stderr"])


async def _connect(settings: dict[str, Any]) -> _Kept:
    proxy = settings.get("proxy")
    jump = await _dial(proxy, None) if isinstance(proxy, dict) else None
    connection = await _dial(settings, jump)
    return _Kept(connection, asyncio.Semaphore(SESSIONS), jump)


async def _dial(settings: dict[str, Any], tunnel: Any) -> Any:
    """Connect, with the attempts ``dialErrorLimit`` allows; each is bounded whole by ``perDialTimeout``."""
    import asyncssh

    options = _options(settings)
    attempts_left = int(settings.get("dialErrorLimit", 10))
    limit = float(settings.get("perDialTimeout", 15)) or None
    pause, attempt = 0.1, 0
    while True:
        attempt += 1
        try:
            async with asyncio.timeout(limit):
                return await asyncssh.connect(
                    str(settings["host"]),
                    int(settings.get("port") or 22),
                    tunnel=tunnel or (),
                    config=None,
                    keepalive_interval=15,
                    **options,
                )
        except (asyncssh.PermissionDenied, asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
            raise ProviderError(f"{_where(settings)}: {_reason(error, settings)}") from None
        except (TimeoutError, OSError, asyncssh.Error) as error:
            if attempts_left >= 0 and attempt > attempts_left:
                raise ProviderError(
                    f"{_where(settings)}: no connection after {attempt} attempt(s): {_reason(error, settings)}"
                ) from None
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 5.0)


def _reason(error: Exception, settings: dict[str, Any]) -> str:
    import asyncssh

    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return "the host's key is not the one in hostKey: is it the right host?"
    if isinstance(error, asyncssh.PermissionDenied):
        tried = [name for name in ("privateKey", "password") if settings.get(name)]
        return f"the server refused {' and '.join(tried) or 'the login without key or password'}"
    if isinstance(error, TimeoutError):
        return f"no answer within {settings.get('perDialTimeout', 15):g} s (perDialTimeout)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    import asyncssh

    options: dict[str, Any] = {
        "username": settings.get("user") or "root",
        "known_hosts": None,
        "client_keys": None,
        "agent_path": None,
        "password": settings.get("password"),
    }
    host_key = settings.get("hostKey")
    if host_key:
        try:
            key = asyncssh.import_public_key(host_key)
        except (asyncssh.KeyImportError, ValueError):
            raise ProviderError(f"{_where(settings)}: hostKey is not a public key line (ssh-ed25519 AAAA…)") from None
        options["known_hosts"] = ([key], [], [])
    private = settings.get("privateKey")
    if private:
        try:
            options["client_keys"] = [asyncssh.import_private_key(private, settings.get("privateKeyPassword"))]
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
            raise ProviderError(f"{_where(settings)}: privateKey cannot be read: {error}") from None
    # An agent helps where no key or password is given, and cannot spoil one that is.
    agent = settings.get("agentSocketPath") or (
        None if private or settings.get("password") else os.environ.get("SSH_AUTH_SOCK")
    )
    if agent:
        options |= {"agent_path": agent} | ({} if private else {"client_keys": ()})
    return options
