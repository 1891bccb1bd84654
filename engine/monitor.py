"""What the running program calls: registers resources, reads, invokes; and takes its log messages."""

from __future__ import annotations

import threading
from typing import Any, Final

from engine.checkpoint import STACK_TYPE
from engine.deployment import Deployment
from engine.errors import EngineError, UnsupportedError
from engine.goal import Goal, make_urn
from engine.providers.base import Context
from engine.steps import Aborted
from engine.values import Properties, fill_struct, from_struct

STACK_REFERENCE: Final = "pulumi:pulumi:StackReference"


class Monitor:
    """The resource monitor of one operation, called by the SDK from many threads."""

    def __init__(self, deployment: Deployment, messages: Any, stack_outputs: Any) -> None:
        self._deployment = deployment
        self._messages = messages
        self._stack_outputs = stack_outputs
        self._aliases: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self.stack_urn = ""

    # The methods are named by Pulumi's resource.proto.

    def GetDeploymentInfo(self, _request: Any) -> Any:  # noqa: N802
        """Tell what this engine can do."""
        return self._messages.deployment_info()

    def SupportsFeature(self, request: Any) -> Any:  # noqa: N802
        """Tell whether one feature is supported."""
        return self._messages.supports(request.id)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        """Register a resource."""
        try:
            goal = self._goal(request)
        except EngineError as error:
            urn = make_urn(self._deployment.stack, self._deployment.project, request.parent, request.type, request.name)
            self._deployment.steps.say("error", str(error), urn)
            self._deployment.control.stop.set()
            raise Aborted from error
        resource = self._deployment.register(goal)
        with self._lock:
            self._aliases[resource.urn] = goal.aliases
            if goal.type == STACK_TYPE:
                self.stack_urn = resource.urn
        outputs = resource.outputs if goal.custom else goal.inputs
        skipped = self._deployment.is_skipped(resource.urn)
        return self._messages.registered(
            resource.urn, resource.id, fill_struct(self._messages.struct(), outputs), unknown=skipped
        )

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        """Record a component's outputs."""
        try:
            self._deployment.register_outputs(request.urn, from_struct(request.outputs))
        except EngineError as error:
            self._deployment.steps.say("error", str(error), request.urn)
            raise Aborted from error
        return self._messages.empty()

    def ReadResource(self, request: Any) -> Any:  # noqa: N802
        """Read a stack reference; other reads are refused."""
        urn = make_urn(self._deployment.stack, self._deployment.project, request.parent, request.type, request.name)
        try:
            if request.type != STACK_REFERENCE:
                raise UnsupportedError(f"reading the existing resource {request.name} ({request.type})")
            outputs = self._stack_outputs(request.id)
            resource = self._deployment.reference(urn, request, from_struct(request.properties), outputs)
        except EngineError as error:
            self._deployment.steps.say("error", str(error), urn)
            self._deployment.control.stop.set()
            raise Aborted from error
        return self._messages.read(resource.urn, resource.id, fill_struct(self._messages.struct(), resource.outputs))

    def Invoke(self, request: Any) -> Any:  # noqa: N802
        """Call a provider's function."""
        token: str = request.tok
        arguments = from_struct(request.args)
        try:
            outputs = self._invoke(token, arguments)
        except EngineError as error:
            return self._messages.invoke_failed(str(error))
        return self._messages.invoked(fill_struct(self._messages.struct(), outputs))

    def _invoke(self, token: str, arguments: Properties) -> Properties:
        from engine.checkpoint import Resource

        if token == "pulumi:pulumi:getResource":  # noqa: S105 - a function's token
            found = self._deployment.news.get(arguments.get("urn", ""))
            if found is None:
                raise EngineError(f"unknown resource {arguments.get('urn')}")
            return {"urn": found.urn, "id": found.id, "state": found.outputs}
        provider = self._deployment.provider_of(Resource("", token))
        context = Context("", token, token, self._deployment.options.preview)
        return provider.invoke(context, token, arguments)

    def Call(self, request: Any) -> Any:  # noqa: N802
        """Refuse methods of remote components."""
        raise self._refuse(f"the method {request.tok} of a remote component")

    def RegisterPackage(self, request: Any) -> Any:  # noqa: N802
        """Refuse parameterized packages."""
        raise self._refuse(f"the parameterized package {request.name}")

    def RegisterStackTransform(self, _request: Any) -> Any:  # noqa: N802
        """Refuse transforms."""
        raise self._refuse("a stack transform")

    def RegisterStackInvokeTransform(self, _request: Any) -> Any:  # noqa: N802
        """Refuse transforms."""
        raise self._refuse("an invoke transform")

    def RegisterResourceHook(self, _request: Any) -> Any:  # noqa: N802
        """Refuse hooks."""
        raise self._refuse("a resource hook")

    def RegisterErrorHook(self, _request: Any) -> Any:  # noqa: N802
        """Refuse hooks."""
        raise self._refuse("an error hook")

    def ExistsResource(self, request: Any) -> Any:  # noqa: N802
        """Refuse existence checks."""
        raise self._refuse(f"asking whether {request.id} exists")

    def SignalAndWaitForShutdown(self, _request: Any) -> Any:  # noqa: N802
        """The program is done: it need not wait."""
        return self._messages.empty()

    def _refuse(self, what: str) -> Aborted:
        self._deployment.steps.say("error", str(UnsupportedError(what)), self.stack_urn)
        self._deployment.control.stop.set()
        return Aborted()

    # -- from messages to goals -----------------------------------------------------------------

    def _goal(self, request: Any) -> Goal:
        _refuse_unsupported(request)
        timeouts = {}
        if request.HasField("customTimeouts"):
            for kind in ("create", "update", "delete", "read"):
                text = getattr(request.customTimeouts, kind, "")
                if text:
                    timeouts[kind] = parse_duration(text)
        properties = {key: sorted(set(item.urns)) for key, item in request.propertyDependencies.items()}
        parent = request.parent
        if not parent and request.type != STACK_TYPE:
            parent = self.stack_urn
        return Goal(
            type=request.type,
            name=request.name,
            custom=request.custom,
            inputs=from_struct(request.object),
            parent=parent,
            provider=request.provider,
            version=request.version,
            dependencies=sorted(set(request.dependencies)),
            property_dependencies=properties,
            protect=request.protect if request.HasField("protect") else None,
            retain_on_delete=request.retainOnDelete if request.HasField("retainOnDelete") else None,
            delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
            deleted_with=request.deletedWith,
            replace_with=sorted(request.replace_with),
            ignore_changes=list(request.ignoreChanges),
            replace_on_changes=list(request.replaceOnChanges),
            additional_secret_outputs=list(request.additionalSecretOutputs),
            aliases=self._all_aliases(request, parent),
            custom_timeouts=timeouts,
        )

    def _all_aliases(self, request: Any, parent: str) -> list[str]:
        """List the URNs a resource may have had, those its parent's aliases imply included."""
        own = make_urn(self._deployment.stack, self._deployment.project, parent, request.type, request.name)
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
            found[
                make_urn(
                    spec.stack or self._deployment.stack, spec.project or self._deployment.project, above, kind, name
                )
            ] = None
            if not spec.parentUrn and not spec.noParent:
                specs.append((kind, name))
        parent_name = parent.split("::", 3)[-1]
        for parent_alias in self._aliases.get(parent, []):
            alias_name = parent_alias.split("::", 3)[-1]
            _, project, _, _ = parent_alias.split("::", 3)
            stack = parent_alias.split("::", 1)[0].removeprefix("urn:pulumi:")
            for kind, name in specs:
                renamed = name
                if name.startswith(parent_name):
                    renamed = alias_name + name.removeprefix(parent_name)
                found[make_urn(stack, project, parent_alias, kind, renamed)] = None
        found.pop(own, None)
        return list(found)


