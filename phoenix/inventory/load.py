"""From the JSON texts of an installation to an :class:`~phoenix.inventory.models.Inventory`, or to its mistakes.

:func:`parse` is pure (texts in, models or sentences out); :func:`load` reads the directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from phoenix.errors import InputError
from phoenix.inventory.models import DockerStack, Guest, Hypervisor, Inventory, Lxc, Vm

LXC_FILE = "phoenix_lxc_configs.json"
VM_FILE = "phoenix_vm_configs.json"
HYPERVISOR_FILE = "phoenix_hypervisor_config.json"
STACKS_FILE = "phoenix_stacks_config.json"
FILES = (LXC_FILE, VM_FILE, HYPERVISOR_FILE, STACKS_FILE)
OPTIONAL_FILES = frozenset({STACKS_FILE})
_MAXIMUM_BYTES = 64 * 1024 * 1024
_SECRET_FIELDS = ("password", "secret", "token", "variables")

ModelType = TypeVar("ModelType", bound=BaseModel)


class _DuplicateKeyError(ValueError):
    """A key stands twice in one JSON object; ``json`` would keep the last and lose the first."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKeyError(key)
        result[key] = value
    return result


def _shown(field: str, value: object) -> str:
    if any(word in field.lower() for word in _SECRET_FIELDS):
        return "[secret]"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def sentences(where: str, source: Any, error: ValidationError) -> list[str]:
    """One sentence for each of pydantic's findings.

    Args:
        where: file and guest, for example ``phoenix_vm_configs.json: VM 1001 (Portainer)``.
        source: the value that was validated, to show what stands there.
        error: what pydantic found.
    """
    found = []
    for detail in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in detail["loc"]) or "(whole entry)"
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "missing":
            found.append(f"{where}: {field} is missing: add it.")
            continue
        value: Any = source
        for part in detail["loc"]:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                break
        limit = message[0].lower() + message[1:]
        found.append(f"{where}: {field} is {_shown(field, value)}: it {_as_demand(limit)}; correct it there.")
    return found


def _as_demand(message: str) -> str:
    if message.startswith("must "):
        return message
    return message.replace("input should be", "must be").replace("string should have", "must have")


class _Reader:
    """Collects mistakes over all files, so that one run names them all."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def document(self, name: str, text: str | None) -> dict[str, Any]:
        if text is None:
            if name not in OPTIONAL_FILES:
                self.mistakes.append(f"{name}: the file is missing: put it into the inventory directory.")
            return {}
        try:
            data = json.loads(text, object_pairs_hook=_no_duplicates)
        except _DuplicateKeyError as error:
            self.mistakes.append(f"{name}: the key {str(error)!r} stands twice in one object: remove one of the two.")
            return {}
        except json.JSONDecodeError as error:
            self.mistakes.append(
                f"{name}: line {error.lineno}, column {error.colno} is no JSON ({error.msg}): correct it there."
            )
            return {}
        except RecursionError:
            self.mistakes.append(f"{name}: it is nested too deep to be read: flatten it.")
            return {}
        if not isinstance(data, dict):
            self.mistakes.append(f"{name}: the whole file is {_shown('', data)}: it must be a JSON object.")
            return {}
        return data

    def model(self, kind: type[ModelType], where: str, data: Any) -> ModelType | None:
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            self.mistakes.extend(sentences(where, data, error))
            return None

    def section(self, name: str, document: dict[str, Any], key: str, kind: type, shape: str) -> Any:
        value = document.get(key)
        if value is None:
            if document:
                self.mistakes.append(f"{name}: {key} is missing: add it, as {shape}.")
            return kind()
        if not isinstance(value, kind):
            self.mistakes.append(f"{name}: {key} is {_shown(key, value)}: it must be {shape}.")
            return kind()
        return value


def _named(data: Any, fallback: str) -> str:
    name = data.get("name") if isinstance(data, dict) else None
    return f"{fallback} ({name})" if isinstance(name, str) and name else fallback


def _lxcs(reader: _Reader, document: dict[str, Any]) -> list[Lxc]:
    result = []
    for ctid, data in reader.section(LXC_FILE, document, "lxc_configs", dict, "an object of CTID → container").items():
        where = f"{LXC_FILE}: {_named(data, f'LXC {ctid}')}"
        if not (ctid.isascii() and ctid.isdigit() and 0 < int(ctid) < 1_000_000_000):
            reader.mistakes.append(f"{where}: its key is {ctid!r}: it must be a CTID, a whole number such as 801.")
            continue
        if not isinstance(data, dict):
            reader.mistakes.append(f"{where}: it is {_shown('', data)}: it must be a JSON object.")
            continue
        lxc = reader.model(Lxc, where, {**_present(data), "kind": "lxc", "id": int(ctid)})
        if lxc:
            result.append(lxc)
    return sorted(result, key=lambda lxc: lxc.id)


def _vms(reader: _Reader, document: dict[str, Any]) -> list[Vm]:
    result: list[Vm] = []
    for index, data in enumerate(reader.section(VM_FILE, document, "vms", list, "an array of VMs")):
        if not isinstance(data, dict):
            reader.mistakes.append(f"{VM_FILE}: vms[{index}] is {_shown('', data)}: it must be a JSON object.")
            continue
        vmid = data.get("vmid")
        where = f"{VM_FILE}: " + _named(data, f"vms[{index}]" if vmid is None else f"VM {vmid}")
        vm = reader.model(Vm, where, {**_present(data), "kind": "vm"})
        if vm is None:
            continue
        twin = next((other for other in result if other.id == vm.id), None)
        if twin:
            reader.mistakes.append(f"{where}: vmid is {vm.id}, as {twin.label}'s is: give one of them another.")
        else:
            result.append(vm)
    return sorted(result, key=lambda vm: vm.id)


def _present(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` without its nulls: the old scripts read a JSON null as absent (``jq -r '.x // empty'``)."""
    return {key: value for key, value in data.items() if value is not None}


