"""The engine's exceptions, and the exit codes they end a command with."""

from __future__ import annotations


class EngineError(Exception):
    """Base of all errors this engine tells its user in one sentence."""

    exit_code = 1


class ConfigurationError(EngineError):
    """A flag, a setting or a project file is malformed."""

    exit_code = 2


class UnsupportedError(ConfigurationError):
    """The program asks for something only the official CLI does."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not supported by the embedded engine: use the official CLI")


class StackNotFoundError(EngineError):
    """No such stack, or none selected."""

    exit_code = 6


class NoChangesExpectedError(EngineError):
    """Changes were found though none were expected."""

    exit_code = 7


class CancelledError(EngineError):
    """The user declined or interrupted."""

    exit_code = 8


class LockedError(EngineError):
    """Another process works on the stack."""


class StateError(EngineError):
    """A file of the backend is damaged or contradicts another."""


class SecretsError(EngineError):
    """A secret cannot be encrypted or decrypted."""


class ProviderError(EngineError):
    """A provider refused or failed an operation."""


class OutcomeUnknown(ProviderError):  # noqa: N818 - the name tells what happened
    """An operation was cut off: it stays among the pending operations."""


class DeploymentFailed(EngineError):  # noqa: N818 - the name tells what happened
    """The operation failed and its diagnostics are printed already."""
