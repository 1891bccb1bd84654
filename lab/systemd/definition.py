"""Loads a unit from its file and its drop-ins: systemd.unit(5)."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from pathlib import Path

from lab.systemd.directives import KNOWN, NOT_ENFORCED
from lab.systemd.reader import Reader, read_service, read_socket
from lab.systemd.settings import Definition
from lab.systemd.unit_file import UnitSyntaxError, duration, merge, parse, specifiers


def stamp(paths: list[Path]) -> tuple[tuple[str, int, int], ...]:
    """Identity of files' content, for ``NeedDaemonReload``."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def files_of(name: str, directories: list[Path]) -> tuple[Path | None, list[Path]]:
    """The unit file of ``name`` (for ``a@b.service`` also the template's) and its drop-ins, sorted by name."""
    stem, dot, suffix = name.rpartition(".")
    names = [name]
    if "@" in stem:
        names.append(f"{stem.partition('@')[0]}@{dot}{suffix}")
    main = next(
        (path for each in names for base in directories if (path := base / each).exists() or path.is_symlink()), None
    )
    drops = {
        drop.name: drop
        for base in reversed(directories)
        for each in reversed(names)
        for drop in sorted((base / f"{each}.d").glob("*.conf"))
    }
    return main, [drops[key] for key in sorted(drops)]


def load(name: str, directories: list[Path], root: Path) -> Definition:
    """Read a unit from disk.

    Args:
        name: with its suffix, such as ``traefik.service``.
        directories: where unit files are looked for, the first one wins.
        root: the directory that stands for ``/`` in ``StateDirectory=`` and the like.
    """
    main, drops = files_of(name, directories)
    if main is None:
        return Definition(name, "not-found", f"Unit {name} not found.")
    if main.is_symlink() and main.resolve() == Path("/dev/null"):
        return Definition(name, "masked", f"Unit {name} is masked.", path=main)
    files = [main, *drops]
    try:
        text = merge([parse(path.read_text(), path) for path in files])
    except (OSError, UnicodeDecodeError) as error:
        return Definition(name, "error", f"Failed to load {main}: {error}", path=main)
    definition = Definition(name, "loaded", path=main, drop_ins=drops, stamp=stamp(files), text=text)
    reader = Reader(text, specifiers(_specifiers(name, root)))
    _unknown_keys(definition, reader)
    _read_unit(definition, reader)
    try:
        if name.endswith(".service"):
            definition.service = read_service(reader)
            _check_service(definition)
        elif name.endswith(".socket"):
            definition.socket = read_socket(reader, name)
    except UnitSyntaxError as error:
        definition.load_state, definition.load_error = "bad-setting", str(error)
    definition.warnings = reader.warnings
    return definition


def _specifiers(name: str, root: Path) -> dict[str, str]:
    stem, _, _ = name.rpartition(".")
    prefix, _, instance = stem.partition("@")
    account = pwd.getpwuid(os.getuid()) if os.getuid() in {entry.pw_uid for entry in pwd.getpwall()} else None
    return {
        "n": name, "N": stem, "p": prefix, "P": prefix, "i": instance, "I": instance, "j": prefix.rpartition("-")[2],
        "t": str(root / "run"), "S": str(root / "var/lib"), "C": str(root / "var/cache"),
        "L": str(root / "var/log"), "E": str(root / "etc"), "T": "/tmp", "V": "/var/tmp",  # noqa: S108
        "u": account.pw_name if account else str(os.getuid()), "U": str(os.getuid()), "G": str(os.getgid()),
        "h": account.pw_dir if account else "/", "H": os.uname().nodename, "l": os.uname().nodename.partition(".")[0],
    }  # fmt: skip


def _unknown_keys(definition: Definition, reader: Reader) -> None:
    ignored: list[str] = []
    for entry in definition.text.entries:
        known = KNOWN.get(entry.section)
        if known is None:
            if not entry.section.startswith("X-"):
                reader.warnings.append(f"{entry.path}:{entry.line}: Unknown section '{entry.section}'. Ignoring.")
        elif entry.section == "Service" and entry.key in NOT_ENFORCED:
            ignored.append(entry.key)
        elif entry.key not in known and not entry.key.startswith("X-"):
            reader.warnings.append(
                f"{entry.path}:{entry.line}: Unknown key name '{entry.key}' in section '{entry.section}', ignoring."
            )
    if ignored:
        reader.warnings.append("The lab does not enforce " + ", ".join(sorted(set(ignored))) + ".")


def _read_unit(definition: Definition, reader: Reader) -> None:
    definition.description = reader.value("Unit", "Description", str, definition.name)
    for attribute, key in (
        ("wants", "Wants"),
        ("requires", "Requires"),
        ("binds_to", "BindsTo"),
        ("part_of", "PartOf"),
        ("conflicts", "Conflicts"),
        ("after", "After"),
        ("before", "Before"),
        ("on_failure", "OnFailure"),
    ):
        setattr(definition, attribute, reader.words("Unit", key))
    definition.conditions = [
        (entry.key, reader.expand(entry.value))
        for entry in definition.text.entries
        if entry.section == "Unit" and entry.key.startswith(("Condition", "Assert")) and entry.value
    ]
    for section, interval in (
        ("Service", "StartLimitInterval"),
        ("Unit", "StartLimitInterval"),
        ("Unit", "StartLimitIntervalSec"),
    ):
        definition.start_limit_interval = reader.value(section, interval, duration, definition.start_limit_interval)
        definition.start_limit_burst = reader.value(section, "StartLimitBurst", int, definition.start_limit_burst)


def _check_service(definition: Definition) -> None:
    service = definition.service
    if not service.start and not service.stop and service.type != "oneshot":
        raise UnitSyntaxError("Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.")
    if not service.start and not service.stop:
        raise UnitSyntaxError("Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.")
    if service.type != "oneshot" and not service.start:
        raise UnitSyntaxError(
            "Service has no ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
        )
    if service.type != "oneshot" and len(service.start) > 1:
        raise UnitSyntaxError(
            "Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
        )
    if service.type == "oneshot" and service.restart in {"always", "on-success"}:
        raise UnitSyntaxError(
            f"Service has Restart= set to {service.restart}, which isn't allowed for Type=oneshot services. Refusing."
        )


def account(user: str, group: str) -> tuple[int, int, str]:
    """User id, group id and user name that ``User=`` and ``Group=`` mean.

    Raises:
        KeyError: there is no such user or group.
    """
    uid, gid, name = os.geteuid(), os.getegid(), ""
    if user:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        uid, gid, name = entry.pw_uid, entry.pw_gid, entry.pw_name
    if group:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    return uid, gid, name
