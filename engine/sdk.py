"""The seam to the Pulumi SDK: everything this engine assumes of it stands here.

The SDK promises none of it to others, so requirements.txt pins its range, and
tests/engine/test_engine_sdk_seam.py fails by name when something moves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from engine.configuration import Setting
from engine.errors import UnsupportedError
from engine.steps import Aborted

SUPPORTED: Final = ((3, 272), (3, 273))
"""The SDK versions known to fit: from, and below."""


class Messages:
    """The SDK's protobuf modules."""

    def __init__(self) -> None:
        from google.protobuf import empty_pb2, struct_pb2
        from pulumi.runtime.proto import engine_pb2, provider_pb2, resource_pb2

        self.resource: Any = resource_pb2
        self.provider: Any = provider_pb2
        self.engine: Any = engine_pb2
        self.empty: Any = empty_pb2.Empty
        self.struct: Any = struct_pb2.Struct

    def features(self) -> list[Any]:
        """Return what this engine supports, as GetDeploymentInfo names it."""
        names = ("SECRETS", "RESOURCE_REFERENCES", "ALIAS_SPECS", "DELETED_WITH", "REPLACE_WITH")
        return [getattr(self.resource, f"RESOURCE_MONITOR_FEATURE_{name}") for name in names]


def load() -> None:
    """Import the SDK (most of a small preview's time), and silence its debug log."""
    from engine.deferred import defer_sdk_imports, forget_placeholders

    defer_sdk_imports()
    import pulumi
    import pulumi.log
    import pulumi.runtime

    forget_placeholders()
    from pulumi.runtime import resource
    from pulumi.runtime.proto import source_pb2

    resource._get_stack_trace = source_pb2.StackTrace  # a sixth of a registration, and not recorded
    pulumi.log.debug = _quiet  # seven calls a resource, each building a message nobody reads
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _quiet(*_arguments: Any, **_options: Any) -> None:
    return None


def run_program(
    program: Path,
    monitor: Any,
    engine: Any,
    *,
    project: str,
    stack: str,
    config: dict[str, Setting],
    preview: bool,
    parallel: int,
    root: Path,
) -> str | None:
    """Run a Pulumi program against a monitor, to its end.

    Returns:
        None where it ran to its end, otherwise the error to show (empty: it is shown already).
    """
    import pulumi
    from pulumi.runtime import Settings, configure, set_all_config
    from pulumi.runtime import stack as sdk_stack
    from pulumi.runtime.settings import ROOT

    plain = {key: setting.value for key, setting in config.items()}
    secret = [key for key, setting in config.items() if setting.secret]
    os.environ["PULUMI_CONFIG"] = json.dumps(plain)
    os.environ["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(secret)
    set_all_config(plain, secret)
    ROOT.set(None)
    configure(
        Settings(
            project=project,
            stack=stack,
            monitor=monitor,
            engine=engine,
            parallel=parallel,
            dry_run=preview,
            organization="organization",
            root_directory=str(root),
        )
    )
    os.chdir(program if program.is_dir() else program.parent)
    sys.argv = [str(program)]

    main = program / "__main__.py" if program.is_dir() else program
    if program.is_dir() and str(program) not in sys.path:
        sys.path.insert(0, str(program))

    def run() -> None:
        # By its own path: of a directory Python would run kept bytecode, which an edit within a second leaves stale.
        runpy.run_path(str(main if main.exists() else program), run_name="__main__")

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(max_workers=max(parallel, 1), thread_name_prefix="engine-step")
    loop.set_default_executor(executor)
    try:
        loop.run_until_complete(sdk_stack.run_in_stack(run))
    except SystemExit as error:
        return None if error.code in (None, 0) else f"the program exited with status {error.code}"
    except Exception as error:  # noqa: BLE001 - the user's program may raise anything
        return str(error) if isinstance(error, pulumi.RunError) else _explain(error, program)
    finally:
        executor.shutdown(wait=True)
        loop.close()
    return None


def _explain(error: Exception, program: Path) -> str:
    """Say why a program failed; nothing where the engine said it already."""
    cause: BaseException | None = error
    for _ in range(20):
        if isinstance(cause, Aborted):
            return ""
        cause = cause and (cause.__cause__ or cause.__context__)
    told = re.match(r"The Pulumi CLI does not support (.+)\. Please update", str(error))
    if told:
        return str(UnsupportedError(told[1]))
    return "Program failed with an unhandled exception:\n" + _user_traceback(error, program)


def _user_traceback(error: Exception, program: Path) -> str:
    """Format an exception from the first frame of the user's own code on."""
    frames = traceback.extract_tb(error.__traceback__)
    root = str(program if program.is_dir() else program.parent)
    first = next((n for n, frame in enumerate(frames) if frame.filename.startswith(root)), len(frames))
    lines = ["Traceback (most recent call last):\n"] if frames[first:] else []
    return "".join([*lines, *traceback.format_list(frames[first:]), *traceback.format_exception_only(error)]).strip()
