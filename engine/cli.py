"""The command line: the official CLI's words, options and exit codes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from engine.backend import Backend, login, parse_url, resolve_url, select_stack, selected_stack
from engine.errors import (
    CancelledError,
    ConfigurationError,
    DeploymentFailed,
    EngineError,
    StackNotFoundError,
    UnsupportedError,
)
from engine.project import Project, check_stack_name, find_project


class _Parser(argparse.ArgumentParser):
    """Refuses what it does not know in one sentence, and never guesses abbreviations."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{self.prog}: {message}: see `{self.prog} --help`, or use the official CLI")


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("-s", "--stack", help="the stack to work on")
    shared.add_argument("-C", "--cwd", help="run as if started in this directory")
    shared.add_argument("--color", choices=["always", "never", "raw", "auto"], help="when to colour")
    shared.add_argument("--non-interactive", action="store_true", help="ask nothing")
    shared.add_argument("-v", "--verbose", type=int, nargs="?", help=argparse.SUPPRESS)
    shared.add_argument("--logtostderr", action="store_true", help=argparse.SUPPRESS)

    top = _Parser(
        prog="pulumi",
        parents=[shared],
        allow_abbrev=False,
        description="Runs this project's Pulumi program with the embedded engine (docs/engine.md).",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(
        parent: Any, name: str, help_text: str, run: Callable[[argparse.Namespace], int], **options: Any
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = parent.add_parser(
            name, help=help_text, description=help_text, parents=[shared], allow_abbrev=False, **options
        )
        made.set_defaults(run=run)
        return made

    for name, help_text, aliases in (
        ("preview", "Show what an update would change", ["pre"]),
        ("up", "Create or update the resources of a stack", ["update"]),
        ("destroy", "Delete all resources of a stack", ["down", "dn"]),
        ("refresh", "Bring the state to what is really there", []),
    ):
        _operation_options(command(commands, name, help_text, _operate, aliases=aliases), name)

    command(commands, "cancel", "Remove the locks a stack's other processes hold", _cancel).add_argument(
        "name", nargs="?", help="the stack"
    )
    _login_options(command(commands, "login", "Choose the backend: login file://<directory>", _login))
    command(commands, "whoami", "Show the user", _whoami)
    command(commands, "version", "Show the version", _version)

    _stack_options(command, commands)
    _config_options(command, commands)
    return top


def _operation_options(parser: argparse.ArgumentParser, name: str) -> None:
    add = parser.add_argument
    add("--diff", action="store_true", help="show the changes property by property")
    add("-j", "--json", action="store_true", help="print JSON")
    add("--expect-no-changes", action="store_true", help="fail if anything changes")
    add("-t", "--target", action="append", default=[], help="only this URN (repeatable; * and ** match)")
    add("--target-dependents", action="store_true", help="and what depends on the targets")
    add("-p", "--parallel", type=int, default=16, help="how many operations at once")
    add("-m", "--message", default="", help="a note for the history")
    add("--show-secrets", action="store_true", help="print secrets in clear")
    add("--show-sames", action="store_true", help="also show what does not change")
    add("--suppress-outputs", action="store_true", help="do not print stack outputs")
    add("--suppress-permalink", nargs="?", help=argparse.SUPPRESS)
    add("--suppress-progress", action="store_true", help="print no progress")
    add("-c", "--config", action="append", default=[], help="set configuration first: key=value")
    add("--event-log", help="also write events as JSON lines to this file")
    if name != "preview":
        add("-y", "--yes", action="store_true", help="do not ask")
        add("-f", "--skip-preview", action="store_true", help="do not preview first")
        add("--preview-only", action="store_true", help="only preview")
    if name == "refresh":
        add("--clear-pending-creates", action="store_true", help="forget interrupted creations")
    else:
        add("-r", "--refresh", nargs="?", const="true", default="false", help="refresh first")
    if name in ("preview", "up"):
        add("--policy-pack", action="append", default=[], help=argparse.SUPPRESS)
        add("--save-plan", help=argparse.SUPPRESS)
        add("--plan", help=argparse.SUPPRESS)
        add("--replace", action="append", default=[], help=argparse.SUPPRESS)
        add("--target-replace", action="append", default=[], help=argparse.SUPPRESS)
        add("--import-file", help=argparse.SUPPRESS)
    if name == "destroy":
        add("--remove", action="store_true", help="remove the stack afterwards")


def _login_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", help="file://<directory>")
    parser.add_argument("-l", "--local", action="store_true", help="the same as file://~")


def _stack_options(command: Any, commands: Any) -> None:
    stack = command(commands, "stack", "Show and manage stacks", _stack_show)
    stack.add_argument("--show-name", action="store_true", help="print the name alone")
    stack.add_argument("--show-secrets", action="store_true", help="print secret outputs in clear")
    sub = stack.add_subparsers(dest="subcommand", metavar="SUBCOMMAND")
    init = command(sub, "init", "Make a stack", _stack_init)
    init.add_argument("name", nargs="?")
    init.add_argument("--secrets-provider", default="passphrase")
    init.add_argument("--no-select", action="store_true")
    select = command(sub, "select", "Select a stack", _stack_select)
    select.add_argument("name", nargs="?")
    select.add_argument("-c", "--create", action="store_true", help="make it if it is not there")
    select.add_argument("--secrets-provider", default="passphrase")
    listing = command(sub, "ls", "List stacks", _stack_ls)
    listing.add_argument("-j", "--json", action="store_true")
    listing.add_argument("-a", "--all", action="store_true")
    remove = command(sub, "rm", "Remove a stack", _stack_rm)
    remove.add_argument("name", nargs="?")
    remove.add_argument("-y", "--yes", action="store_true")
    remove.add_argument("-f", "--force", action="store_true", help="though it has resources")
    remove.add_argument("--preserve-config", action="store_true", help="keep the settings file")
    output = command(sub, "output", "Show outputs", _stack_output)
    output.add_argument("property", nargs="?")
    output.add_argument("-j", "--json", action="store_true")
    output.add_argument("--shell", action="store_true")
    output.add_argument("--show-secrets", action="store_true")
    export = command(sub, "export", "Print the state", _stack_export)
    export.add_argument("--file")
    export.add_argument("--show-secrets", action="store_true")
    load = command(sub, "import", "Replace the state", _stack_import)
    load.add_argument("--file")
    load.add_argument("-f", "--force", action="store_true")
    history = command(sub, "history", "Show past updates", _stack_history)
    history.add_argument("-j", "--json", action="store_true")
    history.add_argument("--show-secrets", action="store_true")
    history.add_argument("--full-dates", action="store_true")
    history.add_argument("--page-size", type=int, default=10)
    history.add_argument("--page", type=int, default=1)


def _config_options(command: Any, commands: Any) -> None:
    config = command(commands, "config", "Show and change configuration", _config_list)
    config.add_argument("-j", "--json", action="store_true")
    config.add_argument("--show-secrets", action="store_true")
    sub = config.add_subparsers(dest="subcommand", metavar="SUBCOMMAND")
    set_ = command(sub, "set", "Set a value (from standard input where none is given)", _config_set)
    set_.add_argument("key")
    set_.add_argument("value", nargs="?")
    set_.add_argument("--secret", action="store_true", help="encrypt it")
    set_.add_argument("--plaintext", action="store_true", help="store it in clear")
    set_.add_argument("--path", action="store_true", help="the key is a path inside an object")
    set_.add_argument("--type", choices=["string", "bool", "int", "float"])
    get = command(sub, "get", "Print a value", _config_get)
    get.add_argument("key")
    get.add_argument("-j", "--json", action="store_true")
    get.add_argument("--path", action="store_true")
    remove = command(sub, "rm", "Remove a value", _config_rm)
    remove.add_argument("key")
    remove.add_argument("--path", action="store_true")


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911 - one a kind of ending
    """Run a command line and return its exit code."""
    try:
        parsed = _parser().parse_args(arguments)
        if getattr(parsed, "cwd", None):
            os.chdir(parsed.cwd)
        if not getattr(parsed, "run", None):
            _parser().print_help()
            return 0
        code: int = parsed.run(parsed)
        return code
    except DeploymentFailed as error:
        return error.exit_code
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)  # noqa: T201
        return CancelledError.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: say no more
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    except Exception as error:
        if os.environ.get("ENGINE_TRACEBACK"):
            raise
        print(  # noqa: T201
            f"error: the engine failed ({type(error).__name__}: {error}): this is a defect; ENGINE_TRACEBACK=1 shows "
            "where, and the official CLI continues from the same state",
            file=sys.stderr,
        )
        return 255


def _say(text: str = "") -> None:
    print(text)  # noqa: T201 - a command line prints


def _project(arguments: argparse.Namespace) -> Project:
    del arguments
    return find_project(Path.cwd())


def _backend(project: Project | None) -> Backend:
    url = resolve_url(project.backend_url if project else None)
    return Backend(
        parse_url(url, project.directory if project and not os.environ.get("PULUMI_BACKEND_URL") else Path.cwd()), url
    )


def _stack_name(arguments: argparse.Namespace, project: Project) -> str:
    named = getattr(arguments, "stack", None) or getattr(arguments, "name", None)
    named = named or os.environ.get("PULUMI_STACK") or selected_stack(project.name, project.file, _backend(project).url)
    if not named:
        raise StackNotFoundError("no stack selected; please use `pulumi stack select` to choose one, or give --stack")
    return check_stack_name(named)


def _session(arguments: argparse.Namespace) -> Any:
    from engine.operation import Session

    project = _project(arguments)
    backend = _backend(project)
    name = _stack_name(arguments, project)
    return Session(project, backend, backend.stack(project.name, name))


# -- operations -------------------------------------------------------------------------------------


def _operate(arguments: argparse.Namespace) -> int:
    from engine.run import operate

    for option in ("policy_pack", "save_plan", "plan", "replace", "target_replace", "import_file"):
        if getattr(arguments, option, None):
            raise UnsupportedError(f"--{option.replace('_', '-')}")
    session = _session(arguments)
    for setting in arguments.config:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ConfigurationError(f"--config {setting!r} must be key=value")
        session.settings.set(session.settings.qualify(key), value)
    return operate(session, arguments)


def _cancel(arguments: argparse.Namespace) -> int:
    session = _session(arguments)
    number = session.store.cancel()
    _say(f"The currently running update for '{session.store.name}' has been canceled!" if number else
         f"stack '{session.store.name}' has no locks")  # fmt: skip
    return 0


def _login(arguments: argparse.Namespace) -> int:
    url = "file://~" if arguments.local else arguments.url
    if not url:
        raise UnsupportedError("logging in to Pulumi Cloud")
    root = parse_url(url, Path.cwd())
    if not root.is_dir():
        raise ConfigurationError(f"{root} is no directory: make it first")
    login(url if "~" in url else f"file://{root}")
    _say(f"Logged in to {os.uname().nodename} as {_user()} ({url})")
    return 0


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _whoami(_arguments: argparse.Namespace) -> int:
    _say(_user())
    return 0


def _version(_arguments: argparse.Namespace) -> int:
    from engine import VERSION

    _say(f"embedded engine {VERSION}")
    return 0


# -- stacks -----------------------------------------------------------------------------------------


def _init(arguments: argparse.Namespace, name: str) -> None:
    from engine.operation import Session

    if arguments.secrets_provider not in ("passphrase", "default"):
        raise UnsupportedError(f"the secrets provider {arguments.secrets_provider}")
    project = _project(arguments)
    backend = _backend(project)
    session = Session(project, backend, backend.create(project.name, name))
    try:
        session.manager()
    except EngineError:
        session.store.remove()
        raise


def _stack_init(arguments: argparse.Namespace) -> int:
    named = arguments.name or getattr(arguments, "stack", None)
    if not named:
        raise ConfigurationError("stack init needs a name")
    name = check_stack_name(named)
    _init(arguments, name)
    project = _project(arguments)
    if not arguments.no_select:
        select_stack(project.name, project.file, _backend(project).url, name)
    _say(f"Created stack '{name}'")
    return 0


def _stack_select(arguments: argparse.Namespace) -> int:
    named = arguments.name or getattr(arguments, "stack", None)
    if not named:
        raise ConfigurationError("stack select needs a name")
    name = check_stack_name(named)
    project = _project(arguments)
    backend = _backend(project)
    try:
        backend.stack(project.name, name)
    except StackNotFoundError:
        if not arguments.create:
            raise
        _init(arguments, name)
        _say(f"Created stack '{name}'")
    select_stack(project.name, project.file, _backend(project).url, name)
    return 0


def _stack_ls(arguments: argparse.Namespace) -> int:
    project = _project(arguments)
    backend = _backend(project)
    current = selected_stack(project.name, project.file, backend.url)
    rows = []
    for name in backend.list(project.name):
        store = backend.stack(project.name, name)
        deployment = store.read_deployment() or {}
        count = len(deployment.get("resources") or [])
        updated = (deployment.get("manifest") or {}).get("time")
        rows.append((name, name == current, updated, count))
    if arguments.json:
        listed = [
            {
                "name": name,
                "current": selected,
                **({"lastUpdate": updated} if updated else {}),
                "updateInProgress": False,
                **({"resourceCount": count} if updated else {}),
            }
            for name, selected, updated, count in rows
        ]
        _say(json.dumps(listed, indent=2))
        return 0
    width = max([4, *(len(name) + 1 for name, *_ in rows)])
    _say(f"{'NAME':<{width}}  {'LAST UPDATE':<20}  RESOURCE COUNT")
    for name, selected, updated, count in rows:
        shown = name + ("*" if selected else "")
        _say(f"{shown:<{width}}  {(updated or 'n/a')[:19]:<20}  {count if updated else 'n/a'}")
    return 0


def _stack_rm(arguments: argparse.Namespace) -> int:
    session = _session(arguments)
    store = session.store
    deployment = store.read_deployment() or {}
    if deployment.get("resources") and not arguments.force:
        raise EngineError(
            f"'{store.name}' still has resources; removal rejected. Possible actions: run `pulumi destroy` first, "
            "or give --force to drop the state and leave the resources"
        )
    if not arguments.yes:
        _confirm(f"This will permanently remove the '{store.name}' stack!", store.name, arguments)
    with store.locked():
        store.remove()
    if not arguments.preserve_config:
        session.settings.path.unlink(missing_ok=True)
    project = session.project
    url = session.backend.url
    if selected_stack(project.name, project.file, url) == store.name:
        select_stack(project.name, project.file, url, None)
    _say(f"Stack '{store.name}' has been removed!")
    return 0


def _confirm(text: str, word: str, arguments: argparse.Namespace) -> None:
    if getattr(arguments, "non_interactive", False) or not sys.stdin.isatty():
        raise ConfigurationError("in non-interactive mode the confirmation must be given with --yes")
    _say(text)
    if input(f"Please confirm that this is what you'd like to do by typing `{word}`: ") != word:
        raise CancelledError("confirmation declined")


def _stack_outputs(session: Any) -> dict[str, Any]:
    from engine.checkpoint import STACK_TYPE

    session.manager()
    stack = next((r for r in session.snapshot().resources if r.type == STACK_TYPE and not r.delete), None)
    return stack.outputs if stack else {}


def _stack_output(arguments: argparse.Namespace) -> int:
    from engine.values import mask, reveal

    outputs = _stack_outputs(_session(arguments))
    show = reveal if arguments.show_secrets else mask
    if arguments.property:
        if arguments.property not in outputs:
            raise EngineError(f"current stack does not have output property '{arguments.property}'")
        value = show(outputs[arguments.property])
        _say(json.dumps(value, indent=2, ensure_ascii=False) if arguments.json else _plain(value))
        return 0
    shown = {key: show(value) for key, value in sorted(outputs.items())}
    if arguments.json:
        _say(json.dumps(shown, indent=2, ensure_ascii=False))
        return 0
    if arguments.shell:
        import shlex

        for key, value in shown.items():
            _say(f"{key}={shlex.quote(_plain(value))}")
        return 0
    _say(f"Current stack outputs ({len(shown)}):")
    width = max([6, *(len(key) for key in shown)])
    if not shown:
        _say("    No output values currently in this stack")
    else:
        _say(f"    {'OUTPUT':<{width}}  VALUE")
    for key, value in shown.items():
        _say(f"    {key:<{width}}  {_plain(value)}")
    return 0


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _stack_show(arguments: argparse.Namespace) -> int:
    session = _session(arguments)
    if arguments.show_name:
        _say(session.store.name)
        return 0
    deployment = session.store.read_deployment() or {}
    resources = deployment.get("resources") or []
    _say(f"Current stack is {session.store.name}:")
    _say(f"    Managed by {os.uname().nodename}")
    _say(f"    Last updated: {(deployment.get('manifest') or {}).get('time', 'never')}")
    _say(f"Current stack resources ({len(resources)}):")
    for resource in resources:
        _say(f"    {resource['type']}  {resource['urn'].split('::', 3)[-1]}")
    _say()
    arguments.property = arguments.json = arguments.shell = None
    return _stack_output(arguments)


def _stack_export(arguments: argparse.Namespace) -> int:
    from engine.checkpoint import deployment_to_json
    from engine.values import SECRET_SIGNATURE, SIGNATURE, Secret, to_json

    session = _session(arguments)
    manager = session.manager()
    snapshot = session.snapshot()

    def reveal(secret: Secret) -> Any:
        text = json.dumps(to_json(secret.value, reveal), separators=(",", ":"))
        return {SIGNATURE: SECRET_SIGNATURE, "plaintext": text}

    deployment = deployment_to_json(snapshot, reveal if arguments.show_secrets else manager.encrypt)
    text = json.dumps({"version": 3, "deployment": deployment}, indent=4, ensure_ascii=False)
    if arguments.file:
        from engine.backend import write_atomically

        write_atomically(Path(arguments.file), text.encode() + b"\n")
    else:
        _say(text)
    return 0


def _stack_import(arguments: argparse.Namespace) -> int:
    from engine.checkpoint import deployment_from_json, verify

    session = _session(arguments)
    manager = session.manager()
    source = Path(arguments.file).read_text(encoding="utf-8") if arguments.file else sys.stdin.read()
    try:
        document = json.loads(source)
        version, deployment = document["version"], document["deployment"]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError("stack import needs a deployment as `pulumi stack export` prints it") from None
    if version != 3:
        raise UnsupportedError(f"importing a deployment of version {version}")
    snapshot = deployment_from_json(deployment, manager)
    names = {resource.urn.split("::", 1)[0].removeprefix("urn:pulumi:") for resource in snapshot.resources}
    if not arguments.force:
        verify(snapshot.resources)
        if names - {session.store.name}:
            raise EngineError(
                f"the deployment is of the stack {sorted(names - {session.store.name})[0]}, not of "
                f"{session.store.name}: give --force to import it all the same"
            )
    snapshot.salt = manager.salt
    with session.store.locked():
        session.store.write_checkpoint(snapshot, manager=manager)
        session.store.journal_file.unlink(missing_ok=True)
    _say("Import complete.")
    return 0


def _stack_history(arguments: argparse.Namespace) -> int:
    session = _session(arguments)
    records = session.store.history()
    first = (max(arguments.page, 1) - 1) * arguments.page_size
    total = len(records)
    shown = records[first : first + arguments.page_size]
    from engine.history import as_json, as_text

    if arguments.json:
        _say(json.dumps(as_json(shown, total - first, session, arguments.show_secrets), indent=2))
    elif not shown:
        _say("Stack has never been updated")
    else:
        _say(as_text(shown, total - first))
    return 0


# -- configuration ------------------------------------------------------------------------------------


def _settings(arguments: argparse.Namespace) -> Any:
    return _session(arguments)


def _config_list(arguments: argparse.Namespace) -> int:
    from engine import config_command

    return config_command.listing(_session(arguments), arguments, _say)


def _config_get(arguments: argparse.Namespace) -> int:
    from engine import config_command

    return config_command.get(_session(arguments), arguments, _say)


def _config_set(arguments: argparse.Namespace) -> int:
    from engine import config_command

    return config_command.set_value(_session(arguments), arguments)


def _config_rm(arguments: argparse.Namespace) -> int:
    from engine import config_command

    return config_command.remove(_session(arguments), arguments)
