"""Every bad candidate is refused before it goes live, with its cause, while live routes do not lose a request."""

from __future__ import annotations

from typing import Any

import pytest
from candidate_rows import Row, add
from dynamic_rows import DYNAMIC
from live_traefik import LIVE_HOSTS, Clients, LiveTraefik
from silent_rows import SILENT
from silent_static_rows import SILENT_STATIC
from static_rows import STATIC

from phoenix.errors import PhoenixError, TraefikError
from phoenix.remote.file_model import DesiredFile
from phoenix.remote.files import put
from phoenix.traefik import document
from phoenix.traefik.prove import prove
from phoenix.traefik.push import Push, parsed


def push_of(live: LiveTraefik, content: str, told: list[str]) -> Push:
    """A push as the resource makes it."""
    props = {
        "path": str(live.dynamic_path),
        "content": content,
        "static": document.dump(live.static()),
        "binary": live.program,
        "user": live.user,
        "apiUrl": live.api_url,
    }
    return Push(live.transport, props, told.append)


def push(live: LiveTraefik, content: str) -> list[str]:
    """Push a dynamic configuration as the resource does; what it says."""
    told: list[str] = []
    desired = DesiredFile(str(live.dynamic_path), content.encode())
    with push_of(live, content, told) as operation:
        put(live.transport, desired, operation.validate, operation.verify, operation.rolled_back)
    return told


@pytest.mark.parametrize("row", [*DYNAMIC, *SILENT], ids=lambda row: row.name)
def test_dynamic(row: Row, live: LiveTraefik, clients: Clients) -> None:
    before, beside = live.dynamic_path.read_bytes(), sorted(live.dynamic_path.parent.iterdir())
    with pytest.raises(PhoenixError) as refused:
        push(live, row.make(live))
    message = str(refused.value)
    for part in row.says:
        assert part in message
    for part in row.hides:
        assert part not in message
    assert "nothing was changed" in message
    assert live.dynamic_path.read_bytes() == before
    assert sorted(live.dynamic_path.parent.iterdir()) == beside
    assert clients.failures == []


@pytest.mark.parametrize("row", [*STATIC, *SILENT_STATIC], ids=lambda row: row.name)
def test_static(row: Row, live: LiveTraefik, clients: Clients) -> None:
    before = live.static_path.read_bytes()
    content = row.make(live)
    desired = DesiredFile(str(live.static_path), content.encode())
    with pytest.raises(PhoenixError) as refused:
        put(
            live.transport,
            desired,
            lambda staged: prove(live.transport, live.program, parsed(content), None, user=live.user) and None,
        )
    for part in row.says:
        assert part in str(refused.value)
    assert live.static_path.read_bytes() == before
    assert clients.failures == []


def test_the_live_configuration_itself_is_accepted(live: LiveTraefik, clients: Clients) -> None:
    """The table would prove nothing if the unspoilt candidates were refused too."""
    prove(live.transport, live.program, live.static(), None, user=live.user)
    prove(live.transport, live.program, live.static(), live.dynamic(), user=live.user, ask_for=["one-router"])
    assert [live.get(host) for host in LIVE_HOSTS] == [200, 200, 200]
    assert clients.failures == []


GOOD: dict[str, dict[str, Any]] = {
    "no entry points, which is all of them": {"entryPoints": None},
    "an entry point as a text": {"entryPoints": "websecure"},
    "a service of Traefik's own": {"service": "noop@internal"},
    "a service with its provider": {"service": "one-service@file"},
    "tls: true": {"tls": True},
    "a host beside a live one's": {"rule": "Host(`one.live.test`) && PathPrefix(`/x`)"},
    "a live one's host for the same service": {
        "rule": "Host(`one.live.test`) || Host(`new.live.test`)",
        "service": "one-service",
    },
    "a path that the backend sees": {
        "balancer": {"servers": [{"url": "http://127.0.0.1:9/base", "preservePath": True, "weight": 3}]}
    },
    "a sticky cookie": {
        "balancer": {"servers": [{"url": "http://127.0.0.1:9"}], "sticky": {"cookie": {"sameSite": "lax"}}}
    },
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_odd_and_right_is_accepted(name: str, live: LiveTraefik) -> None:
    data = add(live.dynamic(), live, **GOOD[name])
    assert prove(live.transport, live.program, live.static(), data, user=live.user) == []


@pytest.mark.parametrize(
    "more",
    [
        {"metrics": {"otlp": {"pushInterval": "10s"}}},
        {"metrics": {"datadog": {"address": "192.0.2.1:8125"}, "prometheus": {"entryPoint": "traefik"}}},
        {"tracing": {"otlp": {"grpc": {"endpoint": "192.0.2.1:4317", "insecure": True}}}},
        {"accessLog": {"fields": {"defaultMode": "keep", "headers": {"names": {"Cookie": "redact"}}}}},
    ],
    ids=["metrics over OTLP", "metrics for Datadog", "traces over gRPC", "an access log"],
)
def test_exporters_are_proved_and_send_nothing(more: dict[str, Any], live: LiveTraefik) -> None:
    assert prove(live.transport, live.program, {**live.static(), **more}, None, user=live.user) == []


def test_clients_asked_all_the_while(clients: Clients) -> None:
    """The last test of this file: no live request failed over the whole table."""
    assert clients.count > 50
    assert clients.failures == []


def test_the_table_is_long_enough() -> None:
    dynamic, static = [*DYNAMIC, *SILENT], [*STATIC, *SILENT_STATIC]
    assert len(DYNAMIC) >= 60
    assert len(STATIC) >= 40
    for rows in (dynamic, static):
        assert len({row.name for row in rows}) == len(rows)
        assert all(row.says for row in rows)
    assert issubclass(TraefikError, PhoenixError)
