"""Dynamic resources: ``pulumi.dynamic`` providers, run in this process.

A provider arrives pickled in the property ``__provider``; it sees plain values (secrets opened), as the SDK's own
plugin host hands them over, and the SDK's ``Unknown`` where a value is not known yet.
"""

from __future__ import annotations

import base64
import threading
import traceback
from typing import Any, Final

from engine.assets import Archive, Asset, archive, asset
from engine.capture import working_for
from engine.diff import DiffResult
from engine.errors import EngineError, ProviderError
from engine.providers.base import Context, Failure, Provider, ReadResult
from engine.values import UNKNOWN, UNKNOWN_STRING, Properties, Reference, Secret, annotate_secrets

PROVIDER_KEY: Final = "__provider"


class DynamicProvider(Provider):
    """Runs the methods of pickled providers.

    Args:
        project: the project's name, the namespace of the provider's configuration.
        config: the stack's configuration, decrypted.
    """

    def __init__(self, project: str, config: dict[str, str]) -> None:
        self._project = project
        self._config = config
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()

    def _provider(self, *sources: Properties) -> tuple[Any, str]:
        pickled = next((s[PROVIDER_KEY] for s in sources if isinstance(s.get(PROVIDER_KEY), str)), None)
        if pickled is None:
            raise ProviderError("a dynamic resource has no serialized provider (__provider)")
        with self._lock:
            if pickled not in self._made:
                self._made[pickled] = self._make(pickled)
            return self._made[pickled], pickled

    def _make(self, pickled: str) -> Any:
        import dill
        from pulumi.dynamic import ConfigureRequest
        from pulumi.dynamic.config import Config
        from pulumi.runtime._serialization import _deserialize

        try:
            provider = _deserialize(lambda: dill.loads(base64.b64decode(pickled)))  # noqa: S301 - the user's own state
        except Exception as error:  # noqa: BLE001 - unpickling runs user code
            raise ProviderError(
                f"the provider of a dynamic resource cannot be loaded ({type(error).__name__}: {error}): "
                "is its module still importable?"
            ) from None
        provider.configure(ConfigureRequest(config=Config(raw_config=self._config, project_name=self._project)))
        return provider

    def _call(self, context: Context, method: Any, *arguments: Any) -> Any:
        with working_for(context.urn):
            try:
                return method(*arguments)
            except EngineError:
                raise
            except Exception as error:
                raise ProviderError(_explain(error)) from error

    def check(self, context: Context, old: Properties | None, new: Properties) -> tuple[Properties, list[Failure]]:
        """Call the provider's check."""
        plain_old, plain_new = _plain(old or {}), _plain(new)
        provider, pickled = self._provider(plain_new, plain_old)
        result = self._call(context, provider.check, plain_old, plain_new)
        failures = [Failure(f.property, f.reason) for f in result.failures or []]
        return _recorded(result.inputs, pickled, new), failures

    def diff(
        self, context: Context, identifier: str, _old_inputs: Properties, old_outputs: Properties, new: Properties
    ) -> DiffResult:
        """Call the provider's diff; the old properties it sees are the recorded outputs."""
        plain_old, plain_new = _plain(old_outputs), _plain(new)
        provider, _ = self._provider(plain_new, plain_old)
        result = self._call(context, provider.diff, identifier, plain_old, plain_new)
        return DiffResult(
            changes=result.changes,
            replace_keys=list(result.replaces or []),
            delete_before_replace=result.delete_before_replace,
        )

    def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        """Call the provider's create; a preview assumes the inputs as outputs."""
        if context.preview:
            return "", inputs
        plain = _plain(inputs)
        provider, pickled = self._provider(plain)
        result = self._call(context, provider.create, plain)
        if not isinstance(result.id, str) or not result.id:
            raise ProviderError(f"the provider returned the id {result.id!r}: it must be a string, and not empty")
        return result.id, _recorded(result.outs, pickled, inputs)

    def update(
        self, context: Context, identifier: str, _old_inputs: Properties, old_outputs: Properties, new: Properties
    ) -> Properties:
        """Call the provider's update."""
        if context.preview:
            return new
        plain = _plain(new)
        provider, pickled = self._provider(plain)
        result = self._call(context, provider.update, identifier, _plain(old_outputs), plain)
        return _recorded(result.outs, pickled, new)

    def delete(self, context: Context, identifier: str, inputs: Properties, outputs: Properties) -> None:
        """Call the provider's delete."""
        plain = _plain(outputs)
        provider, _ = self._provider(plain, _plain(inputs))
        self._call(context, provider.delete, identifier, plain)

    def read(self, context: Context, identifier: str, inputs: Properties, outputs: Properties) -> ReadResult:
        """Call the provider's read."""
        plain = _plain(outputs) or _plain(inputs)
        provider, pickled = self._provider(plain, _plain(inputs))
        result = self._call(context, provider.read, identifier, plain)
        if not result.id:
            return ReadResult("")
        found = getattr(result, "inputs", None)
        read_inputs = None if found is None else _recorded(found, pickled, inputs)
        return ReadResult(str(result.id), _recorded(result.outs, pickled, outputs), read_inputs)


