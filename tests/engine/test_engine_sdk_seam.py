"""Says by name when the Pulumi SDK moves under the engine (engine/sdk.py names the seam)."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from engine import sdk
from engine.monitor import Engine, Monitor

REPOSITORY = Path(__file__).resolve().parents[2]


def test_sdk_version_is_one_the_seam_was_written_for() -> None:
    installed = tuple(int(part) for part in version("pulumi").split(".")[:2])
    assert sdk.SUPPORTED[0] <= installed < sdk.SUPPORTED[1], (
        f"pulumi {version('pulumi')} is installed: run tests/engine against it, then widen engine.sdk.SUPPORTED "
        "and requirements.txt together"
    )
    required = (REPOSITORY / "requirements.txt").read_text()
    first, last = (".".join(map(str, bound)) for bound in sdk.SUPPORTED)
    assert f"pulumi>={first},<{last}" in required


def test_monitor_answers_every_call_the_service_has() -> None:
    from pulumi.runtime.proto import resource_pb2

    service = resource_pb2.DESCRIPTOR.services_by_name["ResourceMonitor"]
    unknown = [method.name for method in service.methods if not hasattr(Monitor, method.name)]
    # What a program can only reach through a feature this engine does not announce.
    assert set(unknown) <= {"StreamInvoke", "RegisterStackTransform", "SignalAndWaitForShutdown", "RegisterPackages"}, (
        f"the resource monitor has new calls: {unknown}"
    )


def test_engine_answers_every_call_the_service_has() -> None:
    from pulumi.runtime.proto import engine_pb2

    service = engine_pb2.DESCRIPTOR.services_by_name["Engine"]
    unknown = {method.name for method in service.methods if not hasattr(Engine, method.name)}
    assert unknown <= {"StartDebugging", "InvokeResourceSearch"}, f"the engine service has new calls: {unknown}"


def test_registration_request_has_no_new_fields() -> None:
    """A new option of resources must be supported or refused, never overlooked."""
    from pulumi.runtime.proto import resource_pb2

    fields = {field.name for field in resource_pb2.RegisterResourceRequest.DESCRIPTOR.fields}
    source = (REPOSITORY / "engine" / "monitor.py").read_text()
    read = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)} | {
        node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)
    }
    ignored = {
        "acceptSecrets", "acceptResources", "supportsPartialValues", "supportsResultReporting",  # the SDK's abilities
        "sourcePosition", "stackTrace", "hideDiffs", "providers", "pluginDownloadURL", "pluginChecksums",
        "urnsAreURNs", "aliasURNs", "envVarMappings", "parentStackTraceHandle", "snippetId", "aliasSpecs",
        "accepts_byte_string",
    }  # fmt: skip
    overlooked = fields - {str(name) for name in read} - ignored
    assert not overlooked, f"RegisterResourceRequest has fields monitor.py neither reads nor refuses: {overlooked}"


@pytest.mark.parametrize(
    "name",
    [
        "pulumi.runtime.settings.Settings",
        "pulumi.runtime.settings.configure",
        "pulumi.runtime.settings.ROOT",
        "pulumi.runtime.set_all_config",
        "pulumi.runtime.stack.run_in_stack",
        "pulumi.runtime._serialization._deserialize",
        "pulumi.dynamic.ConfigureRequest",
        "pulumi.dynamic.config.Config",
        "pulumi.RunError",
        "pulumi.log.debug",
        "pulumi.runtime.resource._get_stack_trace",
    ],
)
def test_names_the_seam_uses_exist(name: str) -> None:
    import importlib

    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute), f"the SDK has no {name} any more: see engine/sdk.py"


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_deferred_modules_load_when_they_are_used() -> None:
    out = _python(
        "from engine import sdk; sdk.load()\n"
        "import sys; before = 'grpc._cython.cygrpc' in sys.modules\n"
        "import grpc, grpc.aio, pulumi\n"
        "from opentelemetry import propagate, trace\n"
        "from opentelemetry.sdk.trace.export import SpanExporter\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "assert trace.get_tracer('x') and propagate.extract({}) is not None\n"
        "assert TracerProvider.__module__ == 'opentelemetry.sdk.trace'\n"
        "print(before, grpc.StatusCode.OK, grpc.aio.Server.__module__, grpc.__version__,"
        " pulumi.automation.LocalWorkspace.__name__)"
    )
    assert out == f"False StatusCode.OK grpc.aio._base_server {version('grpcio')} LocalWorkspace"


def test_the_engine_knows_nothing_of_this_repositorys_domain() -> None:
    for file in (REPOSITORY / "engine").rglob("*.py"):
        text = file.read_text().lower()
        assert "phoenix" not in text, file
        assert "traefik" not in text, file
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ("phoenix", "components", "lab")], file
