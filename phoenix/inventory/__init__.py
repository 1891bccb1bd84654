"""What the hypervisor's JSON files say, as typed models."""

from phoenix.inventory.load import FILES, load, parse
from phoenix.inventory.models import DockerStack, Guest, Inventory, Lxc, Vm

__all__ = ["FILES", "DockerStack", "Guest", "Inventory", "Lxc", "Vm", "load", "parse"]
