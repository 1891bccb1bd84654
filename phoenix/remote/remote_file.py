"""RemoteFile: the dynamic resource that every managed file is.

Its ``diff`` looks at the live file, so that a plain ``pulumi preview`` shows drift, with a unified diff among the
diagnostics. Its ``update`` lands by rename, keeps a rollback copy, and undoes itself when a hook refuses the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import CheckFailure, CheckResult, CreateResult, DiffResult, ReadResult, UpdateResult

from phoenix.errors import InputError, RemoteError, UnreachableError
from phoenix.remote.connection import Connection
from phoenix.remote.drift import explain_drift
from phoenix.remote.file_model import DesiredFile, check_account, check_mode, check_path
from phoenix.remote.files import Decision, apply, observe, remove
from phoenix.remote.pool import open_transport
from phoenix.remote.properties import (
    UNKNOWN,
    comparable,
    has_unknown,
    one_sentence,
    plain_properties,
    say,
)
from phoenix.remote.reachability import forget_failure, known_failure, note_failure
from phoenix.remote.transport import Transport

Properties = dict[str, Any]


class RemoteFileProvider(pulumi.dynamic.ResourceProvider):
    """Create, read, update and delete a file on a target.

    Subclasses add :meth:`validate`, :meth:`verify` and :meth:`rolled_back`; they live in an importable module and
    hold no state, so that the state of a stack names them by reference.

    Attributes:
        unknown_is_a_change: whether a file that a preview cannot see counts as changed. It does, so that ``up``
            goes there, and stops with the cause; a program whose first resource stops ``up`` anyway may switch it off.
    """

    unknown_is_a_change = True

    def validate(self, transport: Transport, props: Properties, staged_path: str) -> None:
        """Look at the staged copy before it goes live; what this raises discards it."""

    def verify(self, transport: Transport, props: Properties) -> None:
        """Look at the target after the rename; what this raises puts the old file back."""

    def rolled_back(self, transport: Transport, props: Properties) -> None:
        """Called after the old file was put back, to prove that the old state serves again."""

    @one_sentence
    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Validate the inputs and bring them into one form; unknown ones are left for later."""
        inputs = dict(news)
        plain = plain_properties(news)
        failures: list[CheckFailure] = []
        checks: dict[str, Callable[[Any], object]] = {
            "path": check_path,
            "mode": check_mode,
            "owner": lambda value: check_account(value, "owner"),
            "group": lambda value: check_account(value, "group"),
            "connection": _check_connection,
            "content": _check_content,
        }
        for name, inspect in checks.items():
            value = plain.get(name)
            if has_unknown(value) or (value is None and name in ("owner", "group")):
                continue
            try:
                inspect(value)
            except InputError as error:
                failures += [CheckFailure(name, mistake) for mistake in error.mistakes]
        if not failures and isinstance(plain.get("mode"), str) and plain["mode"] != UNKNOWN:
            inputs["mode"] = check_mode(plain["mode"])
        return CheckResult(inputs, failures)

    @one_sentence
    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        """Compare the inputs with the last ones, and the last ones with the live file."""
        olds, news = plain_properties(_olds), plain_properties(_news)
        changed = comparable(olds) != comparable(news)
        drifted = self._drift(olds, news)
        replaced = news.get("path") != olds.get("path")
        return DiffResult(
            changes=changed or drifted,
            replaces=["path"] if replaced else [],
            stables=[] if replaced else ["path"],
            delete_before_replace=False,
        )

    def _drift(self, olds: Properties, news: Properties) -> bool:
        """Look at the live file; print how it differs.

        Returns:
            Whether there is something to mend; :attr:`unknown_is_a_change` when that cannot be seen.
        """
        connection = Connection.parse(news["connection"] if not has_unknown(news["connection"]) else olds["connection"])
        path = olds["path"]
        if connection.target != Connection.parse(olds["connection"]).target:
            say(f"{path}: the target changes to {connection.description}; the file on the old one stays there")
            return True
        if known_failure(connection) is not None:  # and was told once
            return self.unknown_is_a_change
        recorded = desired_file(olds)
        try:
            observed = observe(open_transport(connection), path, expected=recorded.sha256)
        except RemoteError as error:
            if isinstance(error, UnreachableError):
                note_failure(connection, str(error))
            say(f"{path}: drift is unknown: {error}")
            return self.unknown_is_a_change
        lines = explain_drift(
            recorded,
            observed,
            secret=bool(olds.get("contentSecret")) or bool(news.get("contentSecret")),
            secrets=[*(olds.get("secretValues") or ()), *(news.get("secretValues") or ())],
        )
        for line in lines:
            say(line)
        return bool(lines)

    @one_sentence
    def create(self, props: Properties) -> CreateResult:
        """Write the file; one that is there already with the same content is adopted."""
        plain = plain_properties(props)
        decision = self._apply(plain)
        path = plain["path"]
        if decision.action == "replace":
            say(f"{path} was there with other content, which is kept as {path}.rollback")
        elif decision.action == "nothing":
            say(f"{path} was there already just so, and is managed from now on")
        return CreateResult(path, _outputs(props, plain))

    @one_sentence
    def read(self, id_: str, props: Properties) -> ReadResult:
        """Read the live file; one that is gone leaves the state."""
        plain = plain_properties(props)
        connection = Connection.parse(plain["connection"])
        observed = observe(open_transport(connection), plain["path"], expected="+")
        if not observed.exists:
            return ReadResult("", {})
        content = (observed.content or b"").decode("utf-8", "replace")
        if observed.sha256 == plain.get("sha256"):
            content = plain["content"]
        live: Properties = {"content": content, "sha256": observed.sha256, "mode": observed.mode}
        for name, value, number in (
            ("owner", observed.owner, observed.uid),
            ("group", observed.group, observed.gid),
        ):
            if plain.get(name) is not None and plain[name] not in (value, str(number)):
                live[name] = value
        outputs = {**props, **live}
        return ReadResult(id_, outputs, {key: outputs[key] for key in outputs if key != "rollbackSha256"})

    @one_sentence
    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        """Bring the file into its wanted state; what is right already is not sent again."""
        olds, plain = plain_properties(_olds), plain_properties(_news)
        decision = self._apply(plain)
        outputs = _outputs(_news, plain)
        before = olds.get("sha256") if decision.action == "replace" else olds.get("rollbackSha256")
        if before:
            outputs["rollbackSha256"] = before
        return UpdateResult(outputs)

    @one_sentence
    def delete(self, _id: str, _props: Properties) -> None:
        """Remove the file if it still is what was deployed; else keep it as ``<path>.orphan``."""
        plain = plain_properties(_props)
        connection = Connection.parse(plain["connection"])
        path = plain["path"]
        result = remove(
            open_transport(connection),
            path,
            desired_file(plain).sha256,
            rollback_sha256=plain.get("rollbackSha256") or "",
        )
        if result == "orphaned":
            say(f"{path} was changed by hand since it was deployed; it is kept as {path}.orphan")
        elif result == "foreign":
            say(f"{path} is no file any more; it is left alone")

    def _apply(self, plain: Properties) -> Decision:
        """Carry out what is needed, hooks included."""
        connection = Connection.parse(plain["connection"])
        transport = open_transport(connection)
        kind = type(self)
        hooks: dict[str, Any] = {}
        if kind.validate is not RemoteFileProvider.validate:
            hooks["validate"] = lambda staged: self.validate(transport, plain, staged)
        if kind.verify is not RemoteFileProvider.verify:
            hooks["verify"] = lambda: self.verify(transport, plain)
            hooks["rolled_back"] = lambda: self.rolled_back(transport, plain)
        decision = apply(transport, desired_file(plain), **hooks)
        forget_failure(connection)
        return decision


