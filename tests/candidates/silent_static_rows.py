"""Bad static configurations that a Traefik on other ports and paths starts with, or that it starts with in silence."""

from __future__ import annotations

from typing import Any

from candidate_rows import Data, Row, key_file, set_at, static
from live_traefik import LiveTraefik

from phoenix.traefik import document


def acme(name: str, *says: str, resolver: str = "internal-resolver", **values: Any) -> Row:
    """A row with other ACME settings; None takes one away."""

    def spoil(data: Data, live: LiveTraefik) -> None:
        settings = data["certificatesResolvers"][resolver]["acme"]
        settings.update({key: value(live) if callable(value) else value for key, value in values.items()})
        for key in [key for key, value in settings.items() if value == ""]:
            del settings[key]

    return static(name, spoil, *says)


def point(name: str, *says: str, **more: Any) -> Row:
    """A row with another entry point."""
    return static(name, lambda data, live: data["entryPoints"].update(more), *says)


def websecure(name: str, *says: str, **values: Any) -> Row:
    return static(name, lambda data, live: data["entryPoints"]["websecure"].update(values), *says)


def redirect(name: str, *says: str, **values: Any) -> Row:
    def spoil(data: Data, live: LiveTraefik) -> None:
        data["entryPoints"]["web"]["http"]["redirections"]["entryPoint"].update(values)

    return static(name, spoil, *says)


def _with_quic(data: Data, live: LiveTraefik) -> None:
    data["entryPoints"]["websecure"]["http3"] = {}
    data["entryPoints"]["quic"] = {"address": f"127.0.0.1:{live.websecure}/udp"}


def _address(form: str) -> Any:
    return lambda data, live: data["entryPoints"]["web"].update(address=form.format(live.websecure))


SILENT_STATIC: list[Row] = [
    # What is replaced for the second instance, so that it could not complain
    static("api.insecure in words", set_at("api", "insecure", to="maybe"), "maybe"),
    static("api.dashboard in words", set_at("api", "dashboard", to="maybe"), "maybe"),
    static("watch in words", set_at("providers", "file", "watch", to="maybe"), "maybe"),
    static("noColor in words", set_at("log", "noColor", to="maybe"), "maybe"),
    Row(
        "yes for true",
        lambda live: document.dump(live.static()).replace("insecure: true", "insecure: yes"),
        ("yes is no boolean",),
    ),
    static("an unknown key of tracing", set_at("tracing", to={"otlp": {"nope": 1}}), "nope"),
    static("an unknown key of metrics", set_at("metrics", to={"otlp": {"nope": 1}}), "nope"),
    static("an unknown key of an exporter", set_at("metrics", to={"datadog": {"adress": "x"}}), "adress"),
    static("an interval that is none", set_at("metrics", to={"statsD": {"pushInterval": "often"}}), "often"),
    # Addresses
    static("an address twice, once with its protocol", _address("127.0.0.1:{}/tcp"), "as that of"),
    static("an address twice, once with a zero", _address("127.0.0.1:0{}"), "as that of"),
    static("a port of UDP that HTTP/3 has", _with_quic, "entryPoints.websecure.address", "as that of quic"),
    point("IPv6 without brackets", "'::1:18123'", x={"address": "::1:18123"}),
    point(
        "one address of IPv6 in two spellings",
        "as that of x",
        x={"address": "[::1]:18123"},
        y={"address": "[0:0:0:0:0:0:0:1]:18123"},
    ),
    point("another machine's address", "192.0.2.77", "does not have", x={"address": "192.0.2.77:18123"}),
    redirect("a redirection to no port", "':99999'", to=":99999"),
    redirect("a redirection to a word", "':abc'", to=":abc"),
    redirect("a redirection by no scheme", "'httpss'", scheme="httpss"),
    redirect("a redirection in a circle", "redirects to itself", to="web"),
    static(
        "an entry point of UDP for HTTP",
        lambda data, live: data["entryPoints"]["web"].update(address=f"127.0.0.1:{live.web}/udp"),
        "web",
    ),
    websecure("a middleware for every route", "nowhere@file", http={"middlewares": ["nowhere@file"]}),
    # Logs and numbers
    static("a log that is a list", set_at("log", "filePath", to=["a"]), "log.filePath"),
    static("a log in a directory's place", set_at("log", "filePath", to="/etc"), "/etc is a directory"),
    static("an access log in a directory's place", set_at("accessLog", to={"filePath": "/etc"}), "/etc is a directory"),
    static("a field's mode that is none", set_at("accessLog", to={"fields": {"defaultMode": "dropp"}}), "'dropp'"),
    static(
        "a header's mode that is none",
        set_at("accessLog", to={"fields": {"headers": {"names": {"Cookie": "hide"}}}}),
        "'hide'",
        "Cookie",
    ),
    static("statuses that are none", set_at("accessLog", to={"filters": {"statusCodes": ["5xx"]}}), "5xx"),
    static("a status that is none", set_at("ping", "terminatingStatusCode", to=9999), "9999"),
    static("a rate above all", set_at("tracing", to={"sampleRate": 7}), "tracing.sampleRate is 7"),
    static("a throttle before it begins", set_at("providers", "providersThrottleDuration", to="-5s"), "'-5s'"),
    static("a template", set_at("log", "filePath", to="/{{ env `X` }}"), "'{{'"),
    static(
        "a plugin that is nowhere",
        set_at("experimental", to={"localPlugins": {"x": {"moduleName": "example.test/x/y"}}}),
        "Plugins are disabled",
    ),
    # The file provider
    static(
        "a file that Traefik would not load", set_at("providers", "file", "filename", to="/etc/a.new"), "'/etc/a.new'"
    ),
    static("a file from anywhere", set_at("providers", "file", "filename", to="dynamic.yml"), "'dynamic.yml'"),
    static("a file that is a list", set_at("providers", "file", "filename", to=["/a.yml"]), "providers.file.filename"),
    # ACME
    acme("a storage from anywhere", "'acme.json'", storage="acme.json"),
    acme("a storage that is a list", "acme.storage", storage=["/a"]),
    acme("a challenge that is null", "names no challenge", tlsChallenge=None),
    acme("a challenge that is false", "names no challenge", tlsChallenge=False),
    acme(
        "a challenge on no entry point",
        "httpChallenge.entryPoint is missing",
        resolver="external-resolver",
        httpChallenge={},
    ),
    acme("a challenge of no provider", "dnsChallenge.provider is missing", tlsChallenge="", dnsChallenge={}),
    acme("a CA without a host", "caServer", caServer="https://"),
    acme("a CA with a blank", "caServer", caServer="https://ca internal/directory"),
    acme("a CA on no port", "caServer", caServer="https://ca.internal:99999/directory"),
    acme("a CA file as a text that is a key", "holds no PEM certificate", caCertificates=key_file),
    acme("half an account", "eab needs both", eab={"kid": "x"}),
]
