"""Bad static configurations."""

from __future__ import annotations

from typing import Any

from candidate_rows import Data, Row, key_file, set_at, static, text
from live_traefik import LiveTraefik


def _acme(data: Data, **settings: Any) -> None:
    acme = data["certificatesResolvers"]["internal-resolver"]["acme"]
    acme.update(settings)
    for key in [key for key, value in acme.items() if value is None]:
        del acme[key]


def _loose_storage(data: Data, live: LiveTraefik) -> None:
    path = live.state / "acme-loose.json"
    path.touch()
    path.chmod(0o644)
    _acme(data, storage=str(path))


def _linked_directory(data: Data, live: LiveTraefik) -> None:
    link = live.directory / "linked"
    if not link.is_symlink():
        link.symlink_to(live.dynamic_path.parent)
    data["providers"]["file"]["filename"] = f"{link}/dynamic_conf.yml"


STATIC: list[Row] = [
    text("", "holds no settings")("empty file"),
    text("# comment\n---\n", "holds no settings")("comments and dashes"),
    text("entryPoints:\n\tweb: {}\n", "is no YAML")("tabs"),
    text("entryPoints: {web: {address: ':80'}\n", "is no YAML")("a brace left open"),
    text("log: {}\nlog: {}\n", "'log'", "twice")("a section twice"),
    static("a misspelt section", set_at("entryPointz", to={}), "entryPointz is no section"),
    static("a dynamic section: http", set_at("http", to={"routers": {}}), "http is no section"),
    static("a dynamic section: tls", set_at("tls", to={"options": {}}), "tls is no section"),
    static("an unknown key in an entry point", set_at("entryPoints", "web", "adress", to=":1"), "adress"),
    static("an unknown key in the file provider", set_at("providers", "file", "watchh", to=True), "watchh"),
    static("an unknown key in a resolver", lambda data, live: _acme(data, caserverr="x"), "caserverr"),
    static("an unknown key in the access log", set_at("accessLog", to={"nope": 1}), "nope"),
    static("an unknown key in the log", set_at("log", "nope", to=1), "nope"),
    static("an unknown key in the API", set_at("api", "nope", to=True), "nope"),
    static("an unknown provider", set_at("providers", "dockerr", to={}), "dockerr"),
    static("an entry point that is a text", set_at("entryPoints", "web", to=":80"), "entryPoints.web"),
    static("a duration that is none", set_at("providers", "providersThrottleDuration", to="often"), "often"),
    static("a log level that is none", set_at("log", "level", to="LOUD"), "LOUD"),
    static(
        "trusted addresses that are none",
        set_at("entryPoints", "web", "forwardedHeaders", to={"trustedIPs": ["gateway"]}),
        "gateway",
    ),
    static(
        "both filename and directory",
        set_at("providers", "file", "directory", to="/etc/traefik"),
        "both filename and directory",
    ),
    static(
        "a directory, whose hidden files would load",
        set_at("providers", "file", to={"directory": "/etc/traefik"}),
        "hidden",
    ),
    static("no file provider", set_at("providers", to={}), "providers.file"),
    static("a file that is not watched", set_at("providers", "file", "watch", to=False), "watch"),
    static("a linked directory", _linked_directory, "symbolic link"),
    static("no entry points", set_at("entryPoints", to={}), "entryPoints defines none"),
    static(
        "an entry point without an address", set_at("entryPoints", "web", to={}), "entryPoints.web.address is missing"
    ),
    static(
        "an address twice",
        lambda data, live: data["entryPoints"]["web"].update(address=f"127.0.0.1:{live.websecure}"),
        "as that of",
    ),
    static("a port that is none", set_at("entryPoints", "web", "address", to=":99999"), "':99999'"),
    static("an address without a port", set_at("entryPoints", "web", "address", to="localhost"), "'localhost'"),
    static(
        "a port that another program has",
        lambda data, live: data["entryPoints"]["web"].update(address=live.backends["plain"].url.partition("://")[2]),
        "entryPoints.web.address",
        "listens",
    ),
    static(
        "a redirect to nowhere",
        lambda data, live: data["entryPoints"]["web"]["http"]["redirections"]["entryPoint"].update(to="nowhere"),
        "'nowhere'",
    ),
    static("ping on nowhere", set_at("ping", "entryPoint", to="nowhere"), "'nowhere'"),
    static("the API for everybody", set_at("entryPoints", "traefik", "address", to=":8080"), "api.insecure"),
    static(
        "a resolver without settings", set_at("certificatesResolvers", "internal-resolver", to={}), "no acme settings"
    ),
    static("a resolver without storage", lambda data, live: _acme(data, storage=None), "storage is missing"),
    static(
        "two resolvers with one storage",
        lambda data, live: _acme(data, storage=str(live.state / "acme-external.json")),
        "storage",
    ),
    static("a storage that others may read", _loose_storage, "acme-loose.json has the mode 644"),
    static("a resolver without a challenge", lambda data, live: _acme(data, tlsChallenge=None), "names no challenge"),
    static(
        "a challenge on nowhere", lambda data, live: _acme(data, httpChallenge={"entryPoint": "nowhere"}), "'nowhere'"
    ),
    static(
        "a CA file that is missing",
        lambda data, live: _acme(data, caCertificates=["/nowhere/ca.crt"]),
        "/nowhere/ca.crt does not exist",
    ),
    static(
        "a CA file that is none",
        lambda data, live: _acme(data, caCertificates=[key_file(live)]),
        "holds no PEM certificate",
    ),
    static("a CA that is no URL", lambda data, live: _acme(data, caServer="ca.internal"), "caServer"),
    static("certificates for no time", lambda data, live: _acme(data, certificatesDuration="day"), "day"),
    static("a log in no format", set_at("log", to={"format": "xml"}), "log.format is 'xml'"),
    static("an access log in no format", set_at("accessLog", to={"format": "clf"}), "accessLog.format is 'clf'"),
    static("metrics on nowhere", set_at("metrics", to={"prometheus": {"entryPoint": "nowhere"}}), "'nowhere'"),
    static(
        "an entry point's resolver that is none",
        set_at("entryPoints", "websecure", "http", to={"tls": {"certResolver": "myresolver"}}),
        "entryPoints.websecure.http.tls names the certificate resolver 'myresolver'",
    ),
    static(
        "a redirection to nothing",
        set_at("entryPoints", "web", "http", to={"redirections": {"entryPoint": {"scheme": "https"}}}),
        "Traefik would redirect nothing",
    ),
    static("a key of no type", lambda data, live: _acme(data, keyType="EC521"), "keyType is 'EC521'", "RSA4096"),
    static(
        "two challenges",
        lambda data, live: _acme(data, httpChallenge={"entryPoint": "web"}),
        "httpChallenge and tlsChallenge",
        "keep one",
    ),
    static("certificates for less than an hour", lambda data, live: _acme(data, certificatesDuration=0), "1 or more"),
    static("an account of nobody", lambda data, live: _acme(data, email="nobody"), "email is 'nobody'"),
]
