"""The deployed product as clients meet it, gateway, Traefik and both authorities in front: one stack for all tests."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from lab.container.client import context
from lab.container.testing import ContainerLab
from phoenix.gateway.site import CHALLENGE_PATH
from tests.continuity.deployment import Deployment
from tests.end_to_end.websockets import echoes

pytestmark = pytest.mark.container

HASH = "$apr1$phoenix1$bagA8yhFf4yLEgc/Ro6/u/"
PASSWORD = "correct-horse"
HERE, ELSEWHERE = "198.18.0.0/15", "192.0.2.0/24"
OTHER_SITE = "/etc/nginx/sites-enabled/other.conf"


def shown_settings(domain: str) -> dict[str, Any]:
    return {
        "certificateAuthority": {"demandCertificates": True},
        "middlewares": {
            "login": {"basicAuth": {"users": [f"admin:{HASH}"]}},
            "secure": {"securityHeaders": {}},
            "squeeze": {"compress": {"minResponseBodyBytes": 1}},
            "limit": {"rateLimit": {"average": 1, "burst": 2, "period": "1m"}},
            "office": {"ipAllowList": {"sourceRange": [ELSEWHERE]}},
            "home": {"ipAllowList": {"sourceRange": [HERE]}},
        },
        "routes": {
            "grafana-router": {"middlewares": ["secure", "squeeze"]},
            "llamacpp-router": {"middlewares": ["limit"]},
            "ollama-router": {"middlewares": ["office"]},
            "embedding-router": {"middlewares": ["home"]},
        },
        "dashboard": {"hostname": f"dash.{domain}", "middlewares": ["login"]},
    }


@pytest.fixture(scope="module")
def ingress(container_lab: ContainerLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = Deployment(container_lab, tmp_path_factory.mktemp("ingress"))
    made.reset()
    made.init()
    said = made.up(**shown_settings(container_lab.plan.internal_domain))
    assert HASH not in said
    yield made
    made.reset()


def name_of(deployment: Deployment, service: str) -> str:
    return f"{service}.{deployment.lab.plan.internal_domain}"


def secured(deployment: Deployment, hostname: str, *protocols: str) -> ssl.SSLSocket:
    """A connection to the gateway, whose certificate is verified."""
    made = context(deployment.lab.root("public"), alpn=protocols or ("http/1.1",))
    plain = socket.create_connection((deployment.lab.address("gateway"), 443), timeout=20)
    return made.wrap_socket(plain, server_hostname=hostname)


def ask(
    deployment: Deployment,
    hostname: str,
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """One request through the gateway: status, headers in lower case, body."""
    connection = http.client.HTTPSConnection(hostname)
    connection.sock = secured(deployment, hostname)
    try:
        connection.request(method, path, body, {"Host": hostname, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_both_authorities_certify_every_route(ingress: Deployment) -> None:
    """`up` waited for them; a client of each horizon verifies them against its own root, and not the other's."""
    lab = ingress.lab
    for hostname, right, wrong in (
        (name_of(ingress, "grafana"), "internal", "public"),
        (name_of(ingress, "dash"), "internal", "public"),
        (lab.plan.portainer_hostname, "public", "internal"),
    ):
        answer = lab.get(hostname, via="traefik", roots=lab.root(right))
        assert answer.issuer is not None
        assert "TRAEFIK DEFAULT" not in answer.issuer
        with pytest.raises(ssl.SSLCertVerificationError):
            lab.get(hostname, via="traefik", roots=lab.root(wrong))


def test_a_route_without_a_certificate_is_refused_and_taken_back(ingress: Deployment) -> None:
    """While the authority is away, Traefik would show its default certificate on a new name."""
    lab, authority = ingress.lab, ingress.lab.number("authority")
    before = lab.shell(ingress.traefik, "cat /etc/traefik/dynamic/dynamic_conf.yml")
    lab.shell(authority, "systemctl stop nginx")
    try:
        said = ingress.up(
            check=False,
            routes={"granite-3.3-8b-router": {"hostname": name_of(ingress, "late")}},
            certificateAuthority={"wait": 3},
        )
    finally:
        lab.shell(authority, "systemctl start nginx")
    assert re.search(r"late\.\S+ (has no certificate|shows Traefik's default)", " ".join(said.split())), said
    assert lab.shell(ingress.traefik, "cat /etc/traefik/dynamic/dynamic_conf.yml") == before
    del ingress.settings["routes"]["granite-3.3-8b-router"]
    ingress.up(certificateAuthority={"wait": 90})
    assert ingress.clean()


