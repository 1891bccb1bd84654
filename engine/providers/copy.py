"""``remote.CopyToRemote``: puts a file or a directory on a host.

Each file is written beside its target and renamed over it, so that a broken copy leaves the old
file whole (the official provider truncates in place).
"""

from __future__ import annotations

import posixpath
import secrets
from pathlib import Path
from typing import Any

from engine.assets import Archive, Asset
from engine.errors import ProviderError
from engine.providers.base import Context
from engine.providers.ssh import Pool


def copy_to_remote(pool: Pool, context: Context, inputs: dict[str, Any]) -> None:
    """Copy ``source`` to ``remotePath``.

    Raises:
        ProviderError: the source cannot be read or the target not be written.
    """
    source = inputs["source"]
    if not isinstance(source, Asset | Archive):
        raise ProviderError(f"{context.name}: source must be an asset or archive")
    pool.submit(_copy(pool, inputs["connection"], source, str(inputs["remotePath"])))


async def _copy(pool: Pool, connection: dict[str, Any], source: Asset | Archive, target: str) -> None:
    import asyncssh

    kept = await pool.connection(connection)
    try:
        async with kept.sessions, kept.connection.start_sftp_client() as sftp:
            directory = await sftp.isdir(target)
            if isinstance(source, Asset) and source.text is not None:
                if directory:
                    raise ProviderError(f"remote path {target} is a directory: a text asset needs a file's path")
                await _put(sftp, source.text.encode(), target, None)
                return
            await _copy_path(sftp, str(source.path), target, directory=directory)
    except (asyncssh.Error, OSError) as error:
        raise ProviderError(f"copying to {connection.get('host')}:{target}: {error}") from None


async def _copy_path(sftp: Any, source: str, target: str, *, directory: bool) -> None:
    local = Path(source)
    if not local.exists():
        raise ProviderError(f"{source} cannot be copied: no such file or directory")
    if local.is_file():
        goal = posixpath.join(target, local.name) if directory else target
        await _put(sftp, local.read_bytes(), goal, local.stat().st_mode & 0o777)
        return
    if not directory and await sftp.exists(target):
        raise ProviderError(f"remote path {target} exists but is not a directory")
    root = target if source.endswith("/") else posixpath.join(target, local.name)
    await sftp.makedirs(root, exist_ok=True)
    for file in sorted(local.rglob("*")):
        goal = posixpath.join(root, file.relative_to(local).as_posix())
        if file.is_dir():
            await sftp.makedirs(goal, exist_ok=True)
        elif file.is_file():
            await _put(sftp, file.read_bytes(), goal, file.stat().st_mode & 0o777)


async def _put(sftp: Any, content: bytes, target: str, mode: int | None) -> None:
    import asyncssh

    parent = posixpath.dirname(target)
    if parent:
        await sftp.makedirs(parent, exist_ok=True)
    staged = posixpath.join(parent, f".{posixpath.basename(target)}.{secrets.token_hex(4)}")
    try:
        existing = await sftp.stat(target)
        permissions = existing.permissions & 0o7777 if existing.permissions is not None else mode
    except asyncssh.SFTPNoSuchFile:
        permissions = mode
    try:
        async with sftp.open(staged, "wb") as file:
            await file.write(content)
        if permissions is not None:
            await sftp.chmod(staged, permissions)
        await sftp.posix_rename(staged, target)
    except (asyncssh.Error, OSError):
        if await sftp.exists(staged):
            await sftp.remove(staged)
        raise
