"""What Traefik passes over in the ``tls`` section of a dynamic configuration without a word in its API. Pure.

https://doc.traefik.io/traefik/https/tls/: an unknown version is as good as none, so that a floor one letter off is no
floor at all; a store whose resolver does not exist serves the default certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from phoenix.traefik.phrases import has, list_of, mapping_of, none_of, undefined

VERSIONS = ("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")


def tls_mistakes(tls: Any, resolvers: Any) -> Iterator[str]:
    """Phrases for the ``tls`` section.

    Args:
        tls: its data, of any shape.
        resolvers: the static configuration's certificate resolvers, by name.
    """
    for name, options in _sorted(mapping_of(tls).get("options")):
        for key in ("minVersion", "maxVersion"):
            version = mapping_of(options).get(key)
            if version is not None and not has(VERSIONS, version):
                yield (
                    f"tls.options.{name} has the {key} {none_of(version, 'version of TLS', VERSIONS)}: Traefik would "
                    "take its own default and say nothing"
                )
        least, most = (mapping_of(options).get(key) for key in ("minVersion", "maxVersion"))
        if has(VERSIONS, least) and has(VERSIONS, most) and VERSIONS.index(least) > VERSIONS.index(most):
            yield f"tls.options.{name} has a minVersion ({least}) above its maxVersion ({most}): nobody could connect"
    for pair in list_of(mapping_of(tls).get("certificates")):
        for store in list_of(mapping_of(pair).get("stores")):
            if store != "default":
                yield f"tls.certificates names the store {store!r}: Traefik has the store default only"
    for name, store in _sorted(mapping_of(tls).get("stores")):
        if name != "default":
            yield f"tls.stores.{name} would be ignored: Traefik has the store default only"
        resolver = mapping_of(mapping_of(store).get("defaultGeneratedCert")).get("resolver")
        if resolver is not None and not has(mapping_of(resolvers), resolver):
            yield f"tls.stores.{name} names the certificate resolver {undefined(resolver, mapping_of(resolvers))}"


def _sorted(section: Any) -> list[tuple[Any, Any]]:
    return sorted(mapping_of(section).items(), key=lambda item: str(item[0]))
