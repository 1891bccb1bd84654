"""Whatever was changed by hand shows in a plain preview, in words, and one ``up`` mends it: in real containers."""

from __future__ import annotations

import pytest

from tests.continuity.deployment import Deployment

pytestmark = pytest.mark.container

DYNAMIC, STATIC = "/etc/traefik/dynamic/dynamic_conf.yml", "/etc/traefik/traefik.yml"
STANDBY_STATIC, UNITS = "/etc/traefik/traefik-standby.yml", "/etc/systemd/system"
BINARY, STORAGE = "/usr/local/bin/traefik", "/var/lib/traefik/acme-internal.json"
SITE, LINK = "/etc/nginx/sites-available/phoenix.conf", "/etc/nginx/sites-enabled/phoenix.conf"

FILES = (STATIC, DYNAMIC, STANDBY_STATIC, f"{UNITS}/traefik.service", f"{UNITS}/traefik-standby.service")

Damage = tuple[str, str, str]
"""Where (``traefik`` or ``gateway``), a shell script, and what a preview says then."""

ROUNDS: dict[str, list[Damage]] = {
    "contents": [
        ("traefik", f"sed -i 's/level: INFO/level: DEBUG/' {STATIC}", f"{STATIC} was changed by hand: +1 -1 lines"),
        ("traefik", f"echo '# mine' >>{DYNAMIC}", f"{DYNAMIC} was changed by hand: +1 -0 lines"),
        ("traefik", f"echo '# mine' >>{STANDBY_STATIC}", f"{STANDBY_STATIC} was changed by hand: +1 -0 lines"),
        (
            "traefik",
            f"sed -i s/RestartSec=250ms/RestartSec=9s/ {UNITS}/traefik.service",
            f"{UNITS}/traefik.service was changed by hand: +1 -1 lines",
        ),
        (
            "traefik",
            f"echo '# mine' >>{UNITS}/traefik-standby.service",
            f"{UNITS}/traefik-standby.service was changed by hand: +1 -0 lines",
        ),
        ("traefik", f"cp {BINARY} /tmp/t; echo x >>/tmp/t; mv /tmp/t {BINARY}", "it is another program"),
        ("traefik", "systemctl disable traefik", "traefik.service is disabled, not enabled"),
        ("gateway", f"echo '# mine' >>{SITE}", f"{SITE} was changed by hand: +1 -0 lines"),
        ("gateway", f"rm {LINK}; systemctl reload nginx", f"{LINK} does not lead to {SITE}: the site is not enabled"),
    ],
    "modes and owners": [
        ("traefik", "systemctl start traefik-standby", "traefik-standby.service is active, though no restart"),
        *(
            ("traefik", f"chmod 0666 {path}; chown nobody {path}", f"{path} was changed by hand: mode is 0666, not")
            for path in FILES
        ),
        ("traefik", f"chmod 0700 {BINARY}", f"{BINARY} was changed by hand: mode is 0700, not 0755"),
        ("traefik", f"chgrp nogroup {BINARY}", "group is nogroup, not root"),
        ("traefik", f"chmod 0644 {STORAGE}", f"{STORAGE} has the mode 644, for which Traefik"),
        ("gateway", "touch /run/phoenix/use-standby", "the gateway sends requests to the standby, though no restart"),
        ("gateway", f"chmod 0600 {SITE}; chown nobody {SITE}", f"{SITE} was changed by hand: mode is 0600, not 0644"),
        ("gateway", "systemctl disable nginx", "nginx is disabled, not enabled"),
        ("traefik", f"rm {UNITS}/multi-user.target.wants/traefik.service", "traefik.service is disabled, not enabled"),
    ],
    "all gone": [
        ("traefik", "systemctl stop traefik", "traefik.service is inactive, not active"),
        *(("traefik", f"rm {path}", f"{path} was removed by hand") for path in FILES),
        ("traefik", f"rm {BINARY}", f"{BINARY} was changed by hand: it is missing"),
        ("gateway", f"rm {SITE}", f"{SITE} was removed by hand"),
        ("gateway", "systemctl stop nginx", "nginx is inactive, not active"),
    ],
}


def certified(deployment: Deployment, hostname: str) -> bool:
    """Whether Traefik shows another certificate than its default one, and answers."""
    answer = deployment.lab.get(hostname, via="traefik")
    return answer.status == 200 and "TRAEFIK DEFAULT" not in (answer.issuer or "TRAEFIK DEFAULT")


def looks_right(deployment: Deployment) -> None:
    """Files, service and certificates, seen without the product's own words."""
    lab, guest = deployment.lab, deployment.traefik
    files = f"{STATIC} {DYNAMIC} {STANDBY_STATIC} {UNITS}/traefik.service {UNITS}/traefik-standby.service"
    assert lab.shell(guest, f"stat -c '%a %U' {files}").split() == [
        *("644", "root", "640", "root", "644", "root", "644", "root", "644", "root"),
    ]
    assert lab.shell(guest, f"stat -c '%a %U %G' {BINARY}").split() == ["755", "root", "root"]
    assert lab.shell(guest, f"stat -c '%a %U' {STORAGE}").split() == ["600", "traefik"]
    assert lab.shell(deployment.gateway, f"stat -c '%a %U' {SITE}; readlink {LINK}").split() == ["644", "root", SITE]
    for where, unit in ((guest, "traefik"), (deployment.gateway, "nginx")):
        shown = lab.shell(where, f"systemctl is-enabled {unit}; systemctl is-active {unit}")
        assert shown.split() == ["enabled", "active"], unit
    for hostname in deployment.hostnames():
        assert lab.get(hostname, roots=lab.root("public")).status == 200
        assert certified(deployment, hostname)


@pytest.mark.parametrize("name", ROUNDS)
def test_drift_shows_in_a_preview_and_is_mended(deployment: Deployment, name: str) -> None:
    lab = deployment.lab
    deployment.wait_for_certificates()
    keys = lab.shell(deployment.traefik, f"sha256sum {STORAGE}")
    for where, script, _ in ROUNDS[name]:
        lab.shell(lab.number(where), script)  # type: ignore[arg-type]
    shown = deployment.preview()
    for _, script, words in ROUNDS[name]:
        assert words in shown, f"{script}: {shown}"
    said = deployment.up()
    assert deployment.clean(), said
    looks_right(deployment)
    assert lab.shell(deployment.traefik, f"sha256sum {STORAGE}") == keys, "the keys were not touched"


def test_a_storage_that_was_open_at_the_start_gets_its_resolver_back(deployment: Deployment) -> None:
    """Traefik skips such a resolver without a word in its API: closing the file is not enough then."""
    lab, host = deployment.lab, deployment.hostnames()[0]
    lab.shell(deployment.traefik, f"chmod 0644 {STORAGE}; systemctl restart traefik")
    lab.wait_for(deployment.traefik, f"curl -skf --resolve {host}:443:127.0.0.1 https://{host}/")
    assert not certified(deployment, host), "the trap is real"
    assert "runs without that resolver" in deployment.preview()
    deployment.up()
    assert certified(deployment, host)
    assert deployment.clean()
