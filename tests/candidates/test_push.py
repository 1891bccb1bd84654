"""A good candidate's way: proved, live, asked for; and back, where clients would not get what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from candidate_rows import add, root
from live_traefik import LIVE_HOSTS, Backend, Clients, LiveTraefik
from test_bad_candidates import push, push_of

from phoenix.errors import TraefikError
from phoenix.remote.file_model import DesiredFile
from phoenix.remote.files import put
from phoenix.traefik import candidate, document, served
from phoenix.traefik import push as push_module
from phoenix.traefik.certificate_gate import live_addresses
from phoenix.traefik.prove import differences


def marked(live: LiveTraefik, number: int, **options: Any) -> dict[str, Any]:
    """The live routes and one more, under a revision of their own."""
    data = add(live.dynamic(), live, **options)
    middlewares = data["http"]["middlewares"]
    middlewares.pop("phoenix-revision-000000000001")
    middlewares[f"phoenix-revision-{number:012x}"] = {
        "headers": {"customResponseHeaders": {"X-Phoenix-Revision": str(number)}}
    }
    return data


@pytest.fixture(autouse=True)
def restored(live: LiveTraefik, service_runs: None) -> Iterator[None]:
    """Every test begins and ends with the live configuration."""
    yield
    original = document.dump(live.dynamic())
    put(live.transport, DesiredFile(str(live.dynamic_path), original.encode()))
    push_of(live, original, [])._wait_live(live.dynamic(), "")


def test_a_new_route_is_served_and_each_step_timed(live: LiveTraefik, clients: Clients) -> None:
    told = push(live, document.dump(marked(live, 2)))
    assert live.get("new.live.test") == 200
    assert len(told) == 1
    steps = [part.rpartition(" ms")[0].rpartition(" ")[0] for part in told[0].partition(": ")[2].split(", ")]
    assert steps == ["staged", "proved", "live", "1 changed route asked"]
    assert clients.failures == []


def test_twenty_pushes_lose_no_request(live: LiveTraefik, clients: Clients) -> None:
    asked = clients.count
    for number in range(3, 23):
        push(live, document.dump(marked(live, number, rule=f"Host(`new{number}.live.test`)")))
        assert live.get(f"new{number}.live.test") == 200
    assert clients.count > asked
    assert clients.failures == []


def test_a_backend_that_is_down_is_a_warning(live: LiveTraefik) -> None:
    told = push(live, document.dump(marked(live, 30, url="http://127.0.0.1:1")))
    assert any("its backend http://127.0.0.1:1 does not answer (502)" in line for line in told)
    told = push(live, document.dump(marked(live, 31, backend="failing")))
    assert any("does not answer (503)" in line or "answers 503" in line for line in told)


def test_an_https_backend_that_is_verified_is_served(live: LiveTraefik) -> None:
    transport = {"rootCAs": [root(live)], "serverName": "backend.test"}
    told = push(live, document.dump(marked(live, 32, backend="named", transport=transport)))
    assert live.get("new.live.test") == 200
    assert len(told) == 1


def test_a_backends_own_404_is_none_of_traefiks(live: LiveTraefik, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs in Go answer an unknown path in Traefik's very words."""
    backend = Backend(status=404, body=b"404 page not found\n", plain=True)
    live.backends["go"] = backend
    monkeypatch.setattr(served, "PATIENCE_SECONDS", 0.0)
    told = push(live, document.dump(marked(live, 33, backend="go")))
    assert live.get("new.live.test") == 404
    assert len(told) == 1


def test_traefiks_own_404_is_a_failure(live: LiveTraefik, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "PATIENCE_SECONDS", 0.0)
    http = add(live.dynamic(), live)["http"]  # not pushed: nobody serves it
    findings = served.examine(live.transport, live_addresses(live.transport, live.api_url), http, ["new-router"])
    assert findings.asked == 1
    assert findings.failures == (
        "router new-router: https://new.live.test gets Traefik's own 404: it does not serve the route",
    )


