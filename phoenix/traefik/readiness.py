"""What must hold in Traefik's container before anything is put there. Pure: scripts out, phrases in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phoenix.configuration import Configuration
from phoenix.settings import Settings, TraefikSettings
from phoenix.traefik.install_settings import InstallSettings
from phoenix.traefik.named_files import NamedFile, check_script, mend_script, named_files


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: what is checked, for the report.
        script: POSIX shell; exit code 0 where it holds. Its first line of output explains.
        remedy: what to do where it does not.
        mend: what ``up`` runs before it looks, where it may put it right by itself; mostly nothing.
    """

    name: str
    script: str
    remedy: str
    mend: str = ""


def checks(settings: Settings, configuration: Configuration | None = None) -> tuple[Check, ...]:
    """The checks of a stack, cheapest first.

    Args:
        settings: the stack's.
        configuration: what shall be put there: the files it names must be there and fit to be read. Without it only
            the internal CA's root certificate is looked at.
    """
    traefik, authority = settings.traefik, settings.certificate_authority
    root = NamedFile(authority.root_file, "certificate", "phoenix:certificateAuthority.rootFile")
    named = named_files(configuration.static, configuration.dynamic) if configuration else []
    others = [file for file in named if (file.path, file.kind) != (root.path, root.kind)]
    return (
        Check(
            "service manager",
            "command -v systemctl >/dev/null || { echo 'there is no systemctl'; exit 1; }",
            "let phoenix:traefik.connection lead to a machine with systemd",
        ),
        *(_tools(traefik.install) if traefik.install else (_program(traefik),)),
        Check(
            "internal CA's root certificate",
            check_script(root, traefik.user),
            "mount it into the container, or correct phoenix:certificateAuthority.rootFile",
        ),
        *(_named(file, traefik.user) for file in others),
    )


def _named(file: NamedFile, user: str) -> Check:
    mend = mend_script(file, user)
    remedy = "`pulumi up` does that" if mend else "put it into the container, or correct its path"
    return Check(file.where, check_script(file, user), remedy, mend)


def _program(traefik: TraefikSettings) -> Check:
    """The program that is expected to be there, in the version that is expected."""
    script = "\n".join(
        (
            f"binary={shlex.quote(traefik.binary)} version={traefik.version}",
            '[ -x "$binary" ] || { echo "there is no program $binary"; exit 1; }',
            'said=$("$binary" version 2>&1) || { echo "$binary does not run: $said" | head -n 1; exit 1; }',
            "found=$(printf '%s\\n' \"$said\" | sed -n 's/^Version: *v*//p')",
            '[ "$found" = "$version" ] || { echo "$binary is Traefik ${found:-of no version}, not $version"; exit 1; }',
        )
    )
    return Check(
        "Traefik program",
        script,
        "let phoenix:traefik.install bring it, install it there, or correct phoenix:traefik.binary or .version",
    )


def _tools(install: InstallSettings) -> Iterator[Check]:
    """What bringing the program needs in the container."""
    if install.url and install.fetch_from == "container":
        yield Check(
            "download",
            "command -v curl >/dev/null || { echo 'there is no curl'; exit 1; }",
            "install curl there, or set phoenix:traefik.install.fetchFrom to here",
        )
    if install.is_archive:
        yield Check(
            "archive tools",
            "for tool in tar gzip; do command -v $tool >/dev/null || { echo there is no $tool; exit 1; }; done",
            "install tar and gzip there, or let phoenix:traefik.install name the program itself",
        )


def combined(parts: Sequence[Check]) -> str:
    """One script that runs every check and prints ``<index> <exit code> <first line>`` for each: one round trip."""
    lines = []
    for index, part in enumerate(parts):
        lines.append(f"said=$( {{ {part.script}\n}} 2>&1 ); code=$?")
        lines.append(f'printf \'{index} %s %s\\n\' "$code" "$(printf %s "$said" | head -n 1)"')
    return "\n".join(lines)


def mending(parts: Sequence[Check]) -> str:
    """One script that puts right what may be; empty where nothing may."""
    return "\n".join(part.mend for part in parts if part.mend)


def failures(parts: Sequence[Check], output: str) -> Iterator[str]:
    """A phrase with its remedy for each check that failed, or did not report."""
    reported: dict[int, tuple[str, str]] = {}
    for line in output.splitlines():
        position, _, rest = line.partition(" ")
        code, _, said = rest.partition(" ")
        if position.isdigit() and code.isdigit():
            reported[int(position)] = (code, said)
    for number, part in enumerate(parts):
        code, said = reported.get(number, ("", "it did not report"))
        if code != "0":
            yield f"{part.name}: {said or f'exit code {code}'} ({part.remedy})"
