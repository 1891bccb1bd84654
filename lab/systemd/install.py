"""Enables, disables and masks units: the links that ``[Install]`` asks for (systemd.unit(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lab.systemd.definition import files_of, load
from lab.systemd.unit_file import UnitText

_LINKS = {"WantedBy": "wants", "RequiredBy": "requires", "UpheldBy": "upholds"}


class InstallError(Exception):
    """A unit cannot be enabled, disabled or masked; the text is systemctl's."""


@dataclass
class Changes:
    """What was done: lines as systemctl prints them, and units without ``[Install]``."""

    lines: list[str] = field(default_factory=list)
    without_install: list[str] = field(default_factory=list)


class Installer:
    """Works on the unit directory that the administrator owns.

    Args:
        directories: where unit files are looked for; links are made in the first.
        root: the directory that stands for ``/``.
    """

    def __init__(self, directories: list[Path], root: Path) -> None:
        self.directories = directories
        self.root = root
        self.base = directories[0]

    def state(self, name: str) -> str:
        """``enabled``, ``disabled``, ``static``, ``masked``, ``indirect``, ``bad`` or ``not-found``."""
        path, _ = files_of(name, self.directories)
        if path is None:
            return "not-found"
        if path.is_symlink() and os.path.realpath(path) == os.devnull:
            return "masked"
        if any(self._links_to(name)):
            return "enabled"
        text = load(name, self.directories, self.root).text
        if any(text.words("Install", key) for key in (*_LINKS, "Alias")):
            return "disabled"
        return "indirect" if text.words("Install", "Also") else "static"

    def enable(self, names: Iterable[str]) -> Changes:
        """Make the links of ``[Install]``, of ``Also=`` as well.

        Raises:
            InstallError: there is no such unit file, or it is masked.
        """
        changes = Changes()
        for name in self._with_also(names, "enable"):
            path, text = self._read(name, "enable")
            wanted: list[Path] = []
            for key, suffix in _LINKS.items():
                wanted += [self.base / f"{target}.{suffix}" / name for target in text.words("Install", key)]
            wanted += [self.base / alias for alias in text.words("Install", "Alias") if alias != name]
            if not wanted and not text.words("Install", "Also"):
                changes.without_install.append(name)
            for link in wanted:
                if link.is_symlink() and os.path.realpath(link) == os.path.realpath(path):
                    continue
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(path)
                changes.lines.append(f"Created symlink {link} → {path}.")
        return changes

    def disable(self, names: Iterable[str]) -> Changes:
        """Remove every link to the units.

        Raises:
            InstallError: there is no such unit file.
        """
        changes = Changes()
        for name in self._with_also(names, "disable"):
            _, text = self._read(name, "disable")
            links = list(self._links_to(name))
            if not links and not any(text.words("Install", key) for key in (*_LINKS, "Alias", "Also")):
                changes.without_install.append(name)
            for link in links:
                link.unlink()
                changes.lines.append(f'Removed "{link}".')
        return changes

    def mask(self, names: Iterable[str]) -> Changes:
        """Link the units to ``/dev/null``.

        Raises:
            InstallError: a unit file of that name stands in the way.
        """
        changes = Changes()
        for name in names:
            path = self.base / name
            if path.is_symlink() and os.path.realpath(path) == os.devnull:
                continue
            if path.exists() or path.is_symlink():
                raise InstallError(f"Failed to mask unit: File '{path}' already exists.")
            if files_of(name, self.directories)[0] is None:
                changes.lines.append(f"Unit {name} does not exist, proceeding anyway.")
            path.symlink_to(os.devnull)
            changes.lines.append(f"Created symlink {path} → /dev/null.")
        return changes

    def unmask(self, names: Iterable[str]) -> Changes:
        """Remove the links to ``/dev/null``."""
        changes = Changes()
        for name in names:
            path = self.base / name
            if path.is_symlink() and os.path.realpath(path) == os.devnull:
                path.unlink()
                changes.lines.append(f'Removed "{path}".')
        return changes

    def wanted_by(self, target: str) -> list[str]:
        """Names of the units enabled for ``target``."""
        found: list[str] = []
        for base in self.directories:
            for suffix in ("wants", "requires"):
                directory = base / f"{target}.{suffix}"
                if directory.is_dir():
                    found += [entry.name for entry in sorted(directory.iterdir()) if entry.name not in found]
        return found

    def _links_to(self, name: str) -> Iterable[Path]:
        for pattern in ("*.wants", "*.requires", "*.upholds"):
            for directory in sorted(self.base.glob(pattern)):
                link = directory / name
                if link.is_symlink():
                    yield link
        path, _ = files_of(name, self.directories)
        for entry in sorted(self.base.iterdir()) if self.base.is_dir() else []:
            if (
                path is not None
                and entry != path
                and entry.is_symlink()
                and os.path.realpath(entry) == os.path.realpath(path)
            ):
                yield entry

    def _with_also(self, names: Iterable[str], verb: str) -> list[str]:
        found: list[str] = []
        queue = list(names)
        while queue:
            name = queue.pop(0)
            if name in found:
                continue
            found.append(name)
            _, text = self._read(name, verb)
            queue += text.words("Install", "Also")
        return found

    def _read(self, name: str, verb: str) -> tuple[Path, UnitText]:
        path, _ = files_of(name, self.directories)
        if path is None:
            raise InstallError(f"Failed to {verb} unit: Unit file {name} does not exist.")
        definition = load(name, self.directories, self.root)
        if definition.load_state == "masked":
            raise InstallError(f"Failed to {verb} unit: Unit file {path} is masked.")
        return path, definition.text
