"""The local lab: real programs on loopback addresses, no root, no container."""

from lab.local.lab import Lab

__all__ = ["Lab"]
