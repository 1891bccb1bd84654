"""The ``command`` package: ``local.Command``, ``remote.Command``, ``remote.CopyToRemote``, ``local.run``.

Behaves as pulumi-command 1.2.1 does, but for the traps listed in docs/engine.md.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any, Final

from engine.assets import Archive, Asset
from engine.diff import REPLACE_SUFFIX, DiffResult, compare, format_path
from engine.errors import ProviderError, UnsupportedError
from engine.providers import copy, local
from engine.providers.base import Context, Failure, Provider
from engine.providers.ssh import Pool, Ran
from engine.values import UNKNOWN, Properties, Secret, opened, reveal

LOCAL: Final = "command:local:Command"
REMOTE: Final = "command:remote:Command"
COPY: Final = "command:remote:CopyToRemote"
RUN: Final = "command:local:run"

_COMMAND_FIELDS: Final = {
    "create": str, "update": str, "delete": str, "triggers": list, "stdin": str, "logging": str,
    "environment": dict, "addPreviousOutputInEnv": bool,
}  # fmt: skip
_FIELDS: Final[dict[str, dict[str, type]]] = {
    LOCAL: {**_COMMAND_FIELDS, "interpreter": list, "dir": str, "assetPaths": list, "archivePaths": list},
    REMOTE: {**_COMMAND_FIELDS, "connection": dict},
    COPY: {"connection": dict, "triggers": list, "source": object, "remotePath": str},
}
_REQUIRED: Final = {LOCAL: (), REMOTE: ("connection",), COPY: ("connection", "source", "remotePath")}
_CONNECTION_DEFAULTS: Final[Properties] = {"user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
_TEXTS: Final = ("environment", "interpreter", "assetPaths", "archivePaths")
"""Fields whose elements are strings."""
_LOGGING: Final = ("none", "stdout", "stderr", "stdoutAndStderr")


class CommandProvider(Provider):
    """Runs commands here and over SSH.

    Args:
        pool: the kept connections of this run.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def check(self, context: Context, _old: Properties | None, new: Properties) -> tuple[Properties, list[Failure]]:
        """Fill in the connection's defaults and check types."""
        fields = _FIELDS.get(context.type)
        if fields is None:
            raise UnsupportedError(f"the resource type {context.type}")
        failures = [
            Failure(name, f"missing required field '{name}'") for name in _REQUIRED[context.type] if name not in new
        ]
        inputs = dict(new)
        for name, value in new.items():
            plain = reveal(value)
            kind = fields.get(name)
            if kind is None:
                failures.append(Failure(name, f"unknown field '{name}'"))
            elif plain is not UNKNOWN and plain is not None and not isinstance(plain, kind):
                failures.append(Failure(name, f"must be {_KINDS.get(kind, kind.__name__)}, got {type(plain).__name__}"))
            elif name in _TEXTS and plain is not UNKNOWN and plain is not None:
                failures += _not_texts(name, plain)
        if isinstance(reveal(inputs.get("connection")), dict):
            inputs["connection"] = Secret(_connection_defaults(inputs["connection"]))
        logging = reveal(inputs.get("logging"))
        if isinstance(logging, str) and logging not in _LOGGING:
            failures.append(Failure("logging", f"must be one of {', '.join(_LOGGING)}, got {logging!r}"))
        source = reveal(inputs.get("source"))
        if context.type == COPY and source is not None and source is not UNKNOWN:
            failures += _check_source(source)
        return inputs, failures

    def diff(
        self, _context: Context, _identifier: str, old_inputs: Properties, _old_outputs: Properties, new: Properties
    ) -> DiffResult:
        """Compare inputs property by property."""
        paths = compare(_without_defaults(old_inputs), _without_defaults(new))
        # Any change of the triggers replaces, as the provider's schema has it.
        detailed = {
            format_path(path): kind + (REPLACE_SUFFIX if path[0] == "triggers" else "") for path, kind in paths.items()
        }
        changed = sorted({str(path[0]) for path in paths})
        return DiffResult(changes=bool(paths), changed_keys=changed, detailed=detailed)

    def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        """Run ``create``, or copy."""
        if context.type == COPY:
            if not context.preview:
                copy.copy_to_remote(self._pool, context, reveal(inputs))
            return "" if context.preview else secrets.token_hex(4), inputs
        if context.preview:
            return "", {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}
        command = reveal(inputs.get("create"))
        outputs = {**inputs, "stdout": "", "stderr": ""}
        if command is not None:
            outputs.update(self._run(context, command, inputs, {}))
        return context.name + secrets.token_hex(4), outputs

    def update(
        self, context: Context, _identifier: str, _old_inputs: Properties, old_outputs: Properties, new: Properties
    ) -> Properties:
        """Run ``update``, or ``create`` where there is none."""
        if context.type == COPY:
            if not context.preview:
                copy.copy_to_remote(self._pool, context, reveal(new))
            return new
        if context.preview:
            return {**new, "stdout": UNKNOWN, "stderr": UNKNOWN}
        command = reveal(new.get("update", new.get("create")))
        kept = {k: v for k, v in old_outputs.items() if k in ("stdout", "stderr", "assets", "archive")}
        if command is None:
            return {**new, **kept}
        return {**new, **kept, **self._run(context, command, new, kept)}

    def delete(self, context: Context, _identifier: str, inputs: Properties, outputs: Properties) -> None:
        """Run ``delete``, if there is one."""
        if context.type == COPY:
            return
        state = outputs or inputs
        command = reveal(state.get("delete"))
        if command is not None:
            self._run(context, command, state, outputs)

    def invoke(self, context: Context, token: str, arguments: Properties) -> Properties:
        """Run ``command:local:run``."""
        if token != RUN:
            raise UnsupportedError(f"the function {token}")
        command = reveal(arguments.get("command"))
        if not isinstance(command, str):
            raise ProviderError("command:local:run needs command, a string")
        return {**arguments, **self._run(context, command, arguments, {}, LOCAL)}

    def _run(
        self, context: Context, command: str, inputs: Properties, previous: Properties, kind: str = ""
    ) -> Properties:
        plain = reveal(inputs)
        before = reveal({k: v for k, v in previous.items() if k in ("stdout", "stderr")})
        environment = {key: str(value) for key, value in (plain.get("environment") or {}).items()}
        passed = {}
        if plain.get("addPreviousOutputInEnv") is not False:
            passed = {f"PULUMI_COMMAND_{k.upper()}": v for k, v in before.items() if v}
        log = _logger(plain.get("logging"), context.log)
        if (kind or context.type) == REMOTE:
            ran = self._pool.run(
                plain["connection"],
                command,
                stdin=plain.get("stdin") or "",
                environment=environment,
                optional_environment=passed,
                log=log,
                cancelled=context.cancelled,
            )
            _must_succeed(ran, f"on {plain['connection'].get('host')}")
            extra: Properties = {}
        else:
            ran = local.run(
                command,
                interpreter=plain.get("interpreter"),
                directory=plain.get("dir"),
                environment={**os.environ, **environment, **local.fitting(passed)},
                stdin=plain.get("stdin") or "",
                log=log,
                cancelled=context.cancelled,
            )
            _must_succeed(ran, "here")
            extra = local.collect(plain)
        return {"stdout": ran.stdout.removesuffix("\n"), "stderr": ran.stderr.removesuffix("\n"), **extra}


