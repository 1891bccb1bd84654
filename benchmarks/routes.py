"""How long a preview takes, and how soon a changed route is served, at 10, 1,000 and 10,000 routes.

``benchmarks/run routes [--routes 10,1000] [--rounds 5]``: in a lab of its own, through the real commands. The rival is
one bare ``ssh`` round trip to the same container, measured in the same run; every figure is also given as its multiple.

Every name has its certificate already, as in an installation that runs for a while: Traefik finds one for all of them
in its ACME storage. To obtain a thousand at once keeps two cores busy for minutes, whatever configures Traefik.
"""

from __future__ import annotations

import argparse
import base64
import json
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.local.authority import Authority, write_private
from tests.end_to_end.stack import Stack, ask

CHANGED = "guest-1"
DOMAIN = "internal.phoenix.test"


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


def give_certificate(stack: Stack, domain: str) -> None:
    """Put a wildcard certificate into the ACME storage of the internal resolver."""
    names = [f"*.{domain}"]
    certificate, key = Authority(stack.lab.layout.authority).issue("wildcard", names, [])
    entry = {
        "domain": {"main": names[0]},
        "certificate": base64.b64encode(certificate.read_bytes()).decode(),
        "key": base64.b64encode(key.read_bytes()).decode(),
        "Store": "default",
    }
    storage = stack.path("var/lib/traefik/acme-internal.json")
    content = json.dumps({"internal-resolver": {"Account": None, "Certificates": [entry]}})
    write_private(storage, content.encode())


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


def change_until_served(stack: Stack, count: int, port: int, *options: str) -> float:
    """Seconds from starting ``up`` until the changed route answers from its new port."""
    stack.write_guests(guests(stack.network, count, port))
    stack.start()
    # A kept connection: a handshake for each look would take a core from what is measured.
    connection = stack.connection(f"{CHANGED}.{DOMAIN}")
    begun = time.perf_counter()
    process = subprocess.Popen(
        stack.command("up", "--stack", "local", "--yes", *options),
        env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while ask(connection)[1].get("address", "").rpartition(":")[2] != str(port):
            if process.poll() not in (None, 0) or time.perf_counter() - begun > 120:
                raise SystemExit("the changed route was not served")
            time.sleep(0.02)
        return time.perf_counter() - begun
    finally:
        connection.close()
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
            give_certificate(stack, DOMAIN)
            first = timed(stack.up)
            rows = {"ssh true": [ssh_round_trip(stack) for _ in range(rounds)], "first up": [first]}
            preview = ("preview", "--stack", "local", "--expect-no-changes")
            rows["preview without change"] = [timed(lambda: stack.pulumi(*preview)) for _ in range(rounds)]
            for label, options, port in (
                ("up --skip-preview, until the changed route is served", ("--skip-preview",), 9102),
                ("up with its preview, until it is served", (), 9102 + rounds),
            ):
                rows[label] = [change_until_served(stack, count, port + number, *options) for number in range(rounds)]
            size = stack.dynamic.stat().st_size
        finally:
            stack.lab.down()
    floor = statistics.median(rows["ssh true"])
    print(f"{count} routes ({size / 1000:.0f} kB of dynamic configuration), median of {rounds}")
    for label, times in rows.items():
        middle = statistics.median(times)
        print(f"  {label:53} {middle:7.2f} s   {middle / floor:6.1f} x ssh true")
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
