"""The process that plays the services of the LXCs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lab.container import machines, services
from lab.container.machines import Runtime
from lab.container.plan import BACKENDS, Plan


def launch(runtime: Runtime, plan: Plan) -> dict[str, Any]:
    """Start it; returns its record in the state file."""
    configuration = runtime.directory / "backends.json"
    configuration.write_text(services.backends(plan), encoding="utf-8")
    script = str(Path(machines.__file__).with_name("backends.py"))
    argv = [sys.executable, "-I", script, str(configuration)]
    record = machines.launch(runtime, BACKENDS, BACKENDS, None, argv)
    return {**record, "address": plan.backends[0].address}
