"""A router's ``tls``: for which names Traefik would order certificates, and whether it could. Pure.

Where it cannot, Traefik serves its default certificate and its API shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phoenix import names
from phoenix.traefik.phrases import list_of, mapping_of
from phoenix.traefik.rule_checks import names_a_host


def router_tls_mistakes(router: Mapping[str, Any], resolvers: Mapping[str, Any]) -> Iterator[str]:
    """Phrases for ``tls`` of a router.

    Args:
        router: its data.
        resolvers: the static configuration's certificate resolvers, by name.
    """
    tls = router.get("tls")
    if tls is not None and tls is not True and not isinstance(tls, Mapping):
        yield f"has tls {tls!r}: it must be a mapping, and {{}} where nothing is to say"
        return
    tls = mapping_of(tls)
    domains = tls.get("domains")
    if domains is not None and not isinstance(domains, list):
        yield f"has tls.domains {domains!r}: it must be a list of entries such as {{main: name.example.test}}"
        return
    acme = mapping_of(mapping_of(resolvers.get(str(tls.get("certResolver")))).get("acme"))
    for domain in domains or ():
        entry = mapping_of(domain)
        if not entry.get("main"):
            yield "has tls.domains without main: Traefik would order no certificate for it"
        for name in (entry.get("main"), *list_of(entry.get("sans"))):
            yield from _name_mistakes(name, acme) if name else ()
    if tls.get("certResolver") and not domains and not names_a_host(str(router.get("rule"))):
        yield "has a certificate resolver, and neither Host in its rule nor tls.domains: Traefik would order none"


def _name_mistakes(name: Any, acme: Mapping[str, Any]) -> Iterator[str]:
    try:
        names.hostname(str(name).removeprefix("*."))
    except ValueError as error:
        yield f"has {name!r} in tls.domains: it {error}"
        return
    if str(name).startswith("*.") and acme and not acme.get("dnsChallenge"):
        yield f"has {name!r} in tls.domains: authorities issue wildcards for the dnsChallenge only"
