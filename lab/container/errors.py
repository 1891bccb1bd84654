"""Errors of the container lab, part of the product's tree (``phoenix/errors.py``)."""

from __future__ import annotations

from phoenix.errors import PhoenixError


class ContainerLabError(PhoenixError):
    """The container lab could not do what was asked; exit code 1."""


class MissingRequirementError(ContainerLabError):
    """This machine lacks a right, a kernel feature or a program that the container lab needs.

    The exit code is ``EX_UNAVAILABLE`` of ``sysexits.h``, so that a caller can tell
    "cannot run here" from "ran and failed".
    """

    exit_code = 69
