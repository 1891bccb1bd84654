"""Container images of the lab's registry: a small Python, made of the guests' own files, and what runs on it.

``portainer/portainer-ce`` is the stand-in of Portainer's API, ``portainer/agent`` answers as an agent does, and
``lab/answer`` answers with its environment. Nothing is fetched from a real registry.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
import platform
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.container.certificates import Authority
from lab.container.plan import Plan
from lab.container.processes import run
from lab.container.registry import MANIFEST

SERVER, AGENT, ANSWER = "portainer/portainer-ce", "portainer/agent", "lab/answer"
_LAB = Path(__file__).resolve().parents[1]
PROGRAMS = ("usr/bin/python3", "usr/bin/python3.11", "usr/bin/sh", "usr/bin/dash", "usr/bin/cat", "usr/bin/sleep")
_LINKS = ("bin", "lib", "lib64")
_LEFT_OUT = ("__pycache__", "test", "idlelib", "lib2to3", "ensurepip", "pydoc_data")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_RECIPE = "1"


@dataclass(frozen=True, slots=True)
class Layer:
    """A compressed layer.

    Attributes:
        digest: SHA-256 of the compressed bytes.
        difference: SHA-256 of the tar inside.
    """

    path: Path
    digest: str
    difference: str
    size: int


def prepare(base: Path, blobs: Path, plan: Plan) -> dict[str, Any]:
    """Put all images' blobs into a directory; returns the registry's ``images``.

    Args:
        base: the guests' root file system.
        blobs: an empty directory.
        plan: its inventory names Portainer's images.
    """
    runtime = _python(base)
    (blobs / runtime.digest).symlink_to(runtime.path)
    own = _pack(_own_files(), blobs)
    modes = _modes()
    images: dict[str, dict[str, dict[str, str]]] = {name: {"tags": {}} for name in (SERVER, AGENT, ANSWER)}
    for tag in sorted({"latest", *(f"{mode}.0" for mode in modes), *_tags(plan, SERVER)}):
        mode = next((mode for mode in modes if tag.startswith(f"{mode}.")), "2.39")
        environment = {"PORTAINER_MODE": mode}
        images[SERVER]["tags"][tag] = _image(blobs, (runtime, own), "server", environment)
    for tag in sorted({"latest", *(f"{mode}.0" for mode in modes), *_tags(plan, AGENT)}):
        images[AGENT]["tags"][tag] = _image(blobs, (runtime, own), "agent", {})
    images[ANSWER]["tags"] = dict.fromkeys(("1", "2", "latest"), _image(blobs, (runtime, own), "answer", {}))
    return images


def _tags(plan: Plan, name: str) -> set[str]:
    """Tags of an image that the inventory names."""
    docker = plan.hypervisor_config.get("docker") or {}
    tagged = (str(value).partition(":") for value in docker.values())
    return {tag for image, _, tag in tagged if image == name and tag}


def _modes() -> list[str]:
    from lab.portainer.modes import MODES

    return sorted(MODES)


def _image(blobs: Path, layers: Iterable[Layer], role: str, environment: dict[str, str]) -> str:
    """Write an image's configuration and manifest; returns the manifest's digest."""
    layers = list(layers)
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/opt/lab", "PYTHONUNBUFFERED": "1", **environment}
    configuration = json.dumps(
        {
            "architecture": _MACHINES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {
                "Env": [f"{name}={value}" for name, value in variables.items()],
                "Entrypoint": ["/usr/bin/python3", "/opt/lab/image_entry.py", role],
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.difference}" for layer in layers]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(configuration),
            "digest": f"sha256:{_blob(blobs, configuration)}",
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.size,
                "digest": f"sha256:{layer.digest}",
            }
            for layer in layers
        ],
    }
    return f"sha256:{_blob(blobs, json.dumps(manifest).encode())}"


def _blob(blobs: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return digest


def _python(base: Path) -> Layer:
    """The layer with Python; kept beside the root file system it was made from."""
    stored = base.parent / f"python-{base.name.removeprefix('base-')}-{_RECIPE}"
    record = stored.with_suffix(".json")
    if not record.exists():
        layer = _pack(_python_files(base), base.parent)
        layer.path.rename(stored)
        record.write_text(json.dumps({"digest": layer.digest, "difference": layer.difference, "size": layer.size}))
    os.utime(stored)
    os.utime(record)
    return Layer(stored, **json.loads(record.read_text()))


def _python_files(base: Path) -> Iterator[tuple[str, Path | bytes]]:
    for name in (*_LINKS, *PROGRAMS):
        yield name, base / name
    library = base / "usr/lib/python3.11"
    for path in sorted(library.rglob("*")):
        if not any(part in _LEFT_OUT or part.startswith("config-") for part in path.relative_to(library).parts):
            yield str(path.relative_to(base)), path
    modules = [f"/{path.relative_to(base)}" for path in library.glob("lib-dynload/*.so")]
    programs = [f"/{name}" for name in PROGRAMS]
    said = run(["chroot", str(base), "ldd", *programs, *modules], check=False).stdout
    words = [word for line in said.splitlines() for word in line.split()]
    for word in sorted({word for word in words if word.startswith("/lib") and ":" not in word}):
        path = base / "usr" / word.lstrip("/")
        while path.is_symlink():
            yield str(path.relative_to(base)), path
            target = path.readlink()
            # Debian's /lib and /lib64 are links to those below /usr.
            followed = base / "usr" / str(target).lstrip("/") if target.is_absolute() else path.parent / target
            path = Path(os.path.normpath(followed))
        yield str(path.relative_to(base)), path
    for name in ("etc/passwd", "etc/group", "tmp", "data"):
        yield name, base / name if (base / name).exists() else b""


def _own_files() -> Iterator[tuple[str, Path | bytes]]:
    """The stand-in, its two pure libraries, the programs of the images, and a certificate of their own."""
    yield "opt/lab/image_entry.py", Path(__file__).with_name("image_entry.py")
    yield "opt/lab/lab/__init__.py", b"\n"
    for path in sorted((_LAB / "portainer").rglob("*.py")):
        yield f"opt/lab/lab/{path.relative_to(_LAB)}", path
    for package in ("click", "yaml"):
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            continue
        root = Path(found.origin).parent
        for path in sorted(root.rglob("*.py")):
            yield f"opt/lab/{package}/{path.relative_to(root)}", path
    issued = Authority("Self-signed by the lab's image").issue(["localhost"])
    yield "opt/lab/own.crt", issued.certificate.encode()
    yield "opt/lab/own.key", issued.key.encode()


def _pack(files: Iterable[tuple[str, Path | bytes]], directory: Path) -> Layer:
    """Write files as a layer named by its digest."""
    raw = io.BytesIO()
    seen: set[str] = set()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in files:
            if name in seen:
                continue
            seen.add(name)
            if isinstance(content, bytes):
                entry = tarfile.TarInfo(name)
                if content:
                    entry.size, entry.mode = len(content), 0o644
                    archive.addfile(entry, io.BytesIO(content))
                else:
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
            else:
                archive.add(content, name, recursive=False, filter=_anonymous)
    packed = gzip.compress(raw.getvalue(), compresslevel=1, mtime=0)
    digest = _blob(directory, packed)
    return Layer(directory / digest, digest, hashlib.sha256(raw.getvalue()).hexdigest(), len(packed))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry
