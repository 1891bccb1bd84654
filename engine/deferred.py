"""Puts off imports the SDK makes but a run seldom needs: they are half of a small preview's time.

A deferred module stands in ``sys.modules`` and loads the real one at the first access to anything
it does not hold itself, so that a program that does use it finds all of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class Deferred(ModuleType):
    """Stands for a module until one of its attributes is asked for."""

    def __init__(self, name: str, **known: Any) -> None:
        super().__init__(name)
        self.__dict__.update(known)

    def __getattr__(self, attribute: str) -> Any:
        """Load the real module, and look there."""
        return getattr(self._load(), attribute)

    def _load(self) -> ModuleType:
        name = self.__name__
        found = sys.modules.get(name)
        if found is not self and found is not None:
            return found
        for other in [key for key, module in sys.modules.items() if isinstance(module, Deferred)]:
            if other == name or other.startswith(name + "."):
                del sys.modules[other]
        real = importlib.import_module(name)
        parent, _, last = name.rpartition(".")
        if parent and parent in sys.modules:
            setattr(sys.modules[parent], last, real)
        return real


def defer(name: str, **known: Any) -> None:
    """Defer a module that is not loaded yet; ``known`` are attributes it may answer without loading."""
    if name not in sys.modules:
        sys.modules[name] = Deferred(name, **known)


def defer_sdk_imports() -> None:
    """Defer what ``import pulumi`` pulls in for gRPC, tracing and the automation API."""
    import os

    if "pulumi" in sys.modules or os.environ.get("TRACEPARENT"):
        return  # loaded already, or tracing is wanted
    found = importlib.util.find_spec("grpc")
    if "grpc" not in sys.modules and found is not None:
        aio = Deferred("grpc.aio", Server=object)  # named in an annotation
        sys.modules["grpc.aio"] = aio
        # Generated modules compare versions when they are imported.
        defer("grpc", __version__="0", __path__=found.submodule_search_locations, aio=aio)
        defer("grpc._utilities", first_version_is_lower=lambda _mine, _generated: False)
    # Imported by name, so asked for a __path__ too.
    defer("opentelemetry.sdk.trace", TracerProvider=object, __path__=[])
    defer("opentelemetry.propagate")
    defer("opentelemetry.trace")
    defer("pulumi.automation")
    defer("google.protobuf.internal.python_message")  # protobuf without its C part


def forget_placeholders() -> None:
    """Let every further access load the real modules: the SDK is imported."""
    placeholders = {
        "grpc": ("__version__",),
        "grpc.aio": ("Server",),
        "opentelemetry.sdk.trace": ("TracerProvider", "__path__"),
    }
    for name, attributes in placeholders.items():
        module = sys.modules.get(name)
        if isinstance(module, Deferred):
            for attribute in attributes:
                module.__dict__.pop(attribute, None)
