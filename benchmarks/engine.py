"""The embedded engine's speed and memory, beside the official CLI where it is on PATH.

    benchmarks/run engine [--json] [--rounds N] [--only preview|commands|components]

Jobs, each by both engines in turn on fresh state: a preview without changes of this repository's program
against the local lab; 200 remote commands created over SSH on loopback; the first ``up`` of 1,000 components.
What counts are the ratios of one run; the peak memory is the engine process's own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
COMMANDS: Final = 200
COMPONENTS: Final = 1000
MEGABYTE: Final = 1024
TARGETS: Final = {"preview": 1 / 3, "commands": 1 / 4, "components": 1 / 10}
MEMORY_TARGET: Final = 150


@dataclass
class Job:
    """A job's measurements: seconds of each round, and the embedded engine's peak memory in MB."""

    title: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"embedded": [], "official": []})
    memory: float = 0.0
    skipped: str = ""

    def median(self, engine: str) -> float | None:
        """Return an engine's median time."""
        return statistics.median(self.seconds[engine]) if self.seconds[engine] else None

    @property
    def ratio(self) -> float | None:
        """Return embedded over official, where both were measured."""
        mine, theirs = self.median("embedded"), self.median("official")
        return mine / theirs if mine is not None and theirs else None


def official_cli() -> str | None:
    """Return the official CLI on PATH; this repository's bin/pulumi is none."""
    parts = [p for p in os.environ.get("PATH", "").split(os.pathsep) if Path(p).resolve() != REPOSITORY / "bin"]
    return shutil.which("pulumi", path=os.pathsep.join(parts))


