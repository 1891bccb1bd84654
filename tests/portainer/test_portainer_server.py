"""The stand-in server against what was measured on real ones, row by row, over plain HTTP requests."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.portainer import StandIn
from lab.portainer.faults import KINDS
from tests.portainer.support import PASSWORD, Certificates, FakeTime, Start, until

FORM = {
    "Name": "agent-1",
    "EndpointCreationType": "2",
    "URL": "tcp://vm1.internal.example.test:9001",
    "TLS": "true",
    "TLSSkipVerify": "true",
    "TLSSkipClientVerify": "true",
}
TEXT = "services:\n  web:\n    image: nginx:1.27\n"
STRING = "/api/stacks/create/standalone/string"


class Raw:
    """A client without any of the product's care: plain requests, with a cookie jar if wanted."""

    def __init__(self, server: StandIn, certificates: Certificates, *, cookies: bool = False) -> None:
        self.server = server
        self.cookies = cookies
        self.http = httpx.Client(
            base_url=f"https://{server.host}:{server.port}",
            verify=ssl.create_default_context(cafile=str(certificates.root)),
            trust_env=False,
            timeout=10,
        )
        self.headers: dict[str, str] = {}

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = self.headers | options.pop("headers", {})
        response = self.http.request(method, path, headers=headers, **options)
        if not self.cookies:
            self.http.cookies.clear()
        return response

    def initialise(self) -> httpx.Response:
        token = {"X-Setup-Token": self.server.api.setup_token}
        return self("POST", "/api/users/admin/init", json={"Username": "admin", "Password": PASSWORD}, headers=token)

    def auth(self, password: str = PASSWORD) -> httpx.Response:
        return self("POST", "/api/auth", json={"Username": "admin", "Password": password})

    def log_in(self) -> None:
        self.initialise()
        self.headers = {"Authorization": f"Bearer {self.auth().json()['jwt']}"}

    def environment(self, **fields: str) -> int:
        number: int = self("POST", "/api/endpoints", data=FORM | fields).json()["Id"]
        return number

    def stack(self, place: int, name: str = "app", text: str = TEXT, **body: Any) -> httpx.Response:
        body = {"Name": name, "StackFileContent": text, "Env": []} | body
        return self("POST", f"{STRING}?endpointId={place}", json=body)

    def settled(self, number: int) -> dict[str, Any]:
        for worker in self.server.api.threads:
            worker.join(timeout=10)
        record: dict[str, Any] = self("GET", f"/api/stacks/{number}").json()
        return record


@pytest.fixture
def raw(start: Start, certificates: Certificates) -> Iterator[Any]:
    opened: list[Raw] = []

    def begin(mode: str = "2.39", *, logged_in: bool = True, cookies: bool = False, **options: Any) -> Raw:
        client = Raw(start(mode, **options), certificates, cookies=cookies)
        opened.append(client)
        if logged_in:
            client.log_in()
        return client

    yield begin
    for client in opened:
        client.http.close()


# -- start and status ------------------------------------------------------------------------------------------


def test_status_is_public_and_does_not_tell_whether_there_is_a_user(raw: Any, any_mode: str) -> None:
    client = raw(any_mode, logged_in=False)
    before = client("GET", "/api/system/status")
    assert client("GET", "/api/users/admin/check").status_code == 404
    assert client.initialise().status_code == 200
    after = client("GET", "/api/system/status")
    assert client("GET", "/api/users/admin/check").status_code == 204
    assert before.status_code == after.status_code == 200
    assert before.json() == after.json()
    assert before.json()["Version"].startswith(any_mode)
    assert set(before.json()) == {"Version", "InstanceID"}


