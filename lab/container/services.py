"""What runs in each guest: gateway, certificate authorities, DNS servers, backends. Text for their files only."""

from __future__ import annotations

import json
from typing import Any

from lab.container.plan import PUBLIC_AUTHORITY, Plan

CA_PORT = 9000
PUBLIC_DIRECTORY = f"https://{PUBLIC_AUTHORITY}:14000/dir"
PEBBLE_PORT = 14000
PEBBLE_MANAGEMENT_PORT = 15000
DNS_MANAGEMENT_PORT = 8055
DAY = 24 * 3600

PEBBLE_UNIT = """\
[Unit]
Description=ACME server of the internal certificate authority (pebble)
After=network.target

[Service]
Environment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0
ExecStart=/usr/bin/pebble -config /etc/pebble/pebble.json -dnsserver {dns}:53
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""

STEP_CA_UNIT = """\
[Unit]
Description=Internal certificate authority (step-ca)
After=network.target

[Service]
ExecStart=/usr/local/bin/step-ca /etc/step-ca/ca.json --resolver {dns}:53
StateDirectory=step-ca
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""

ANSWER_UNIT = """\
[Unit]
Description=HTTPS service on Portainer's port that answers with its name, until Portainer is deployed
After=network.target

[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/phoenix-lab/backends.py /etc/phoenix-lab/answer.json
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""

# The address range of the lab may ask for more connections than nginx's default of 512 a worker.
NGINX = """\
user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;
events {
    worker_connections 4096;
}
http {
    sendfile on;
    tcp_nopush on;
    server_tokens off;
    types_hash_max_size 2048;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    ssl_protocols TLSv1.2 TLSv1.3;
    access_log off;
    include /etc/nginx/conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
"""

_GATEWAY_SITE = """\
# First site of the lab's gateway: everything goes to Traefik. The product's own site takes its place.
map $http_upgrade $connection_upgrade {{
    default upgrade;
    '' '';
}}
upstream traefik {{
    server {traefik}:443;
    keepalive 64;
}}
server {{
    listen 80 default_server;
    server_name _;
    location / {{
        proxy_pass http://{traefik}:80;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Connection "";
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
}}
server {{
    listen 443 ssl http2 default_server;
    server_name _;
    ssl_certificate /etc/nginx/ssl/gateway.crt;
    ssl_certificate_key /etc/nginx/ssl/gateway.key;
    client_max_body_size 0;
    location / {{
        proxy_pass https://traefik;
        proxy_http_version 1.1;
        proxy_ssl_server_name on;
        proxy_ssl_name $host;
        proxy_set_header Host $host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
    }}
}}
"""

# pebble makes its URLs from the Host header, so it can stand behind the paths that step-ca has.
_AUTHORITY_SITE = """\
server {{
    listen {port} ssl default_server;
    server_name _;
    ssl_certificate /etc/step-ca/ssl/server.crt;
    ssl_certificate_key /etc/step-ca/ssl/server.key;
    location = /health {{
        default_type application/json;
        return 200 '{{"status":"ok"}}\\n';
    }}
    location = /roots.pem {{
        alias /etc/step-ca/ssl/phoenix_root_ca.crt;
    }}
    location = /acme/acme/directory {{
        proxy_pass https://127.0.0.1:{pebble}/dir;
        proxy_set_header Host $http_host;
    }}
    location / {{
        proxy_pass https://127.0.0.1:{pebble};
        proxy_set_header Host $http_host;
    }}
}}
"""


def gateway_site(plan: Plan) -> str:
    """The gateway's first site."""
    return _GATEWAY_SITE.format(traefik=plan.machine("traefik").address)


def authority_site() -> str:
    """The site in front of the internal authority: step-ca's paths on step-ca's port."""
    return _AUTHORITY_SITE.format(port=CA_PORT, pebble=PEBBLE_PORT)


def step_ca(plan: Plan) -> str:
    """step-ca's configuration (https://smallstep.com/docs/step-ca/configuration): one ACME provisioner named acme."""
    settings: dict[str, Any] = {
        "root": "/etc/step-ca/ssl/phoenix_root_ca.crt",
        "crt": "/etc/step-ca/intermediate.crt",
        "key": "/etc/step-ca/intermediate.key",
        "address": f":{CA_PORT}",
        "dnsNames": [f"ca.{plan.internal_domain}", plan.machine("authority").address],
        "logger": {"format": "text"},
        "db": {"type": "badgerv2", "dataSource": "/var/lib/step-ca/db"},
        "authority": {"provisioners": [{"type": "ACME", "name": "acme"}]},
        "tls": {"minVersion": 1.2, "maxVersion": 1.3},
    }
    return json.dumps(settings, indent=2) + "\n"


def pebble(address: str, certificate: str, key: str, validity: int) -> str:
    """A pebble configuration that validates on the real ports; ``validity`` in seconds."""
    settings: dict[str, Any] = {
        "pebble": {
            "listenAddress": f"{address}:{PEBBLE_PORT}",
            "managementListenAddress": f"{address}:{PEBBLE_MANAGEMENT_PORT}",
            "certificate": certificate,
            "privateKey": key,
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": validity,
        }
    }
    return json.dumps(settings, indent=2) + "\n"


def dns_server(address: str, default: str) -> list[str]:
    """Command line of a DNS server that answers every name with one address unless told otherwise."""
    return [
        "/usr/bin/pebble-challtestsrv", "-dns01", f"{address}:53", "-http01", "", "-https01", "", "-tlsalpn01", "",
        "-management", f"{address}:{DNS_MANAGEMENT_PORT}", "-defaultIPv4", default, "-defaultIPv6", "",
    ]  # fmt: skip


def backends(plan: Plan) -> str:
    """Configuration of the process that plays the LXC services."""
    services = [{"name": backend.name, "address": backend.address, "port": backend.port} for backend in plan.backends]
    return json.dumps(services, indent=2) + "\n"


def answer(plan: Plan) -> str:
    """Configuration of the service on Portainer's port."""
    service = {
        "name": "portainer",
        "address": "0.0.0.0",  # noqa: S104 - a namespace of its own
        "port": plan.portainer_port,
        "certificate": "/etc/phoenix-lab/portainer.crt",
        "key": "/etc/phoenix-lab/portainer.key",
    }
    return json.dumps([service], indent=2) + "\n"
