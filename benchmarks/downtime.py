"""How many requests fail while Traefik changes: through this product, and the way it was done before.

``benchmarks/run downtime [--rate 500] [--dynamic 20] [--static 5] [--json]``, as root: real systemd containers, load
GET and POST on kept and new connections, each request counted once by what became of it. Measured are a stack with the
gateway and a standby, one without a gateway (sockets; the load then goes to Traefik directly), and the old way, which
is what hand-written scripts did: the dynamic file written in place and ``systemctl reload`` (a HUP), the static one and
``systemctl restart``, behind a plain ``proxy_pass`` and directly. All in the same run, in the same containers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.container import core, host
from lab.container.testing import start_lab
from phoenix.traefik import document
from tests.continuity.deployment import Deployment
from tests.continuity.load import Counts

SETTLE_SECONDS = 2.5
"""Between two changes of the old way: longer than the two seconds in which Traefik takes up no second change."""

OLD_UNIT = """\
[Unit]
After=network-online.target
Wants=network-online.target

[Service]
Type=simple
ExecStart=/usr/local/bin/traefik --configfile=/etc/traefik/traefik.yml
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


@dataclass
class Row:
    """One measured series.

    Attributes:
        what: was changed.
        way: by what means.
        changes: how many times.
        sent, failed: requests.
        detail: what became of those that failed.
        slowest: request that was answered or not, in seconds.
    """

    what: str
    way: str
    changes: int
    sent: int
    failed: int
    detail: dict[str, int]
    slowest: float


class Benchmark:
    """One run.

    Args:
        deployment: a stack that is deployed, in a lab of its own.
        rate: requests a second.
    """

    def __init__(self, deployment: Deployment, rate: float) -> None:
        self.deployment, self.rate = deployment, rate
        self.rows: list[Row] = []

    def measure(
        self, what: str, way: str, changes: int, change: Callable[[int], object], *, direct: bool = False
    ) -> None:
        """Load while something is done some times."""
        print(f"  {way}: {what} ...", file=sys.stderr, flush=True)
        with self.deployment.load(self.rate, direct=direct) as load:
            load.run_for(1)
            for number in range(changes):
                change(number)
            load.run_for(2)
        counts = load.counts
        self.rows.append(
            Row(what, way, changes, counts.sent, counts.failed, failures(counts), round(counts.slowest, 2))
        )

    def ours(self, dynamic: int, static: int, *, direct: bool = False) -> None:
        """Changes through the product, each a whole ``pulumi up``."""
        deployment = self.deployment
        mode = deployment.settings["traefik"].get("continuity", "standby")
        way = f"{mode}, {'direct' if direct else 'gateway'}"

        def change_dynamic(number: int) -> None:
            deployment.settings["middlewares"] = {"squeeze": {"compress": {}}} if number % 2 == 0 else {}
            deployment.settings["routes"] = {
                "grafana-router": {"middlewares": list(deployment.settings["middlewares"])}
            }
            deployment.up()

        def change_static(number: int) -> None:
            del number
            level = "ERROR" if deployment.settings["traefik"].get("logLevel") == "WARN" else "WARN"
            deployment.up(traefik={"logLevel": level})

        if dynamic:
            self.measure("dynamic change", way, dynamic, change_dynamic, direct=direct)
        if static:
            self.measure("static change", way, static, change_static, direct=direct)

    def crash(self, *, direct: bool = False) -> None:
        """``kill -9`` of Traefik."""
        traefik = self.deployment.settings["traefik"]
        mode = traefik.get("continuity", "standby")
        always = ", always" if traefik.get("standbyRuns") == "always" else ""

        def kill(_: int) -> None:
            pid = self.deployment.main_pid()
            self.deployment.lab.shell(self.deployment.traefik, f"kill -9 {pid}")
            ready = f"[ $(systemctl show -P MainPID traefik) -gt 0 ] && ! kill -0 {pid} && curl -sf 127.0.0.1:8080/ping"
            self.deployment.lab.wait_for(self.deployment.traefik, ready)
            time.sleep(1)

        self.measure("kill -9", f"{mode}{always}, {'direct' if direct else 'gateway'}", 1, kill, direct=direct)

    def old_way(self, dynamic: int, static: int) -> None:
        """In-place writes, HUP and plain restarts behind a plain ``proxy_pass``; ends with the guests as new."""
        deployment = self.deployment
        lab, guest = deployment.lab, deployment.traefik
        files = lab.files(guest) / "etc/traefik"
        dynamic_text = (files / "dynamic/dynamic_conf.yml").read_text()
        static_data = document.load((files / "traefik.yml").read_text())
        static_data["providers"].pop("providersThrottleDuration")
        static_text = document.dump(static_data)
        deployment.reset()
        write = "mkdir -p /etc/traefik/dynamic /var/lib/traefik; cat >"
        lab.shell(guest, f"{write}/etc/traefik/traefik.yml", stdin=static_text.encode())
        lab.shell(guest, f"{write}/etc/traefik/dynamic/dynamic_conf.yml", stdin=dynamic_text.encode())
        lab.shell(guest, "cat >/etc/systemd/system/traefik.service", stdin=OLD_UNIT.encode())
        lab.shell(guest, "systemctl daemon-reload; systemctl enable --now traefik")
        for hostname in deployment.hostnames():
            lab.wait_for(guest, f"curl -skf --resolve {hostname}:443:127.0.0.1 https://{hostname}/", 60)

        def change_dynamic(number: int) -> None:
            text = f"{dynamic_text}# change {number}\n"
            script = "cat >/etc/traefik/dynamic/dynamic_conf.yml; systemctl reload traefik"
            lab.shell(guest, script, stdin=text.encode())
            time.sleep(SETTLE_SECONDS)

        def change_static(number: int) -> None:
            text = static_text.replace("level: INFO", f"level: {('WARN', 'ERROR')[number % 2]}")
            lab.shell(guest, "cat >/etc/traefik/traefik.yml; systemctl restart traefik", stdin=text.encode())
            time.sleep(SETTLE_SECONDS)

        for direct in (False, True):
            way = f"old way, {'direct' if direct else 'gateway'}"
            self.measure("dynamic change", way, dynamic, change_dynamic, direct=direct)
            self.measure("static change", way, static, change_static, direct=direct)


