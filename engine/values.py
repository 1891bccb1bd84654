"""Property values: plain Python plus secrets, unknowns, assets and references.

A value is None, bool, int, float, str, list, dict, or one of the classes here. Two codecs: the
protobuf Struct the SDK speaks, and the JSON of the checkpoint (where a secret is a ciphertext).

The signature keys are Pulumi's wire format:
https://github.com/pulumi/pulumi/blob/master/sdk/go/common/resource/sig/sig.go
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from engine.assets import Archive, Asset, archive, asset
from engine.errors import EngineError

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the kind, no secret
ASSET_SIGNATURE: Final = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE_SIGNATURE: Final = "0def7320c3a5731c473e5ecbe6d01bc7"
RESOURCE_SIGNATURE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
FLOAT_SIGNATURE: Final = "8ad145fe-0d11-4827-bfd7-1abcbf086f5c"
UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWN_STRINGS: Final = frozenset(
    {
        UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)

Value = Any
Properties = dict[str, Any]


class Unknown:
    """The class of :data:`UNKNOWN`, the one value that stands for what only an update will tell."""

    def __repr__(self) -> str:
        return "[unknown]"


UNKNOWN: Final = Unknown()


class Secret:
    """A value that must not be shown.

    One read from a state keeps its ciphertext, and is decrypted when its value is first asked for.
    """

    __slots__ = ("_decrypt", "_value", "ciphertext")

    def __init__(
        self, value: Value, ciphertext: str | None = None, decrypt: Callable[[str], Value] | None = None
    ) -> None:
        self._value = value
        self.ciphertext = ciphertext
        self._decrypt = decrypt

    @property
    def value(self) -> Value:
        """The value inside."""
        decrypt = self._decrypt
        if decrypt is not None and self.ciphertext is not None:
            self._value = decrypt(self.ciphertext)
            self._decrypt = None
        return self._value

    def __repr__(self) -> str:
        return "[secret]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]  # holds lists and maps


@dataclass(frozen=True)
class Reference:
    """A resource passed as a value."""

    urn: str
    id: Any = ""
    version: str = ""


def number(value: float) -> int | float:
    """Return a double as Go writes it: the shortest digits that name it, no exponent below 1e21."""
    if isinstance(value, int) or not math.isfinite(value) or not value.is_integer() or abs(value) >= 1e21:
        return value
    return int(value) if abs(value) < 2**53 else int(Decimal(repr(value)))


def from_struct(message: Any) -> Properties:
    """Decode a protobuf Struct as the SDK sends it."""
    return {key: _from_value(value) for key, value in message.fields.items()}


def _from_value(value: Any) -> Value:  # noqa: PLR0911 - one case a kind of value
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text: str = value.string_value
        return UNKNOWN if text in UNKNOWN_STRINGS else text
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields:
            return _special(from_struct(value.struct_value))
        return {key: _from_value(item) for key, item in fields.items()}
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    if kind == "number_value":
        return number(value.number_value)
    if kind == "bool_value":
        return value.bool_value
    return None


def _special(fields: Properties) -> Value:
    signature = fields.get(SIGNATURE)
    if signature == SECRET_SIGNATURE:
        inner = fields.get("value")
        return inner if isinstance(inner, Secret) else Secret(inner)
    if signature == ASSET_SIGNATURE:
        return asset(fields.get("text"), fields.get("path"), fields.get("uri"), fields.get("hash") or "")
    if signature == ARCHIVE_SIGNATURE:
        return archive(fields.get("path"), fields.get("uri"), fields.get("assets"), fields.get("hash") or "")
    if signature == FLOAT_SIGNATURE:
        return struct.unpack(">d", bytes.fromhex(fields["value"]))[0]
    if signature == RESOURCE_SIGNATURE:
        return Reference(fields.get("urn", ""), fields.get("id", ""), fields.get("packageVersion", ""))
    raise EngineError(f"a property holds a special value of an unknown kind ({signature})")


def fill_struct(message: Any, properties: Properties) -> Any:
    """Encode properties into a protobuf Struct, and return it."""
    fields = message.fields
    for key, value in properties.items():
        _fill(fields[key], value)
    return message


def _fill(target: Any, value: Value) -> None:
    if value is None:
        target.null_value = 0
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, dict):
        inner = target.struct_value
        inner.SetInParent()
        for key, item in value.items():
            _fill(inner.fields[key], item)
    elif isinstance(value, list | tuple):
        items = target.list_value
        items.SetInParent()
        for item in value:
            _fill(items.values.add(), item)
    elif value is UNKNOWN:
        target.string_value = UNKNOWN_STRING
    elif isinstance(value, Secret):
        fields = target.struct_value.fields
        fields[SIGNATURE].string_value = SECRET_SIGNATURE
        _fill(fields["value"], value.value)
    else:
        _fill(target, special_fields(value))


def special_fields(value: Value) -> Properties:
    """Return the wire fields of an asset, archive or reference."""
    if isinstance(value, Reference):
        optional = {"id": value.id or None, "packageVersion": value.version or None}
        return {SIGNATURE: RESOURCE_SIGNATURE, "urn": value.urn, **{k: v for k, v in optional.items() if v is not None}}
    if not isinstance(value, Asset | Archive):
        raise EngineError(f"a property holds a {type(value).__name__}, which no state can hold")
    fields: Properties = {"hash": value.digest, "path": value.path, "uri": value.uri}
    if isinstance(value, Asset):
        fields |= {SIGNATURE: ASSET_SIGNATURE, "text": value.text}
    else:
        fields |= {SIGNATURE: ARCHIVE_SIGNATURE, "assets": dict(value.assets) if value.assets is not None else None}
    return {key: field for key, field in fields.items() if field is not None}


def to_json(value: Value, encrypt: Callable[[Secret], Value]) -> Any:  # noqa: PLR0911 - one case a kind of value
    """Encode a value for a checkpoint; ``encrypt`` turns a secret into its JSON form."""
    if isinstance(value, dict):
        return {key: to_json(value[key], encrypt) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [to_json(item, encrypt) for item in value]
    if isinstance(value, Secret):
        return encrypt(value)
    if isinstance(value, float):
        if not math.isfinite(value):  # JSON has no such numbers
            return {SIGNATURE: FLOAT_SIGNATURE, "value": struct.pack(">d", value).hex()}
        return number(value)
    if value is UNKNOWN:
        return UNKNOWN_STRING
    if isinstance(value, Asset | Archive | Reference):
        return to_json(special_fields(value), encrypt)
    return value


def from_json(value: Any, decrypt: Callable[[str], Value]) -> Value:  # noqa: PLR0911 - one case a kind of value
    """Decode a value of a checkpoint; ``decrypt`` turns a ciphertext into the secret's value."""
    if isinstance(value, dict):
        if SIGNATURE in value:
            if value[SIGNATURE] == SECRET_SIGNATURE:
                if "ciphertext" in value:
                    return Secret(None, value["ciphertext"], decrypt)
                return Secret(from_json(_plaintext(value), decrypt))
            return _special({key: from_json(item, decrypt) for key, item in value.items()})
        return {key: from_json(item, decrypt) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item, decrypt) for item in value]
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > 2**53):
        return number(float(value))  # numbers are doubles: neighbours of a large one are the same
    if isinstance(value, str) and value in UNKNOWN_STRINGS:
        return UNKNOWN
    return value


