"""Errors of the container lab, part of the labs' tree (``lab/errors.py``)."""

from __future__ import annotations

from lab.errors import LabDownError, LabError


class ContainerLabError(LabError):
    """The container lab could not do what was asked; exit code 2."""


class ContainerLabDownError(ContainerLabError, LabDownError):
    """No container lab runs from a directory; exit code 3."""

    exit_code = 3


class NetworkInUseError(ContainerLabError):
    """Another lab that is wanted has the network."""


class MissingRequirementError(ContainerLabError):
    """This machine lacks a right, a kernel feature or a program that the container lab needs.

    The exit code is ``EX_UNAVAILABLE`` of ``sysexits.h``, so that a caller can tell
    "cannot run here" from "ran and failed".
    """

    exit_code = 69
