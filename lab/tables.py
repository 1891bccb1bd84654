"""The lab's status as tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def show(found: dict[str, Any]) -> None:
    """Print processes, services, hosts and backends; in colour on a terminal."""
    console = Console()
    state = "[green]up[/green]" if found["up"] else "[red]down[/red]"
    facts = [f"{found['kind']} lab in {found['directory']}: {state}", f"network {found['network']}"]
    if "ssh" in found:
        facts.append(f"SSH server {found['ssh']}")
    console.print(" · ".join(facts), soft_wrap=True)
    parts = Table("Part", "Address", "State", box=None, header_style="bold")
    for number, guest in found.get("guests", {}).items():
        parts.add_row(f"{number} {guest['name']}", guest["address"], f"{guest['state']} ({guest['systemd']})")
    for each in found.get("processes", []):
        parts.add_row(each["name"], f"pid {each['pid']}", "running" if each["alive"] else "[red]gone[/red]")
    for name, host in found.get("hosts", {}).items():
        parts.add_row(f"ssh {name}", f"{host['address']}:{host['port']}", "")
    for name, address in found.get("traefik", {}).items():
        parts.add_row(f"traefik {name}", address, "")
    if "authorities" in found:
        parts.add_row("certificate authorities", found["authorities"]["address"], "")
    for each in found.get("services", []):
        colour = {"active": "green", "failed": "red"}.get(each["active"], "yellow")
        parts.add_row(each["unit"], "", f"[{colour}]{each['active']}[/{colour}] ({each['sub']})")
    for each in found.get("backends", []):
        parts.add_row(f"backend {each['name']}", f"{each['scheme']}://{each['address']}:{each['port']}", "")
    console.print(parts)
