"""Edits inventories for the demo: ``python -m lab.demo copy|add-guest``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

TEMPLATE_NETWORK = "127.10"


def copy(source: Path, target: Path, network: str) -> None:
    """Copy an inventory of the lab's network onto another network prefix."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target)
    for path in target.glob("phoenix_*.json"):
        path.write_text(
            path.read_text(encoding="utf-8").replace(f"{TEMPLATE_NETWORK}.", f"{network}."), encoding="utf-8"
        )


def add_guest(inventory: Path, network: str, name: str, port: int) -> None:
    """Add an LXC with one published port."""
    path = inventory / "phoenix_lxc_configs.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["lxc_configs"]["930"] = {
        "name": name,
        "network_config": {"name": "eth0", "bridge": "vmbr0", "ip": f"{network}.0.170/24", "gw": f"{network}.0.1"},
        "ports": [f"{port}:{port}"],
        "portainer_role": "none",
        "features": ["base_setup"],
    }
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path.name}: LXC 930 ({name}), ports {port}:{port}, added\n")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    copying = commands.add_parser("copy")
    copying.add_argument("source", type=Path)
    copying.add_argument("target", type=Path)
    adding = commands.add_parser("add-guest")
    adding.add_argument("inventory", type=Path)
    adding.add_argument("--name", required=True)
    adding.add_argument("--port", type=int, required=True)
    for command in (copying, adding):
        command.add_argument("--network", required=True)
    arguments = parser.parse_args()
    if arguments.command == "copy":
        copy(arguments.source, arguments.target, arguments.network)
    else:
        add_guest(arguments.inventory, arguments.network, arguments.name, arguments.port)


if __name__ == "__main__":
    main()
