"""Exports the program's outputs."""

from __future__ import annotations

import pulumi

from components.configuration import Program
from phoenix.outputs import program_outputs


def export_outputs(program: Program) -> None:
    """Export every output of the contract; Docker stacks as a secret where they hold variables."""
    for name, value in program_outputs(program.inventory, program.settings, program.configuration).items():
        has_variables = name == "dockerStacks" and any(entry["variables"] for entry in value)
        pulumi.export(name, pulumi.Output.secret(value) if has_variables else value)
