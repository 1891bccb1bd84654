"""Files that Traefik's configuration names and Traefik uses: certificates, keys, users, the ACME storage. Pure.

Traefik says nothing at load where one is missing or is no certificate: the route then answers 500, or the resolver
gets no certificate. So each is looked at on the target before a configuration that names it goes live, with the eyes
of the account Traefik runs as. Of the ACME storage only mode and owner are looked at; it is never read.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FileKind = Literal["certificate", "key", "users", "storage", "watched", "log"]

_MARKS: Mapping[str, str] = {"certificate": "BEGIN CERTIFICATE", "key": "PRIVATE KEY", "users": ":"}
_NOUNS: Mapping[str, str] = {
    "certificate": "holds no PEM certificate",
    "key": "holds no PEM private key",
    "users": "holds no line of a user",
}


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file on the target.

    Attributes:
        path: as the configuration has it.
        kind: what it must hold. ``storage``: nothing, or a file of Traefik's own that nobody else may read;
            ``watched``: it may be missing, but its directory must be no link; ``log``: Traefik must be able to make it.
        where: the key that names it first, for messages.
    """

    path: str
    kind: FileKind
    where: str


def named_files(static: Any, dynamic: Any) -> list[NamedFile]:
    """Every file that a pair of configurations names, once each, in the order of the keys.

    Args:
        static: data of ``traefik.yml``, or None.
        dynamic: data of ``dynamic_conf.yml``, or None.
    """
    found: dict[tuple[str, FileKind], NamedFile] = {}
    for where, value, kind in (*_static(_mapping(static)), *_dynamic(_mapping(dynamic))):
        # Traefik takes a certificate's text in place of its path.
        if isinstance(value, str) and value and "-----BEGIN" not in value:
            found.setdefault((value, kind), NamedFile(value, kind, where))
    return list(found.values())


Entry = tuple[str, Any, FileKind]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    """A list; Traefik takes one value for a list of one."""
    return value if isinstance(value, list | tuple) else [] if value is None else [value]


def _static(static: Mapping[str, Any]) -> Iterator[Entry]:
    for name, resolver in _mapping(static.get("certificatesResolvers")).items():
        acme = _mapping(_mapping(resolver).get("acme"))
        for path in _list(acme.get("caCertificates")):
            yield f"certificatesResolvers.{name}.acme.caCertificates", path, "certificate"
        yield f"certificatesResolvers.{name}.acme.storage", acme.get("storage"), "storage"
    yield from _transport("serversTransport", static.get("serversTransport"))
    for section in ("log", "accessLog"):
        yield f"{section}.filePath", _mapping(static.get(section)).get("filePath"), "log"
    provider = _mapping(_mapping(static.get("providers")).get("file"))
    yield "providers.file.filename", provider.get("filename"), "watched"


def _dynamic(dynamic: Mapping[str, Any]) -> Iterator[Entry]:
    for protocol in ("http", "tcp"):
        section = _mapping(dynamic.get(protocol))
        for name, transport in _mapping(section.get("serversTransports")).items():
            where = f"{protocol}.serversTransports.{name}"
            yield from _transport(where, transport)
            yield from _transport(f"{where}.tls", _mapping(transport).get("tls"))
        for name, middleware in _mapping(section.get("middlewares")).items():
            for kind in ("basicAuth", "digestAuth"):
                path = _mapping(_mapping(middleware).get(kind)).get("usersFile")
                yield f"{protocol}.middlewares.{name}.{kind}.usersFile", path, "users"
    tls = _mapping(dynamic.get("tls"))
    for pair in _list(tls.get("certificates")):
        yield from _pair("tls.certificates", pair)
    for name, store in _mapping(tls.get("stores")).items():
        yield from _pair(f"tls.stores.{name}.defaultCertificate", _mapping(store).get("defaultCertificate"))
    for name, options in _mapping(tls.get("options")).items():
        for path in _list(_mapping(_mapping(options).get("clientAuth")).get("caFiles")):
            yield f"tls.options.{name}.clientAuth.caFiles", path, "certificate"


def _transport(where: str, transport: Any) -> Iterator[Entry]:
    for path in _list(_mapping(transport).get("rootCAs")):
        yield f"{where}.rootCAs", path, "certificate"
    for pair in _list(_mapping(transport).get("certificates")):
        yield from _pair(f"{where}.certificates", pair)


def _pair(where: str, pair: Any) -> Iterator[Entry]:
    yield f"{where}.certFile", _mapping(pair).get("certFile"), "certificate"
    yield f"{where}.keyFile", _mapping(pair).get("keyFile"), "key"


