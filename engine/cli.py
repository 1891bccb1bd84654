"""The command line: the official CLI's words, options and exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any, Final, NoReturn

from engine.errors import CancelledError, DeploymentFailed, EngineError


class _Parser(argparse.ArgumentParser):
    """Refuses what it does not know in one sentence, and never guesses abbreviations."""

    def error(self, message: str) -> NoReturn:
        raise EngineError(f"{self.prog}: {message}: see `{self.prog} --help`, or use the official CLI")


_Option = tuple[tuple[str, ...], dict[str, Any]]


def _flag(*names: str, text: str) -> _Option:
    return names, {"action": "store_true", "help": text}


def _value(*names: str, text: str, **options: Any) -> _Option:
    return names, {"help": text, **options}


_SHARED: Final = (
    _value("-s", "--stack", text="the stack to work on"),
    _value("-C", "--cwd", text="run as if started in this directory"),
    _value("--color", text="when to colour", choices=["always", "never", "raw", "auto"]),
    _flag("--non-interactive", text="ask nothing"),
)
_JSON: Final = _flag("-j", "--json", text="print JSON")
_SHOW_SECRETS: Final = _flag("--show-secrets", text="print secrets in clear")
_YES: Final = _flag("-y", "--yes", text="do not ask")
_FILE: Final = _value("--file", text="a file instead of the standard streams")
_NAME: Final = _value("name", text="the stack", nargs="?")
_SECRETS_PROVIDER: Final = _value("--secrets-provider", text="passphrase, and no other", default="passphrase")
_KEY: Final = _value("key", text="[<namespace>:]<key>")
_PATH: Final = _flag("--path", text="the key is a path inside an object")

_OPERATION: Final = (
    _flag("--diff", text="show the changes property by property"),
    _JSON,
    _flag("--expect-no-changes", text="fail if anything changes"),
    _value("-t", "--target", text="only this URN (repeatable; * and ** match)", action="append", default=[]),
    _flag("--target-dependents", text="and what depends on the targets"),
    _value("-p", "--parallel", text="how many operations at once", type=int, default=16),
    _value("-m", "--message", text="a note for the history", default=""),
    _SHOW_SECRETS,
    _flag("--show-sames", text="also show what does not change"),
    _flag("--suppress-outputs", text="do not print stack outputs"),
    _flag("--suppress-progress", text="print no live tree"),
    _value("-c", "--config", text="set configuration first: key=value", action="append", default=[]),
    _value("--event-log", text="also write events as JSON lines to this file"),
)
_CHANGING: Final = (
    _YES,
    _flag("-f", "--skip-preview", text="do not preview first"),
    _flag("--preview-only", text="only preview"),
)
_REFRESH: Final = _value("-r", "--refresh", text="refresh first", nargs="?", const="true", default="false")

# Words → what they do, the function that does it ("module:name", loaded when called), its options.
_COMMANDS: Final[dict[str, tuple[str, str, tuple[_Option, ...]]]] = {
    "preview": ("Show what an update would change", "session:operate", (*_OPERATION, _REFRESH)),
    "up": ("Create or update the resources of a stack", "session:operate", (*_OPERATION, *_CHANGING, _REFRESH)),
    "destroy": (
        "Delete all resources of a stack",
        "session:operate",
        (*_OPERATION, *_CHANGING, _REFRESH, _flag("--remove", text="remove the stack afterwards")),
    ),
    "refresh": (
        "Bring the state to what is really there",
        "session:operate",
        (*_OPERATION, *_CHANGING, _flag("--clear-pending-creates", text="forget interrupted creations")),
    ),
    "cancel": ("Remove the locks a stack's other processes hold", "stack_command:cancel", (_NAME, _YES)),
    "login": (
        "Choose the backend: login file://<directory>",
        "stack_command:log_in",
        (_value("url", text="file://<directory>", nargs="?"), _flag("-l", "--local", text="the same as file://~")),
    ),
    "whoami": ("Show the user", "stack_command:whoami", ()),
    "version": ("Show the version", "stack_command:version", ()),
    "stack": (
        "Show and manage stacks",
        "stack_command:show",
        (_flag("--show-name", text="print the name alone"), _SHOW_SECRETS),
    ),
    "stack init": (
        "Make a stack",
        "stack_command:init",
        (_NAME, _SECRETS_PROVIDER, _flag("--no-select", text="do not select it")),
    ),
    "stack select": (
        "Select a stack",
        "stack_command:select",
        (_NAME, _SECRETS_PROVIDER, _flag("-c", "--create", text="make it if it is not there")),
    ),
    "stack ls": ("List stacks", "stack_command:ls", (_JSON, _flag("-a", "--all", text="all of the project"))),
    "stack rm": (
        "Remove a stack",
        "stack_command:rm",
        (
            _NAME,
            _YES,
            _flag("-f", "--force", text="though it has resources"),
            _flag("--preserve-config", text="keep the settings file"),
        ),
    ),
    "stack output": (
        "Show outputs",
        "stack_command:output",
        (
            _value("property", text="one of them", nargs="?"),
            _JSON,
            _flag("--shell", text="as shell variables"),
            _SHOW_SECRETS,
        ),
    ),
    "stack export": ("Print the state", "stack_command:export", (_FILE, _SHOW_SECRETS)),
    "stack import": (
        "Replace the state",
        "stack_command:import_",
        (_FILE, _flag("-f", "--force", text="though it is another stack's, or out of order")),
    ),
    "stack history": (
        "Show past updates",
        "history:show",
        (
            _JSON,
            _SHOW_SECRETS,
            _flag("--full-dates", text="times, not ages"),
            _value("--page-size", text="how many", type=int, default=10),
            _value("--page", text="which part", type=int, default=1),
        ),
    ),
    "config": ("Show and change configuration", "config_command:listing", (_JSON, _SHOW_SECRETS)),
    "config set": (
        "Set a value (from standard input where none is given)",
        "config_command:set_value",
        (
            _KEY,
            _value("value", text="the value", nargs="?"),
            _flag("--secret", text="encrypt it"),
            _flag("--plaintext", text="store it in clear"),
            _PATH,
            _value("--type", text="how to store it", choices=["string", "bool", "int", "float"]),
        ),
    ),
    "config get": ("Print a value", "config_command:get", (_KEY, _JSON, _PATH)),
    "config rm": ("Remove a value", "config_command:remove", (_KEY, _PATH)),
}
_ALIASES: Final = {"preview": ["pre"], "up": ["update"], "destroy": ["down", "dn"]}


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for names, options in _SHARED:
        shared.add_argument(*names, **options)
    text = "Runs this project's Pulumi program with the embedded engine (docs/engine.md)."
    top = _Parser(prog="pulumi", parents=[shared], allow_abbrev=False, description=text)
    below: dict[str, Any] = {"": top.add_subparsers(metavar="COMMAND")}
    for words, (text, run, arguments) in _COMMANDS.items():
        parent, _, name = words.rpartition(" ")
        parser = below[parent].add_parser(
            name, help=text, description=text, parents=[shared], allow_abbrev=False, aliases=_ALIASES.get(name, [])
        )
        parser.set_defaults(command=words, run=run)
        for names, options in arguments:
            parser.add_argument(*names, **options)
        if words in ("stack", "config"):
            below[words] = parser.add_subparsers(metavar="SUBCOMMAND")
    return top


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911 - one a kind of ending
    """Run a command line and return its exit code."""
    try:
        parser = _parser()
        parsed = parser.parse_args(arguments)
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
