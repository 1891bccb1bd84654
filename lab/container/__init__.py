"""The container lab: the product's guests as real systemd containers in network namespaces of this machine.

Root only. ``up``, ``down``, ``status`` and ``exec_`` are what ``python -m lab.container`` and other callers use.
"""

from lab.container.authorities import add_name
from lab.container.core import down, exec_, exec_prefix, leftovers, status, up
from lab.container.errors import ContainerLabError, MissingRequirementError
from lab.container.host import missing_right

__all__ = [
    "ContainerLabError",
    "MissingRequirementError",
    "add_name",
    "down",
    "exec_",
    "exec_prefix",
    "leftovers",
    "missing_right",
    "status",
    "up",
]