def parse(texts: Mapping[str, str | None]) -> Inventory:
    """An inventory from the texts of its files.

    Args:
        texts: file name → text, or None where there is no such file.

    Raises:
        InputError: with a sentence for each mistake in any of the files.
    """
    reader = _Reader()
    documents = {name: reader.document(name, texts.get(name)) for name in FILES}
    hypervisor = None
    if documents[HYPERVISOR_FILE]:
        hypervisor = reader.model(Hypervisor, HYPERVISOR_FILE, _present(documents[HYPERVISOR_FILE]))
    lxcs = _lxcs(reader, documents[LXC_FILE])
    vms = _vms(reader, documents[VM_FILE])
    stacks: dict[str, DockerStack] = {}
    catalogue = documents[STACKS_FILE]
    if catalogue:
        shape = "an object of name → Docker stack"
        for name, data in reader.section(STACKS_FILE, catalogue, "docker_stacks", dict, shape).items():
            stack = reader.model(DockerStack, f"{STACKS_FILE}: Docker stack {name}", data)
            if stack:
                stacks[name] = stack
    reader.mistakes.extend(_cross_checks(lxcs, vms, stacks if catalogue else None))
    if reader.mistakes or hypervisor is None:
        raise InputError(reader.mistakes or [f"{HYPERVISOR_FILE}: the file is empty: restore it."])
    return Inventory(hypervisor=hypervisor, lxcs=tuple(lxcs), vms=tuple(vms), docker_stacks=stacks)


def _cross_checks(lxcs: Iterable[Lxc], vms: list[Vm], stacks: Mapping[str, DockerStack] | None) -> list[str]:
    """Mistakes that show only when several entries are read together; ``stacks`` is None without a catalogue."""
    mistakes = []
    vm_ids = {vm.id: vm for vm in vms}
    for lxc in lxcs:
        if lxc.id in vm_ids:
            mistakes.append(
                f"{LXC_FILE}: {lxc.label}: its CTID is also the VMID of {vm_ids[lxc.id].label}: Proxmox numbers "
                "containers and VMs together, so give one of them another."
            )
    primaries = [vm for vm in vms if vm.portainer_role == "primary" and not vm.is_template]
    if len(primaries) > 1:
        listed = " and ".join(vm.label for vm in primaries)
        mistakes.append(
            f'{VM_FILE}: portainer_role is "primary" on {listed}: one VM at most runs the Portainer server, '
            'so make the others "agent" or "none".'
        )
    for vm in vms:
        for reference in vm.docker_stacks if stacks is not None else ():
            mistakes.extend(_reference_mistakes(vm, reference.name, reference.environment, stacks or {}))
    return mistakes


def _reference_mistakes(
    vm: Guest, name: str, environment: str | None, stacks: Mapping[str, DockerStack]
) -> Iterable[str]:
    where = f"{VM_FILE}: {vm.label}: docker_stacks"
    stack = stacks.get(name)
    if stack is None:
        known = ", ".join(sorted(stacks)) or "none"
        yield (
            f"{where} names {name!r}, which {STACKS_FILE} does not hold (it holds: {known}): "
            "add it or correct the name."
        )
    elif environment is not None and environment not in stack.environments:
        known = ", ".join(sorted(stack.environments)) or "none"
        yield (
            f"{where} asks for the environment {environment!r} of {name!r}, which {STACKS_FILE} does not define "
            f"(it defines: {known}): add it or correct the name."
        )


def load(directory: Path) -> Inventory:
    """The inventory in a directory.

    Args:
        directory: holds the four files of :data:`FILES`; ``phoenix_stacks_config.json`` may be missing.

    Raises:
        InputError: the directory or a file cannot be read, or holds mistakes.
    """
    if not directory.is_dir():
        raise InputError(
            [f"{directory}: the inventory is no directory: name one that holds {LXC_FILE} and its siblings."]
        )
    texts: dict[str, str | None] = {}
    mistakes = []
    for name in FILES:
        path = directory / name
        try:
            if path.is_file() and path.stat().st_size > _MAXIMUM_BYTES:
                mistakes.append(f"{path}: it is larger than {_MAXIMUM_BYTES} bytes: this is no inventory file.")
                continue
            texts[name] = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            texts[name] = None
        except UnicodeDecodeError as error:
            mistakes.append(f"{path}: byte {error.start} is no UTF-8: save the file as UTF-8.")
        except OSError as error:
            mistakes.append(f"{path}: it cannot be read ({error.strerror}): check its permissions.")
    if mistakes:
        raise InputError(mistakes)
    return parse(texts)
