"""The command line: the official CLI's words, options and exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any, Final, NoReturn

from engine.errors import CancelledError, DeploymentFailed, EngineError
from engine.words import arranged


class _Parser(argparse.ArgumentParser):
    """Refuses what it does not know in one sentence, and never guesses abbreviations."""

    def error(self, message: str) -> NoReturn:
        raise EngineError(f"{self.prog}: {message}: see `{self.prog} --help`, or use the official CLI")


# Options and arguments by name: their spellings, argparse's keywords and their help; a flag where there are none.
_YES_OR_NO: Final[dict[str, Any]] = {"action": "store_true"}
_LIST: Final[dict[str, Any]] = {"action": "append", "default": []}
_OPTIONS: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "stack": ("-s --stack", {}, "the stack to work on"),
    "cwd": ("-C --cwd", {}, "run as if started in this directory"),
    "color": ("--color", {"choices": ["always", "never", "raw", "auto"]}, "when to colour"),
    "non-interactive": ("--non-interactive", _YES_OR_NO, "ask nothing"),
    "diff": ("--diff", _YES_OR_NO, "show the changes property by property"),
    "json": ("-j --json", _YES_OR_NO, "print JSON"),
    "expect": ("--expect-no-changes", _YES_OR_NO, "fail if anything changes"),
    "target": ("-t --target", _LIST, "only this URN (repeatable; * and ** match)"),
    "dependents": ("--target-dependents", _YES_OR_NO, "and what depends on the targets"),
    "parallel": ("-p --parallel", {"type": int, "default": 16}, "how many operations at once"),
    "message": ("-m --message", {"default": ""}, "a note for the history"),
    "show-secrets": ("--show-secrets", _YES_OR_NO, "print secrets in clear"),
    "show-sames": ("--show-sames", _YES_OR_NO, "also show what does not change"),
    "no-outputs": ("--suppress-outputs", _YES_OR_NO, "do not print stack outputs"),
    "no-progress": ("--suppress-progress", _YES_OR_NO, "print no live tree"),
    "config": ("-c --config", _LIST, "set configuration first: key=value"),
    "event-log": ("--event-log", {}, "also write events as JSON lines to this file"),
    "yes": ("-y --yes", _YES_OR_NO, "do not ask"),
    "skip-preview": ("-f --skip-preview", _YES_OR_NO, "do not preview first"),
    "preview-only": ("--preview-only", _YES_OR_NO, "only preview"),
    "refresh": ("-r --refresh", {"nargs": "?", "const": "true", "default": "false"}, "refresh first"),
    "remove": ("--remove", _YES_OR_NO, "remove the stack afterwards"),
    "clear": ("--clear-pending-creates", _YES_OR_NO, "forget interrupted creations"),
    "name": ("name", {"nargs": "?"}, "the stack"),
    "url": ("url", {"nargs": "?"}, "file://<directory>"),
    "local": ("-l --local", _YES_OR_NO, "the same as file://~"),
    "show-name": ("--show-name", _YES_OR_NO, "print the name alone"),
    "secrets-provider": ("--secrets-provider", {"default": "passphrase"}, "passphrase, and no other"),
    "no-select": ("--no-select", _YES_OR_NO, "do not select it"),
    "create": ("-c --create", _YES_OR_NO, "make it if it is not there"),
    "all": ("-a --all", _YES_OR_NO, "all of the project"),
    "force": ("-f --force", _YES_OR_NO, "though it has resources, or the state is out of order or another stack's"),
    "preserve-config": ("--preserve-config", _YES_OR_NO, "keep the settings file"),
    "property": ("property", {"nargs": "?"}, "one of them"),
    "shell": ("--shell", _YES_OR_NO, "as shell variables"),
    "file": ("--file", {}, "a file instead of the standard streams"),
    "full-dates": ("--full-dates", _YES_OR_NO, "times, not ages"),
    "page-size": ("--page-size", {"type": int, "default": 10}, "how many"),
    "page": ("--page", {"type": int, "default": 1}, "which part"),
    "key": ("key", {}, "[<namespace>:]<key>"),
    "value": ("value", {"nargs": "?"}, "the value"),
    "secret": ("--secret", _YES_OR_NO, "encrypt it"),
    "plaintext": ("--plaintext", _YES_OR_NO, "store it in clear"),
    "path": ("--path", _YES_OR_NO, "the key is a path inside an object"),
    "type": ("--type", {"choices": ["string", "bool", "int", "float"]}, "how to store it"),
}
_SHARED: Final = "stack cwd color non-interactive"
_OPERATION: Final = (
    "diff json expect target dependents parallel message config event-log show-secrets show-sames "
    "no-outputs no-progress"
)
_CHANGE: Final = f"{_OPERATION} yes skip-preview preview-only"

# Words → what they do, the function that does it ("module:name", loaded when called), and its options.
_COMMANDS: Final = {
    "preview": ("Show what an update would change", "session:operate", f"{_OPERATION} refresh"),
    "up": ("Create or update the resources of a stack", "session:operate", f"{_CHANGE} refresh"),
    "destroy": ("Delete all resources of a stack", "session:operate", f"{_CHANGE} refresh remove"),
    "refresh": ("Bring the state to what is really there", "session:operate", f"{_CHANGE} clear"),
    "cancel": ("Remove the locks a stack's other processes hold", "stack_command:cancel", "name yes"),
    "login": ("Choose the backend: login file://<directory>", "stack_command:log_in", "url local"),
    "whoami": ("Show the user", "stack_command:whoami", ""),
    "version": ("Show the version", "stack_command:version", ""),
    "stack": ("Show and manage stacks", "stack_command:show", "show-name show-secrets"),
    "stack init": ("Make a stack", "stack_command:init", "name secrets-provider no-select"),
    "stack select": ("Select a stack", "stack_command:select", "name secrets-provider create"),
    "stack ls": ("List stacks", "stack_command:ls", "json all"),
    "stack rm": ("Remove a stack", "stack_command:rm", "name yes force preserve-config"),
    "stack output": ("Show outputs", "stack_command:output", "property json shell show-secrets"),
    "stack export": ("Print the state", "stack_command:export", "file show-secrets"),
    "stack import": ("Replace the state", "stack_command:import_", "file force"),
    "stack history": ("Show past updates", "history:show", "json show-secrets full-dates page-size page"),
    "config": ("Show and change configuration", "config_command:listing", "json show-secrets"),
    "config set": (
        "Set a value, or standard input",
        "config_command:set_value",
        "key value secret plaintext path type",
    ),
    "config get": ("Print a value", "config_command:get", "key json path"),
    "config rm": ("Remove a value", "config_command:remove", "key path"),
}
_ALIASES: Final = {"preview": ["pre"], "up": ["update"], "destroy": ["down", "dn"]}


def _arranged(words: list[str]) -> list[str]:
    """Put a command line into argparse's order."""
    spelled: dict[bool, set[str]] = {True: set(), False: set()}
    for spellings, keywords, _ in _OPTIONS.values():
        spelled[keywords is _YES_OR_NO or "nargs" in keywords].update(spellings.split())
    commands = {*_COMMANDS, *(alias for aliases in _ALIASES.values() for alias in aliases)}
    return arranged(words, commands, spelled[True], spelled[False])


