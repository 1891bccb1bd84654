"""Assets and archives: files and directories as property values, known by their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import EngineError, UnsupportedError


@dataclass(frozen=True)
class Asset:
    """A file's content given as text, path or URI; ``digest`` is the sha256 of its bytes."""

    digest: str
    text: str | None = None
    path: str | None = None
    uri: str | None = None

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            EngineError: the file cannot be read.
            UnsupportedError: the asset is a URI.
        """
        if self.text is not None:
            return self.text.encode()
        if self.path is not None:
            try:
                return Path(self.path).read_bytes()
            except OSError as error:
                raise EngineError(f"asset {self.path} cannot be read: {error.strerror}") from None
        raise UnsupportedError(f"the remote asset {self.uri}")


@dataclass(frozen=True)
class Archive:
    """A directory or archive file by path, or a map of assets."""

    digest: str
    path: str | None = None
    uri: str | None = None
    assets: tuple[tuple[str, Any], ...] | None = None


def asset(text: str | None = None, path: str | None = None, uri: str | None = None, digest: str = "") -> Asset:
    """Make an asset, with its digest computed where none is given."""
    if path is None and uri is None:
        text = text or ""  # a refresh by the official engine leaves the digest alone
    if not digest and uri is None:
        digest = hashlib.sha256(Asset("", text, path).read()).hexdigest()
    return Asset(digest, text, path, uri)


ARCHIVE_SUFFIXES: Final = (".tar", ".tgz", ".tar.gz", ".zip", ".jar")


def archive(path: str | None, uri: str | None, assets: dict[str, Any] | None, digest: str) -> Archive:
    """Make an archive, with its digest computed where none is given: the sha256 of its tar form.

    Raises:
        EngineError: it cannot be read, or is neither a directory nor an archive file.
    """
    members = tuple(sorted(assets.items())) if assets is not None else None
    if not digest and uri is None:
        if path is not None and path.endswith(ARCHIVE_SUFFIXES):
            digest = asset(path=path).digest
        else:
            digest = _tar_digest(_members(path, members))
    return Archive(digest, path, uri, members)


def _members(path: str | None, assets: tuple[tuple[str, Any], ...] | None) -> Iterator[tuple[str, bytes]]:
    for name, member in assets or ():
        if isinstance(member, Asset):
            yield name, member.read()
        else:
            for inner, content in _members(member.path, member.assets):
                yield f"{name}/{inner}", content
    if path is None:
        return
    root = Path(path)
    if not root.is_dir():
        raise EngineError(f"archive {path} is neither a recognized archive type nor a directory")
    for file in sorted((p for p in root.rglob("*") if p.is_file()), key=lambda p: p.parts):
        if ".pulumi" not in file.relative_to(root).parts:
            yield file.relative_to(root).as_posix(), file.read_bytes()


def _tar_digest(members: Iterator[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in members:
        digest.update(_tar_header(name, len(content)) + content + b"\0" * (-len(content) % 512))
    digest.update(b"\0" * 1024)
    return digest.hexdigest()


def _tar_header(name: str, size: int) -> bytes:
    """Return the USTAR header Go writes: device numbers given, no owner, no time."""
    import tarfile

    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    header = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
    header[329:345] = b"0000000\0" * 2
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)
