"""The errors of the lab.

::

    PhoenixError
    └── LabError            exit 2   the lab cannot be made or changed as asked; one sentence with the remedy
        └── LabDownError    exit 3   the lab is not up
"""

from __future__ import annotations

from phoenix.errors import PhoenixError


class LabError(PhoenixError):
    """The lab cannot do what was asked."""

    exit_code = 2


class LabDownError(LabError):
    """There is no lab in the directory, or it is not running."""

    exit_code = 3