_KINDS: Final = {str: "a string", list: "a list", dict: "a map", bool: "true or false"}


def _not_texts(name: str, value: Any) -> list[Failure]:
    held = value.values() if isinstance(value, dict) else value
    wrong = [type(item).__name__ for item in held if item is not UNKNOWN and not isinstance(item, str)]
    return [Failure(name, f"must hold strings, got {wrong[0]}")] if wrong else []


def _check_source(source: Any) -> list[Failure]:
    if isinstance(source, Asset) and (source.path is not None or source.text is not None):
        return []
    if isinstance(source, Archive) and source.path is not None:
        return []
    reason = "must be a FileAsset, a StringAsset, or a FileArchive of a file or directory"
    return [Failure("source", reason)]


def _connection_defaults(connection: Any) -> Any:
    filled = {**_CONNECTION_DEFAULTS, **{k: v for k, v in opened(connection).items() if v is not None}}
    for name in ("password", "privateKey", "privateKeyPassword"):
        if name in filled and not isinstance(filled[name], Secret):
            filled[name] = Secret(filled[name])  # so the official provider records them, and compares them
    proxy = filled.get("proxy")
    if isinstance(reveal(proxy), dict):
        filled["proxy"] = _connection_defaults(proxy)
    return filled


def _without_defaults(inputs: Properties) -> Properties:
    """Leave out connection defaults: older states may lack them."""
    connection = reveal(inputs.get("connection"))
    if not isinstance(connection, dict):
        return inputs
    return {**inputs, "connection": _connection_defaults(connection)}


def _logger(mode: Any, log: Callable[[str], None]) -> Callable[[str, str], None]:
    wanted = {"none": (), "stdout": ("stdout",), "stderr": ("stderr",)}.get(mode, ("stdout", "stderr"))

    def take(stream: str, line: str) -> None:
        if stream in wanted:
            log(line)

    return take


def _must_succeed(ran: Ran, where: str) -> None:
    """Raise where a command failed: what it printed, but never its text, which may hold a secret."""
    if ran.exit_code == 0:
        return
    told = (ran.stderr.strip() or ran.stdout.strip()).splitlines()[-20:]
    how = f"ended by signal {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    raise ProviderError(f"the command {where} {how}" + (":\n" + "\n".join(told) if told else ""))