def test_refuses_connections_before_its_start_and_after_its_end(certificates: Certificates) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = StandIn("2.39", certificate=certificates.certificate, key=certificates.key, port=port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with server:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_without_a_user_for_five_minutes_every_call_is_303_until_a_restart(
    raw: Any, time: FakeTime, any_mode: str
) -> None:
    client = raw(any_mode, logged_in=False)
    time.sleep(299)
    assert client("GET", "/api/system/status").status_code == 200
    time.sleep(1)
    for method, path in (
        ("GET", "/api/system/status"),
        ("GET", "/api/users/admin/check"),
        ("POST", "/api/users/admin/init"),
        ("GET", "/api/endpoints"),
    ):
        answer = client(method, path)
        assert answer.status_code == 303
        assert "location" not in answer.headers
        assert answer.headers["Redirect-Reason"] == "AdminInitTimeout"
    client.server.restart()
    assert client.initialise().status_code == 200
    time.sleep(1000)
    assert client("GET", "/api/system/status").status_code == 200


def test_errors_are_json_but_for_unknown_paths_and_methods(raw: Any) -> None:
    client = raw()
    assert set(client("GET", "/api/stacks/99").json()) == {"message", "details"}
    assert client("GET", "/api/nothing").headers["content-type"].startswith("text/plain")
    answer = client("PUT", "/api/stacks")
    assert (answer.status_code, answer.content) == (405, b"")


# -- admin, login, keys ----------------------------------------------------------------------------------------


def test_the_first_user_is_made_once_with_a_long_password(raw: Any) -> None:
    client = raw(logged_in=False)
    short = client("POST", "/api/users/admin/init", json={"Username": "admin", "Password": "eleven-char"})
    assert short.status_code == 400
    assert client.initialise().status_code == 200
    assert client.initialise().status_code == 409


def test_since_2_43_the_first_user_needs_the_setup_token(raw: Any) -> None:
    client = raw("2.43", logged_in=False)
    body = {"Username": "admin", "Password": PASSWORD}
    assert client("POST", "/api/users/admin/init", json=body).status_code == 403
    wrong = {"X-Setup-Token": "0" * 32}
    assert client("POST", "/api/users/admin/init", json=body, headers=wrong).status_code == 403
    assert client.initialise().status_code == 200


def test_a_login_gives_a_token_and_a_cookie_and_a_wrong_one_is_422(raw: Any) -> None:
    client = raw(logged_in=False)
    client.initialise()
    good = client.auth()
    assert good.status_code == 200
    assert good.json()["jwt"].count(".") == 2
    assert "HttpOnly" in good.headers["set-cookie"]
    assert client.auth("wrong-password").status_code == 422
    assert client.auth("").status_code == 400


def test_a_restart_voids_every_token_and_keeps_every_key(raw: Any, any_mode: str) -> None:
    client = raw(any_mode)
    made = client("POST", "/api/users/1/tokens", json={"description": "ci", "password": PASSWORD})
    assert made.status_code == (201 if any_mode == "2.23" else 200)
    key = made.json()["rawAPIKey"]
    assert key.startswith("ptr_")
    client.server.restart()
    assert client("GET", "/api/endpoints").status_code == 401
    client.headers = {"X-API-Key": key}
    assert client("GET", "/api/endpoints").status_code == 200


def test_a_token_ends_after_eight_hours(raw: Any, time: FakeTime) -> None:
    client = raw()
    time.sleep(8 * 3600 - 1)
    assert client("GET", "/api/endpoints").status_code == 200
    time.sleep(2)
    assert client("GET", "/api/endpoints").status_code == 401


def test_over_ten_logins_at_once_lock_the_address_for_an_hour(raw: Any, time: FakeTime) -> None:
    client = raw(logged_in=False)
    client.initialise()
    assert [client.auth("wrong-password").status_code for _ in range(10)] == [422] * 10
    assert client.auth().status_code == 403
    time.sleep(3599)
    assert client.auth().status_code == 403
    time.sleep(2)
    assert client.auth().status_code == 200


def test_one_login_a_second_is_never_locked(raw: Any, time: FakeTime) -> None:
    client = raw(logged_in=False)
    client.initialise()
    for _ in range(40):
        time.sleep(1)
        assert client.auth("wrong-password").status_code == 422


def test_key_and_token_together_are_403(raw: Any) -> None:
    client = raw()
    made = client("POST", "/api/users/1/tokens", json={"description": "ci", "password": PASSWORD})
    both = client("GET", "/api/endpoints", headers={"X-API-Key": made.json()["rawAPIKey"]})
    assert both.status_code == 403


def test_with_the_cookie_every_write_needs_token_and_origin(raw: Any) -> None:
    client = raw(cookies=True)
    assert client("GET", "/api/endpoints").status_code == 200
    refused = client("POST", "/api/endpoints", data=FORM)
    assert refused.status_code == 403
    assert refused.headers["content-type"].startswith("text/plain")
    host = f"{client.server.host}:{client.server.port}"
    token = client("GET", "/api/endpoints").headers["X-CSRF-Token"]
    origin = {"Origin": f"https://{host}"}
    assert client("POST", "/api/endpoints", data=FORM, headers=origin).status_code == 403
    assert client("POST", "/api/endpoints", data=FORM, headers={"X-CSRF-Token": token}).status_code == 403
    foreign = {"Origin": "https://other.example.test", "X-CSRF-Token": token}
    assert client("POST", "/api/endpoints", data=FORM, headers=foreign).status_code == 403
    good = origin | {"X-CSRF-Token": token}
    assert client("POST", "/api/endpoints", data=FORM, headers=good).status_code == 200


def test_only_2_43_refuses_a_foreign_origin_without_cookie(raw: Any, any_mode: str) -> None:
    client = raw(any_mode)
    foreign = client("GET", "/api/endpoints", headers={"Origin": "https://other.example.test"})
    assert foreign.status_code == (403 if any_mode == "2.43" else 200)
    assert client("GET", "/api/endpoints").status_code == 200


# -- environments ----------------------------------------------------------------------------------------------


def test_environments_are_made_by_a_form_and_not_by_json(raw: Any) -> None:
    client = raw()
    as_json = client("POST", "/api/endpoints", json=FORM)
    assert as_json.status_code == 400
    assert "Invalid environment name" in as_json.text
    assert client("POST", "/api/endpoints", data=FORM).status_code == 200
    multipart = {name: (None, value) for name, value in (FORM | {"Name": "second"}).items()}
    assert client("POST", "/api/endpoints", files=multipart).status_code == 200


def test_an_agent_without_the_tls_flags_is_500_x509(raw: Any) -> None:
    client = raw()
    answer = client("POST", "/api/endpoints", data={key: FORM[key] for key in ("Name", "EndpointCreationType", "URL")})
    assert answer.status_code == 500
    assert "x509" in answer.text
    assert client("GET", "/api/endpoints").json() == []


@pytest.mark.parametrize("trouble", ["refused", "hang"])
def test_an_agent_that_cannot_be_reached_is_500(raw: Any, trouble: Any) -> None:
    client = raw()
    client.server.api.agents[FORM["URL"]] = trouble
    client.server.api.agent_seconds = 0.01
    assert client("POST", "/api/endpoints", data=FORM).status_code == 500
    assert client("GET", "/api/endpoints").json() == []


def test_the_same_name_is_409_but_case_blanks_and_urls_do_not_count(raw: Any) -> None:
    client = raw()
    assert client("POST", "/api/endpoints", data=FORM).status_code == 200
    assert client("POST", "/api/endpoints", data=FORM).status_code == 409
    for name in ("Agent-1", "agent-1 "):
        assert client("POST", "/api/endpoints", data=FORM | {"Name": name}).status_code == 200


def together(number: int, work: Any) -> list[int]:
    """Run ``work`` in threads that start at the same moment; the status each got."""
    gate = threading.Barrier(number)
    statuses: list[int] = []

    def one() -> None:
        gate.wait(timeout=10)
        statuses.append(work())

    threads = [threading.Thread(target=one) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return statuses


def test_four_creates_at_once_make_four_of_one_name(raw: Any, certificates: Certificates, both_modes: str) -> None:
    client = raw(both_modes)
    everybody = threading.Barrier(4)
    client.server.api.between = lambda: everybody.wait(timeout=10)

    def create(method: Any) -> int:
        other = Raw(client.server, certificates)
        other.headers = client.headers
        try:
            status: int = method(other).status_code
        finally:
            other.http.close()
        return status

    assert together(4, lambda: create(lambda other: other("POST", "/api/endpoints", data=FORM))) == [200] * 4
    assert [item["Name"] for item in client("GET", "/api/endpoints").json()] == ["agent-1"] * 4
    assert together(4, lambda: create(lambda other: other.stack(1))) == [200] * 4
    assert [item["Name"] for item in client("GET", "/api/stacks").json()] == ["app"] * 4


@pytest.mark.parametrize("extra", [{"GroupID": "7"}, {"TagIds": "[3]"}])
def test_an_unknown_group_or_tag_is_500_and_the_environment_exists(raw: Any, extra: dict[str, str]) -> None:
    client = raw()
    assert client("POST", "/api/endpoints", data=FORM | extra).status_code == 500
    assert [item["Name"] for item in client("GET", "/api/endpoints").json()] == ["agent-1"]


def test_list_filters(raw: Any) -> None:
    client = raw()
    first, second = client.environment(), client.environment(Name="agent-2")

    def names(query: str) -> list[str]:
        return [item["Name"] for item in client("GET", f"/api/endpoints?{query}").json()]

    assert names("name=agent-2") == ["agent-2"]
    assert names("name=AGENT-2") == []
    assert names(f"endpointIds[]={first}") == ["agent-1"]
    assert names("types=4&status=2&excludeSnapshots=true") == ["agent-1", "agent-2"]
    assert second > first


def test_update_is_partial_and_unchecked_and_delete_is_204_then_404(raw: Any) -> None:
    client = raw()
    number = client.environment()
    client.stack(number)
    changed = client("PUT", f"/api/endpoints/{number}", json={"URL": "tcp://nowhere.example.test:1"})
    assert changed.json()["URL"] == "tcp://nowhere.example.test:1"
    assert changed.json()["Name"] == "agent-1"
    assert client("DELETE", f"/api/endpoints/{number}").status_code == 204
    assert client("DELETE", f"/api/endpoints/{number}").status_code == 404
    assert [item["Name"] for item in client("GET", "/api/stacks").json()] == ["app"]
    assert len(client.server.api.engine(FORM["URL"]).list("app")) == 1


def test_a_snapshot_is_204_even_of_a_dead_agent_and_status_tells(raw: Any) -> None:
    client = raw()
    number = client.environment()
    client.server.api.agents[FORM["URL"]] = "refused"
    assert client("POST", f"/api/endpoints/{number}/snapshot").status_code == 204
    assert client("GET", f"/api/endpoints/{number}").json()["Status"] == 2
    client.server.api.agents.clear()
    assert client("POST", f"/api/endpoints/{number}/snapshot").status_code == 204
    assert client("GET", f"/api/endpoints/{number}").json()["Status"] == 1


# -- stacks ----------------------------------------------------------------------------------------------------


def test_the_old_way_of_creating_ended_after_2_23(raw: Any, any_mode: str) -> None:
    client = raw(any_mode)
    place = client.environment()
    body = {"Name": "app", "StackFileContent": TEXT, "Env": []}
    answer = client("POST", f"/api/stacks?type=2&method=string&endpointId={place}", json=body)
    assert answer.status_code == (200 if any_mode == "2.23" else 405)


def test_up_to_2_39_a_create_deploys_before_it_answers(raw: Any) -> None:
    client = raw("2.39")
    place = client.environment()
    made = client.stack(place)
    assert (made.status_code, made.json()["Status"]) == (200, 1)
    assert len(client.server.api.engine(FORM["URL"]).list("app")) == 1
    client.server.api.missing_images.add("nowhere/none")
    for text in ("services: [", "services: {}", "services:\n  web:\n    image: nowhere/none:1\n"):
        assert client.stack(place, "bad", text).status_code == 500
    assert [item["Name"] for item in client("GET", "/api/stacks").json()] == ["app"]


def test_from_2_41_on_a_create_answers_first_and_tells_later(raw: Any) -> None:
    client = raw("2.41")
    place = client.environment()
    made = client.stack(place)
    assert (made.status_code, made.json()["Status"]) == (200, 3)
    assert client.settled(made.json()["Id"])["Status"] == 1
    bad = client.stack(place, "bad", "services: {}")
    assert bad.status_code == 200
    record = client.settled(bad.json()["Id"])
    assert record["Status"] == 4
    assert "empty compose file" in record["DeploymentStatus"][0]["Message"]
    assert client.stack(place, "bad").status_code == 409


def test_from_2_41_on_a_write_while_deploying_is_409(raw: Any) -> None:
    client = raw("2.41")
    place = client.environment()
    with held(client.server):
        number = client.stack(place).json()["Id"]
        path = f"/api/stacks/{number}?endpointId={place}"
        assert client("PUT", path, json={"StackFileContent": TEXT}).status_code == 409
        assert client("DELETE", path).status_code == 409
        assert client("GET", f"/api/stacks/{number}").json()["Status"] == 3
    assert client.settled(number)["Status"] == 1
    assert client("PUT", path, json={"StackFileContent": TEXT}).status_code == 200


@contextmanager
def held(server: StandIn) -> Iterator[None]:
    """No deployment goes on meanwhile: they run one at a time."""
    with server.api.deploying:
        yield


def test_the_same_name_in_one_environment_is_409_and_in_another_is_not(raw: Any, both_modes: str) -> None:
    client = raw(both_modes)
    here = client.environment()
    there = client.environment(Name="agent-2", URL="tcp://vm2.internal.example.test:9001")
    number = client.stack(here).json()["Id"]
    client.settled(number)
    assert client.stack(here).status_code == 409
    assert client.stack(there).status_code == 200


def test_names_are_normalised(raw: Any) -> None:
    client = raw()
    assert client.stack(client.environment(), "My Stack!_x-1").json()["Name"] == "mystack_x-1"


def test_env_left_out_of_an_update_is_cleared_and_values_come_back_in_clear(raw: Any, both_modes: str) -> None:
    client = raw(both_modes)
    place = client.environment()
    number = client.stack(place, Env=[{"name": "TOKEN", "value": "in-clear"}]).json()["Id"]
    assert client.settled(number)["Env"] == [{"name": "TOKEN", "value": "in-clear"}]
    client("PUT", f"/api/stacks/{number}?endpointId={place}", json={"StackFileContent": TEXT})
    assert client.settled(number)["Env"] == []


def test_up_to_2_39_a_failed_update_removes_the_containers_and_keeps_status_1(raw: Any) -> None:
    client = raw("2.39")
    place = client.environment()
    number = client.stack(place).json()["Id"]
    engine = client.server.api.engine(FORM["URL"])
    assert len(engine.list("app")) == 1
    answer = client("PUT", f"/api/stacks/{number}?endpointId={place}", json={"StackFileContent": "services: {}"})
    assert answer.status_code == 500
    assert engine.list("app") == []
    assert client("GET", f"/api/stacks/{number}").json()["Status"] == 1
    assert client("GET", f"/api/stacks/{number}/file").json()["StackFileContent"] == TEXT


def test_delete_of_a_stack_needs_its_environment(raw: Any) -> None:
    client = raw()
    place = client.environment()
    number = client.stack(place).json()["Id"]
    assert client("DELETE", f"/api/stacks/{number}").status_code == 404
    assert client("DELETE", f"/api/stacks/{number}?endpointId={place}").status_code == 204
    assert client("DELETE", f"/api/stacks/{number}?endpointId={place}").status_code == 404
    assert client.server.api.engine(FORM["URL"]).list() == []


def test_containers_removed_by_hand_show_only_through_the_docker_proxy(raw: Any) -> None:
    client = raw()
    place = client.environment()
    number = client.stack(place).json()["Id"]
    path = f"/api/endpoints/{place}/docker/containers"
    (container,) = client("GET", f"{path}/json?all=true").json()
    assert container["Labels"]["com.docker.compose.project"] == "app"
    assert client("DELETE", f"{path}/{container['Id']}?force=true").status_code == 204
    assert client("GET", f"{path}/json?all=true").json() == []
    assert client("GET", f"/api/stacks/{number}").json()["Status"] == 1


def test_a_stopped_stack_has_status_2(raw: Any) -> None:
    client = raw()
    place = client.environment()
    number = client.stack(place).json()["Id"]
    assert client("POST", f"/api/stacks/{number}/stop?endpointId={place}").json()["Status"] == 2
    assert client.server.api.engine(FORM["URL"]).list() == []
    assert client("POST", f"/api/stacks/{number}/start?endpointId={place}").json()["Status"] == 1


# -- the stand-in's own ----------------------------------------------------------------------------------------


def test_state_outlives_the_process_and_only_its_owner_can_read_it(raw: Any, tmp_path: Path) -> None:
    client = raw(state_file=tmp_path / "state.json")
    place = client.environment()
    client.stack(place, Env=[{"name": "A", "value": "b"}])
    client.server.stop()
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    again = raw(state_file=tmp_path / "state.json", logged_in=False)
    again.headers = {"Authorization": f"Bearer {again.auth().json()['jwt']}"}
    assert again("GET", "/api/stacks").json()[0]["Env"] == [{"name": "A", "value": "b"}]


def test_the_log_holds_every_request_without_secrets(raw: Any, tmp_path: Path) -> None:
    client = raw(log_file=tmp_path / "log")
    client.environment()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/api/users/admin/init", 200),
        ("POST", "/api/auth", 200),
        ("POST", "/api/endpoints", 200),
    ]
    assert PASSWORD not in (tmp_path / "log").read_text()
    assert [entry.path for entry in client.server.log.writes()] == ["/api/users/admin/init", "/api/endpoints"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_hits_once_before_or_after_the_request(raw: Any, kind: Any) -> None:
    client = raw()
    client.http.timeout = httpx.Timeout(0.5)
    client.server.faults.add("POST", "/api/endpoints", kind)
    try:
        status = client("POST", "/api/endpoints", data=FORM).status_code
    except httpx.TransportError:
        status = 0
    expected = {"500": 500, "502": 502}.get(kind.partition("-")[0], 0)
    assert status == expected
    wanted = ["agent-1"] if kind.endswith("after") else []

    def names() -> list[str]:
        return [item.name for item in client.server.state.environments.values()]

    until(lambda: len(client.server.faults.hits) == 1 and names() == wanted)
    client.server.stop()
    assert names() == wanted
