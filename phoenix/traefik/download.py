"""Downloads Traefik to this machine, for containers that have no way out. Kept by checksum, so once for all stacks."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from phoenix.errors import PhoenixError
from phoenix.remote.masking import mask
from phoenix.traefik.install_settings import SIZE_LIMIT

SAY_SECONDS = 3.0


def cache_directory() -> Path:
    """Where downloads are kept: below ``XDG_CACHE_HOME``, else ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "phoenix-ingress" / "traefik"


def file_digest(path: Path) -> str:
    """A file's SHA-256 in hex, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def download(urls: Sequence[str], sha256: str, timeout: float, say: Callable[[str], None]) -> Path:
    """A file with this checksum, from the cache or from the first URL that has it.

    Args:
        urls: tried in order.
        sha256: hex.
        timeout: limit for each, in seconds.
        say: told of progress, a line at a time.

    Returns:
        Its path in the cache.

    Raises:
        PhoenixError: no URL gives it; with the reason of each.
    """
    directory = cache_directory()
    path = directory / sha256
    if path.is_file() and file_digest(path) == sha256:
        return path
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PhoenixError(f"{directory}: it cannot be made ({error.strerror}): set XDG_CACHE_HOME.") from None
    reasons = []
    for url in urls:
        staged = directory / f".{sha256}.{os.getpid()}.part"
        try:
            reason = _fetch(url, staged, sha256, timeout, say)
            if reason is None:
                staged.replace(path)
                return path
            reasons.append(f"{mask(url)}: {reason}")
        finally:
            staged.unlink(missing_ok=True)
    raise PhoenixError(
        f"Traefik cannot be downloaded to this machine ({'; '.join(reasons) or 'no URL is given'}): correct "
        "phoenix:traefik.install.url or add a mirror, or give the file with phoenix:traefik.install.file."
    )


def _fetch(url: str, staged: Path, sha256: str, timeout: float, say: Callable[[str], None]) -> str | None:
    """Download one; None, or why it is not it."""
    import httpx

    begun = last = time.monotonic()
    digest, size = hashlib.sha256(), 0
    try:
        limits = httpx.Timeout(30, connect=15)
        plain = {"Accept-Encoding": "identity"}
        with (
            httpx.stream("GET", url, headers=plain, follow_redirects=True, timeout=limits) as answer,
            staged.open("wb") as target,
        ):
            answer.raise_for_status()
            for piece in answer.iter_raw(1024 * 1024):
                target.write(piece)
                digest.update(piece)
                size += len(piece)
                now = time.monotonic()
                if size > SIZE_LIMIT or now - begun > timeout:
                    return f"it is larger than {SIZE_LIMIT // 10**6} MB" if size > SIZE_LIMIT else f"over {timeout:g} s"
                if now - last >= SAY_SECONDS:
                    last = now
                    say(f"{mask(url)}: {size / 1e6:.0f} MB downloaded")
    except httpx.HTTPStatusError as error:
        return f"the server answers {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return mask(str(error)) or type(error).__name__
    except OSError as error:
        return error.strerror or type(error).__name__
    if digest.hexdigest() != sha256:
        return f"its SHA-256 is {digest.hexdigest()}, not {sha256}"
    say(f"{mask(url)}: {size / 1e6:.0f} MB downloaded in {time.monotonic() - begun:.1f} s")
    return None
