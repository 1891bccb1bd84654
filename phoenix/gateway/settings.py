"""The settings of the NGINX gateway, ``phoenix:gateway``. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from phoenix.inventory.models import Port
from phoenix.remote.connection import Connection
from phoenix.settings_types import AbsolutePath, IpAddress, Network, SettingsModel, like

FileName = Annotated[str, like(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", 'the name of a file, such as "default"')]


class GatewaySettings(SettingsModel):
    """The NGINX gateway in front of Traefik.

    Attributes:
        address: its address; by default that of the guest with CTID 101, where there is one.
        port: where it takes https in.
        trusted: further addresses or networks whose forwarded headers Traefik believes.
        connection: how its container is reached; where it is set, the gateway's site is managed too.
        http_port: where it takes ACME challenges in and redirects everything else to https.
        listen: its own addresses to listen on; by default every IPv4 address.
        certificate_file: its certificate with the chain, PEM, a path in its container.
        key_file: the certificate's key.
        site_directory: where the site's file lies.
        enabled_directory: where NGINX looks for sites; a link to the file is made there.
        replaces: names of links in the enabled directory whose place this site takes, such as ``default``; they come
            back when the site goes.
        unknown_hosts: what becomes of a host name outside the routed domains: the connection is closed (``deny``), it
            goes to Traefik as well (``pass``), or another site decides (``leave``).
        root_file: CA, a path in its container, that internal names' certificates must come from for Traefik to be
            trusted; without it the connection to Traefik is encrypted, but not verified.
        external_root_file: likewise for all other names, such as ``/etc/ssl/certs/ca-certificates.crt``.
        max_body_size: largest request body, as NGINX writes it; 0 sets no limit. Bodies are streamed, not stored.
        response_timeout: how long Traefik may say nothing in the middle of a request.
        runtime_directory: where the files lie that tell NGINX what to do for a while, such as to send requests to the
            standby; empty after each boot.
        nginx: the installed program; ``service`` its systemd unit.
    """

    address: IpAddress | None = None
    port: Port = 443
    trusted: tuple[Network, ...] = ()
    connection: Connection | None = None
    http_port: Port = 80
    listen: tuple[IpAddress, ...] = ()
    certificate_file: AbsolutePath = "/etc/nginx/ssl/gateway.crt"
    key_file: AbsolutePath = "/etc/nginx/ssl/gateway.key"
    site_directory: AbsolutePath = "/etc/nginx/sites-available"
    enabled_directory: AbsolutePath = "/etc/nginx/sites-enabled"
    replaces: tuple[FileName, ...] = ()
    unknown_hosts: Literal["deny", "pass", "leave"] = "deny"
    root_file: AbsolutePath | None = None
    external_root_file: AbsolutePath | None = None
    max_body_size: Annotated[
        str, like(r"[0-9]{1,9}[kKmMgG]?", 'a size as NGINX writes it, such as "10m", or "0" for no limit')
    ] = "0"
    response_timeout: Annotated[str, like(r"[1-9][0-9]{0,6}(ms|s|m|h)", 'a time such as "90s" or "1h"')] = "1h"
    runtime_directory: AbsolutePath = "/run/phoenix"
    nginx: AbsolutePath = "/usr/sbin/nginx"
    service: Annotated[str, like(r"[A-Za-z0-9_.@-]{1,64}", 'the name of a systemd unit, such as "nginx"')] = "nginx"

    @property
    def site_path(self) -> str:
        """Path of the site's file."""
        return f"{self.site_directory}/phoenix.conf"

    @property
    def link_path(self) -> str:
        """Path of the link that enables the site."""
        return f"{self.enabled_directory}/phoenix.conf"

    @property
    def switch_path(self) -> str:
        """Path of the file whose existence sends requests to the standby."""
        return f"{self.runtime_directory}/use-standby"

    @property
    def closing_path(self) -> str:
        """Path of the file whose existence asks clients to open a new connection for their next request."""
        return f"{self.runtime_directory}/closing"
