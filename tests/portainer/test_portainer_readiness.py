"""Readiness: what is checked, how often, and the checks themselves on this machine."""

from __future__ import annotations

import socket

import pytest

from phoenix.portainer.readiness import Check, System, describe, hypervisor_of, live, problems, wait
from phoenix.portainer.settings import ReadinessSettings
from phoenix.remote import Connection
from tests.portainer.support import FakeTime

HERE = Connection.parse({"transport": "local"})


def guest(transport: str, number: int) -> Connection:
    data: dict[str, object] = {"transport": transport, "guest": number}
    if transport.endswith("-over-ssh"):
        data |= {"host": "192.0.2.13", "knownHostsFile": "/etc/ssh/known_hosts"}
    return Connection.parse(data)


def test_a_whole_installation_has_every_check() -> None:
    traefik, server = guest("pct-over-ssh", 102), guest("qm-over-ssh", 1001)
    system = System(
        traefik=traefik,
        authority_url="https://ca.internal.example.test:9000/",
        authority_root_file="/etc/step-ca/ssl/root.crt",
        hostnames=("a.example.test", "b.example.test"),
        gateway=("192.0.2.153", 443),
        docker=(("Portainer", server),),
        hypervisor=hypervisor_of([traefik, server]),
    )
    checks = {check.name: check for check in describe(system)}
    assert list(checks) == ["hypervisor", "traefik", "certificate authority", "dns", "gateway", "docker"]
    assert checks["hypervisor"].connection == Connection.parse(
        {"transport": "ssh", "host": "192.0.2.13", "knownHostsFile": "/etc/ssh/known_hosts"}
    )
    assert "pct status 102" in checks["hypervisor"].script
    assert "qm status 1001" in checks["hypervisor"].script
    assert checks["certificate authority"].url == "https://ca.internal.example.test:9000/health"
    assert [check.name for check in describe(system, ["dns", "docker"])] == [
        "hypervisor",
        "traefik",
        "certificate authority",
        "gateway",
    ]
    assert describe(System()) == ()


def test_the_hypervisor_of_connections() -> None:
    assert hypervisor_of([None, HERE]) is None
    assert hypervisor_of([HERE, guest("qm", 1001)]) == HERE


def gateway(port: int) -> Check:
    return Check("gateway", f"127.0.0.1:{port}", "connect", "start it", address=("127.0.0.1", port))


def test_all_checks_are_made_again_after_any_failure(time: FakeTime) -> None:
    made: list[tuple[str, float]] = []
    rounds: list[int] = []

    def prober(check: Check, timeout: float) -> str:
        made.append((check.subject, timeout))
        return "not yet" if check.subject.endswith(":1") and len(rounds) < 2 else ""

    settings = ReadinessSettings(timeout=7)
    checks = [gateway(1), gateway(2)]
    results = wait(checks, prober, settings, time.clock(), lambda number, _: rounds.append(number))
    assert problems(results) == []
    assert rounds == [1, 2, 3]
    assert len(made) == 6
    assert {seconds for _, seconds in made} == {7}
    assert time.slept == [3.0, 3.0]


def test_it_gives_up_after_five_tries(time: FakeTime) -> None:
    results = wait([gateway(1)], lambda _check, _timeout: "refused", ReadinessSettings(), time.clock())
    assert problems(results) == ["gateway (127.0.0.1:1): refused (start it)"]
    assert time.slept == [3.0] * 4


def test_a_port_that_is_open_and_one_that_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert live(gateway(port), 5) == ""
    assert live(gateway(port), 5) == "no connection (Connection refused)"


def test_names_that_resolve_and_names_that_do_not() -> None:
    def names(*listed: str) -> Check:
        return Check("dns", "names", "names", "add them", names=listed)

    assert live(names("127.0.0.1", "localhost"), 10) == ""
    # RFC 6761: no resolver may know a name below .invalid.
    said = live(names("localhost", "nothing.invalid"), 30)
    assert said in {"no address for nothing.invalid", "the resolver did not answer within 30 s"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("true", ""),
        ("echo guest 102: status: stopped; exit 1", "guest 102: status: stopped (exit code 1)"),
        ("echo broken >&2; exit 3", "broken (exit code 3)"),
        ("exit 2", "no output (exit code 2)"),
    ],
)
def test_commands(script: str, said: str) -> None:
    check = Check("traefik", "here", "command", "start it", connection=HERE, script=script)
    assert live(check, 20) == said


def test_a_get_that_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://127.0.0.1:{port}/health"
    check = Check("certificate authority", url, "get", "start it", connection=HERE, url=url)
    assert live(check, 5).startswith(f"GET {url} on ")
