"""What the running program calls: registers resources, reads, invokes; and takes its log messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from engine.checkpoint import STACK_TYPE, Resource
from engine.deployment import Deployment
from engine.errors import EngineError, UnsupportedError
from engine.events import DiagnosticEvent
from engine.goal import Goal, make_urn
from engine.providers.base import Context
from engine.sdk import Messages
from engine.values import Properties, fill_struct, from_struct

STACK_REFERENCE: Final = "pulumi:pulumi:StackReference"


class Monitor:
    """The resource monitor of one operation, called by the SDK from many threads.

    Its methods are named by Pulumi's resource.proto; ``_REFUSED`` lists those that only refuse.

    Args:
        deployment: the operation.
        other_stack: returns the outputs of another stack by its name.
        stack_urn: the URN of the stack at hand.
        ready: waits until secrets can be decrypted; called before the first registration.
    """

    def __init__(
        self,
        deployment: Deployment,
        other_stack: Callable[[str], Properties],
        stack_urn: str,
        ready: Callable[[], None],
    ) -> None:
        self._deployment = deployment
        self._messages = Messages()
        self._other_stack = other_stack
        self._aliases: dict[str, list[str]] = {}
        self._stack_urn = stack_urn
        self._ready = ready
        self.stack_outputs: Properties | None = None  # until the program has told them

    def GetDeploymentInfo(self, _request: Any) -> Any:  # noqa: N802
        """Tell what this engine can do."""
        return self._messages.resource.DeploymentInfo(supportedFeatures=self._messages.features())

    def SupportsFeature(self, request: Any) -> Any:  # noqa: N802
        """Tell whether one feature is supported."""
        known = ("secrets", "resourceReferences", "aliasSpecs", "deletedWith", "replaceWith")
        return self._messages.resource.SupportsFeatureResponse(hasSupport=request.id in known)

    @contextmanager
    def _refusing(self, urn: str) -> Iterator[None]:
        """Tell an error of the engine under a resource, and give the operation up."""
        try:
            yield
        except EngineError as error:
            raise self._deployment.steps.give_up(error, urn) from error

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        """Register a resource."""
        with self._refusing(self._urn(request)):
            if request.type == STACK_TYPE:
                self._ready()
            goal = self._goal(request)
        resource = self._deployment.register(goal)
        self._aliases[resource.urn] = goal.former
        outputs = resource.outputs if goal.custom else resource.inputs
        return self._messages.resource.RegisterResourceResponse(
            urn=resource.urn,
            id=resource.id,
            object=self._struct(outputs),
            unknown=self._deployment.is_skipped(resource.urn),
        )

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        """Record a component's outputs; the stack's are recorded when the program has ended well."""
        with self._refusing(request.urn):
            if request.urn == self._stack_urn:
                self.stack_outputs = from_struct(request.outputs)
            else:
                self._deployment.register_outputs(request.urn, from_struct(request.outputs))
        return self._messages.empty()

    def ReadResource(self, request: Any) -> Any:  # noqa: N802
        """Read a stack reference; other reads are refused."""
        urn = self._urn(request)
        with self._refusing(urn):
            if request.type != STACK_REFERENCE:
                raise UnsupportedError(f"reading the existing resource {request.name} ({request.type})")
            outputs = self._other_stack(request.id)
            resource = self._deployment.reference(urn, request, from_struct(request.properties), outputs)
        return self._messages.resource.ReadResourceResponse(
            urn=urn, id=resource.id, properties=self._struct(resource.outputs)
        )

    def Invoke(self, request: Any) -> Any:  # noqa: N802
        """Call a provider's function."""
        answer = self._messages.resource.ResourceInvokeResponse
        try:
            return answer(**{"return": self._struct(self._invoke(request.tok, from_struct(request.args)))})
        except EngineError as error:
            return answer(failures=[self._messages.provider.CheckFailure(reason=str(error))])

    def _invoke(self, token: str, arguments: Properties) -> Properties:
        if token == "pulumi:pulumi:getResource":  # noqa: S105 - a function's token
            found = self._deployment.news.get(arguments.get("urn", ""))
            if found is None:
                raise EngineError(f"unknown resource {arguments.get('urn')}")
            return {"urn": found.urn, "id": found.id, "state": found.outputs}
        provider = self._deployment.provider_of(Resource("", token))
        return provider.invoke(Context("", token, token, self._deployment.options.preview), token, arguments)

    def SignalAndWaitForShutdown(self, _request: Any) -> Any:  # noqa: N802
        """The program is done: it need not wait."""
        return self._messages.empty()

    def refuse(self, what: str) -> None:
        """Refuse what only the official CLI does.

        Raises:
            Aborted: always; the reason is told.
        """
        with self._refusing(self._stack_urn):
            raise UnsupportedError(what)

    def _struct(self, properties: Properties) -> Any:
        return fill_struct(self._messages.struct(), properties)

    def _urn(self, request: Any, parent: str | None = None) -> str:
        above = request.parent if parent is None else parent
        return make_urn(self._deployment.stack, self._deployment.project, above, request.type, request.name)

    # -- from messages to goals -----------------------------------------------------------------

    def _goal(self, request: Any) -> Goal:
        _refuse_unsupported(request)
        timeouts = {}
        if request.HasField("customTimeouts"):
            for kind in ("create", "update", "delete", "read"):
                text = getattr(request.customTimeouts, kind, "")
                if text:
                    timeouts[kind] = parse_duration(text)
        parent = request.parent
        if not parent and request.type != STACK_TYPE:
            parent = self._stack_urn
        return Goal(
            self._urn(request, parent),
            request.type,
            request.custom,
            inputs=from_struct(request.object),
            parent=parent,
            provider=request.provider,
            dependencies=sorted(set(request.dependencies)),
            property_dependencies={k: sorted(set(v.urns)) for k, v in sorted(request.propertyDependencies.items())},
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            deleted_with=request.deletedWith,
            replace_with=sorted(request.replace_with),
            ignore_changes=list(request.ignoreChanges),
            replace_on_changes=list(request.replaceOnChanges),
            additional_secret_outputs=list(request.additionalSecretOutputs),
            custom_timeouts=timeouts,
            version=request.version,
            former=self._all_aliases(request, parent),
            inherits=tuple(
                name
                for name, given in (("protect", "protect"), ("retain_on_delete", "retainOnDelete"))
                if not request.HasField(given)
            ),
            delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
        )

    def _all_aliases(self, request: Any, parent: str) -> list[str]:
        """List the URNs a resource may have had, those its parent's aliases imply included."""
        own = self._urn(request, parent)
        found: dict[str, None] = {}
        specs = [(request.type, request.name)]
        for alias in request.aliases:
            if alias.WhichOneof("alias") == "urn":
                urn = alias.urn
                found[urn] = None
                specs.append((urn.split("::")[2].rsplit("$", 1)[-1], urn.split("::", 3)[3]))
                continue
            spec = alias.spec
            kind, name = spec.type or request.type, spec.name or request.name
            above = spec.parentUrn or ("" if spec.noParent else parent)
            stack, project = spec.stack or self._deployment.stack, spec.project or self._deployment.project
            found[make_urn(stack, project, above, kind, name)] = None
            if not spec.parentUrn and not spec.noParent:
                specs.append((kind, name))
        parent_name = parent.split("::", 3)[-1]
        for parent_alias in self._aliases.get(parent, []):
            head, project, _, alias_name = parent_alias.split("::", 3)
            stack = head.removeprefix("urn:pulumi:")
            for kind, name in specs:
                renamed = name
                if name.startswith(parent_name):
                    renamed = alias_name + name.removeprefix(parent_name)
                found[make_urn(stack, project, parent_alias, kind, renamed)] = None
        found.pop(own, None)
        return list(found)


