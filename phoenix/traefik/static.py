"""The static configuration, ``traefik.yml``: entry points, certificate resolvers, the file provider.

Keys: https://doc.traefik.io/traefik/reference/static-configuration/file/. Traefik reads it once, at start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phoenix.inventory.models import Inventory
from phoenix.routes import EXTERNAL_RESOLVER, INTERNAL_RESOLVER
from phoenix.settings import Settings

WEB = "web"
WEBSECURE = "websecure"
API = "traefik"
GATEWAY_CTID = 101

ALIAS_HEADERS_SINCE = (3, 7, 12)
"""The first version that knows ``aliasHeadersStrategy``; an older one does not start with a key it does not know."""


def gateway_address(inventory: Inventory, settings: Settings) -> str | None:
    """The NGINX gateway's address: the stack's, else that of CT 101, else None."""
    from phoenix import names

    if settings.gateway.address:
        return settings.gateway.address
    gateway = next((lxc for lxc in inventory.lxcs if lxc.id == GATEWAY_CTID), None)
    if gateway is None or not gateway.network_config.ip:
        return None
    try:
        return names.address(gateway.network_config.ip)
    except ValueError:
        return None


def certificate_authority_url(settings: Settings, internal_domain: str) -> str:
    """Step-CA's ACME directory."""
    authority = settings.certificate_authority
    return f"{authority.url or f'https://ca.{internal_domain}:9000'}{authority.directory}"


def static_config(settings: Settings, internal_domain: str, gateway: str | None) -> dict[str, Any]:
    """The static configuration as data.

    Args:
        settings: the stack's.
        internal_domain: domain of internal names; the default CA's name stands below it.
        gateway: address whose forwarded headers are believed, or None. Without it Traefik would overwrite
            ``X-Forwarded-Proto`` and the client's address
            (https://doc.traefik.io/traefik/routing/entrypoints/#forwarded-headers).

    Returns:
        Nested plain data, ready for :func:`phoenix.traefik.document.dump`.
    """
    traefik = settings.traefik
    trusted = sorted({*([gateway] if gateway else []), *settings.gateway.trusted})
    forwarded: dict[str, Any] = {"forwardedHeaders": {"trustedIPs": trusted}} if trusted else {}
    redirect = {"redirections": {"entryPoint": {"to": WEBSECURE, "scheme": "https"}}}
    # X_Auth_User is X-Auth-User to many backends, but not to Traefik: left in, it would carry a client's own claims
    # past what the gateway and the middlewares set (https://doc.traefik.io/traefik/security/header-aliases/).
    safe = (
        {"aliasHeadersStrategy": "delete"} if tuple(map(int, traefik.version.split("."))) >= ALIAS_HEADERS_SINCE else {}
    )
    return {
        "api": {"dashboard": True, "insecure": True},
        "certificatesResolvers": certificates_resolvers(settings, internal_domain),
        "entryPoints": {
            WEB: {"address": traefik.web_address, "http": {**safe, **redirect}, **forwarded},
            WEBSECURE: {"address": traefik.websecure_address, **_http(safe), **forwarded},
            API: {"address": traefik.api_address, **_http(safe)},
        },
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": traefik.log_level, "noColor": True},
        "ping": {"entryPoint": API},
        "providers": {
            "file": {"filename": traefik.dynamic_path, "watch": True},
            "providersThrottleDuration": traefik.throttle,
        },
    }


def _http(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"http": dict(options)} if options else {}


def certificates_resolvers(settings: Settings, internal_domain: str) -> dict[str, Any]:
    """Both horizons' resolvers (https://doc.traefik.io/traefik/https/acme/), each with an ACME storage of its own."""
    authority = settings.certificate_authority
    storage = settings.traefik.state_directory
    common: dict[str, Any] = {"keyType": authority.key_type}
    if settings.acme_email:
        common["email"] = settings.acme_email
    internal = {
        **common,
        "caServer": certificate_authority_url(settings, internal_domain),
        "caCertificates": [authority.root_file],
        "certificatesDuration": authority.certificates_duration,
        "storage": f"{storage}/acme-internal.json",
        "tlsChallenge": {},
    }
    external = {
        **common,
        "storage": f"{storage}/acme-external.json",
        "httpChallenge": {"entryPoint": WEB},
    }
    if authority.external_directory:
        external["caServer"] = authority.external_directory
    if authority.external_root_file:
        external["caCertificates"] = [authority.external_root_file]
    return {INTERNAL_RESOLVER: {"acme": internal}, EXTERNAL_RESOLVER: {"acme": external}}


def defined(static: Mapping[str, Any], section: str) -> Sequence[str]:
    """Names a static configuration defines in ``entryPoints`` or ``certificatesResolvers``, sorted."""
    return sorted(static.get(section) or {})
