"""A stack's state: resources, pending operations, and their JSON form, version 3.

Format: pulumi/sdk/go/common/apitype/core.go (DeploymentV3). Fields this engine does not use are
kept as they were read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

from engine.errors import StateError, UnsupportedError
from engine.secrets import SecretsManager
from engine.values import Properties, Secret, from_json, number, to_json

STACK_TYPE: Final = "pulumi:pulumi:Stack"
PROVIDER_PREFIX: Final = "pulumi:providers:"


@dataclass(eq=False, slots=True)
class Resource:
    """One resource of the state. Compared by identity: a URN may stand twice during a replacement."""

    urn: str
    type: str
    custom: bool = False
    delete: bool = False
    id: str = ""
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)
    parent: str = ""
    protect: bool = False
    taint: bool = False
    external: bool = False
    dependencies: list[str] = field(default_factory=list)
    init_errors: list[str] = field(default_factory=list)
    provider: str = ""
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    pending_replacement: bool = False
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    custom_timeouts: dict[str, float] = field(default_factory=dict)
    import_id: str = ""
    retain_on_delete: bool = False
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    created: str = ""
    modified: str = ""
    ignore_changes: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    other: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The resource's name, the last part of its URN."""
        return self.urn.split("::", 3)[-1]

    @property
    def is_provider(self) -> bool:
        """Whether it is a provider resource."""
        return self.type.startswith(PROVIDER_PREFIX)

    @property
    def is_default_provider(self) -> bool:
        """Whether it is a provider the engine made by itself: never shown."""
        return self.is_provider and (self.name == "default" or self.name.startswith("default_"))

    def depends_on(self) -> set[str]:
        """Return the URNs that must outlive this resource."""
        urns = set(self.dependencies)
        for listed in self.property_dependencies.values():
            urns.update(listed)
        if self.parent:
            urns.add(self.parent)
        if self.provider:
            urns.add(self.provider.rsplit("::", 1)[0])
        if self.deleted_with:
            urns.add(self.deleted_with)
        urns.update(self.replace_with)
        return urns


# JSON name → attribute, in the order the official CLI writes them; urn, type, id and properties apart.
_PLAIN: Final = {
    {"import_id": "importID"}.get(item.name) or re.sub("_(.)", lambda match: match[1].upper(), item.name): item.name
    for item in fields(Resource)[7:-1]
}
_KNOWN: Final = frozenset({*_PLAIN, "urn", "custom", "delete", "id", "type", "inputs", "outputs"})


@dataclass(eq=False, slots=True)
class PendingOperation:
    """An operation that was begun and not seen to end."""

    resource: Resource
    type: str


@dataclass
class Snapshot:
    """A whole state."""

    resources: list[Resource] = field(default_factory=list)
    pending: list[PendingOperation] = field(default_factory=list)
    salt: str = ""
    other: dict[str, Any] = field(default_factory=dict)


