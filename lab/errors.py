"""The errors of the lab.

::

    LabError            exit 2   the lab cannot be made or changed as asked; one sentence with the remedy
    └── LabDownError    exit 3   the lab is not up
"""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked.

    Attributes:
        exit_code: what ``bin/lab`` exits with.
    """

    exit_code: int = 2


class LabDownError(LabError):
    """There is no lab in the directory, or it is not running."""

    exit_code = 3
