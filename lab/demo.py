"""Adds a guest to an inventory, for the demo: ``python -m lab.demo INVENTORY --name wiki --address … --port …``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

LXC_FILE = "phoenix_lxc_configs.json"
CTID = "930"


def add_guest(inventory: Path, name: str, address: str, port: int) -> None:
    """Add an LXC with one published port."""
    path = inventory / LXC_FILE
    data = json.loads(path.read_text(encoding="utf-8"))
    data["lxc_configs"][CTID] = {
        "name": name,
        "network_config": {"name": "eth0", "bridge": "vmbr0", "ip": f"{address}/24"},
        "ports": [f"{port}:{port}"],
        "portainer_role": "none",
        "features": ["base_setup"],
    }
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path.name}: LXC {CTID} ({name}) with ports {port}:{port} added\n")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inventory", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    add_guest(arguments.inventory, arguments.name, arguments.address, arguments.port)


if __name__ == "__main__":
    main()
