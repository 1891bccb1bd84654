"""``pulumi stack …``, ``cancel``, ``login``, ``whoami`` and ``version``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine import VERSION
from engine.backend import Backend, parse_url, username, write_atomically
from engine.checkpoint import (
    STACK_TYPE,
    Resource,
    deployment_from_json,
    deployment_to_json,
    refused_version,
    verify,
    version_of,
)
from engine.errors import CancelledError, ConfigurationError, EngineError, StackNotFoundError, UnsupportedError
from engine.project import Project, find_project
from engine.session import Session, named_stack, open_backend, open_session
from engine.values import SECRET_SIGNATURE, SIGNATURE, Properties, Secret, mask, to_json
from engine.workspace import login, select_stack, selected_stack


def say(text: str = "") -> None:
    """Print a line."""
    print(text)  # noqa: T201 - a command line prints


def cancel(arguments: argparse.Namespace) -> None:
    """Remove the stack's locks."""
    store = open_session(arguments).store
    if store.cancel():
        say(f"The currently running update for '{store.name}' has been canceled!")
    else:
        say(f"stack '{store.name}' has no locks")


def log_in(arguments: argparse.Namespace) -> None:
    """Choose the backend."""
    url = "file://~" if arguments.local else arguments.url
    if not url:
        raise UnsupportedError("logging in to Pulumi Cloud")
    root = parse_url(url, Path.cwd())
    if not root.is_dir():
        raise ConfigurationError(f"{root} is no directory: make it first")
    login(url if "~" in url else f"file://{root}")
    say(f"Logged in to {os.uname().nodename} as {username()} ({url})")


def whoami(_arguments: argparse.Namespace) -> None:
    """Show the user."""
    say(username())


def version(_arguments: argparse.Namespace) -> None:
    """Show the version."""
    say(f"embedded engine {VERSION}")


def _here(arguments: argparse.Namespace) -> tuple[Project, Backend, str]:
    project = find_project(Path.cwd())
    name = named_stack(arguments, project)
    if not name:
        raise EngineError("a stack's name is missing: give it as an argument, or with --stack")
    return project, open_backend(project), name


def _make(project: Project, backend: Backend, name: str, arguments: argparse.Namespace) -> None:
    if arguments.secrets_provider not in ("passphrase", "default"):
        raise UnsupportedError(f"the secrets provider {arguments.secrets_provider}")
    session = Session(project, backend.create(project.name, name))
    try:
        session.manager()
    except EngineError:
        session.store.remove()
        raise
    print(f"Created stack '{name}'", file=sys.stderr)  # noqa: T201


def init(arguments: argparse.Namespace) -> None:
    """Make a stack."""
    project, backend, name = _here(arguments)
    _make(project, backend, name, arguments)
    if not arguments.no_select:
        select_stack(project, backend.url, name)


def select(arguments: argparse.Namespace) -> None:
    """Select a stack."""
    project, backend, name = _here(arguments)
    try:
        backend.stack(project.name, name)
    except StackNotFoundError:
        if not arguments.create:
            raise
        _make(project, backend, name, arguments)
    select_stack(project, backend.url, name)


def ls(arguments: argparse.Namespace) -> None:
    """List the project's stacks."""
    project = find_project(Path.cwd())
    backend = open_backend(project)
    current = selected_stack(project, backend.url)
    listed: list[dict[str, Any]] = []
    for name in backend.list(project.name):
        store = backend.stack(project.name, name)
        count = len((store.read_deployment() or {}).get("resources") or [])
        listed.append({"name": name, "current": name == current, "lastUpdate": store.updated(), "resourceCount": count})
    if arguments.json:
        say(json.dumps(listed, indent=2))
        return
    width = max([4, *(len(entry["name"]) + 1 for entry in listed)])
    say(f"{'NAME':<{width}}  {'LAST UPDATE':<20}  RESOURCE COUNT")
    for entry in listed:
        shown = entry["name"] + ("*" if entry["current"] else "")
        say(f"{shown:<{width}}  {entry['lastUpdate'][:19]:<20}  {entry['resourceCount']}")


def rm(arguments: argparse.Namespace) -> None:
    """Remove a stack."""
    session = open_session(arguments)
    store = session.store
    resources = (store.read_deployment() or {}).get("resources") or []
    if any(item.get("type") != STACK_TYPE for item in resources) and not arguments.force:
        raise EngineError(
            f"'{store.name}' still has resources; removal rejected. Possible actions: run `pulumi destroy` first, "
            "or give --force to drop the state and leave the resources"
        )
    if not arguments.yes:
        if getattr(arguments, "non_interactive", False) or not sys.stdin.isatty():
            raise EngineError("non-interactive mode requires --yes flag")
        say(f"This will permanently remove the '{store.name}' stack!")
        if input(f"Please confirm that this is what you'd like to do by typing `{store.name}`: ") != store.name:
            raise CancelledError("confirmation declined")
    with store.locked():
        session.remove(keep_settings=arguments.preserve_config)
    say(f"Stack '{store.name}' has been removed!")


