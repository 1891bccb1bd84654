"""From the JSON texts of an installation to an :class:`~phoenix.inventory.models.Inventory`, or to its mistakes.

:func:`parse` is pure (texts in, models or sentences out); :func:`load` reads the directory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from phoenix import names
from phoenix.errors import InputError
from phoenix.inventory.models import DockerStack, Guest, Hypervisor, Inventory, Lxc, PortainerApi, Vm
from phoenix.inventory.sentences import sentences, shown

LXC_FILE = "phoenix_lxc_configs.json"
VM_FILE = "phoenix_vm_configs.json"
HYPERVISOR_FILE = "phoenix_hypervisor_config.json"
STACKS_FILE = "phoenix_stacks_config.json"
FILES = (LXC_FILE, VM_FILE, HYPERVISOR_FILE, STACKS_FILE)
OPTIONAL_FILES = frozenset({STACKS_FILE})
MAXIMUM_BYTES = 64 * 1024 * 1024
_CTID = re.compile(r"[1-9][0-9]{0,8}")

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


class _Reader:
    """Collects mistakes over all files, so that one run names them all."""

    def __init__(self, unreadable: Mapping[str, str]) -> None:
        self.unreadable = unreadable
        self.mistakes: list[str] = []

    def document(self, name: str, text: str | None) -> dict[str, Any] | None:
        """The file's object, or None where there is none to read."""
        if name in self.unreadable:
            self.mistakes.append(self.unreadable[name])
            return None
        if text is None:
            if name not in OPTIONAL_FILES:
                self.mistakes.append(f"{name}: the file is missing: put it into the inventory directory.")
            return None
        try:
            data = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_no_duplicates)
        except _DuplicateKeyError as error:
            key = names.printable(repr(str(error)))
            self.mistakes.append(f"{name}: the key {key} stands twice in one object: remove one of the two.")
        except json.JSONDecodeError as error:
            self.mistakes.append(
                f"{name}: line {error.lineno}, column {error.colno} is no JSON ({error.msg}): correct it there."
            )
        except RecursionError:
            self.mistakes.append(f"{name}: it is nested too deep to be read: flatten it.")
        except ValueError:
            self.mistakes.append(f"{name}: it holds a number of more than 4300 digits: correct it there.")
        else:
            if isinstance(data, dict):
                return data
            self.mistakes.append(f"{name}: the whole file is {shown('', data)}: it must be a JSON object.")
        return None

    def model(
        self, kind: type[ModelType], where: str, data: Any, also: Mapping[str, Any] | None = None
    ) -> ModelType | None:
        """A model of ``data`` without its nulls; what ``also`` holds goes before it."""
        plain = _present(data)
        try:
            return kind.model_validate({**plain, **also} if also else plain)
        except ValidationError as error:
            self.mistakes.extend(sentences(where, data, error))
            return None

    def section(self, name: str, document: dict[str, Any] | None, key: str, kind: type, shape: str) -> Any:
        """What ``document`` holds under ``key``; something empty where it holds nothing fit."""
        if document is None:
            return kind()
        value = document.get(key)
        if value is None:
            self.mistakes.append(f"{name}: {key} is missing: add it, as {shape}.")
            return kind()
        if not isinstance(value, kind):
            self.mistakes.append(f"{name}: {key} is {shown(key, value)}: it must be {shape}.")
            return kind()
        return value


def _named(data: Any, fallback: str) -> str:
    name = data.get("name") if isinstance(data, dict) else None
    text = f"{fallback} ({name})" if isinstance(name, str) and name else fallback
    return names.printable(text, 80)


def _lxcs(reader: _Reader, document: dict[str, Any] | None) -> list[Lxc]:
    result = []
    for ctid, data in reader.section(LXC_FILE, document, "lxc_configs", dict, "an object of CTID → container").items():
        where = f"{LXC_FILE}: {_named(data, f'LXC {ctid}')}"
        if not _CTID.fullmatch(ctid):
            reader.mistakes.append(f"{where}: its key is {shown('', ctid)}: it must be a CTID such as 801.")
            continue
        if not isinstance(data, dict):
            reader.mistakes.append(f"{where}: it is {shown('', data)}: it must be a JSON object.")
            continue
        lxc = reader.model(Lxc, where, data, {"kind": "lxc", "id": int(ctid)})
        if lxc:
            result.append(lxc)
    return sorted(result, key=lambda lxc: lxc.id)


def _vms(reader: _Reader, document: dict[str, Any] | None) -> list[Vm]:
    result: list[Vm] = []
    for index, data in enumerate(reader.section(VM_FILE, document, "vms", list, "an array of VMs")):
        if not isinstance(data, dict):
            reader.mistakes.append(f"{VM_FILE}: vms[{index}] is {shown('', data)}: it must be a JSON object.")
            continue
        vmid = data.get("vmid")
        is_id = isinstance(vmid, int | str) and not isinstance(vmid, bool)
        where = f"{VM_FILE}: " + _named(data, f"VM {shown('', vmid)}" if is_id else f"vms[{index}]")
        vm = reader.model(Vm, where, data, {"kind": "vm"})
        if vm is None:
            continue
        twin = next((other for other in result if other.id == vm.id), None)
        if twin:
            reader.mistakes.append(f"{where}: vmid is {vm.id}, as {twin.label}'s is: give one of them another.")
        else:
            result.append(vm)
    return sorted(result, key=lambda vm: vm.id)


def _present(data: Any, depth: int = 8) -> Any:
    """``data`` without the nulls of its objects, as deep as the models go: to ``jq`` scripts, null is absent."""
    if depth == 0:
        return data
    if isinstance(data, dict):
        return {key: _present(value, depth - 1) for key, value in data.items() if value is not None}
    return [_present(item, depth - 1) for item in data] if isinstance(data, list) else data


