"""What all units share: their states, the clock of state changes and the interface to the manager."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lab.systemd.settings import Definition

if TYPE_CHECKING:
    from lab.systemd.journal import Journal

# How a job ends: systemd.service(5) and the D-Bus API's JobRemoved signal know the same words.
DONE, FAILED, INVALID, DEPENDENCY, CANCELED, TIMEOUT, SKIPPED = (
    "done",
    "failed",
    "invalid",
    "dependency",
    "canceled",
    "timeout",
    "skipped",
)
INACTIVE_STATES = frozenset({"inactive", "failed"})


class Keeper(Protocol):
    """What a unit needs of the manager."""

    journal: Journal
    runtime: Path
    root: Path
    environment: Mapping[str, str]

    def watch(self, pid: int) -> asyncio.Future[int]:
        """A future of the wait status of ``pid``."""
        ...

    def descriptors(self, service: str) -> list[tuple[int, str]]:
        """The open sockets that ``service`` is to inherit, with their names."""
        ...

    def changed(self, unit: Unit) -> None:
        """Take note of a unit's new state."""
        ...


class Unit:
    """A loaded unit.

    Attributes:
        definition: what its file said when it was last loaded.
        active_state: ``active``, ``reloading``, ``inactive``, ``failed``, ``activating`` or ``deactivating``.
        sub_state: the kind's own finer state.
        result: why it failed, else ``success``.
        pins: jobs that are about to work on it, so that it must stay loaded.
        entered: seconds since the epoch at which each active state was last entered.
    """

    def __init__(self, definition: Definition, keeper: Keeper) -> None:
        self.definition = definition
        self.keeper = keeper
        self.active_state = "inactive"
        self.sub_state = "dead"
        self.result = "success"
        self.entered: dict[str, float] = {}
        self.moments: dict[str, float] = {}
        self.lock = asyncio.Lock()
        self.pins = 0

    @property
    def name(self) -> str:
        """The unit's name with its suffix."""
        return self.definition.name

    def set_state(self, active: str, sub: str) -> None:
        """Enter a state and tell the manager."""
        if (active, sub) == (self.active_state, self.sub_state):
            return
        now = time.time()
        if active != self.active_state:
            self.entered[active] = now
        self.moments["StateChange"] = now
        was_active = self.active_state in {"active", "reloading"}
        is_active = active in {"active", "reloading"}
        if is_active and not was_active:
            self.moments["ActiveEnter"] = now
        if was_active and not is_active:
            self.moments["ActiveExit"] = now
        if active in INACTIVE_STATES and self.active_state not in INACTIVE_STATES:
            self.moments["InactiveEnter"] = now
        if active not in INACTIVE_STATES and self.active_state in INACTIVE_STATES:
            self.moments["InactiveExit"] = now
        self.active_state, self.sub_state = active, sub
        self.keeper.changed(self)

    def log(self, message: str) -> None:
        """Write a line of the manager's own about this unit."""
        self.keeper.journal.write(self.name, "systemd", 1, message)

    @property
    def label(self) -> str:
        """Name and description as the manager's messages give them."""
        if self.definition.description and self.definition.description != self.name:
            return f"{self.name} - {self.definition.description}"
        return self.name

    async def start(self) -> str:
        """Start; returns how the job ended."""
        raise NotImplementedError

    async def stop(self) -> str:
        """Stop; returns how the job ended."""
        raise NotImplementedError

    def reset_failed(self) -> None:
        """Forget a failure."""
        self.result = "success"
        if self.active_state == "failed":
            self.set_state("inactive", "dead")


class Target(Unit):
    """A unit that is only a name for others, such as ``multi-user.target``."""

    async def start(self) -> str:
        """Mark it reached."""
        self.set_state("active", "active")
        return DONE

    async def stop(self) -> str:
        """Mark it left."""
        self.set_state("inactive", "dead")
        return DONE