def _plain(value: Any) -> Any:
    """Turn properties into what the SDK's plugin host gives a provider.

    Numbers are floats, None in maps is left out, and what is not known is an ``Unknown``
    (pulumi/runtime/rpc.py, ``deserialize_properties``).
    """
    if isinstance(value, dict):
        return {key: plain for key, item in value.items() if (plain := _plain(item)) is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Secret):
        return _plain(value.value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Reference):
        return _plain(value.id) or value.urn
    return _to_sdk(value) if value is UNKNOWN or isinstance(value, Asset | Archive) else value


def _to_sdk(value: Any) -> Any:
    import pulumi
    from pulumi.output import Unknown

    if value is UNKNOWN:
        return Unknown()  # type: ignore[no-untyped-call]
    if isinstance(value, Archive):
        if value.assets is not None:
            return pulumi.AssetArchive({name: _to_sdk(item) for name, item in value.assets})
        return pulumi.FileArchive(value.path) if value.path is not None else pulumi.RemoteArchive(value.uri or "")
    if value.path is not None:
        return pulumi.FileAsset(value.path)
    return pulumi.StringAsset(value.text) if value.text is not None else pulumi.RemoteAsset(value.uri or "")


def _recorded(returned: dict[str, Any] | None, pickled: str, like: Properties) -> Properties:
    """Turn what a provider returned into properties, secret where those of ``like`` are; None is dropped at the top.

    Raises:
        ProviderError: a value is of a kind that no state can hold.
    """
    values = {key: value for key, value in _value(returned or {}, "").items() if value is not None}
    return annotate_secrets({**values, PROVIDER_KEY: pickled}, like)


def _value(item: Any, where: str) -> Any:
    if item is None or isinstance(item, str | bool | int | float):
        return UNKNOWN if item == UNKNOWN_STRING else item
    if isinstance(item, dict):
        return {str(k): _value(v, f"{where}.{k}") for k, v in item.items()}
    if isinstance(item, list | tuple):
        return [_value(inner, f"{where}[{number}]") for number, inner in enumerate(item)]
    return _from_sdk(item, where)


def _from_sdk(item: Any, where: str) -> Any:
    import pulumi
    from pulumi.output import Unknown

    if isinstance(item, Unknown):
        return UNKNOWN
    if isinstance(item, pulumi.FileAsset):
        return asset(path=str(item.path))
    if isinstance(item, pulumi.StringAsset):
        return asset(text=item.text)
    if isinstance(item, pulumi.FileArchive):
        return archive(str(item.path), None, None, "")
    if isinstance(item, pulumi.AssetArchive):
        return archive(None, None, {name: _value(inner, where) for name, inner in item.assets.items()}, "")
    raise ProviderError(
        f"the provider returned a {type(item).__name__} in {where.removeprefix('.')}, which no state can hold: return "
        "strings, numbers, booleans, lists and maps"
    )


def _explain(error: Exception) -> str:
    """One line for an error that says what is wrong, the traceback for one that does not."""
    text = str(error).strip()
    if text and type(error).__name__.endswith("Error") and type(error).__module__ != "builtins":
        return text
    if text and type(error) in (Exception, RuntimeError):
        return text
    return "".join(traceback.format_exception(error)).strip()