def failures(counts: Counts) -> dict[str, int]:
    """What became of the failed ones: status or kind of error → number."""
    found = {str(status): count for status, count in counts.answered.items() if status != 200}
    return {**found, **counts.broken}


def table(rows: list[Row]) -> Iterator[str]:
    """The rows as text, with the ratio of the old way to ours."""
    yield f"{'':16}{'way':26}{'changes':>8}{'requests':>10}{'failed':>8}{'a change':>10}  what became of them"
    for row in rows:
        detail = ", ".join(f"{count} x {what}" for what, count in sorted(row.detail.items()))
        each = row.failed / row.changes
        yield (
            f"{row.what:16}{row.way:26}{row.changes:8d}{row.sent:10d}{row.failed:8d}{each:10.1f}  "
            f"{detail}{'; ' if detail else ''}slowest {row.slowest:.2f} s"
        )
    yield ""
    yield f"{'failed requests a change':42}{'old way':>10}{'ours':>8}   ratio"
    for way, label in (("standby, gateway", "gateway and standby"), ("sockets, direct", "sockets, no gateway")):
        for what in ("dynamic change", "static change"):
            old = next((row for row in rows if row.what == what and row.way == f"old way, {way.split()[1]}"), None)
            new = next((row for row in rows if row.what == what and row.way == way), None)
            if old and new:
                ours = new.failed / new.changes
                before = old.failed / old.changes
                ratio = f"{before / ours:.0f} : 1" if ours else f"{before:.0f} : 0"
                yield f"{what + ', ' + label:42}{before:10.1f}{ours:8.1f}   {ratio}"


@contextmanager
def laboratory() -> Iterator[Deployment]:
    """A container lab of its own with the stack deployed."""
    directory = Path(tempfile.mkdtemp(prefix="phoenix-downtime-"))
    lab = start_lab(directory / "lab", docker=False)
    try:
        deployment = Deployment(lab, directory)
        deployment.init()
        deployment.up()
        yield deployment
    finally:
        core.down(directory / "lab")
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """Run the command line; exit code 1 where a change through the product failed a request behind the gateway."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500, help="requests a second")
    parser.add_argument("--dynamic", type=int, default=20, help="dynamic changes")
    parser.add_argument("--static", type=int, default=5, help="static changes")
    parser.add_argument("--all", action="store_true", help="also the other means, and crashes")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    if (reason := host.missing_right()) is not None:
        raise SystemExit(f"benchmarks/run downtime: {reason}")
    with laboratory() as deployment:
        benchmark = Benchmark(deployment, arguments.rate)
        benchmark.ours(arguments.dynamic, arguments.static)
        if arguments.all:
            others(benchmark, arguments.static)
        deployment.up(traefik={"continuity": "sockets"})
        benchmark.ours(arguments.dynamic, arguments.static, direct=True)
        benchmark.old_way(arguments.dynamic, arguments.static)
    if arguments.json:
        print(json.dumps([asdict(row) for row in benchmark.rows], indent=2))
    else:
        print("\n".join(table(benchmark.rows)))
    raise SystemExit(
        any(row.failed for row in benchmark.rows if row.way == "standby, gateway" and "change" in row.what)
    )


def others(benchmark: Benchmark, static: int) -> None:
    """The other means, at the gateway and directly at Traefik, and what a crash costs with each."""
    deployment = benchmark.deployment
    benchmark.ours(0, static, direct=True)
    benchmark.crash()
    deployment.up(traefik={"standbyRuns": "always"})
    benchmark.crash()
    deployment.up(traefik={"standbyRuns": "restarts"})
    for mode, ways in (("both", (False, True)), ("sockets", (False,)), ("none", (False, True))):
        deployment.up(traefik={"continuity": mode})
        for direct in ways:
            benchmark.ours(0, static, direct=direct)
            benchmark.crash(direct=direct)
    deployment.up(traefik={"continuity": "standby", "logLevel": "INFO"})


if __name__ == "__main__":
    main()
