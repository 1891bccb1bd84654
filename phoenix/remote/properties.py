"""What a dynamic provider gets from an engine, made plain; and how it speaks to the user."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from pulumi.output import Unknown
from pulumi.runtime import rpc

from phoenix.errors import PhoenixError

UNKNOWN: str = rpc.UNKNOWN
"""What stands for a value that a preview does not know on the wire; a provider gets an ``Unknown`` in its place."""

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the SDK's mark of a secret, not one

_DERIVED = frozenset({"sha256", "rollbackSha256"})

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def plain_properties(value: Any) -> Any:
    """Return properties without their secret wrappers and without ``__provider``."""
    if isinstance(value, Mapping):
        if value.get(_SIGNATURE) == _SECRET:
            return plain_properties(value.get("value"))
        return {key: plain_properties(item) for key, item in value.items() if key != "__provider"}
    if isinstance(value, list | tuple):
        return [plain_properties(item) for item in value]
    return value


def has_unknown(value: object) -> bool:
    """Whether a value is unknown, or holds one that is."""
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_unknown(item) for item in value)
    return isinstance(value, Unknown) or value == UNKNOWN


def comparable(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two sets of inputs are compared by: absent is null, and what follows from others does not count."""
    return {key: value for key, value in plain.items() if value is not None and key not in _DERIVED}


def say(line: str) -> None:
    """Print a line: engines show what a provider prints among the resource's diagnostics, in previews too."""
    print(line, flush=True)  # noqa: T201 - standard output is the way to the user here


def one_sentence(method: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Let an expected error reach the user as its sentence.

    The plugin process of the official engine answers with ``traceback.format_exc()``, which prints frames unless
    ``sys.tracebacklimit`` is 0; it is set for errors of ours and only in that process.
    """

    @functools.wraps(method)
    def wrapper(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            specification = getattr(sys.modules.get("__main__"), "__spec__", None)
            if getattr(specification, "name", "") == "pulumi.dynamic.__main__":
                if isinstance(error, PhoenixError):
                    sys.tracebacklimit = 0
                elif hasattr(sys, "tracebacklimit"):
                    del sys.tracebacklimit
            if isinstance(error, PhoenixError):
                raise error.with_traceback(None) from None
            raise

    return wrapper
