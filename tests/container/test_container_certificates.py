"""Both authorities issue real certificates to a real Traefik, and the gateway passes requests to it over TLS."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.container.client import context
from lab.container.processes import wait_until
from lab.container.testing import ContainerLab

pytestmark = pytest.mark.container

UNIT = """\
[Unit]
Description=Traefik of the tests

[Service]
Type=notify
User=traefik
AmbientCapabilities=CAP_NET_BIND_SERVICE
StateDirectory=traefik
StateDirectoryMode=0700
ExecStart=/usr/local/bin/traefik --configFile=/etc/traefik/traefik.yml
Restart=always
RestartSec=1
"""


def static_configuration(lab: ContainerLab) -> str:
    authority = lab.settings["certificateAuthority"]
    common = {"email": lab.settings["acmeEmail"]}
    internal = {
        **common,
        "caServer": f"{authority['url']}/acme/acme/directory",
        "caCertificates": [authority["rootFile"]],
        "certificatesDuration": 24,
        "storage": "/var/lib/traefik/internal.json",
        "tlsChallenge": {},
    }
    external = {
        **common,
        "caServer": authority["externalDirectory"],
        "storage": "/var/lib/traefik/external.json",
        "httpChallenge": {"entryPoint": "web"},
    }
    return yaml.safe_dump(
        {
            "entryPoints": {
                "web": {"address": ":80"},
                "websecure": {
                    "address": ":443",
                    "forwardedHeaders": {"trustedIPs": [lab.settings["gateway"]["address"]]},
                },
            },
            "providers": {"file": {"filename": "/etc/traefik/dynamic.yml", "watch": True}},
            "certificatesResolvers": {"internal-resolver": {"acme": internal}, "external-resolver": {"acme": external}},
        }
    )


def dynamic_configuration(lab: ContainerLab) -> str:
    backend = lab.plan.backends[0]
    portainer = f"https://{lab.address('portainer')}:{lab.plan.portainer_port}"
    routes = {
        "internal": (internal_name(lab), "internal-resolver", "backend"),
        "external": (lab.plan.portainer_hostname, "external-resolver", "portainer"),
    }
    return yaml.safe_dump(
        {
            "http": {
                "routers": {
                    name: {
                        "rule": f"Host(`{host}`)",
                        "entryPoints": ["websecure"],
                        "service": service,
                        "tls": {"certResolver": resolver},
                    }
                    for name, (host, resolver, service) in routes.items()
                },
                "services": {
                    "backend": {"loadBalancer": {"servers": [{"url": f"http://{backend.address}:{backend.port}"}]}},
                    "portainer": {
                        "loadBalancer": {"servers": [{"url": portainer}], "serversTransport": "portainer"},
                    },
                },
                "serversTransports": {
                    "portainer": {
                        "rootCAs": [lab.settings["portainer"]["rootFile"]],
                        "serverName": lab.settings["portainer"]["serverName"],
                    }
                },
            }
        }
    )


def internal_name(lab: ContainerLab) -> str:
    return f"{lab.plan.backends[0].name}.{lab.plan.internal_domain}"


@pytest.fixture(scope="module")
def traefik(container_lab: ContainerLab) -> Iterator[str]:
    """Traefik with a hand-written configuration and both resolvers."""
    guest = container_lab.number("traefik")
    container_lab.reset(guest)
    for path, text in (
        ("/etc/traefik/traefik.yml", static_configuration(container_lab)),
        ("/etc/traefik/dynamic.yml", dynamic_configuration(container_lab)),
        ("/etc/systemd/system/traefik.service", UNIT),
    ):
        container_lab.shell(guest, f"cat >{path}", stdin=text.encode())
    container_lab.shell(guest, "systemctl daemon-reload && systemctl start traefik")
    container_lab.shell(container_lab.number("portainer"), "systemctl start lab-answer")
    yield guest
    container_lab.reset(guest, container_lab.number("portainer"))


def certified(lab: ContainerLab, host: str, roots: str) -> bool:
    try:
        return lab.get(host, via="traefik", roots=roots).status == 200
    except OSError:
        return False  # no certificate that holds yet: Traefik shows its default one until the resolver has its own


def test_internal_authority_certifies_by_tls_challenge(container_lab: ContainerLab, traefik: str) -> None:
    name, roots = internal_name(container_lab), container_lab.root("internal")
    assert wait_until(lambda: certified(container_lab, name, roots), 60), container_lab.shell(
        traefik, "journalctl -u traefik --no-pager -n 30"
    )
    answer = container_lab.get(name, via="traefik", roots=roots)
    assert answer.issuer is not None
    assert answer.issuer.startswith(("Pebble Intermediate CA", "Phoenix lab step-ca"))
    assert answer.json()["service"] == container_lab.plan.backends[0].name
    with pytest.raises(ssl.SSLCertVerificationError):
        container_lab.get(name, via="traefik", roots=container_lab.root("public"))


def test_public_authority_certifies_by_http_challenge_through_the_gateway(
    container_lab: ContainerLab, traefik: str
) -> None:
    name, roots = container_lab.plan.portainer_hostname, container_lab.root("public")
    assert wait_until(lambda: certified(container_lab, name, roots), 60), container_lab.shell(
        traefik, "journalctl -u traefik --no-pager -n 30"
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        container_lab.get(name, via="traefik", roots=container_lab.root("internal"))


def test_gateway_passes_host_and_client_over_tls(container_lab: ContainerLab, traefik: str) -> None:
    assert traefik
    name, roots = container_lab.plan.portainer_hostname, container_lab.root("public")
    answer = container_lab.get(name, "/a/path?x=1", roots=roots)
    seen = answer.json()
    assert (answer.status, seen["service"], seen["host"], seen["path"]) == (200, "portainer", name, "/a/path?x=1")
    assert seen["tls"] is True, "Traefik speaks TLS to Portainer's port"
    assert seen["peer"] == container_lab.address("traefik")
    forwarded = seen["forwarded"]
    assert forwarded["x-forwarded-proto"] == "https"
    assert forwarded["x-forwarded-for"].split(",")[0].strip() == container_lab.network.host


def test_gateway_offers_http_2(container_lab: ContainerLab) -> None:
    made = context(container_lab.root("public"), alpn=("h2", "http/1.1"))
    with socket.create_connection((container_lab.address("gateway"), 443), timeout=10) as plain:
        channel = made.wrap_socket(plain, server_hostname=container_lab.plan.portainer_hostname)
        assert channel.selected_alpn_protocol() == "h2"


def test_unknown_host_is_traefiks_404_and_no_gateway_error(container_lab: ContainerLab, traefik: str) -> None:
    assert traefik
    answer = container_lab.get(f"nobody.{container_lab.plan.domain}", roots=container_lab.root("public"))
    assert answer.status == 404


def test_authority_has_step_cas_paths(container_lab: ContainerLab) -> None:
    guest, url = container_lab.number("traefik"), container_lab.settings["certificateAuthority"]["url"]
    root = container_lab.settings["certificateAuthority"]["rootFile"]
    health = container_lab.shell(guest, f"curl -fsS --cacert {root} {url}/health")
    assert health.strip() == '{"status":"ok"}'
    directory = yaml.safe_load(container_lab.shell(guest, f"curl -fsS --cacert {root} {url}/acme/acme/directory"))
    assert directory["newOrder"].startswith(f"{url}/")
    # The system's own store trusts both, as a guest with the feature `trusted_ca` does.
    container_lab.shell(guest, f"curl -fsS {url}/health")


def test_both_horizons_of_dns(container_lab: ContainerLab) -> None:
    guest = container_lab.number("traefik")
    container_lab.add_name("somewhere.example.test", "198.18.10.77")
    for name, address in (
        (f"ca.{container_lab.plan.internal_domain}", container_lab.address("authority")),
        (internal_name(container_lab), container_lab.address("traefik")),
        ("somewhere.example.test", "198.18.10.77"),
    ):
        assert container_lab.shell(guest, f"getent ahostsv4 {name}").split()[0] == address


def test_the_workstation_resolves_and_trusts_what_a_users_machine_does(container_lab: ContainerLab) -> None:
    name = container_lab.plan.portainer_hostname
    code = (
        "import socket, ssl; "
        f"plain = socket.create_connection(({name!r}, 443), timeout=10); "
        "made = ssl.create_default_context(cafile='/etc/ssl/certs/ca-certificates.crt'); "
        f"print(made.wrap_socket(plain, server_hostname={name!r}).getpeername()[0])"
    )
    done = container_lab.exec("workstation", sys.executable, "-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, container_lab.address("gateway")), done.stderr
    resolver = Path("/etc/resolv.conf").read_text()
    assert container_lab.plan.hypervisor not in resolver, "this machine itself is not changed"
