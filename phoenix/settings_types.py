"""The types that settings are made of, and their base model. Pure.

Each refuses what it cannot be with the limit and an example; :func:`phoenix.inventory.sentences.sentences` puts file
and field in front.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from phoenix import names

AbsolutePath = Annotated[str, AfterValidator(names.absolute_path)]
Account = Annotated[str, AfterValidator(names.account)]
IpAddress = Annotated[str, AfterValidator(names.address)]
RouterName = Annotated[str, AfterValidator(names.router_part)]
Environment = Literal["development", "testing", "production"]
ENVIRONMENTS: tuple[Environment, ...] = ("development", "testing", "production")

_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9.]*):(?P<port>[0-9]{1,5})")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+|0")
_URL = re.compile(r"https?://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~/-]*)?")
_URL_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+")
_VERSION = re.compile(r"[0-9]{1,5}\.[0-9]{1,5}\.[0-9]{1,5}")
_CIDR_LIMIT = "must be an IP address or a network such as 10.0.0.0/24"


def _listen_address(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if not match:
        raise ValueError('must be a listen address such as ":443" or "127.0.0.1:8080"')
    names.port(match["port"])
    if match["host"]:
        names.address(match["host"].strip("[]"))
    return value


def _loopback_address(value: str) -> str:
    host = _listen_address(value).rpartition(":")[0].strip("[]")
    if not host or not ipaddress.ip_address(host).is_loopback:
        raise ValueError(
            "must be on a loopback address, such as 127.0.0.1:8080, since Traefik's API asks for no password: "
            "set phoenix:dashboard to reach it from elsewhere"
        )
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value)) if "/" in value else str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(_CIDR_LIMIT) from None


def _url(value: str) -> str:
    match = _URL.fullmatch(value)
    if not match or not _is_host(match["host"].strip("[]")) or not 0 < int(match["port"] or 443) < 65536:
        raise ValueError('must be a URL such as "https://ca.internal.example.test:9000"')
    return value.rstrip("/")


def _is_host(value: str) -> bool:
    try:
        return bool(names.server_name(value))
    except ValueError:
        return False


def _url_path(value: str) -> str:
    if not _URL_PATH.fullmatch(value):
        raise ValueError('must be the path of a URL, such as "/acme/acme/directory"')
    return value


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise ValueError('must be an e-mail address such as "hostmaster@example.test"')
    return value


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise ValueError('must be a version such as "3.7.15"')
    return value


def _duration(value: str) -> str:
    if not _DURATION.fullmatch(value):
        raise ValueError('must be a duration such as "500ms", "10s" or "1m"')
    return value


def _private_directory(value: str) -> str:
    path = names.absolute_path(value)
    if path in _SHARED_DIRECTORIES:
        raise ValueError("must be a directory of Traefik's own, since it becomes its account's alone")
    return path


def like(pattern: str, demand: str) -> AfterValidator:
    """A check that a text has a form.

    Args:
        pattern: a regular expression for the whole text.
        demand: what it must be, for messages: ``such as "10m"``.
    """
    form = re.compile(pattern)

    def check(value: str) -> str:
        if not form.fullmatch(value):
            raise ValueError(f"must be {demand}")
        return value

    return AfterValidator(check)


_SHARED_DIRECTORIES = frozenset(
    {
        "/",
        *(
            f"/{name}"
            for name in [
                "bin",
                "boot",
                "dev",
                "etc",
                "home",
                "lib",
                "lib64",
                "media",
                "mnt",
                "opt",
                "proc",
                "root",
                "run",
                "sbin",
            ]
        ),
    }
    | {f"/{name}" for name in ("srv", "sys", "tmp", "usr", "var")}
    | {f"/var/{name}" for name in ("cache", "lib", "local", "lock", "log", "mail", "opt", "run", "spool", "tmp", "www")}
    | {f"/usr/{name}" for name in ("bin", "include", "lib", "libexec", "local", "sbin", "share", "src")}
    | {f"/usr/local/{name}" for name in ("bin", "etc", "lib", "sbin", "share")}
    | {"/etc/nginx", "/etc/ssl", "/etc/systemd", "/etc/systemd/system", "/lib/systemd", "/lib/systemd/system"}
)
"""Directories that others use as well."""

PrivateDirectory = Annotated[str, AfterValidator(_private_directory)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
LoopbackAddress = Annotated[str, AfterValidator(_loopback_address)]
Network = Annotated[str, AfterValidator(_network)]
Url = Annotated[str, AfterValidator(_url)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
EMail = Annotated[str, AfterValidator(_email)]
Version = Annotated[str, AfterValidator(_version)]
ServerName = Annotated[str, AfterValidator(names.server_name)]
Duration = Annotated[str, AfterValidator(_duration)]


def listen_host(address: str) -> tuple[str, int]:
    """Where to reach a listen address from its own machine: host without brackets, and port.

    Args:
        address: such as ``:443``, ``0.0.0.0:443`` or ``[::1]:8080``, with or without ``/tcp`` behind it.
    """
    host, _, port = address.removesuffix("/tcp").rpartition(":")
    host = host.strip("[]")
    if host in ("", "0.0.0.0"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return ("::1" if host == "::" else host), int(port)


class SettingsModel(BaseModel):
    """Base of the settings: camelCase keys; unknown ones are refused, since a misspelt one would have no effect."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )
