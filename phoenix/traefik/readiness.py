"""What must hold in Traefik's container before anything is put there. Pure: scripts out, phrases in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phoenix.settings import Settings


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: what is checked, for the report.
        script: POSIX shell; exit code 0 where it holds. Its first line of output explains.
        remedy: what to do where it does not.
    """

    name: str
    script: str
    remedy: str


def checks(settings: Settings) -> tuple[Check, ...]:
    """The checks of a stack, cheapest first."""
    traefik, authority = settings.traefik, settings.certificate_authority
    binary, root = shlex.quote(traefik.binary), shlex.quote(authority.root_file)
    return (
        Check(
            "service manager",
            "command -v systemctl >/dev/null || { echo 'there is no systemctl'; exit 1; }",
            "let phoenix:traefik.connection lead to a machine with systemd",
        ),
        Check(
            "Traefik program",
            f"test -x {binary} || {{ echo there is no program {binary}; exit 1; }}",
            "install Traefik there, or correct phoenix:traefik.binary",
        ),
        Check(
            "internal CA's root certificate",
            f"test -r {root} || {{ echo {root} cannot be read; exit 1; }}\n"
            f"grep -q 'BEGIN CERTIFICATE' {root} || {{ echo {root} holds no PEM certificate; exit 1; }}",
            "mount it into the container, or correct phoenix:certificateAuthority.rootFile",
        ),
    )


def combined(parts: Sequence[Check]) -> str:
    """One script that runs every check and prints ``<index> <exit code> <first line>`` for each: one round trip."""
    lines = []
    for index, part in enumerate(parts):
        lines.append(f"said=$( {{ {part.script}\n}} 2>&1 ); code=$?")
        lines.append(f'printf \'{index} %s %s\\n\' "$code" "$(printf %s "$said" | head -n 1)"')
    return "\n".join(lines)


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
