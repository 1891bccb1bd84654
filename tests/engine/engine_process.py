"""The engine as a user meets it: a project in a directory and a command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

THINGS = '''
import os, pathlib, sys, logging
import pulumi
from pulumi.dynamic import *

WORLD = pathlib.Path(__file__).resolve().parent / "world"
WORLD.mkdir(exist_ok=True)


def note(text):
    with (WORLD / "calls.log").open("a") as log:
        log.write(text + "\\n")


class FileProvider(ResourceProvider):
    """A file for each resource; diff looks at the file itself."""

    def check(self, old, new):
        if new.get("content") == "refused":
            return CheckResult(new, [CheckFailure("content", "is refused")])
        return CheckResult(new, [])

    def diff(self, identifier, old, new):
        live = WORLD / (identifier + ".txt")
        drifted = not live.exists() or live.read_text() != old.get("content")
        if drifted:
            print("drift: the file of", identifier, "differs")
            print("told on stderr", file=sys.stderr)
        changed = drifted or any(old.get(key) != new.get(key) for key in ("name", "content"))
        return DiffResult(changes=changed, replaces=["name"] if old.get("name") != new.get("name") else [])

    def create(self, props):
        note("create " + props["name"])
        if props["content"] == "broken":
            raise Exception("the disk is broken")
        (WORLD / (props["name"] + ".txt")).write_text(props["content"])
        return CreateResult(props["name"], {**props, "length": len(props["content"])})

    def update(self, identifier, old, new):
        note("update " + identifier)
        if new["content"] == "broken":
            raise Exception("the disk is broken")
        (WORLD / (identifier + ".txt")).write_text(new["content"])
        return UpdateResult({**new, "length": len(new["content"])})

    def read(self, identifier, props):
        live = WORLD / (identifier + ".txt")
        if not live.exists():
            return ReadResult("", {})
        found = {**props, "content": live.read_text(), "length": len(live.read_text())}
        return ReadResult(identifier, found, {k: found[k] for k in ("name", "content")})

    def delete(self, identifier, props):
        note("delete " + identifier)
        (WORLD / (identifier + ".txt")).unlink(missing_ok=True)


class File(Resource):
    length: pulumi.Output[int]
    content: pulumi.Output[str]

    def __init__(self, name, content, file_name=None, opts=None):
        super().__init__(FileProvider(), name, {"name": file_name or name, "content": content, "length": None}, opts)
'''


class Workspace:
    """A project with a state directory and a home of its own."""

    def __init__(self, directory: Path, program: str, *, pulumi: str | None = None) -> None:
        self.directory = directory / "project"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.state = directory / "state"
        self.state.mkdir(exist_ok=True)
        self.home = directory / "home"
        self.home.mkdir(exist_ok=True)
        self.pulumi = pulumi
        interpreter = Path(sys.executable).parent.parent
        self.write(
            "Pulumi.yaml",
            "name: proj\nruntime:\n  name: python\n"
            f"  options: {{toolchain: pip, virtualenv: {interpreter}}}\nstackConfigDir: stacks\n",
        )
        self.write("things.py", THINGS)
        self.program(program)
        (self.directory / "stacks").mkdir(exist_ok=True)

    def write(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.write_text(text, encoding="utf-8")
        return file

    def program(self, text: str) -> None:
        self.write("__main__.py", "import pulumi\nfrom pulumi import *\nfrom things import File\n" + text)

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PULUMI_") and k != "SSH_AUTH_SOCK"}
        return {
            **kept,
            "HOME": str(self.home),
            "PULUMI_HOME": str(self.home / ".pulumi"),
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PYTHONPATH": str(REPOSITORY),
            **extra,
        }

    def command(self, *arguments: str) -> list[str]:
        return [self.pulumi, *arguments] if self.pulumi else [sys.executable, "-m", "engine", *arguments]

    def run(self, *arguments: str, code: int | None = 0, stdin: str | None = None, **extra: str) -> Any:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment(**extra),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments).stdout)

    @property
    def checkpoint(self) -> Path:
        return self.state / ".pulumi" / "stacks" / "proj" / "dev.json"

    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.checkpoint.read_text())["checkpoint"]["latest"]
        return found

    @property
    def files(self) -> dict[str, str]:
        return {file.stem: file.read_text() for file in (self.directory / "world").glob("*.txt")}

    @property
    def calls(self) -> list[str]:
        log = self.directory / "world" / "calls.log"
        return log.read_text().splitlines() if log.exists() else []
