"""Runs the program under Pulumi's mocks in a process of its own and prints what it registered, as JSON.

Usage: ``python recording.py <config as JSON> <stack> preview|up``. Secrets keep their wrapper.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pulumi
from google.protobuf.json_format import MessageToDict
from pulumi.runtime import mocks, set_all_config, set_mocks
from pulumi.runtime.settings import set_root_resource
from pulumi.runtime.stack import run_in_stack

PROJECT = Path(__file__).resolve().parents[2]


class Answers(mocks.Mocks):
    """Gives each resource an id and its inputs back as outputs."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        state = dict(args.inputs)
        if args.typ.startswith("command:"):
            state |= {"stdout": "", "stderr": ""}
        return (f"{args.name}-id" if args.custom else None), state

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        del args
        return {}, None


class Recorder(mocks.MockMonitor):
    """A mock monitor that keeps each request."""

    def __init__(self) -> None:
        super().__init__(Answers())
        self.resources_seen: list[dict[str, Any]] = []
        self.outputs: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        self.resources_seen.append(
            {
                "urn": answer.urn,
                "type": request.type,
                "name": request.name,
                "parent": request.parent,
                "custom": bool(request.custom),
                "dependencies": list(request.dependencies),
                "secretOutputs": list(request.additionalSecretOutputs),
                "inputs": MessageToDict(request.object),
            }
        )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        if request.urn.split("::")[2] == "pulumi:pulumi:Stack":
            self.outputs = MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def program() -> None:
    """The program itself."""
    runpy.run_path(str(PROJECT / "__main__.py"), run_name="__main__")


def main() -> None:
    """Run the program and print the record; an error of the user's is part of it."""
    config, stack, mode = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    recorder = Recorder()
    asyncio.set_event_loop(asyncio.new_event_loop())
    set_mocks(recorder.mocks, project="phoenix", stack=stack, preview=mode == "preview", monitor=recorder)
    set_root_resource(None)  # type: ignore[arg-type]  # the mocks made one already; the run makes its own
    set_all_config(config)
    error = None
    try:
        asyncio.get_event_loop().run_until_complete(run_in_stack(program))
    except pulumi.RunError as stopped:
        error = str(stopped)
    record = {"resources": recorder.resources_seen, "outputs": recorder.outputs, "error": error}
    sys.stdout.write(json.dumps(record))


if __name__ == "__main__":
    main()
