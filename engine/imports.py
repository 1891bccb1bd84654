"""What the preview's process imports, the one that waits for it imports too, so that the update finds it there.

The preview runs in a child process, and what it loaded goes with it. It tells the name of each package as it comes to
it; the parent, which has nothing else to do, follows. The project's own modules are left to the program: they may
register resources as they load.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import threading


class Follower:
    """The two ends of one preview's list of imports.

    Make it before the fork; then :meth:`lead` in the child, and :meth:`follow` and :meth:`finish` in the parent.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._thread = threading.Thread(target=self._import, daemon=True)

    def lead(self) -> None:
        """Tell each import of this process from now on."""
        os.close(self._reader)
        os.set_blocking(self._writer, False)
        sys.addaudithook(self._tell)

    def _tell(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "import":
            with contextlib.suppress(OSError):  # nobody reads any more, or not fast enough
                os.write(self._writer, f"{arguments[0]}\n".encode())

    def follow(self) -> None:
        """Begin to import what the child tells."""
        os.close(self._writer)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the import that is going on; the child has ended."""
        self._thread.join()

    def _import(self) -> None:
        with os.fdopen(self._reader, encoding="utf-8", errors="replace") as names:
            for line in names:
                name = line.strip()
                # A package as a whole: its parts may count on being imported from within it.
                if "." not in name and name not in sys.modules and is_installed(name):
                    with contextlib.suppress(Exception):  # whatever is wrong shows in the program
                        importlib.import_module(name)


def is_installed(name: str) -> bool:
    """Whether a package is one of the environment's or Python's own, not the project's."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    places = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return spec is not None and any((spec.origin or "").startswith(place + os.sep) for place in places if place)
