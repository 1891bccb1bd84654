"""The whole configuration of one stack: inventory and settings in, three checked files out.

:func:`configure` is pure; :func:`read` reads an inventory's directory first and names all mistakes of both at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phoenix.errors import InputError
from phoenix.inventory.load import examine_directory
from phoenix.inventory.models import Inventory
from phoenix.routes import Route, examine_routes, internal_domain
from phoenix.settings import Settings
from phoenix.traefik import checks, continuity, dashboard, document, dynamic, middlewares, static, unit
from phoenix.traefik.certificates import Demand, demands


@dataclass(frozen=True)
class Configuration:
    """What Traefik shall be given.

    Attributes:
        internal_domain: domain of internal names.
        gateway: the gateway's address, or None.
        routes: sorted by router name.
        static: data of ``traefik.yml``; ``static_text`` its text.
        dynamic: data of ``dynamic_conf.yml``; ``dynamic_text`` its text.
        unit_text: text of ``traefik.service``.
        revision: twelve hex digits that name all three.
        dynamic_revision: the marker Traefik's API shows once the dynamic configuration is live.
        secrets: parts of ``dynamic_text`` that are never shown, such as password hashes.
        demands: what the certificates of routes must be.
    """

    internal_domain: str
    gateway: str | None
    routes: tuple[Route, ...]
    static: dict[str, Any]
    dynamic: dict[str, Any]
    static_text: str
    dynamic_text: str
    unit_text: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    demands: tuple[Demand, ...] = ()

    @property
    def revision(self) -> str:
        """Names the three files' content."""
        return document.digest("\0".join((self.static_text, self.dynamic_text, self.unit_text)))

    @property
    def dynamic_revision(self) -> str:
        """Names the dynamic configuration's content."""
        return dynamic.revision(self.dynamic) or ""


def configure(inventory: Inventory, settings: Settings) -> Configuration:
    """Render and check everything.

    Raises:
        InputError: with one sentence for each mistake in the inventory, the settings, or between the files.
    """
    configuration, mistakes = _examine(inventory, settings, complete=True)
    if mistakes:
        raise InputError(mistakes)
    return configuration


def read(directory: Path, settings: Settings) -> tuple[Inventory, Configuration]:
    """The inventory of a directory and what it configures.

    Raises:
        InputError: with one sentence for each mistake in any of the files, the routes or the settings.
    """
    inventory, mistakes = examine_directory(directory)
    configuration, more = _examine(inventory, settings, complete=not mistakes)
    if mistakes or more:
        raise InputError([*mistakes, *more])
    return inventory, configuration


def _examine(inventory: Inventory, settings: Settings, *, complete: bool) -> tuple[Configuration, list[str]]:
    """The configuration of all that is right, and a sentence for each mistake."""
    routes, mistakes = examine_routes(inventory, settings, complete=complete)
    domain = internal_domain(inventory, settings)
    gateway = static.gateway_address(inventory, settings)
    static_data = static.static_config(settings, domain, gateway)
    mistakes += middlewares.mistakes(settings, routes)
    mistakes += dashboard.mistakes(settings, routes)
    mistakes += continuity.mistakes(settings)
    dynamic_data = dynamic.dynamic_config(
        middlewares.with_known(routes, settings.middlewares),
        middlewares.definitions(settings.middlewares, behind_gateway=gateway is not None),
        dashboard.routers(settings, domain),
    )
    mistakes += checks.mistakes(
        f"{settings.source}: traefik.yml", static_data, f"{settings.source}: dynamic_conf.yml", dynamic_data
    )
    configuration = Configuration(
        internal_domain=domain,
        gateway=gateway,
        routes=routes,
        static=static_data,
        dynamic=dynamic_data,
        static_text=document.dump(static_data),
        dynamic_text=document.dump(dynamic_data),
        unit_text=unit.render(settings),
        secrets=middlewares.secret_values(settings.middlewares),
        demands=tuple(demands(settings, routes)),
    )
    return configuration, mistakes