def test_security_headers_and_compression(ingress: Deployment) -> None:
    status, headers, body = ask(ingress, name_of(ingress, "grafana"), headers={"Accept-Encoding": "gzip"})
    assert status == 200
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "SAMEORIGIN")
    assert headers["content-encoding"] == "gzip"
    assert body[:2] == b"\x1f\x8b"
    assert "strict-transport-security" not in ask(ingress, name_of(ingress, "embedding"))[1], "that route has none"


def test_a_rate_is_limited_for_each_client(ingress: Deployment) -> None:
    found = [ask(ingress, name_of(ingress, "llamacpp"))[0] for _ in range(5)]
    assert found[:2] == [200, 200]
    assert found[-1] == 429
    claimed = {"X-Forwarded-For": "203.0.113.99"}
    assert ask(ingress, name_of(ingress, "llamacpp"), headers=claimed)[0] == 429, "nor does a claimed address help"


def test_an_allow_list_goes_by_the_clients_own_address(ingress: Deployment) -> None:
    claimed = {"X-Forwarded-For": "192.0.2.7", "X-Real-IP": "192.0.2.7", "Forwarded": "for=192.0.2.7"}
    assert ask(ingress, name_of(ingress, "ollama"))[0] == 403
    assert ask(ingress, name_of(ingress, "ollama"), headers=claimed)[0] == 403
    assert ask(ingress, name_of(ingress, "embedding"))[0] == 200
    assert ask(ingress, name_of(ingress, "embedding"), headers=claimed)[0] == 200


def basic(password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'admin:{password}'.encode()).decode()}"}


def test_the_dashboard_wants_a_login(ingress: Deployment) -> None:
    host = name_of(ingress, "dash")
    status, headers, _ = ask(ingress, host, "/dashboard/")
    assert (status, headers["www-authenticate"].split()[0]) == (401, "Basic")
    assert ask(ingress, host, "/api/rawdata")[0] == 401
    assert ask(ingress, host, "/dashboard/", headers=basic("wrong"))[0] == 401
    status, _, body = ask(ingress, host, "/dashboard/", headers=basic(PASSWORD))
    assert status == 200
    assert b"<html" in body.lower()


def test_the_login_is_nowhere_in_clear(ingress: Deployment) -> None:
    """Neither in the state, nor in what any command prints, whether it changes or was changed by hand."""
    lab, file = ingress.lab, "/etc/traefik/dynamic/dynamic_conf.yml"
    assert HASH in lab.shell(ingress.traefik, f"cat {file}")
    assert lab.shell(ingress.traefik, f"stat -c '%a %U %G' {file}").split() == ["640", "root", "traefik"]
    for path in (ingress.directory / "state").rglob("*"):
        if path.is_file():
            assert HASH.encode() not in path.read_bytes(), path
    other = f"admin:$apr1$phoenix2${HASH[-22:]}"
    lab.shell(ingress.traefik, f"sed -i 's/phoenix1/phoenix3/; s/compress:/compress: # mine/' {file}")
    ingress.change(middlewares={"login": {"basicAuth": {"users": [other]}}})
    try:
        for arguments in (("preview", "--diff"), ("preview", "--json"), ("up", "--yes", "--diff"), ("stack", "output")):
            done = ingress.pulumi(*arguments, "--stack", "local")
            assert HASH[-22:] not in done.stdout + done.stderr, arguments
            if arguments == ("preview", "--diff"):
                assert "# mine" in done.stdout, "the drift is shown"
                assert "[secret]" in done.stdout
    finally:
        ingress.change(middlewares={"login": {"basicAuth": {"users": [f"admin:{HASH}"]}}})
    ingress.up()
    assert ingress.clean()


CLAIMS = ("X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Tls-Client-Cert")
ALIASES = ("X_Forwarded_For", "X.Forwarded.For", "X_Real_IP")