def check_script(file: NamedFile, user: str) -> str:
    """Exits 0 where the file is there, can be read by ``user``, and holds what it must; else prints why not.

    An account that does not exist yet will see what ``nobody`` sees.
    """
    if file.kind == "log":
        return _room_script(file.path, user)
    if file.kind in ("storage", "watched"):
        return _storage_script(file.path, user) if file.kind == "storage" else _watched_script(file.path)
    path, mark = shlex.quote(file.path), shlex.quote(_MARKS[file.kind])
    lines = [
        f"[ -e {path} ] || {{ echo {path} does not exist; exit 1; }}",
        f"[ -f {path} ] || {{ echo {path} is no file; exit 1; }}",
        f"[ -r {path} ] || {{ echo {path} cannot be read; exit 1; }}",
        f"grep -q -e {mark} {path} || {{ echo {path} {_NOUNS[file.kind]}; exit 1; }}",
    ]
    if user != "root":
        account = shlex.quote(user)
        lines += [
            f"who={account}; id -u {account} >/dev/null 2>&1 || who=nobody",
            'if [ "$(id -u)" = 0 ] && [ "$(id -u "$who" 2>/dev/null || echo 0)" != 0 ]'
            " && command -v runuser >/dev/null; then",
            f'  runuser -u "$who" -- test -r {path} || {{ echo {path} cannot be read by the account {account};'
            " exit 1; }",
            "fi",
        ]
    if file.kind == "certificate":
        lines += [
            "if command -v openssl >/dev/null; then",
            f"  openssl x509 -noout -checkend 0 -in {path} >/dev/null 2>&1 ||",
            f"    if openssl x509 -noout -in {path} >/dev/null 2>&1; then echo {path} has expired; exit 1;",
            f"    else echo {path} holds no PEM certificate; exit 1; fi",
            "fi",
        ]
    return "\n".join(lines)


def _storage_script(path: str, user: str) -> str:
    """Traefik skips a resolver whose storage others may read, and serves its default certificate without a word."""
    quoted = shlex.quote(path)
    return "\n".join(
        (
            f"if [ -e {quoted} ]; then",
            f"  mode=$(stat -c %a {quoted}); owner=$(stat -c %U {quoted})",
            f'  [ "$mode" = 600 ] || {{ echo {quoted} has the mode "$mode", for which Traefik skips the resolver:'
            " it must be 600; exit 1; }",
            f'  [ "$owner" = {shlex.quote(user)} ] || {{ echo {quoted} belongs to "$owner", not to {shlex.quote(user)};'
            " exit 1; }",
            "fi",
        )
    )


def _room_script(path: str, user: str) -> str:
    """Whether Traefik's account may make a file, or its directory; an account that is still to be made may."""
    quoted, account = shlex.quote(path), shlex.quote(user)
    return "\n".join(
        (
            f"[ ! -d {quoted} ] || {{ echo {quoted} is a directory; exit 1; }}",
            f'place={quoted}; while [ ! -e "$place" ] && [ -n "$place" ]; do place=${{place%/*}}; done',
            "place=${place:-/}",
            f'if [ "$(id -u)" = 0 ] && [ "$(id -u {account} 2>/dev/null || echo 0)" != 0 ]'
            " && command -v runuser >/dev/null; then",
            f'  runuser -u {account} -- test -w "$place" || {{ echo {quoted} cannot be made by the account {account},'
            ' which may not write "$place"; exit 1; }',
            "fi",
        )
    )


def mend_script(file: NamedFile, user: str) -> str:
    """Makes an ACME storage, which holds keys, Traefik's alone again and leaves its content; empty for all else."""
    if file.kind != "storage":
        return ""
    path, account = shlex.quote(file.path), shlex.quote(user)
    return "\n".join(
        (
            f"if [ -f {path} ] && ! [ -h {path} ]; then",
            f"  chmod 0600 {path}",
            f'  [ "$(id -u)" != 0 ] || chown {account} {path}',
            "fi",
        )
    )


def _watched_script(path: str) -> str:
    """Traefik watches the directory it finds at start; where a link later leads elsewhere it does not notice."""
    parent = shlex.quote(path.rpartition("/")[0] or "/")
    return (
        f"[ ! -h {parent} ] || {{ echo {parent} is a symbolic link, and Traefik would not notice when it changes:"
        " make it a directory; exit 1; }"
    )


def combined_script(files: Sequence[NamedFile], user: str) -> str:
    """One script that prints ``<index> <why not>`` for each file that is not as it must be: one round trip."""
    return (
        "\n".join(
            f"said=$( {{ {check_script(file, user)}\n}} 2>&1 ) || printf '{index} %s\\n' \"$said\""
            for index, file in enumerate(files)
        )
        + "\ntrue"
    )


def problems(files: Sequence[NamedFile], output: str) -> list[str]:
    """A phrase for each line of :func:`combined_script`'s output."""
    found = []
    for line in output.splitlines():
        index, _, said = line.partition(" ")
        if index.isdigit() and int(index) < len(files):
            found.append(f"{files[int(index)].where}: {said}")
    return found
