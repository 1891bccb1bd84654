"""Values of a static configuration that Traefik passes over without a word, and takes something else for. Pure.

Seen with Traefik 3.7: it starts with each of these, and its API shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phoenix.traefik import document
from phoenix.traefik.phrases import has, list_of, listed, mapping_of, none_of, undefined

KEY_TYPES = ("EC256", "EC384", "RSA2048", "RSA4096", "RSA8192")
LOG_FORMATS = ("common", "json")
ACCESS_LOG_FORMATS = ("common", "genericCLF", "json")
FIELD_MODES = ("drop", "keep", "redact")
CHALLENGES = ("dnsChallenge", "httpChallenge", "tlsChallenge")


def silent_mistakes(static: Mapping[str, Any]) -> Iterator[str]:
    """Phrases for what would not be as it is written.

    Args:
        static: data of ``traefik.yml``.
    """
    entry_points = mapping_of(static.get("entryPoints"))
    resolvers = mapping_of(static.get("certificatesResolvers"))
    for section, formats in (("log", LOG_FORMATS), ("accessLog", ACCESS_LOG_FORMATS)):
        chosen = mapping_of(static.get(section)).get("format")
        if chosen is not None and not has(formats, chosen):
            yield f"{section}.format is {chosen!r}, in place of which Traefik would take common ({listed(formats)})"
    for name, value in entry_points.items():
        resolver = mapping_of(mapping_of(mapping_of(value).get("http")).get("tls")).get("certResolver")
        if resolver is not None and not has(resolvers, resolver):
            yield f"entryPoints.{name}.http.tls names the certificate resolver {undefined(resolver, resolvers)}"
        middlewares = list_of(mapping_of(mapping_of(value).get("http")).get("middlewares"))
        if middlewares:
            yield (
                f"entryPoints.{name}.http.middlewares names {listed(middlewares)}, without which no route would be "
                "served and which this file cannot show to exist: name them in the routers"
            )
    yield from _logs(static)
    yield from _numbers(static)
    yield from document.template_mistakes(static)
    for name, value in resolvers.items():
        yield from _resolver(f"certificatesResolvers.{name}.acme", mapping_of(mapping_of(value).get("acme")))


def _logs(static: Mapping[str, Any]) -> Iterator[str]:
    for section in ("log", "accessLog"):
        path = mapping_of(static.get(section)).get("filePath")
        if path and not (isinstance(path, str) and path.startswith("/")):
            yield f"{section}.filePath is {path!r}: it must be an absolute path"
    fields = mapping_of(mapping_of(static.get("accessLog")).get("fields"))
    for where, part in (("fields", fields), ("fields.headers", mapping_of(fields.get("headers")))):
        for name, mode in {"defaultMode": part.get("defaultMode"), **mapping_of(part.get("names"))}.items():
            if mode is not None and not has(FIELD_MODES, mode):
                yield f"accessLog.{where} has {none_of(mode, 'mode', FIELD_MODES)}, for {name}"


def _numbers(static: Mapping[str, Any]) -> Iterator[str]:
    code = mapping_of(static.get("ping")).get("terminatingStatusCode")
    if isinstance(code, int) and not 100 <= code <= 599:
        yield f"ping.terminatingStatusCode is {code}: it must be from 100 to 599"
    rate = mapping_of(static.get("tracing")).get("sampleRate")
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        yield f"tracing.sampleRate is {rate}: it must be from 0 to 1"
    throttle = mapping_of(static.get("providers")).get("providersThrottleDuration")
    if str(throttle).strip().startswith("-"):
        yield f"providers.providersThrottleDuration is {throttle!r}: it must be 0s or more"


def _resolver(where: str, acme: Mapping[str, Any]) -> Iterator[str]:
    key_type = acme.get("keyType")
    if key_type is not None and not has(KEY_TYPES, key_type):
        yield f"{where}.keyType is {key_type!r}, in place of which Traefik would take RSA4096 ({listed(KEY_TYPES)})"
    given = [kind for kind in CHALLENGES if acme.get(kind) is not None]
    if len(given) > 1:
        yield f"{where} has {' and '.join(given)}: Traefik would use one of them, so keep one"
    hours = acme.get("certificatesDuration")
    if isinstance(hours, int) and not isinstance(hours, bool) and hours < 1:
        yield f"{where}.certificatesDuration is {hours}: it must be the hours a certificate lives, 1 or more"
    email = acme.get("email")
    if email and ("@" not in str(email).strip("@") or any(character.isspace() for character in str(email))):
        yield f"{where}.email is {email!r}: it must be an e-mail address, or the authority refuses the account"
