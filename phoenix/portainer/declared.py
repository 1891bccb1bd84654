"""What should be in Portainer: the outputs and the compose files, checked and put together. Pure but for ``read``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from phoenix.errors import InputError
from phoenix.portainer import compose, compose_checks
from phoenix.portainer.compose import ComposeError, StackFile
from phoenix.portainer.compose_checks import Service
from phoenix.portainer.contract import DockerStack, Outputs
from phoenix.portainer.records import DOCKER_AGENT, DOCKER_LOCAL, normal_stack_name

#: Reads a file below the directory of the compose files; raises OSError.
Read = Callable[[str], bytes]

#: Where a Portainer server finds the Docker engine of its own machine.
LOCAL_SOCKET = "unix:///var/run/docker.sock"

_MARK = "# Managed by Phoenix"


@dataclass(frozen=True)
class DeclaredEnvironment:
    """An environment that should be there.

    Attributes:
        name: its name in Portainer.
        url: the agent, ``tcp://host:port``; for the server's own machine its Docker socket.
        vmid: the machine.
        type: DOCKER_AGENT, or DOCKER_LOCAL for the server's own machine.
    """

    name: str
    url: str
    vmid: int
    type: int = DOCKER_AGENT


@dataclass(frozen=True)
class DeclaredStack:
    """A stack that should be there.

    Attributes:
        name: its name in Portainer, as Portainer keeps it.
        environment: the name of its environment.
        vmid: the machine.
        catalogue_name: its name in the inventory.
        text: the compose text, complete.
        variables: every variable; they mask themselves.
        services: what should run.
    """

    name: str
    environment: str
    vmid: int
    catalogue_name: str
    text: str = field(repr=False)
    variables: Mapping[str, SecretStr]
    services: Mapping[str, Service]


@dataclass(frozen=True)
class Declared:
    """Everything that should be there.

    Attributes:
        owner: which Pulumi environment this is; stands in the mark on what it makes.
        internal_domain: agents below it belong to this installation.
        environments: in the inventory's order.
        stacks: in the inventory's order.
        warnings: sentences about compose files that can be sent but do less than they seem to.
    """

    owner: str
    internal_domain: str
    environments: tuple[DeclaredEnvironment, ...]
    stacks: tuple[DeclaredStack, ...]
    warnings: tuple[str, ...] = ()


def mark(owner: str) -> str:
    """The first line of every compose text that ``owner`` sends: tells its stacks from those made by hand."""
    return f"{_MARK} ({owner}). Change the inventory, not this text."


def owner_of(text: str) -> str | None:
    """Whose mark a compose text carries; none where it was not sent by the portainer manager."""
    first = text.split("\n", 1)[0]
    found = re.fullmatch(re.escape(_MARK) + r" \(([^()]+)\)\..*", first)
    return found.group(1) if found else None


def without_mark(text: str) -> str:
    """A compose text without the first line that the portainer manager put there."""
    return text if owner_of(text) is None else text.partition("\n")[2]


def declare(outputs: Outputs, read: Read, *, only: tuple[str, int] | None = None) -> Declared:
    """Put outputs and compose files together.

    Args:
        outputs: the stack's outputs.
        read: gives a compose file or a stack's file.
        only: the catalogue name and machine of the one stack that is wanted.

    Raises:
        InputError: with a sentence for each mistake in the compose files and names.
    """
    mistakes: list[str] = []
    warnings: list[str] = []
    environments = _environments(outputs, mistakes)
    chosen = [item for item in outputs.docker_stacks if only is None or (item.name, item.vmid) == only]
    if only is not None:
        _check_choice(outputs, only, chosen)
    stacks = []
    for item in chosen:
        stack = _stack(item, outputs.environment, read, mistakes, warnings)
        if stack is not None:
            stacks.append(stack)
    _check_names(stacks, mistakes)
    if mistakes:
        raise InputError(mistakes)
    if only is not None:
        wanted = {stack.environment for stack in stacks}
        environments = [item for item in environments if item.name in wanted]
    return Declared(outputs.environment, outputs.internal_domain, tuple(environments), tuple(stacks), tuple(warnings))


def _check_choice(outputs: Outputs, only: tuple[str, int], chosen: list[DockerStack]) -> None:
    if chosen:
        return
    name, vmid = only
    there = sorted({item.name for item in outputs.docker_stacks if item.vmid == vmid})
    has = f"it has {', '.join(there)}" if there else "it has none"
    raise InputError(
        [f"VM {vmid}: the stack {name!r} is not declared for it ({has}): add it to docker_stacks and run 'pulumi up'."]
    )


def _environments(outputs: Outputs, mistakes: list[str]) -> list[DeclaredEnvironment]:
    found: dict[str, DeclaredEnvironment] = {}
    for agent in outputs.portainer.agents if outputs.portainer else ():
        folded = agent.environment.strip().casefold()
        if folded in found:
            mistakes.append(
                f"VM {agent.vmid}: portainer_environment_name {agent.environment!r} is that of VM "
                f"{found[folded].vmid} too: give each agent its own."
            )
            continue
        found[folded] = DeclaredEnvironment(agent.environment.strip(), agent.url, agent.vmid)
    server = outputs.portainer.server if outputs.portainer else None
    for stack in outputs.docker_stacks:
        name = stack.portainer_environment.strip()
        if server is not None and stack.vmid == server.vmid and name.casefold() not in found:
            found[name.casefold()] = DeclaredEnvironment(name, LOCAL_SOCKET, server.vmid, DOCKER_LOCAL)
    return list(found.values())


def _check_names(stacks: list[DeclaredStack], mistakes: list[str]) -> None:
    seen: dict[tuple[str, str], DeclaredStack] = {}
    for stack in stacks:
        other = seen.setdefault((stack.environment, stack.name), stack)
        if other is not stack:
            mistakes.append(
                f"VM {stack.vmid}: the stacks {other.catalogue_name!r} and {stack.catalogue_name!r} are both "
                f"{stack.name!r} in Portainer: rename one or remove the duplicate from docker_stacks."
            )


def _stack(item: DockerStack, owner: str, read: Read, mistakes: list[str], warnings: list[str]) -> DeclaredStack | None:
    name = normal_stack_name(item.deployment_name)
    before = len(mistakes)
    if not re.match(r"[a-z0-9]", name):
        mistakes.append(
            f"stack {item.name!r}: its name in Portainer would be {name!r}, which Compose refuses: begin "
            "it with a letter "
            "or digit."
        )
    variables: dict[str, SecretStr] = {}
    for variable in item.variables:
        if variable.name in variables:
            mistakes.append(f"stack {item.name!r}, {item.environment}: the variable {variable.name} stands twice.")
        variables[variable.name] = variable.value
    files = [_file(item, entry.source, entry.destination, entry.service, read, mistakes) for entry in item.files]
    try:
        source = compose.decode(_bytes(read, item.compose_file))
        text = compose.with_files(source, [file for file in files if file is not None])
        examined = compose_checks.examine(
            compose.load(text), {key: value.get_secret_value() for key, value in variables.items()}
        )
    except ComposeError as error:
        mistakes.append(f"{item.compose_file} (stack {item.name!r}) {error}")
        return None
    mistakes += [f"{item.compose_file} (stack {item.name!r}) {text}" for text in examined.mistakes]
    warnings += [f"{item.compose_file} (stack {item.name!r}) {text}" for text in examined.warnings]
    if len(mistakes) > before:
        return None
    return DeclaredStack(
        name,
        item.portainer_environment.strip(),
        item.vmid,
        item.name,
        f"{mark(owner)}\n{text}",
        variables,
        examined.services,
    )


def _bytes(read: Read, path: str) -> bytes:
    try:
        return read(path)
    except OSError as error:
        raise ComposeError(
            f"cannot be read ({error.strerror or error}): put it below the directory of the compose files "
            "(portainer.composeDirectory), or correct its path in the inventory."
        ) from None


def _file(
    item: DockerStack, source: str, destination: str, service: str | None, read: Read, mistakes: list[str]
) -> StackFile | None:
    if destination.endswith("/") or posixpath.normpath(destination) != destination:
        mistakes.append(
            f"stack {item.name!r}: destination_in_container {destination!r} must be an absolute path of a "
            "file, such as "
            "/app/.env."
        )
        return None
    try:
        return StackFile(destination, compose.decode(_bytes(read, source), compose.MAXIMUM_FILE_BYTES), service)
    except ComposeError as error:
        mistakes.append(f"{source} (file of stack {item.name!r}) {error}")
        return None
