"""Validated names: what may enter a Traefik rule, a file path or a systemd unit.

Every name that ends in a rule (``Host(`…`)``), a shell command or a unit file passes through here first, so that
no later step has to quote or guess. Each function returns the value in its canonical form or raises ``ValueError``
with the limit and an example; the caller puts file, guest and field in front.
"""

from __future__ import annotations

import ipaddress
import re

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ROUTER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE_PATH = re.compile(r"/[A-Za-z0-9._+@ /-]*")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def hostname(value: str) -> str:
    """A host name in lower case, as RFC 1123 allows it.

    Args:
        value: for example ``Portainer.example.test``.

    Raises:
        ValueError: a label is empty, longer than 63 characters or holds another character than an ASCII letter, a
            digit or an inner hyphen, the last one is a number, or the whole is longer than 253 characters.
    """
    # lower() turns some other letters, such as the Kelvin sign, into ASCII ones.
    lowered = value.lower().removesuffix(".") if value.isascii() else value
    if not lowered or len(lowered) > 253:
        raise ValueError("must be a host name of 1 to 253 characters")
    labels = lowered.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(
                f"must be a host name whose labels hold only letters a to z, digits and inner hyphens, 63 characters "
                f"at most (the label {label!r} is not)"
            )
    if labels[-1].isdigit():
        raise ValueError("must be a host name, not an address: its last label must hold a letter")
    return lowered


def router_part(value: str) -> str:
    """The part of a Traefik router or service name that comes from a guest's name.

    Raises:
        ValueError: it holds another character than letters, digits, dots, hyphens and underscores. Traefik
            itself reserves ``@`` for the provider's name (https://doc.traefik.io/traefik/providers/overview/).
    """
    if not _ROUTER.fullmatch(value):
        raise ValueError(
            "must begin and end with a letter or digit and hold only letters, digits, dots, hyphens and "
            "underscores, 128 characters at most"
        )
    return value


def port(value: object) -> int:
    """A TCP port.

    Args:
        value: a whole number or its decimal text.

    Raises:
        ValueError: it is no whole number from 1 to 65535.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be a port from 1 to 65535")  # noqa: TRY004 - one kind of error for the caller
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise ValueError("must be a port from 1 to 65535")
    return int(text)


def address(value: str) -> str:
    """An IP address without its prefix length, in canonical form.

    Args:
        value: ``10.0.0.12`` or ``10.0.0.12/24``, IPv6 likewise.

    Raises:
        ValueError: it is no IP address (``dhcp``, a name, an address out of range).
    """
    try:
        return str(ipaddress.ip_interface(value).ip)
    except ValueError:
        raise ValueError('must be a static IP address such as "10.0.0.12/24"') from None


def guest_address(value: str) -> str:
    """The address of a machine that requests are sent to, without its prefix length.

    Raises:
        ValueError: it is none that one machine can have, such as ``0.0.0.0`` or a multicast address, or it holds
            for one network interface only (``fe80::1%eth0``).
    """
    plain = address(value)
    parsed = ipaddress.ip_address(plain)
    if parsed.is_unspecified or parsed.is_multicast or "%" in value or (parsed.version == 6 and parsed.is_link_local):
        raise ValueError('must be the address of one machine, such as "10.0.0.12/24"')
    return plain


def server_name(value: str) -> str:
    """The name an https server's certificate must carry: a host name, or an IP address where it carries one.

    Raises:
        ValueError: it is neither.
    """
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return hostname(value)


def printable(text: str, limit: int = 200) -> str:
    r"""A text for messages and terminals: line breaks, escape sequences and the like become visible.

    Returns:
        The text on one line, every character that is not printable as a Python escape (``\n``, ``\x1b``), cut
        after ``limit`` characters.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


def absolute_path(value: str) -> str:
    """An absolute path that needs no escaping in YAML, in a unit file or between single quotes in a shell.

    Raises:
        ValueError: it is not absolute, climbs with ``..`` or holds a character outside letters, digits and ``._+@ /-``.
    """
    if not _ABSOLUTE_PATH.fullmatch(value) or ".." in value.split("/"):
        raise ValueError(
            "must be an absolute path of letters, digits, blanks and ._+@- without '..', such as /etc/traefik"
        )
    return value.rstrip("/") or "/"


def account(value: str) -> str:
    """A user or group name (useradd(8)).

    Raises:
        ValueError: it is none.
    """
    if not _ACCOUNT.fullmatch(value):
        raise ValueError("must be a user or group name: a lower-case letter or _, then letters, digits, _ and -")
    return value


def url_host(ip: str) -> str:
    """``ip`` as it stands in a URL: an IPv6 address in brackets."""
    return f"[{ip}]" if ":" in ip else ip


def no_template(value: str) -> str:
    """A text that Traefik's file provider may read.

    Traefik runs dynamic files through Go's text/template, so ``{{`` in any value, even in a comment, would be
    executed or would reject the whole file (https://doc.traefik.io/traefik/providers/file/#go-templating).

    Raises:
        ValueError: it holds ``{{`` or ``}}``, or a control character.
    """
    if "{{" in value or "}}" in value:
        raise ValueError("must not hold '{{' or '}}': Traefik runs its dynamic file as a Go template")
    if _CONTROL.search(value):
        raise ValueError("must not hold control characters")
    return value