class Stage:
    """A project directory with a state and a home for each engine."""

    def __init__(self, directory: Path, official: str | None) -> None:
        self.directory = directory
        self.project = directory / "project"
        self.project.mkdir()
        self.official = official

    @property
    def engines(self) -> list[str]:
        """The engines to measure."""
        return ["embedded", *(["official"] if self.official else [])]

    def write(self, name: str, program: str) -> None:
        """Write a project of one file."""
        virtualenv = Path(sys.executable).parent.parent
        (self.project / "Pulumi.yaml").write_text(
            f"name: {name}\nruntime:\n  name: python\n  options: {{toolchain: pip, virtualenv: {virtualenv}}}\n"
        )
        (self.project / "__main__.py").write_text(program)

    def run(self, engine: str, *arguments: str) -> tuple[float, float]:
        """Run a command of an engine; return its seconds and its peak memory in MB.

        Raises:
            RuntimeError: it failed.
        """
        home = self.directory / engine
        (home / "state").mkdir(parents=True, exist_ok=True)
        # Without bytecode Python would compile the engine and the program anew in each run.
        left_out = ("SSH_AUTH_SOCK", "PYTHONDONTWRITEBYTECODE")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PULUMI_") and k not in left_out}
        environment |= {
            "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_HOME": str(home / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [str(self.official)] if engine == "official" else [sys.executable, "-m", "engine"]
        started = time.perf_counter()
        with (home / "output").open("w+") as output:
            process = subprocess.Popen(
                [*command, *arguments], cwd=self.project, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - started
            if process.returncode:
                output.seek(0)
                tail = output.read()[-800:]
                raise RuntimeError(f"{engine} {' '.join(arguments)} ended with {process.returncode}: {tail}")
        return seconds, usage.ru_maxrss / MEGABYTE

    def measure(self, job: Job, rounds: int, *arguments: str, fresh: bool) -> None:
        """Time a command in each engine in turn; ``fresh`` destroys what it made after each round."""
        for engine in self.engines:
            self.run(engine, "stack", "init", "bench")
        for _ in range(rounds):
            for engine in self.engines:
                say(f"{job.title}: {engine}")
                seconds, memory = self.run(engine, *arguments)
                job.seconds[engine].append(seconds)
                if engine == "embedded":
                    job.memory = max(job.memory, memory)
                if fresh:
                    self.run(engine, "destroy", "--yes", "--skip-preview")


def say(text: str) -> None:
    """Tell progress on a terminal's standard error."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@contextmanager
def stage(official: str | None) -> Iterator[Stage]:
    """Set up a stage and take it down."""
    directory = Path(tempfile.mkdtemp(prefix="bench-engine-"))
    try:
        yield Stage(directory, official)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


PREVIEW_OPTIONS: Final = ("--stack", "local")


def preview(official: str | None, rounds: int) -> Job:
    """Preview this repository's program without a change, against a lab of its own."""
    job = Job("preview of this program without a change")
    with stage(official) as here:
        for name in ("components", "phoenix", "stacks"):
            shutil.copytree(REPOSITORY / name, here.project / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("__main__.py", "Pulumi.yaml"):
            shutil.copy(REPOSITORY / name, here.project / name)
        (here.project / ".venv").symlink_to(Path(sys.executable).parent.parent)
        lab = [sys.executable, "-m", "lab"]
        place = ["--directory", str(here.project / ".lab"), "--network", f"127.{20 + os.getpid() % 200}"]
        up = subprocess.run([*lab, "up", *place], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        try:
            if up.returncode:
                job.skipped = f"the lab did not start: {(up.stderr or up.stdout).strip()[-200:]}"
                return job
            # One engine brings the lab up to date; the other takes over its state.
            here.run("embedded", "stack", "select", "local", "--create")
            here.run("embedded", "up", "--yes", "--skip-preview", *PREVIEW_OPTIONS)
            if official:
                shutil.copytree(here.directory / "embedded" / "state", here.directory / "official" / "state")
            for _ in range(rounds + 1):
                for engine in here.engines:
                    say(f"{job.title}: {engine}")
                    seconds, memory = here.run(engine, "preview", "--expect-no-changes", *PREVIEW_OPTIONS)
                    job.seconds[engine].append(seconds)
                    job.memory = max(job.memory, memory) if engine == "embedded" else job.memory
            for engine in here.engines:
                del job.seconds[engine][0]  # the first one warms the caches
        finally:
            subprocess.run([*lab, "down", *place[:2]], cwd=REPOSITORY, capture_output=True, check=False)
    return job


# SHLVL: or bash reads the user's .bashrc for each command, which may take longer than the command.
SSHD: Final = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
MaxStartups 500
MaxSessions 100
Subsystem sftp internal-sftp
SetEnv SHLVL=5
"""

COMMANDS_PROGRAM: Final = """
import pulumi
from pathlib import Path
from pulumi_command import remote

here = Path({directory!r})
connection = remote.ConnectionArgs(
    host="127.0.0.1", port={port}, user={user!r},
    private_key=(here / "user_key").read_text(), host_key=(here / "host_key.pub").read_text(),
)
for number in range({number}):
    remote.Command(f"c{{number}}", connection=connection, create=f"echo {{number}}")
"""


@contextmanager
def sshd(directory: Path) -> Iterator[int]:
    """Run OpenSSH's server on loopback and yield its port.

    Raises:
        FileNotFoundError: there is none on this machine.
    """
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or shutil.which("ssh-keygen") is None:
        raise FileNotFoundError("no OpenSSH server is installed (Debian: apt-get install openssh-server)")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    (directory / "sshd_config").write_text(SSHD.format(port=port, directory=directory))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [program, "-D", "-e", "-f", directory / "sshd_config"], stderr=(directory / "sshd.log").open("w")
    )
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def commands(official: str | None, rounds: int) -> Job:
    """Create 200 remote commands over SSH on loopback."""
    job = Job(f"{COMMANDS} remote commands created")
    with stage(official) as here:
        keys = here.directory / "ssh"
        keys.mkdir(mode=0o700)
        try:
            with sshd(keys) as port:
                import getpass

                values = {"directory": str(keys), "port": port, "user": getpass.getuser(), "number": COMMANDS}
                here.write("commands", COMMANDS_PROGRAM.format(**values))
                here.measure(job, rounds, "up", "--yes", "--skip-preview", fresh=True)
        except FileNotFoundError as error:
            job.skipped = str(error)
    return job


COMPONENTS_PROGRAM: Final = """
import pulumi

class Route(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("bench:index:Route", name, {{"host": f"{{name}}.example.test", "port": 80}})
        self.register_outputs({{"url": f"https://{{name}}.example.test"}})

for number in range({number}):
    Route(f"route{{number}}")
"""


def components(official: str | None, rounds: int) -> Job:
    """Create 1,000 components for the first time."""
    job = Job(f"first up of {COMPONENTS} components")
    with stage(official) as here:
        here.write("components", COMPONENTS_PROGRAM.format(number=COMPONENTS))
        here.measure(job, rounds, "up", "--yes", "--skip-preview", fresh=True)
    return job


JOBS: Final = {"preview": preview, "commands": commands, "components": components}


def report(name: str, job: Job) -> str:
    """Write one job's line."""
    if job.skipped:
        return f"{job.title}: skipped: {job.skipped}"
    mine, theirs, ratio = job.median("embedded"), job.median("official"), job.ratio
    text = f"{job.title}: embedded {mine:.2f} s"
    if theirs is not None and ratio is not None:
        verdict = "met" if ratio <= TARGETS[name] else "MISSED"
        text += f", official {theirs:.2f} s, ratio {ratio:.2f} (at most {TARGETS[name]:.2f}: {verdict})"
    else:
        text += " (no official CLI on PATH to compare with)"
    verdict = "met" if job.memory < MEMORY_TARGET else "MISSED"
    return f"{text}; peak memory {job.memory:.0f} MB (under {MEMORY_TARGET}: {verdict})"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per job (the slowest job: one)")
    parser.add_argument("--only", choices=sorted(JOBS), action="append", help="only this job (repeatable)")
    arguments = parser.parse_args()
    official = official_cli()
    results: dict[str, Any] = {}
    for name in arguments.only or JOBS:
        job = JOBS[name](official, 1 if name == "components" else arguments.rounds)
        say("")
        if not arguments.json:
            print(report(name, job), flush=True)
        results[name] = {
            "embedded": job.median("embedded"),
            "official": job.median("official"),
            "ratio": job.ratio,
            "target": TARGETS[name],
            "peakMemoryMegabytes": round(job.memory, 1),
            **({"skipped": job.skipped} if job.skipped else {}),
        }
    if arguments.json:
        print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
