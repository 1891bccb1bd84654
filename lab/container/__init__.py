"""The container lab: the product's guests as real systemd containers in network namespaces of this machine.

Root only. ``bin/lab --kind container`` calls these functions; :mod:`lab.container.testing` is the fixture for tests.
"""

from lab.container.authorities import add_name
from lab.container.core import down, exec_, exec_prefix, leftovers, status, up
from lab.container.errors import ContainerLabDownError, ContainerLabError, MissingRequirementError
from lab.container.host import missing_right

__all__ = [
    "ContainerLabDownError",
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