def _refuse_unsupported(request: Any) -> None:
    if request.remote:
        raise UnsupportedError(f"the remote component {request.type}")
    if request.importId:
        raise UnsupportedError(f"importing {request.importId} (the import_ option)")
    if request.transforms:
        raise UnsupportedError("the transforms option")
    if request.state_migrations:
        raise UnsupportedError("the state_migrations option")
    if request.packageRef:
        raise UnsupportedError("a parameterized package")
    if request.HasField("replacement_trigger"):
        raise UnsupportedError("the replacement_trigger option")
    if request.HasField("hooks") and request.hooks.ListFields():
        raise UnsupportedError("the hooks option")


_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Parse a Go duration (``1h30m``, ``500ms``) into seconds.

    Raises:
        EngineError: it is none.
    """
    import re

    parts = re.findall(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise EngineError(f"customTimeouts: {text!r} is no duration: write for example 30s, 5m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


class Engine:
    """Takes the program's log messages."""

    def __init__(self, deployment: Deployment, messages: Any, monitor: Monitor) -> None:
        self._deployment = deployment
        self._messages = messages
        self._monitor = monitor

    def Log(self, request: Any) -> Any:  # noqa: N802
        """Pass a message on; debug messages are dropped."""
        severity = self._messages.severity(request.severity)
        if severity != "debug":
            self._deployment.steps.say(severity, request.message, request.urn or self._monitor.stack_urn)
        return self._messages.empty()

    def RequirePulumiVersion(self, _request: Any) -> Any:  # noqa: N802
        """Accept: the state's format, not this engine's version, is what a program may rely on."""
        return self._messages.require_version()

    def GetRootResource(self, _request: Any) -> Any:  # noqa: N802
        """Return the stack's URN."""
        return self._messages.root(self._monitor.stack_urn)

    def SetRootResource(self, _request: Any) -> Any:  # noqa: N802
        """The stack's registration says it already."""
        return self._messages.root("")