def _outputs(session: Session) -> Properties:
    stack = next((r for r in session.snapshot().resources if r.type == STACK_TYPE and not r.delete), None)
    return stack.outputs if stack else {}


def output(arguments: argparse.Namespace) -> None:
    """Show outputs."""
    outputs = _outputs(open_session(arguments))
    if arguments.property:
        if arguments.property not in outputs:
            raise EngineError(f"current stack does not have output property '{arguments.property}'")
        value = mask(outputs[arguments.property], show_secrets=arguments.show_secrets)
        if arguments.shell and not arguments.json:
            say(f"{arguments.property}={shlex.quote(_plain(value))}")
            return
        say(json.dumps(value, indent=2, ensure_ascii=False) if arguments.json else _plain(value))
        return
    shown = mask(outputs, show_secrets=arguments.show_secrets)
    if arguments.json:
        say(json.dumps(shown, indent=2, ensure_ascii=False))
    elif arguments.shell:
        for key, value in shown.items():
            say(f"{key}={shlex.quote(_plain(value))}")
    else:
        _table(shown)


def _table(shown: Properties) -> None:
    say(f"Current stack outputs ({len(shown)}):")
    width = max([6, *(len(key) for key in shown)])
    say(f"    {'OUTPUT':<{width}}  VALUE" if shown else "    No output values currently in this stack")
    for key, value in shown.items():
        say(f"    {key:<{width}}  {_plain(value)}")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def show(arguments: argparse.Namespace) -> None:
    """Show a stack's name, resources and outputs."""
    session = open_session(arguments)
    if arguments.show_name:
        say(session.store.name)
        return
    say(f"Current stack is {session.store.name}:")
    say(f"    Managed by {os.uname().nodename}")
    say(f"    Last updated: {session.store.updated()}")
    rows = list(_tree(session.snapshot().resources, "", ""))
    say(f"Current stack resources ({len(rows)}):")
    width = max((len(kind) for kind, _ in rows), default=0)
    for kind, name in [("TYPE", "NAME"), *rows] if rows else [("No resources currently in this stack", "")]:
        say(f"    {kind:<{width}}  {name}".rstrip())
    say()
    if outputs := _outputs(session):
        _table(mask(outputs, show_secrets=arguments.show_secrets))


def _tree(resources: list[Resource], parent: str, indent: str) -> Iterator[tuple[str, str]]:
    below = [item for item in resources if item.parent == parent and not item.delete]
    if not parent:
        below.sort(key=lambda item: item.is_provider)
    for item in below:
        last = item is below[-1]
        yield indent + ("" if not parent else "└─ " if last else "├─ ") + item.type, item.name
        yield from _tree(resources, item.urn, indent + ("" if not parent else "   " if last else "│  "))


def export(arguments: argparse.Namespace) -> None:
    """Print the state."""
    session = open_session(arguments)

    def opened(secret: Secret) -> Any:
        text = json.dumps(to_json(secret.value, opened), separators=(",", ":"))
        return {SIGNATURE: SECRET_SIGNATURE, "plaintext": text}

    deployment = deployment_to_json(session.snapshot(), opened if arguments.show_secrets else session.manager().encrypt)
    text = json.dumps({**version_of(deployment), "deployment": deployment}, indent=4, ensure_ascii=False)
    if arguments.file:
        write_atomically(Path(arguments.file), text.encode() + b"\n")
    else:
        say(text)


def import_(arguments: argparse.Namespace) -> None:
    """Replace the state."""
    session = open_session(arguments)
    manager, store = session.manager(), session.store
    source = Path(arguments.file).read_text(encoding="utf-8") if arguments.file else sys.stdin.read()
    try:
        document = json.loads(source)
        refused, deployment = refused_version(document), document["deployment"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError("stack import needs a deployment as `pulumi stack export` prints it") from None
    if refused:
        raise UnsupportedError(f"importing a deployment of {refused}")
    snapshot = deployment_from_json(deployment, manager)
    if not arguments.force:
        verify(snapshot.resources)
        stacks = {item.urn.split("::", 1)[0].removeprefix("urn:pulumi:") for item in snapshot.resources}
        for other in sorted(stacks - {store.name}):
            raise EngineError(
                f"the deployment is of the stack {other}, not of {store.name}: give --force to import it all the same"
            )
    for operation in snapshot.pending:
        print(  # noqa: T201
            f"warning: removing pending operation '{operation.type}' on '{operation.resource.urn}' from snapshot",
            file=sys.stderr,
        )
    snapshot.pending = []
    snapshot.salt = manager.salt
    with store.locked():
        store.write_checkpoint(snapshot)
        store.journal_file.unlink(missing_ok=True)
    say("Import complete.")
