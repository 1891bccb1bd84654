"""Fixtures: real programs to install, and where they come from."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import OTHER_VERSION, REAL_VERSION, FileServer, Source, make_archive, make_other, source, traefik_program

from phoenix.remote import Connection, Transport, close_all, open_transport
from phoenix.traefik.install import WantedProgram


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def real() -> Source:
    return source(traefik_program(), REAL_VERSION)


@pytest.fixture(scope="session")
def other(real: Source, sources: Path) -> Source:
    path = sources / "traefik-other"
    make_other(real.path, path)
    return source(path, OTHER_VERSION)


@pytest.fixture(scope="session")
def archive(other: Source, sources: Path) -> Source:
    path = sources / "traefik_v3.7.14_linux_amd64.tar.gz"
    make_archive(other.path, path, "traefik")
    return source(path, OTHER_VERSION)


@pytest.fixture(scope="session")
def server(sources: Path) -> Iterator[FileServer]:
    running = FileServer(sources)
    yield running
    running.close()


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield open_transport(Connection(transport="local"))
    close_all()


@pytest.fixture
def wanted(tmp_path: Path) -> Iterator[Any]:
    """A function from a source to the program that shall be at one place; what was put anywhere is removed after."""

    def make(wish: Source, **more: Any) -> WantedProgram:
        settings: dict[str, Any] = {
            "path": str(tmp_path / "bin" / "traefik"),
            "version": wish.version,
            "sha256": wish.sha256,
            "owner": pwd.getpwuid(os.getuid()).pw_name,
            "group": grp.getgrgid(os.getgid()).gr_name,
        }
        if not more.get("member"):
            settings["program_sha256"] = wish.sha256
        if not {"urls", "container_file"} & more.keys():
            settings["file"] = str(wish.path)
        return WantedProgram(**{**settings, **more})

    yield make
    shutil.rmtree(tmp_path)
