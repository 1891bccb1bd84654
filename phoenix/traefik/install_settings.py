"""Where Traefik's program comes from, typed: ``phoenix:traefik.install``. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from phoenix.settings_types import AbsolutePath, SettingsModel

VERSION_MARK = "{version}"
SIZE_LIMIT = 2_000_000_000
"""Largest download in bytes: Traefik's program has some 185 MB, its archive about 55."""

_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!&()*+,;=%\[\]-]+")
_MEMBER = re.compile(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))[A-Za-z0-9._+@/-]{1,200}")


def _download_url(value: str) -> str:
    plain = value.replace(VERSION_MARK, "1.2.3")
    if not _URL.fullmatch(plain) or "://" not in plain or plain.partition("://")[2].startswith("/"):
        raise ValueError(
            "must be an http or https URL without blanks, such as "
            '"https://github.com/traefik/traefik/releases/download/v{version}/traefik_v{version}_linux_amd64.tar.gz"'
        )
    return value


def _sha256(value: str) -> str:
    lowered = value.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", lowered):
        raise ValueError("must be a SHA-256 checksum of 64 hexadecimal digits, as `sha256sum` prints it")
    return lowered


def _member(value: str) -> str:
    if not _MEMBER.fullmatch(value):
        raise ValueError('must be the name of a file within the archive, such as "traefik"')
    return value


def _file(value: str) -> str:
    if not value or any(ord(character) < 32 for character in value):
        raise ValueError("must be a path without control characters")
    return value


DownloadUrl = Annotated[str, AfterValidator(_download_url)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
Member = Annotated[str, AfterValidator(_member)]
LocalPath = Annotated[str, AfterValidator(_file)]


class InstallSettings(SettingsModel):
    """A pinned Traefik of the version in ``phoenix:traefik.version``: from exactly one of three places.

    In ``url``, ``mirrors`` and ``file``, ``{version}`` stands for that version. What ends in ``.tar.gz`` or ``.tgz``
    is an archive.

    Attributes:
        url: where to download it.
        mirrors: tried before ``url``, in order.
        file: a file on this machine, relative to the project.
        container_file: a file in Traefik's container.
        sha256: checksum of what is downloaded or given: of the archive, where it is one.
        archive_member: the program's name within the archive.
        program_sha256: checksum of the program in the archive. With it a program that is right already is recognised
            without the archive; without it, once this stack has installed it.
        fetch_from: who downloads: ``container`` (with curl), ``here`` (this machine, which then sends it), or ``auto``:
            the container, and this machine where the container has no curl or no way out.
        timeout: limit for downloading, in seconds.
    """

    url: DownloadUrl | None = None
    mirrors: tuple[DownloadUrl, ...] = ()
    file: LocalPath | None = None
    container_file: AbsolutePath | None = None
    sha256: Sha256
    archive_member: Member = "traefik"
    program_sha256: Sha256 | None = None
    fetch_from: Literal["auto", "container", "here"] = "auto"
    timeout: Annotated[int, Field(ge=1, le=86400)] = 900

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name, value in self._sources().items() if value]
        if len(given) != 1:
            has = ", ".join(given) or "none"
            raise ValueError(f"must have exactly one of url, file and containerFile (it has {has})")
        if self.mirrors and not self.url:
            raise ValueError("must have url besides mirrors")
        if self.program_sha256 and not self.is_archive:
            raise ValueError("must not have programSha256 where the source is no .tar.gz: sha256 says it all")
        return self

    def _sources(self) -> dict[str, str | None]:
        return {"url": self.url, "file": self.file, "containerFile": self.container_file}

    @property
    def is_archive(self) -> bool:
        """Whether the program is packed."""
        name = next(value for value in self._sources().values() if value).partition("?")[0]
        return name.endswith((".tar.gz", ".tgz"))
