"""asyncssh, imported without its search for liboqs.

That search runs ``ldconfig`` and ``gcc``, a sixth of the import's time, for a library with one more post-quantum key
exchange (sntrup761); ML-KEM comes with ``cryptography``
(https://asyncssh.readthedocs.io/en/latest/#prerequisites).
"""

from __future__ import annotations

import ctypes.util

__all__ = ["asyncssh"]

_OPTIONAL = ("oqs", "liboqs")


def _search(name: str) -> str | None:
    return None if name in _OPTIONAL else _whole_search(name)


_whole_search = ctypes.util.find_library
ctypes.util.find_library = _search
try:
    import asyncssh
finally:
    ctypes.util.find_library = _whole_search