def test_what_is_not_served_is_put_back_and_the_old_routes_are_proved(
    live: LiveTraefik, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live.dynamic_path.read_bytes()
    monkeypatch.setattr(push_module, "WAIT_SECONDS", 3.0)
    content = document.dump(marked(live, 40))
    told: list[str] = []
    operation = push_of(live, content, told)
    meant = operation._wait_live

    def other(intended: dict[str, Any], front: str) -> None:
        # the live instance is asked for a route that was in no file: as if it had refused the new one
        meant(intended if front else marked(live, 41), front)

    monkeypatch.setattr(operation, "_wait_live", other)
    monkeypatch.setattr(push_module, "WAIT_SECONDS", 1.0)
    desired = DesiredFile(str(live.dynamic_path), content.encode())
    with pytest.raises(TraefikError) as refused:
        put(live.transport, desired, operation.validate, operation.verify, operation.rolled_back)
    assert "Traefik does not serve it after 1 s: revision 000000000029 is not live" in str(refused.value)
    assert "the old file was put back" in str(refused.value)
    assert live.dynamic_path.read_bytes() == before
    assert any("the old routes serve again" in line for line in told)
    assert differences(live.transport, live.api_url, live.dynamic()) == []
    assert [live.get(host) for host in LIVE_HOSTS] == [200, 200, 200]
    assert clients.failures == []


def test_a_live_instance_that_cannot_read_the_file_is_told(live: LiveTraefik, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback that does not help is told beside the first error."""
    monkeypatch.setattr(push_module, "WAIT_SECONDS", 0.3)
    content = document.dump(marked(live, 42))
    operation = push_of(live, content, [])
    operation.props = {**operation.props, "apiUrl": "http://127.0.0.1:1"}
    desired = DesiredFile(str(live.dynamic_path), content.encode())
    with pytest.raises(TraefikError) as refused:
        put(live.transport, desired, operation.validate, operation.verify, operation.rolled_back)
    assert "the old file was put back" in str(refused.value)
    assert "after that: the old routes do not serve again" in str(refused.value)


def test_only_changed_routes_are_asked() -> None:
    routers = {
        name: {"entryPoints": ["websecure"], "rule": f"Host(`{name}.test`)", "service": name, "tls": {}}
        for name in ("a", "b", "c", "d")
    }
    services = {name: {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}} for name in routers}
    services["d"]["loadBalancer"]["serversTransport"] = "t"
    old = {"http": {"routers": routers, "services": services, "serversTransports": {"t": {"serverName": "x.test"}}}}
    new = document.load(document.dump(old))
    assert served.changed_routers(document.dump(old), document.dump(new), new["http"]) == []
    new["http"]["services"]["b"]["loadBalancer"]["servers"][0]["url"] = "http://127.0.0.1:2"
    new["http"]["routers"]["c"]["middlewares"] = ["m"]
    new["http"]["middlewares"] = {"m": {"compress": {}}}
    new["http"]["serversTransports"]["t"]["serverName"] = "y.test"
    assert served.changed_routers(document.dump(old), document.dump(new), new["http"]) == ["b", "c", "d"]
    again = document.load(document.dump(new))
    again["http"]["middlewares"]["m"]["compress"] = {"minResponseBodyBytes": 1}
    assert served.changed_routers(document.dump(new), document.dump(again), again["http"]) == ["c"]
    assert served.changed_routers("other: file\n", document.dump(new), new["http"]) == ["a", "b", "c", "d"]
    assert served.changed_routers("", document.dump(new), new["http"]) == ["a", "b", "c", "d"]


def test_a_demanded_certificate(live: LiveTraefik, clients: Clients) -> None:
    demand = {"router": "new-router", "hostname": "new.live.test", "internal": True, "issuer": ""}
    more = {"demands": [demand], "rootFile": root(live), "wait": 1}
    before = live.dynamic_path.read_bytes()
    data = marked(live, 50)

    def pushed(content: str) -> list[str]:
        told: list[str] = []
        operation = push_of(live, content, told)
        operation.props = {**operation.props, **more}
        desired = DesiredFile(str(live.dynamic_path), content.encode())
        put(live.transport, desired, operation.validate, operation.verify, operation.rolled_back)
        return told

    with pytest.raises(TraefikError) as refused:
        pushed(document.dump(data))
    assert "new.live.test has no certificate: Traefik shows its default one there" in str(refused.value)
    assert "the old file was put back" in str(refused.value)
    assert live.dynamic_path.read_bytes() == before

    certificate, key = live.authority.issue("new", ("new.live.test",))
    data["tls"] = {"certificates": [{"certFile": str(certificate), "keyFile": str(key)}]}
    assert "certificates seen" in pushed(document.dump(data))[-1]

    demand["issuer"] = "Let's Encrypt"
    with pytest.raises(TraefikError) as refused:
        pushed(document.dump({**data, "http": marked(live, 51)["http"]}))
    assert 'shows a certificate from CN=Test root CA, not from "Let\'s Encrypt"' in str(refused.value)
    demand.update(issuer="", internal=False)
    with pytest.raises(TraefikError, match="which is no public CA"):
        pushed(document.dump({**data, "http": marked(live, 52)["http"]}))
    assert clients.failures == []


def test_nothing_is_left_of_the_second_instance(live: LiveTraefik) -> None:
    def left() -> list[str]:
        script = (
            f"pgrep -f -- '--configFile[=]/tmp/{candidate.PREFIX}'; ls -d /tmp/{candidate.PREFIX}* 2>/dev/null; true"
        )
        return live.transport.run(script).text.split()

    before = left()
    push(live, document.dump(marked(live, 31)))
    assert left() == before
    with pytest.raises(TraefikError):
        push(live, document.dump(marked(live, 32, entryPoints=["nowhere"])))
    assert left() == before
    push_of(live, document.dump(marked(live, 31)), []).validate(str(live.dynamic_path))
    assert left() == before, "outside a context it goes at once"