def test_the_backend_learns_who_asks_from_the_gateway_alone(ingress: Deployment) -> None:
    host = name_of(ingress, "embedding")
    _, _, body = ask(ingress, host, "/a?b=c%20d", headers=dict.fromkeys((*CLAIMS, *ALIASES), "203.0.113.7"))
    seen = json.loads(body)
    assert (seen["host"], seen["path"]) == (host, "/a?b=c%20d")
    forwarded = seen["forwarded"]
    client = ingress.lab.network.host
    assert forwarded.pop("x-forwarded-for") == f"{client}, {ingress.lab.address('gateway')}"
    assert "203.0.113.7" not in forwarded.values()
    assert (forwarded["x-forwarded-proto"], forwarded["x-forwarded-host"]) == ("https", host)
    assert not {name.lower() for name in ALIASES} & set(seen["headers"])
    assert "x-forwarded-tls-client-cert" not in seen["headers"]


def test_header_aliases_do_not_pass_traefik_either(ingress: Deployment) -> None:
    """Directly at Traefik, where no NGINX has taken them out."""
    host = name_of(ingress, "grafana")
    options = " ".join(f"-H '{name}: 203.0.113.7'" for name in ALIASES)
    said = ingress.lab.shell(ingress.traefik, f"curl -skf {options} --resolve {host}:443:127.0.0.1 https://{host}/")
    assert not {name.lower() for name in ALIASES} & set(json.loads(said)["headers"])
    log = ingress.lab.shell(ingress.traefik, "journalctl -u traefik -o cat --no-pager")
    assert "aliasHeadersStrategy" not in log


def test_a_websocket_passes_both(ingress: Deployment) -> None:
    host = name_of(ingress, "grafana")
    with secured(ingress, host) as stream:
        echoes(stream, host, "/live", b"hello through three hops")


def test_large_bodies_and_http_2_pass(ingress: Deployment) -> None:
    body = os.urandom(12 << 20)
    status, _, answer = ask(ingress, name_of(ingress, "embedding"), "/upload", method="POST", body=body)
    assert (status, json.loads(answer)["bodyLength"]) == (200, len(body))
    with secured(ingress, name_of(ingress, "embedding"), "h2", "http/1.1") as stream:
        assert stream.selected_alpn_protocol() == "h2"


def test_plain_http_is_redirected_but_for_challenges(ingress: Deployment) -> None:
    host = ingress.lab.plan.portainer_hostname
    answer = ingress.lab.get(host, "/a?b=c", tls=False)
    assert (answer.status, answer.headers["location"]) == (308, f"https://{host}/a?b=c")
    answer = ingress.lab.get(host, f"{CHALLENGE_PATH}no-such-token", tls=False)
    assert answer.status == 404, "Traefik's answer, which knows no such token"
    assert "location" not in answer.headers


def test_somebody_elses_broken_site_stops_a_change_and_nothing_else(ingress: Deployment) -> None:
    lab, gateway = ingress.lab, ingress.gateway
    site = "/etc/nginx/sites-available/phoenix.conf"
    before = lab.shell(gateway, f"cat {site}")
    lab.shell(gateway, f"cat >{OTHER_SITE}", stdin=b"server { listen 8099; no_such_directive on; }\n")
    said = " ".join(ingress.up(check=False, gateway={"maxBodySize": "20m"}).split())
    assert f'unknown directive "no_such_directive" ({OTHER_SITE}, line 1)' in said, said
    assert lab.shell(gateway, f"cat {site}") == before
    assert ask(ingress, name_of(ingress, "embedding"))[0] == 200
    lab.shell(gateway, f"cat >{OTHER_SITE}", stdin=b"server { listen 443 ssl default_server; }\n")
    said = " ".join(ingress.up(check=False).split())
    assert "duplicate default server" in said, said
    assert lab.shell(gateway, f"cat {site}") == before
    lab.shell(gateway, "systemctl stop nginx")
    assert "nginx is inactive, not active" in ingress.preview(), "told although the site is to change as well"
    lab.shell(gateway, f"rm {OTHER_SITE}")
    ingress.up()
    assert ask(ingress, name_of(ingress, "embedding"), method="POST", body=b"x" * (21 << 20))[0] == 413
    assert ingress.clean()


def test_no_state_is_left_of_what_failed(ingress: Deployment) -> None:
    left = ingress.lab.shell(ingress.gateway, "ls /etc/nginx/sites-available /etc/nginx/sites-enabled /run/phoenix")
    assert not re.search(r"staged|\.new|use-standby|closing|other", left), left
