"""The picture as a tree of text, for terminals and pipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from phoenix.names import printable
from phoenix.topology.model import Horizon, Machine, Portainer, Topology


@dataclass(slots=True)
class _Branch:
    """A line with what hangs below it."""

    line: str
    below: list[_Branch] = field(default_factory=list)


def as_text(picture: Topology) -> str:
    """The picture as a tree with box characters, one line each, without a line break at the end."""
    traefik = _Branch(_words(f"Traefik {picture.version}", picture.traefik, f"revision {picture.revision}"))
    points = _columns([(point.name, point.address, point.purpose) for point in picture.entry_points])
    traefik.below += [_Branch(f"entry point {line}") for line in points]
    widths = _widths(
        [(way.hostname, way.backend) for horizon in picture.horizons for way in horizon.ways],
    )
    traefik.below += [_horizon(horizon, widths) for horizon in picture.horizons]
    clients = _Branch("clients")
    entrance = clients
    if picture.gateway:
        entrance = _Branch(f"TLS → {_words(picture.gateway.title, picture.gateway)}")
        clients.below.append(entrance)
    entrance.below.append(traefik)
    parts = [clients]
    if picture.portainer:
        parts.append(_portainer(picture.portainer))
    return "\n\n".join("\n".join(_drawn(part)) for part in parts)


def _words(title: str, machine: Machine, more: str = "") -> str:
    told = ", ".join(printable(part) for part in (machine.label, more) if part)
    at = f" at {printable(machine.address)}" if machine.address else ""
    return f"{title}{at}" + (f" ({told})" if told else "")


def _horizon(horizon: Horizon, widths: Sequence[int]) -> _Branch:
    line = f"{horizon.resolver}: certificates of the {horizon.authority}, {horizon.directory}"
    branch = _Branch(printable(f"{line} ({horizon.challenge})" if horizon.challenge else line))
    for way in horizon.ways:
        hostname, backend = way.hostname.ljust(widths[0]), way.backend.ljust(widths[1])
        through = f"  through {', '.join(way.middlewares)}" if way.middlewares else ""
        branch.below.append(_Branch(f"{hostname}  →  {backend}  {printable(way.guest)}{through}".rstrip()))
    if not horizon.ways:
        branch.below.append(_Branch("no host name"))
    return branch


def _portainer(portainer: Portainer) -> _Branch:
    top = _Branch(f"Portainer {portainer.url}")
    top.below.append(_Branch(_words("server", portainer.server)))
    for agent in portainer.agents:
        branch = _Branch(_words(f"environment {printable(agent.environment)}", agent.machine))
        branch.below += [_Branch(f"Docker stack {printable(stack)}") for stack in agent.stacks]
        top.below.append(branch)
    return top


def _widths(rows: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)] or [0, 0]


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = _widths(rows)
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _drawn(branch: _Branch) -> Iterator[str]:
    yield branch.line
    for index, child in enumerate(branch.below):
        is_last = index == len(branch.below) - 1
        first, others = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        for number, line in enumerate(_drawn(child)):
            yield (others if number else first) + line