def _add(parser: argparse.ArgumentParser, names: str) -> argparse.ArgumentParser:
    for name in names.split():
        spellings, keywords, text = _OPTIONS[name]
        parser.add_argument(*spellings.split(), **keywords, help=text)
    return parser


def _parser() -> argparse.ArgumentParser:
    shared = _add(_Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS), _SHARED)
    text = "Runs this project's Pulumi program with the embedded engine (docs/engine.md)."
    top = _Parser(prog="pulumi", parents=[shared], allow_abbrev=False, description=text)
    below: dict[str, Any] = {"": top.add_subparsers(metavar="COMMAND")}
    for words, (text, run, options) in _COMMANDS.items():
        parent, _, name = words.rpartition(" ")
        parser = below[parent].add_parser(
            name, help=text, description=text, parents=[shared], allow_abbrev=False, aliases=_ALIASES.get(name, [])
        )
        _add(parser, options).set_defaults(command=words, run=run)
        if words in ("stack", "config"):
            below[words] = parser.add_subparsers(metavar="SUBCOMMAND")
    return top


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911 - one a kind of ending
    """Run a command line and return its exit code."""
    try:
        parser = _parser()
        parsed = parser.parse_args(_arranged(sys.argv[1:] if arguments is None else arguments))
        if getattr(parsed, "cwd", None):
            os.chdir(parsed.cwd)
        if not getattr(parsed, "run", None):
            parser.print_help()
            return 0
        module, _, function = parsed.run.partition(":")
        getattr(importlib.import_module(f"engine.{module}"), function)(parsed)
        return 0
    except DeploymentFailed as error:
        return error.exit_code
    except EngineError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", CancelledError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: say no more
        return 1
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    except Exception as error:
        if os.environ.get("ENGINE_TRACEBACK"):
            raise
        return _fail(
            f"the engine failed ({type(error).__name__}: {error}): this is a defect; ENGINE_TRACEBACK=1 shows "
            "where, and the official CLI continues from the same state",
            255,
        )


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return code
