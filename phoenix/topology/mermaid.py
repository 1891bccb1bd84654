"""The picture as a Mermaid flow chart (https://mermaid.js.org/syntax/flowchart.html), which GitHub and others draw."""

from __future__ import annotations

from phoenix.names import printable
from phoenix.topology.model import Machine, Topology


def as_mermaid(picture: Topology) -> str:
    """The picture as the text of a Mermaid flow chart, without a line break at the end."""
    lines = ["flowchart LR", f"  clients([{_label('clients')}])"]
    entrance = "clients"
    if picture.gateway:
        lines += [f"  gateway[{_machine(picture.gateway.title, picture.gateway)}]", "  clients -- TLS --> gateway"]
        entrance = "gateway"
    points = [f"{point.name} {point.address}" for point in picture.entry_points]
    lines.append(f"  traefik[{_machine(f'Traefik {picture.version}', picture.traefik, *points)}]")
    lines.append(f"  {entrance} --> traefik")
    for number, horizon in enumerate(picture.horizons):
        authority, told = f"authority{number}", f"ACME {horizon.challenge}".strip()
        lines.append(f"  {authority}[({_label(horizon.authority, horizon.directory)})]")
        lines.append(f"  traefik -. {_label(told)} .-> {authority}")
        if not horizon.ways:
            continue
        lines.append(f"  subgraph horizon{number}[{_label(horizon.resolver)}]")
        for index, way in enumerate(horizon.ways):
            lines.append(f"    way{number}_{index}[{_label(way.hostname, *way.middlewares)}]")
        lines.append("  end")
        for index, way in enumerate(horizon.ways):
            node = f"way{number}_{index}"
            lines.append(f"  traefik --> {node} --> backend{number}_{index}[{_label(way.guest, way.backend)}]")
    if picture.portainer:
        lines.append(f"  server[{_machine('Portainer server', picture.portainer.server)}]")
        for index, agent in enumerate(picture.portainer.agents):
            name = f"environment {agent.environment}"
            lines.append(f"  agent{index}[{_machine(name, agent.machine, *agent.stacks)}]")
            lines.append(f"  server --> agent{index}")
    return "\n".join(lines)


def _machine(title: str, machine: Machine, *more: str) -> str:
    return _label(title, *(part for part in (machine.label, machine.address, *more) if part))


def _label(*parts: str) -> str:
    """A quoted label of several lines; what Mermaid or HTML would read as markup is written as an entity."""
    text = "\n".join(printable(part) for part in parts)
    marked = "".join(f"#{ord(character)};" if character in '#"&<>`\\;{}[]()|' else character for character in text)
    return '"' + marked.replace("\n", "<br/>") + '"'