_REFUSED: Final = {
    "Call": "calling a method of a remote component",
    "RegisterPackage": "a parameterized package",
    "RegisterStackTransform": "a stack transform",
    "RegisterStackInvokeTransform": "an invoke transform",
    "RegisterResourceHook": "a resource hook",
    "RegisterErrorHook": "an error hook",
    "ExistsResource": "asking whether a resource exists",
}
for _name, _what in _REFUSED.items():
    setattr(Monitor, _name, lambda monitor, _request, _what=_what: monitor.refuse(_what))


def _refuse_unsupported(request: Any) -> None:
    for asked, what in (
        (request.remote, f"the remote component {request.type}"),
        (request.importId, f"importing {request.importId} (the import_ option)"),
        (request.transforms, "the transforms option"),
        (request.state_migrations, "the state_migrations option"),
        (request.packageRef, "a parameterized package"),
        (request.HasField("replacement_trigger"), "the replacement_trigger option"),
        (request.HasField("hooks") and request.hooks.ListFields(), "the hooks option"),
    ):
        if asked:
            raise UnsupportedError(what)


_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Parse a Go duration (``1h30m``, ``500ms``) into seconds.

    Raises:
        EngineError: it is none.
    """
    parts = re.findall(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise EngineError(f"customTimeouts: {text!r} is no duration: write for example 30s, 5m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


class Engine:
    """Takes the program's log messages."""

    def __init__(self, deployment: Deployment, stack_urn: str) -> None:
        self._deployment = deployment
        self._messages = Messages()
        self._stack_urn = stack_urn

    def Log(self, request: Any) -> Any:  # noqa: N802
        """Pass a message on; debug messages are dropped, and an error fails nothing, as in the official engine."""
        severity = self._messages.engine.LogSeverity.Name(request.severity).lower()
        if severity != "debug":
            text = request.message.rstrip("\n") + "\n"
            self._deployment.steps.events(DiagnosticEvent(severity, text, request.urn or self._stack_urn))
        return self._messages.empty()

    def RequirePulumiVersion(self, _request: Any) -> Any:  # noqa: N802
        """Accept: the state's format, not this engine's version, is what a program may rely on."""
        return self._messages.engine.RequirePulumiVersionResponse()

    def GetRootResource(self, _request: Any) -> Any:  # noqa: N802
        """Return the stack's URN."""
        return self._messages.engine.GetRootResourceResponse(urn=self._stack_urn)

    def SetRootResource(self, _request: Any) -> Any:  # noqa: N802
        """The stack's registration says it already."""
        return self._messages.engine.SetRootResourceResponse()