class RemoteFile(pulumi.dynamic.Resource, module="phoenix", name="RemoteFile"):
    """A file on a target.

    Args:
        resource_name: Pulumi's name for it.
        connection: a :class:`Connection`, or plain data for one; always kept as a secret.
        path: absolute path; a changed one replaces the resource.
        content: text; where it is a secret, previews tell numbers of lines only.
        mode: octal text.
        owner: name or number as text; None: not managed.
        group: likewise.
        summary: a small map shown in diffs, where the content would be too long to read.
        secret_values: parts of the content to mask in drift; the rest is shown then, even of a secret content.
        properties: further inputs for a subclass of the provider.
        provider: an instance of a subclass of :class:`RemoteFileProvider`.
        opts: resource options.

    Raises:
        InputError: an input that is known already is wrong.
    """

    path: pulumi.Output[str]
    content: pulumi.Output[str]
    mode: pulumi.Output[str]
    owner: pulumi.Output[str | None]
    group: pulumi.Output[str | None]
    sha256: pulumi.Output[str]
    """The content's SHA-256 in lower-case hex, known in previews."""
    summary: pulumi.Output[dict[str, Any] | None]

    def __init__(
        self,
        resource_name: str,
        *,
        connection: Connection | pulumi.Input[Mapping[str, Any]],
        path: pulumi.Input[str],
        content: pulumi.Input[str],
        mode: str = "0644",
        owner: str | None = None,
        group: str | None = None,
        summary: pulumi.Input[Mapping[str, Any]] | None = None,
        secret_values: Sequence[pulumi.Input[str]] = (),
        properties: Mapping[str, Any] | None = None,
        provider: RemoteFileProvider | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        if isinstance(connection, Mapping):
            connection = Connection.parse(connection, f"{resource_name}: connection")
        if isinstance(path, str):
            check_path(path, f"{resource_name}: path")
        if isinstance(content, str):
            _check_content(content)
        check_account(owner, f"{resource_name}: owner")
        check_account(group, f"{resource_name}: group")
        text = pulumi.Output.from_input(content)
        inputs: Properties = {
            **(properties or {}),
            "connection": pulumi.Output.secret(
                connection.to_props() if isinstance(connection, Connection) else connection
            ),
            "path": path,
            "content": text,
            "mode": check_mode(mode, f"{resource_name}: mode"),
            "owner": owner,
            "group": group,
            "sha256": text.apply(_digest),
            # a content whose secret parts are named is shown without them, though it be a secret in the state
            "contentSecret": False if secret_values else pulumi.Output.from_input(text.is_secret()),
            "summary": summary,
        }
        if secret_values:
            inputs["secretValues"] = pulumi.Output.secret(list(secret_values))
        options = pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions(additional_secret_outputs=["connection", "secretValues"]), opts
        )
        super().__init__(provider or RemoteFileProvider(), resource_name, inputs, options)


def desired_file(plain: Properties) -> DesiredFile:
    """Build the wanted state from a resource's plain properties.

    Raises:
        InputError: a property is out of its range.
    """
    return DesiredFile(
        path=plain["path"],
        content=_check_content(plain["content"]).encode(),
        mode=plain["mode"],
        owner=plain.get("owner"),
        group=plain.get("group"),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_connection(value: object) -> Connection:
    if not isinstance(value, Mapping):
        raise InputError([f"connection: must be a map, not {type(value).__name__}."])
    return Connection.parse(value)


def _check_content(value: object) -> str:
    """Return text that UTF-8 can carry."""
    if not isinstance(value, str):
        raise InputError([f"content: must be text, not {type(value).__name__}."])
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(["content: holds a lone surrogate, which UTF-8 has no bytes for: remove it."]) from None
    return value


def _outputs(props: Properties, plain: Properties) -> Properties:
    return {**props, "sha256": desired_file(plain).sha256}
