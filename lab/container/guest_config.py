"""What ``pct config`` and ``qm config`` say of the lab's guests."""

from __future__ import annotations

from typing import Any

from lab.container.plan import Backend, Machine, Plan


def stubs(plan: Plan) -> dict[str, Any]:
    """The guests of which only the service runs, for the state file."""
    return {
        backend.number: {"name": backend.name, "kind": "lxc", "stub": True, "config": of(backend)}
        for backend in plan.backends
    }


def of(guest: Machine | Backend) -> dict[str, str]:
    """One guest's configuration."""
    network_config, number = guest.settings.get("network_config") or {}, guest.number
    bridge, gateway = network_config.get("bridge", "vmbr0"), network_config.get("gw", "")
    common = {
        "cores": str(guest.settings.get("cores", 1)),
        "memory": str(guest.settings.get("memory_mb", 512)),
        "onboot": str(int(bool(guest.settings.get("start_at_boot")))),
    }
    if isinstance(guest, Machine) and guest.kind == "vm":
        return common | {
            "agent": "1",
            "ipconfig0": f"ip={guest.address}/24,gw={gateway}",
            "name": guest.name,
            "net0": f"virtio,bridge={bridge}",
            "ostype": "l26",
        }
    return common | {
        "arch": "amd64",
        "hostname": guest.name,
        "net0": f"name=eth0,bridge={bridge},gw={gateway},ip={guest.address}/24,type=veth",
        "ostype": "debian",
        "rootfs": f"{guest.settings.get('storage_pool', 'local')}:subvol-{number}-disk-0",
        "swap": "0",
    }
