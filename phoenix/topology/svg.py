"""The picture as a self-contained SVG: own layout, no script, no external reference, every text escaped.

Five columns from left to right, clients, gateway, Traefik, host names, guests, and below them the certificate
authorities and Portainer. Widths follow from the longest text, heights from the number of host names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phoenix.names import printable
from phoenix.topology.model import Agent, Horizon, Topology, Way

MARGIN = 28
TOP = 92
ROW = 46
ROW_GAP = 10
HEADING = 34
BOX_GAP = 62
LINE = 17
PADDING = 14
SANS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'SFMono-Regular', Menlo, 'DejaVu Sans Mono', monospace"
CHARACTER = 7.35
"""Width of one character of the 12 px monospace texts; a little more than most fonts need."""
_INSET = "\t"
"""Begins a line of a box that says more about the line before it."""
HUES = ("#0b6e99", "#a4530a", "#5b3fa0", "#2c6e2f")

_STYLE = f"""
text {{ font-family: {SANS}; font-size: 13px; fill: #1d2733; }}
.mono {{ font-family: {MONO}; font-size: 12px; }}
.title {{ font-size: 20px; font-weight: 600; }}
.quiet {{ fill: #5a6875; font-size: 12px; }}
.name {{ font-weight: 600; }}
.box {{ fill: #ffffff; stroke: #9aa7b4; stroke-width: 1.2; }}
.core {{ fill: #eef5fa; stroke: #0b6e99; stroke-width: 1.6; }}
.link {{ fill: none; stroke: #66788a; stroke-width: 1.4; }}
.acme {{ fill: none; stroke-width: 1.4; stroke-dasharray: 5 4; }}
"""


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle on the page, in px."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def as_svg(picture: Topology) -> str:
    """The picture as the text of an SVG file."""
    return _Drawing(picture).draw()


def _width(texts: Sequence[str], least: float) -> float:
    return max(least, max((len(text) for text in texts), default=0) * CHARACTER + 2 * PADDING)


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    shown = printable(text)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        shown = shown.replace(character, entity)
    return shown


class _Drawing:
    """Collects the parts of one picture; each method draws one of them and says where it is."""

    def __init__(self, picture: Topology) -> None:
        self.picture = picture
        self.parts: list[str] = []
        self.hues = {horizon.resolver: HUES[n % len(HUES)] for n, horizon in enumerate(picture.horizons)}
        ways = [way for horizon in picture.horizons for way in horizon.ways]
        self.ways_width = _width([*(way.hostname for way in ways), *map(_way_note, ways)], 250)
        self.guest_width = _width([text for way in ways for text in (way.guest, way.backend)], 190)
        self.traefik_lines = _traefik_lines(picture)
        self.traefik_width = _width(self.traefik_lines, 200)
        self.gateway_lines = [text for text in _gateway_lines(picture) if text]

    def draw(self) -> str:
        """The whole picture."""
        x: float = MARGIN
        clients = _Box(x, TOP, 84, 46)
        x = clients.right + BOX_GAP
        gateway = _Box(x, TOP, _width(self.gateway_lines, 150), 26 + LINE * len(self.gateway_lines))
        if self.picture.gateway:
            x = gateway.right + BOX_GAP
        ways_height = sum(_height(horizon) for horizon in self.picture.horizons)
        traefik = _Box(x, TOP, self.traefik_width, max(ways_height - ROW_GAP, 30 + LINE * len(self.traefik_lines)))
        ways_x = traefik.right + BOX_GAP
        guests_x = ways_x + self.ways_width + BOX_GAP
        right = guests_x + self.guest_width
        y = traefik.y + (26 + LINE * len(self.gateway_lines)) / 2 if self.picture.gateway else clients.middle
        clients = _Box(clients.x, y - clients.height / 2, clients.width, clients.height)
        if not ways_height:
            right = traefik.right

        self._clients(clients)
        if self.picture.gateway:
            self._text_box(gateway, self.gateway_lines, "box", self.picture.gateway.title)
            self._link(clients.right, clients.middle, gateway.x, gateway.middle, "TLS")
            self._link(gateway.right, gateway.middle, traefik.x, gateway.middle)
        else:
            self._link(clients.right, clients.middle, traefik.x, clients.middle, "TLS")
        self._text_box(traefik, self.traefik_lines, "core", "Traefik")
        self._horizons(traefik, ways_x, guests_x)
        bottom = self._below(traefik, max(traefik.bottom, TOP + ways_height), right)
        return self._page(max(right, self.below_right) + MARGIN, bottom + MARGIN)

    def _page(self, width: float, height: float) -> str:
        title = f"Ingress of {_escaped(self.picture.title)}"
        told = f"{self.picture.ways} host names behind Traefik {_escaped(self.picture.version)}"
        size = f'width="{_number(width)}" height="{_number(height)}" viewBox="0 0 {_number(width)} {_number(height)}"'
        head = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
            f'<title id="title">{title}</title>',
            f'<desc id="description">{told}</desc>',
            f"<style>{_STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.4" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse"><path d="M0 0.6 8 4 0 7.4z" fill="#66788a"/></marker></defs>',
            f'<rect width="{_number(width)}" height="{_number(height)}" fill="#fbfcfd"/>',
        ]
        self.parts[:0] = head
        self._text(MARGIN, 40, title, "title", escaped=True)
        self._text(MARGIN, 62, f"{told}, revision {_escaped(self.picture.revision)}", "quiet", escaped=True)
        return "\n".join([*self.parts, "</svg>", ""])

    def _text(self, x: float, y: float, text: str, kind: str = "", *, fill: str = "", escaped: bool = False) -> None:
        shown = text if escaped else _escaped(text)
        style = f' style="fill:{fill}"' if fill else ""
        name = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{_number(x)}" y="{_number(y)}"{name}{style}>{shown}</text>')

    def _rectangle(self, box: _Box, kind: str, stroke: str = "") -> None:
        style = f' style="stroke:{stroke}"' if stroke else ""
        place = f'x="{_number(box.x)}" y="{_number(box.y)}"'
        size = f'width="{_number(box.width)}" height="{_number(box.height)}"'
        self.parts.append(f'<rect {place} {size} rx="7" class="{kind}"{style}/>')

    def _text_box(self, box: _Box, lines: Sequence[str], kind: str, title: str, stroke: str = "") -> None:
        self._rectangle(box, kind, stroke)
        for index, line in enumerate(lines):
            kind = "name" if index == 0 and line.startswith(title) else "mono"
            if line.startswith(_INSET):
                kind += " quiet"
            self._text(box.x + PADDING, box.y + 25 + LINE * index, line.lstrip(), kind)

    def _link(self, x1: float, y1: float, x2: float, y2: float, label: str = "") -> None:
        bend = (x1 + x2) / 2
        path = f"M{_number(x1)} {_number(y1)}"
        if y1 == y2:
            path += f"H{_number(x2)}"
        else:
            path += f"C{_number(bend)} {_number(y1)} {_number(bend)} {_number(y2)} {_number(x2)} {_number(y2)}"
        self.parts.append(f'<path d="{path}" class="link" marker-end="url(#tip)"/>')
        if label:
            self._text(bend - len(label) * 3.6, y1 - 7, label, "quiet")

    def _clients(self, box: _Box) -> None:
        self._rectangle(box, "box")
        self._text(box.x + 20, box.middle + 4.5, "clients", "name")

    def _horizons(self, traefik: _Box, ways_x: float, guests_x: float) -> None:
        y: float = TOP
        for horizon in self.picture.horizons:
            if not horizon.ways:
                continue
            hue = self.hues[horizon.resolver]
            self._text(ways_x, y + 19, horizon.resolver, "name", fill=hue)
            y += HEADING
            for way in horizon.ways:
                box = _Box(ways_x, y, self.ways_width, ROW)
                guest = _Box(guests_x, y, self.guest_width, ROW)
                self._link(traefik.right, box.middle, box.x, box.middle)
                self._link(box.right, box.middle, guest.x, guest.middle)
                self._rectangle(box, "box", hue)
                self._rectangle(guest, "box")
                self._text(box.x + PADDING, box.y + 19, way.hostname, "mono name")
                self._text(box.x + PADDING, box.y + 36, _way_note(way), "mono quiet")
                self._text(guest.x + PADDING, guest.y + 19, way.guest)
                self._text(guest.x + PADDING, guest.y + 36, way.backend, "mono quiet")
                y += ROW + ROW_GAP

    def _below(self, traefik: _Box, y: float, right: float) -> float:
        """Certificate authorities on the left, Portainer on the right of them; the lower edge of both."""
        y += 54
        x: float = MARGIN
        bottom = y
        horizons = self.picture.horizons
        boxes = []
        for horizon in horizons:
            lines = [horizon.authority, horizon.directory, horizon.resolver]
            boxes.append((horizon, lines, _Box(x, y, _width(lines, 170), 28 + LINE * len(lines))))
            x = boxes[-1][2].right + 22
        for index, (horizon, lines, box) in enumerate(boxes):
            hue = self.hues[horizon.resolver]
            out = traefik.x + traefik.width * (index + 1) / (len(boxes) + 1)
            into = min(max(out, box.x + 20), box.right - 20)
            level = y - 14 - 13 * index
            path = f"M{_number(out)} {_number(traefik.bottom)}V{_number(level)}H{_number(into)}V{_number(y)}"
            self.parts.append(f'<path d="{path}" class="acme" style="stroke:{hue}"/>')
            self._text_box(box, lines, "box", horizon.authority, hue)
            note = f"ACME {horizon.challenge}".strip()
            self._text(box.x + 2, box.bottom + 17, note, "quiet")
            bottom = max(bottom, box.bottom + 20)
        self.below_right = x
        if self.picture.portainer:
            bottom = max(bottom, self._portainer(x + 20, y, right))
        return bottom

    def _portainer(self, x: float, y: float, right: float) -> float:
        portainer = self.picture.portainer
        if portainer is None:
            return y
        lines = ["Portainer server", portainer.server.label, portainer.server.address, portainer.url]
        server = _Box(x, y, _width(lines, 190), 28 + LINE * len(lines))
        self._text_box(server, lines, "box", lines[0])
        agents = [_agent_lines(agent) for agent in portainer.agents]
        width = _width([line for texts in agents for line in texts], 190)
        agent_x = max(server.right + BOX_GAP, right - width)
        bottom = server.bottom
        for texts in agents:
            box = _Box(agent_x, y, width, 28 + LINE * len(texts))
            self._link(server.right, server.y + 26, box.x, box.y + 26)
            self._text_box(box, texts, "box", "environment")
            y = box.bottom + 14
            bottom = max(bottom, box.bottom)
            self.below_right = max(self.below_right, box.right)
        self.below_right = max(self.below_right, server.right)
        return bottom


def _height(horizon: Horizon) -> float:
    return HEADING + len(horizon.ways) * (ROW + ROW_GAP) if horizon.ways else 0


def _way_note(way: Way) -> str:
    return " · ".join([way.router, *way.middlewares])


def _gateway_lines(picture: Topology) -> Iterator[str]:
    if picture.gateway:
        yield picture.gateway.title
        yield picture.gateway.label
        yield picture.gateway.address


def _traefik_lines(picture: Topology) -> list[str]:
    lines = [f"Traefik {picture.version}"]
    lines += [text for text in (picture.traefik.label, picture.traefik.address) if text]
    for point in picture.entry_points:
        lines += ["", f"{point.name} {point.address}", f"{_INSET}{point.purpose}"]
    return lines


def _agent_lines(agent: Agent) -> list[str]:
    return [f"environment {agent.environment}", agent.machine.label, agent.machine.address, *agent.stacks]