def now() -> str:
    """Return the time in the checkpoint's form."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def resource_to_json(resource: Resource, encrypt: Callable[[Secret], Any]) -> dict[str, Any]:
    """Encode a resource, empty fields left out."""
    data: dict[str, Any] = {"urn": resource.urn, "custom": resource.custom}
    if resource.delete:
        data["delete"] = True
    if resource.id:
        data["id"] = resource.id
    data["type"] = resource.type
    if resource.inputs:
        data["inputs"] = to_json(resource.inputs, encrypt)
    if resource.outputs:
        data["outputs"] = to_json(resource.outputs, encrypt)
    for name, attribute in _PLAIN.items():
        value = getattr(resource, attribute)
        if value:
            data[name] = value
    if resource.custom_timeouts:
        data["customTimeouts"] = {kind: number(seconds) for kind, seconds in resource.custom_timeouts.items()}
    data.update(resource.other)
    return data


def resource_from_json(data: dict[str, Any], decrypt: Callable[[str], Any]) -> Resource:
    """Decode a resource.

    Raises:
        StateError: it lacks its URN or type.
    """
    try:
        resource = Resource(str(data["urn"]), str(data["type"]), bool(data.get("custom")))
    except (KeyError, TypeError):
        raise StateError("a resource of the checkpoint has no urn or type") from None
    resource.delete = bool(data.get("delete"))
    resource.id = data.get("id", "")
    resource.inputs = from_json(data.get("inputs") or {}, decrypt)
    resource.outputs = from_json(data.get("outputs") or {}, decrypt)
    for name, attribute in _PLAIN.items():
        if data.get(name):
            setattr(resource, attribute, data[name])
    resource.other = {name: value for name, value in data.items() if name not in _KNOWN}
    return resource


def deployment_to_json(snapshot: Snapshot, encrypt: Callable[[Secret], Any]) -> dict[str, Any]:
    """Encode a state as a deployment (what ``latest`` holds, and ``stack export`` prints)."""
    data: dict[str, Any] = {"manifest": {"time": now(), "magic": "", "version": ""}}
    if snapshot.salt:
        data["secrets_providers"] = {"type": "passphrase", "state": {"salt": snapshot.salt}}
    if snapshot.resources:
        data["resources"] = [resource_to_json(item, encrypt) for item in snapshot.resources]
    if snapshot.pending:
        data["pending_operations"] = [
            {"resource": resource_to_json(item.resource, encrypt), "type": item.type} for item in snapshot.pending
        ]
    data["metadata"] = {}
    data.update(snapshot.other)
    return data


def deployment_from_json(data: dict[str, Any] | None, manager: SecretsManager | None) -> Snapshot:
    """Decode a deployment.

    Raises:
        StateError: it is damaged.
        UnsupportedError: its secrets are not by passphrase.
    """
    if not data:
        return Snapshot()
    if not isinstance(data, dict):
        raise StateError("the checkpoint's deployment is not a map")

    def decrypt(ciphertext: str) -> Any:
        if manager is None:
            raise StateError("the checkpoint holds secrets but names no secrets provider")
        return manager.decrypt(ciphertext)

    providers = data.get("secrets_providers")
    return Snapshot(
        resources=[resource_from_json(item, decrypt) for item in data.get("resources") or []],
        pending=[
            PendingOperation(resource_from_json(item["resource"], decrypt), item["type"])
            for item in data.get("pending_operations") or []
        ],
        salt=salt_of(data) if providers else "",
        other={
            key: value
            for key, value in data.items()
            if key not in ("manifest", "secrets_providers", "resources", "pending_operations", "metadata")
        },
    )


def salt_of(data: dict[str, Any] | None) -> str:
    """Return the salt a deployment's secrets were made with, or an empty string.

    Raises:
        UnsupportedError: its secrets are not by passphrase.
    """
    providers = (data or {}).get("secrets_providers")
    if not providers:
        return ""
    if providers.get("type") != "passphrase":
        raise UnsupportedError(f"the secrets provider {providers.get('type')} of this stack")
    return str((providers.get("state") or {}).get("salt") or "")


SUPPORTED_FEATURES: Final = frozenset({"replaceWith"})


def version_of(deployment: dict[str, Any] | None) -> dict[str, Any]:
    """Return the version a deployment is written in: 4, with the features it uses, where it uses any."""
    used = any("replaceWith" in item for item in (deployment or {}).get("resources") or [])
    return {"version": 4, "features": sorted(SUPPORTED_FEATURES)} if used else {"version": 3}


def refused_version(document: dict[str, Any]) -> str:
    """Say what of a document's version and features is not supported, or nothing."""
    unknown = set(document.get("features") or ()) - SUPPORTED_FEATURES
    if document.get("version") in (3, 4) and not unknown:
        return ""
    return " ".join([f"version {document.get('version')}", *map(str, sorted(unknown))])


def encode(stack: str, deployment: dict[str, Any] | None) -> bytes:
    """Return the checkpoint file's bytes; ``stack`` is the full name."""
    document = {**version_of(deployment), "checkpoint": {"stack": stack, "latest": deployment}}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def verify(resources: Iterable[Resource]) -> None:
    """Check the order and uniqueness of a state's resources.

    Raises:
        StateError: a resource stands before what it needs, or twice.
    """
    seen: set[str] = set()
    for resource in resources:
        for urn in (resource.parent, *resource.dependencies, resource.provider.rsplit("::", 1)[0]):
            if urn and urn not in seen:
                raise StateError(f"the state is out of order: {resource.urn} comes before {urn}, which it needs")
        if resource.urn in seen and not resource.delete and not resource.pending_replacement:
            raise StateError(f"the state holds {resource.urn} twice")
        if not resource.delete:
            seen.add(resource.urn)
