"""Writes into a guest's root what its role needs: gateway, internal authority, Portainer's VM, Docker."""

from __future__ import annotations

from pathlib import Path

from lab.container import services
from lab.container.certificates import Authority, Issued
from lab.container.machines import enable, write
from lab.container.plan import Plan

SCRIPTS = Path(__file__).parent
LIBRARY = "/usr/local/lib/phoenix-lab"

# The daemon starts with the first `docker` command, and from then on at each boot: an idle VM boots at once.
_DOCKER_DROP_IN = """\
[Service]
ExecStartPre=-/bin/sh -c 'for one in /sys/fs/cgroup/*; do mount -o remount,rw,bind "$one"; done'
ExecStartPost=-/bin/systemctl --quiet --no-reload enable containerd.service docker.service
"""
_DOCKER_SETTINGS = '{"storage-driver": "overlay2", "log-driver": "json-file"}\n'
# Debian 12 has Compose as a program of its own; the product, like Docker's documentation, says `docker compose`.
_COMPOSE_PLUGIN = """\
#!/bin/sh
if [ "$1" = docker-cli-plugin-metadata ]; then
    echo '{"SchemaVersion": "0.1.0", "Vendor": "Debian", "Version": "1.29.2", "ShortDescription": "Docker Compose"}'
    exit 0
fi
[ "$1" != compose ] || shift
exec /usr/bin/docker-compose "$@"
"""


def gateway(root: Path, plan: Plan, public: Authority) -> None:
    """NGINX with TLS in front of Traefik."""
    issued = public.issue(plan.gateway_names())
    write(root, "/etc/nginx/nginx.conf", services.NGINX)
    write(root, "/etc/nginx/ssl/gateway.crt", issued.certificate)
    write(root, "/etc/nginx/ssl/gateway.key", issued.key, 0o600)
    write(root, "/etc/nginx/sites-available/lab.conf", services.gateway_site(plan))
    (root / "etc/nginx/sites-enabled/lab.conf").symlink_to("/etc/nginx/sites-available/lab.conf")
    enable(root, "nginx.service")


def authority(root: Path, plan: Plan, internal: Authority) -> None:
    """The internal ACME authority, on the port and with the paths of step-ca."""
    issued = internal.issue([f"ca.{plan.internal_domain}", plan.machine("authority").address, "127.0.0.1"])
    certificate, key = "/etc/step-ca/ssl/server.crt", "/etc/step-ca/ssl/server.key"
    write(root, certificate, issued.certificate)
    write(root, key, issued.key, 0o600)
    everywhere = "0.0.0.0"  # noqa: S104 - a namespace of its own
    write(root, "/etc/pebble/pebble.json", services.pebble(everywhere, certificate, key, services.DAY))
    write(root, "/etc/nginx/nginx.conf", services.NGINX)
    write(root, "/etc/nginx/sites-enabled/lab.conf", services.authority_site())
    enable(root, "nginx.service")
    enable(root, "pebble.service", services.PEBBLE_UNIT.format(dns=plan.hypervisor))


def step_ca(root: Path, plan: Plan, internal: Authority) -> None:
    """The internal authority as a real step-ca, whose program is in the guest's layers."""
    issued = internal.intermediate("Phoenix lab step-ca intermediate")
    write(root, "/etc/step-ca/ssl/phoenix_root_ca.crt", internal.root)
    write(root, "/etc/step-ca/intermediate.crt", issued.certificate)
    write(root, "/etc/step-ca/intermediate.key", issued.key, 0o600)
    write(root, "/etc/step-ca/ca.json", services.step_ca(plan))
    enable(root, "step-ca.service", services.STEP_CA_UNIT.format(dns=plan.hypervisor))


def portainer(root: Path, plan: Plan, issued: Issued, *, answer: bool) -> None:
    """A service that can stand on Portainer's port until Portainer is deployed.

    Args:
        root: the guest's root.
        plan: the lab.
        issued: the certificate for Portainer's port.
        answer: whether the service starts at boot: where there is no Docker to deploy Portainer with.
    """
    write(root, "/etc/phoenix-lab/portainer.crt", issued.certificate)
    write(root, "/etc/phoenix-lab/portainer.key", issued.key, 0o600)
    write(root, "/etc/phoenix-lab/answer.json", services.answer(plan))
    write(root, f"{LIBRARY}/backends.py", (SCRIPTS / "backends.py").read_text(encoding="utf-8"))
    write(root, "/etc/systemd/system/lab-answer.service", services.ANSWER_UNIT)
    if answer:
        enable(root, "lab-answer.service")


def hypervisor(root: Path) -> None:
    """``pct`` and ``qm``."""
    write(root, f"{LIBRARY}/proxmox.py", (SCRIPTS / "proxmox.py").read_text(encoding="utf-8"))
    for name in ("pct", "qm"):
        command = f'exec /usr/bin/python3 -I {LIBRARY}/proxmox.py {name} "$@"'
        write(root, f"/usr/sbin/{name}", f"#!/bin/sh\n{command}\n", 0o755)


def docker(root: Path) -> None:
    """A Docker engine that starts when it is first spoken to, and both forms of Compose."""
    write(root, "/etc/systemd/system/docker.service.d/lab.conf", _DOCKER_DROP_IN)
    write(root, "/etc/docker/daemon.json", _DOCKER_SETTINGS)
    write(root, "/usr/libexec/docker/cli-plugins/docker-compose", _COMPOSE_PLUGIN, 0o755)
    for unit in ("docker.service", "containerd.service"):
        (root / "etc/systemd/system/multi-user.target.wants" / unit).unlink(missing_ok=True)
