"""How long a preview takes, and how soon a changed route is served, at 10, 1,000 and 10,000 routes.

``benchmarks/run routes [--routes 10,1000] [--rounds 5]``: in a lab of its own, through the real commands. The rival is
one bare ``ssh`` round trip to the same container, measured in the same run; every figure is also given as its multiple.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.stack import Stack

CHANGED = "guest-1"


def guests(network: str, count: int, changed_port: int) -> dict[str, dict[str, object]]:
    """So many routed containers, three addresses in turn; the first one's port is what changes."""
    made: dict[str, dict[str, object]] = {}
    for number in range(1, count + 1):
        port = changed_port if number == 1 else 9000
        made[str(20000 + number)] = {
            "name": f"guest-{number}",
            "network_config": {"ip": f"{network}.1.{1 + (number - 1) % 3 if number > 1 else 9}/24"},
            "ports": [f"{port}:{port}"],
        }
    return made


def timed(action: Callable[[], object]) -> float:
    """Seconds an action takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def ssh_round_trip(stack: Stack) -> float:
    """One fresh ``ssh true``."""
    connection = stack.settings["traefik"]["connection"]
    known = stack.directory / "known_hosts"
    known.write_text(f"[{connection['host']}]:{connection['port']} {connection['hostKey']}\n")
    command = [
        "ssh", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", "-i", connection["privateKeyFile"],
        "-p", str(connection["port"]), f"{connection['user']}@{connection['host']}", "true",
    ]  # fmt: skip
    return timed(lambda: subprocess.run(command, check=True, capture_output=True))


def change_until_served(stack: Stack, count: int, port: int) -> float:
    """Seconds from starting ``up`` until the changed route answers from its new port."""
    stack.write_guests(guests(stack.network, count, port))
    stack.start()
    hostname = f"{CHANGED}.internal.phoenix.test"
    begun = time.perf_counter()
    process = subprocess.Popen(
        stack.command("up", "--stack", "local", "--yes", "--skip-preview"),
        env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while stack.ask(hostname)[1].get("address", "").rpartition(":")[2] != str(port):
            if process.poll() not in (None, 0) or time.perf_counter() - begun > 120:
                raise SystemExit("the changed route was not served")
            time.sleep(0.01)
        return time.perf_counter() - begun
    finally:
        process.wait()


def measure(count: int, rounds: int) -> None:
    """Print the rows for one number of routes."""
    with tempfile.TemporaryDirectory(prefix="phoenix-benchmark-") as name:
        stack = Stack(Path(name), f"127.{200 + secrets.randbelow(40)}")
        stack.copy_inventory()
        stack.write_guests(guests(stack.network, count, 9101))
        stack.start()
        try:
            stack.pulumi("stack", "init", "local")
            first = timed(stack.up)
            rows = {"ssh true": [ssh_round_trip(stack) for _ in range(rounds)], "first up": [first]}
            preview = ("preview", "--stack", "local", "--expect-no-changes")
            rows["preview without change"] = [timed(lambda: stack.pulumi(*preview)) for _ in range(rounds)]
            rows["up, until the changed route is served"] = [
                change_until_served(stack, count, 9102 + number) for number in range(rounds)
            ]
            size = stack.dynamic.stat().st_size
        finally:
            stack.lab.down()
    floor = statistics.median(rows["ssh true"])
    print(f"{count} routes ({size / 1000:.0f} kB of dynamic configuration), median of {rounds}")
    for label, times in rows.items():
        middle = statistics.median(times)
        print(f"  {label:40} {middle:7.2f} s   {middle / floor:6.1f} x ssh true")
    print(json.dumps({"routes": count, **{label: statistics.median(times) for label, times in rows.items()}}))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", default="10,1000", help="numbers of routes, by commas")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for count in arguments.routes.split(","):
        measure(int(count), arguments.rounds)


if __name__ == "__main__":
    main()