def examine(
    texts: Mapping[str, str | None], unreadable: Mapping[str, str] | None = None
) -> tuple[Inventory, list[str]]:
    """As much of an inventory as can be read, and a sentence for each mistake.

    Args:
        texts: file name → text, or None where there is no such file.
        unreadable: file name → the sentence that says why it cannot be read.

    Returns:
        The inventory without its faulty entries, fit to find further mistakes only; and the mistakes.
    """
    reader = _Reader(unreadable or {})
    documents = {name: reader.document(name, texts.get(name)) for name in FILES}
    about_hypervisor = documents[HYPERVISOR_FILE]
    hypervisor = None
    if about_hypervisor is not None:
        hypervisor = reader.model(Hypervisor, HYPERVISOR_FILE, about_hypervisor)
    lxcs = _lxcs(reader, documents[LXC_FILE])
    vms = _vms(reader, documents[VM_FILE])
    catalogue = documents[STACKS_FILE]
    stacks: dict[str, DockerStack] = {}
    shape = "an object of name → Docker stack"
    entries = reader.section(STACKS_FILE, catalogue, "docker_stacks", dict, shape)
    for name, data in entries.items():
        where = f"{STACKS_FILE}: Docker stack {names.printable(name)}"
        stack = reader.model(DockerStack, where, data)
        if stack:
            stacks[name] = stack
    reader.mistakes.extend(_cross_checks(lxcs, vms, entries if catalogue is not None else None, stacks))
    inventory = Inventory(
        hypervisor=hypervisor or _stand_in(about_hypervisor), lxcs=tuple(lxcs), vms=tuple(vms), docker_stacks=stacks
    )
    return inventory, reader.mistakes


def parse(texts: Mapping[str, str | None]) -> Inventory:
    """An inventory from the texts of its files.

    Args:
        texts: file name → text, or None where there is no such file.

    Raises:
        InputError: with a sentence for each mistake in any of the files.
    """
    return _faultless(*examine(texts))


def _faultless(inventory: Inventory, mistakes: list[str]) -> Inventory:
    if mistakes:
        raise InputError(mistakes)
    return inventory


def _stand_in(data: Mapping[str, Any] | None) -> Hypervisor:
    """In place of a faulty hypervisor, so that the mistakes of the guests' routes are found in the same run."""
    portainer = PortainerApi(portainer_hostname="portainer.invalid")
    try:
        return Hypervisor(domain_name=(data or {}).get("domain_name") or "", portainer_api=portainer)
    except ValidationError:
        return Hypervisor(domain_name="invalid", portainer_api=portainer)


def _cross_checks(
    lxcs: Iterable[Lxc], vms: list[Vm], known: Mapping[str, Any] | None, stacks: Mapping[str, DockerStack]
) -> list[str]:
    """Mistakes that show only when several entries are read together.

    Args:
        lxcs: the faultless ones.
        vms: the faultless ones.
        known: names in the catalogue of Docker stacks; None where there is no catalogue.
        stacks: the faultless ones.
    """
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
    for vm in vms if known is not None else ():
        for reference in vm.docker_stacks:
            mistakes.extend(_reference_mistakes(vm, reference.name, reference.environment, known or {}, stacks))
    return mistakes


def _reference_mistakes(
    vm: Guest, name: str, environment: str | None, known: Mapping[str, Any], stacks: Mapping[str, DockerStack]
) -> Iterable[str]:
    where = f"{VM_FILE}: {vm.label}: docker_stacks"
    if name not in known:
        yield (
            f"{where} names {shown('', name)}, which {STACKS_FILE} does not hold (it holds: {_listed(known)}): "
            "add it or correct the name."
        )
    elif environment is not None and name in stacks and environment not in stacks[name].environments:
        yield (
            f"{where} asks for the environment {shown('', environment)} of {shown('', name)}, which {STACKS_FILE} "
            f"does not define (it defines: {_listed(stacks[name].environments)}): add it or correct the name."
        )


def _listed(known: Iterable[str]) -> str:
    return ", ".join(names.printable(name) for name in sorted(known)) or "none"


def examine_directory(directory: Path) -> tuple[Inventory, list[str]]:
    """As :func:`examine`, for the files in a directory.

    Raises:
        InputError: it is no directory.
    """
    if not directory.is_dir():
        raise InputError(
            [f"{directory}: the inventory is no directory: name one that holds {LXC_FILE} and its siblings."]
        )
    texts: dict[str, str | None] = {}
    unreadable: dict[str, str] = {}
    for name in FILES:
        path = directory / name
        try:
            if path.exists() and not path.is_file():
                unreadable[name] = f"{path}: it is no regular file: put the JSON file there."
            elif path.exists() and path.stat().st_size > MAXIMUM_BYTES:
                unreadable[name] = f"{path}: it is larger than {MAXIMUM_BYTES} bytes: this is no inventory file."
            else:
                texts[name] = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            texts[name] = None
        except UnicodeDecodeError as error:
            unreadable[name] = f"{path}: byte {error.start} is no UTF-8: save the file as UTF-8."
        except OSError as error:
            unreadable[name] = f"{path}: it cannot be read ({error.strerror}): check its permissions."
    return examine(texts, unreadable)


def load(directory: Path) -> Inventory:
    """The inventory in a directory.

    Args:
        directory: holds the four files of :data:`FILES`; ``phoenix_stacks_config.json`` may be missing.

    Raises:
        InputError: the directory or a file cannot be read, or holds mistakes.
    """
    return _faultless(*examine_directory(directory))