def _plaintext(fields: dict[str, Any]) -> Any:
    text = fields.get("plaintext")
    return json.loads(text) if isinstance(text, str) else fields.get("value")


def transform(value: Value, leaf: Callable[[Value], Value]) -> Value:
    """Return a copy whose leaves, secrets among them, are what ``leaf`` makes of them."""
    if isinstance(value, dict):
        return {key: transform(item, leaf) for key, item in value.items()}
    if isinstance(value, list):
        return [transform(item, leaf) for item in value]
    return leaf(value)


def opened(value: Value) -> Value:
    """Strip the secret wrappers around a value, but none inside."""
    while isinstance(value, Secret):
        value = value.value
    return value


def reveal(value: Value) -> Value:
    """Strip every secret wrapper: what a provider works on."""
    return transform(value, lambda leaf: reveal(leaf.value) if isinstance(leaf, Secret) else leaf)


def mask(value: Value, *, show_secrets: bool = False) -> Any:
    """Replace secrets and unknowns by words, and special values by plain maps: for eyes and logs."""
    return to_json(reveal(value) if show_secrets else value, lambda _secret: "[secret]")


def reencrypted(value: Value) -> Value:
    """Return a copy whose secrets have no ciphertext yet: they come from another stack's key."""
    return transform(value, lambda leaf: Secret(reencrypted(leaf.value)) if isinstance(leaf, Secret) else leaf)


def contains_secret(value: Value) -> bool:
    """Tell whether a secret is anywhere inside."""
    if isinstance(value, dict):
        return any(contains_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(contains_secret(item) for item in value)
    return isinstance(value, Secret)


def annotate_secrets(outputs: Properties, inputs: Properties) -> Properties:
    """Mark an output secret where the input of its name holds a secret."""
    marked = dict(outputs)
    for key, given in inputs.items():
        if key not in marked:
            continue
        if isinstance(marked[key], dict) and isinstance(given, dict):
            marked[key] = annotate_secrets(marked[key], given)
        elif not isinstance(marked[key], Secret) and contains_secret(given):
            marked[key] = Secret(marked[key])
    return marked


def carry_ciphertexts(new: Value, old: Value) -> None:
    """Give unchanged secrets of ``new`` the ciphertexts of ``old``, in place."""
    if isinstance(new, Secret):
        if isinstance(old, Secret) and new.ciphertext is None and same(new.value, old.value):
            new.ciphertext = old.ciphertext
    elif isinstance(new, dict) and isinstance(old, dict):
        for key, item in new.items():
            if key in old:
                carry_ciphertexts(item, old[key])
    elif isinstance(new, list) and isinstance(old, list):
        for mine, theirs in zip(new, old, strict=False):
            carry_ciphertexts(mine, theirs)


def same(left: Value, right: Value) -> bool:
    """Compare deeply; secrets by their value, booleans never equal to numbers.

    Assets and archives are equal when their digests are.
    """
    if isinstance(left, Secret) or isinstance(right, Secret):
        return isinstance(left, Secret) and isinstance(right, Secret) and same(left.value, right.value)
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and len(left) == len(right)
            and all(key in right and same(item, right[key]) for key, item in left.items())
        )
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(same(a, b) for a, b in zip(left, right, strict=True))
        )
    if isinstance(left, Asset | Archive):
        return type(left) is type(right) and left.digest == right.digest
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)
