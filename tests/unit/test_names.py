"""Validated names: what may enter a rule, a path, a unit or a URL, and how a refused value is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix import names

LONG_NAME = ".".join(["a" * 63] * 4)[:253]

ACCEPTED: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (names.hostname, "Portainer.Example.TEST", "portainer.example.test"),
    (names.hostname, "example.test.", "example.test"),
    (names.hostname, "localhost", "localhost"),
    (names.hostname, "a", "a"),
    (names.hostname, "xn--bcher-kva.example", "xn--bcher-kva.example"),
    (names.hostname, "1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"),
    (names.hostname, f"{'a' * 63}.test", f"{'a' * 63}.test"),
    (names.hostname, LONG_NAME, LONG_NAME),
    (names.router_part, "granite-3.3-8b_fp8", "granite-3.3-8b_fp8"),
    (names.router_part, "a" * 128, "a" * 128),
    (names.port, 1, 1),
    (names.port, 65535, 65535),
    (names.port, "443", 443),
    (names.port, "00443", 443),
    (names.address, "10.0.0.12/24", "10.0.0.12"),
    (names.address, "10.0.0.12", "10.0.0.12"),
    (names.address, "FD00::12/64", "fd00::12"),
    (names.guest_address, "10.0.0.12/24", "10.0.0.12"),
    (names.guest_address, "127.10.0.12/24", "127.10.0.12"),
    (names.guest_address, "fd00::12", "fd00::12"),
    (names.server_name, "Portainer.local", "portainer.local"),
    (names.server_name, "10.0.0.101", "10.0.0.101"),
    (names.server_name, "FD00::1", "fd00::1"),
    (names.absolute_path, "/etc/traefik", "/etc/traefik"),
    (names.absolute_path, "/etc/traefik/", "/etc/traefik"),
    (names.absolute_path, "/", "/"),
    (names.absolute_path, "/opt/my traefik/v3.7+1@a_b-c", "/opt/my traefik/v3.7+1@a_b-c"),
    (names.absolute_path, "/a..b/c", "/a..b/c"),
    (names.account, "traefik", "traefik"),
    (names.account, "_traefik-2", "_traefik-2"),
    (names.url_host, "10.0.0.1", "10.0.0.1"),
    (names.url_host, "fd00::1", "[fd00::1]"),
    (names.no_template, "Host(`a`) { } }", "Host(`a`) { } }"),
]

LABEL_LIMIT = (
    "must be a host name whose labels hold only letters a to z, digits and inner hyphens, 63 characters at most"
)
LENGTH_LIMIT = "must be a host name of 1 to 253 characters"
ROUTER_LIMIT = (
    "must begin and end with a letter or digit and hold only letters, digits, dots, hyphens and underscores, "
    "128 characters at most"
)
PORT_LIMIT = "must be a port from 1 to 65535"
ADDRESS_LIMIT = 'must be a static IP address such as "10.0.0.12/24"'
MACHINE_LIMIT = 'must be the address of one machine, such as "10.0.0.12/24"'
PATH_LIMIT = "must be an absolute path of letters, digits, blanks and ._+@- without '..', such as /etc/traefik"
ACCOUNT_LIMIT = "must be a user or group name: a lower-case letter or _, then letters, digits, _ and -"
TEMPLATE_LIMIT = "must not hold '{{' or '}}': Traefik runs its dynamic file as a Go template"

WRONG_PORTS = (0, 65536, -1, "", "0", "65536", "-1", "+1", "1.0", 1.0, True, None, "8_0", "٨٠", " 80", "9" * 5000)
WRONG_ADDRESSES = ("", "dhcp", "10.0.0.256", "10.0.0.1/33", "10.0.0.1.2", "010.0.0.1", "a.test", "10.0.0.1\n", "[::1]")
WRONG_PATHS = ("", "etc", "./etc", "/etc/../x", "/..", "/a\n", "/a'b", '/a"b', "/a$b", "/a`b", "/a;b", "/a%n", "/ä")

REFUSED: list[tuple[Callable[[Any], Any], Any, str]] = [
    (names.hostname, "", LENGTH_LIMIT),
    (names.hostname, ".", LENGTH_LIMIT),
    (names.hostname, "a" * 254, LENGTH_LIMIT),
    (names.hostname, "..", f"{LABEL_LIMIT} (the label '' is not)"),
    (names.hostname, "a..b", f"{LABEL_LIMIT} (the label '' is not)"),
    (names.hostname, ".a", f"{LABEL_LIMIT} (the label '' is not)"),
    (names.hostname, f"{'a' * 64}.test", f"{LABEL_LIMIT} (the label '{'a' * 64}' is not)"),
    (names.hostname, "a_b.test", f"{LABEL_LIMIT} (the label 'a_b' is not)"),
    (names.hostname, "-a.test", f"{LABEL_LIMIT} (the label '-a' is not)"),
    (names.hostname, "a-.test", f"{LABEL_LIMIT} (the label 'a-' is not)"),
    (names.hostname, "*.test", f"{LABEL_LIMIT} (the label '*' is not)"),
    (names.hostname, "bücher.test", f"{LABEL_LIMIT} (the label 'bücher' is not)"),
    (names.hostname, "\u212aelvin.test", f"{LABEL_LIMIT} (the label '\u212aelvin' is not)"),
    (names.hostname, "a.test\n", f"{LABEL_LIMIT} (the label 'test\\n' is not)"),
    (names.hostname, "a`) || Host(`b", f"{LABEL_LIMIT} (the label 'a`) || host(`b' is not)"),
    (names.hostname, "a.test:443", f"{LABEL_LIMIT} (the label 'test:443' is not)"),
    (names.hostname, "٣.test", f"{LABEL_LIMIT} (the label '٣' is not)"),
    (names.hostname, "10.0.0.1", "must be a host name, not an address: its last label must hold a letter"),
    (names.hostname, "a.1", "must be a host name, not an address: its last label must hold a letter"),
    *(
        (names.router_part, value, ROUTER_LIMIT)
        for value in ("", "a@file", "-a", "a.", "a b", "a`b", "a\n", "ä", "a/b", "a" * 129, "a{{b", "a$b", "a;b")
    ),
    *(
        (names.port, value, PORT_LIMIT)
        for value in (
            0,
            65536,
            -1,
            "",
            "0",
            "65536",
            "-1",
            "+1",
            "1.0",
            1.0,
            True,
            None,
            "8_0",
            "٨٠",
            " 80",
            "9" * 5000,
        )
    ),
    *(
        (names.address, value, ADDRESS_LIMIT)
        for value in (
            "",
            "dhcp",
            "10.0.0.256",
            "10.0.0.1/33",
            "10.0.0.1.2",
            "010.0.0.1",
            "a.test",
            "10.0.0.1\n",
            "[::1]",
        )
    ),
    *(
        (names.guest_address, value, MACHINE_LIMIT)
        for value in ("0.0.0.0/0", "224.0.0.1", "::", "ff02::1", "fe80::1", "fe80::1%eth0")
    ),
    (names.guest_address, "dhcp", ADDRESS_LIMIT),
    (names.server_name, "10.0.0.256", "must be a host name, not an address: its last label must hold a letter"),
    (names.server_name, "a b", f"{LABEL_LIMIT} (the label 'a b' is not)"),
    *(
        (names.absolute_path, value, PATH_LIMIT)
        for value in (
            "",
            "etc",
            "./etc",
            "/etc/../x",
            "/..",
            "/a\n",
            "/a'b",
            '/a"b',
            "/a$b",
            "/a`b",
            "/a;b",
            "/a%n",
            "/ä",
        )
    ),
    *(
        (names.account, value, ACCOUNT_LIMIT)
        for value in ("", "Root", "1a", "-a", "a b", "a:b", "a\n", "a" * 33, "ä", "$x")
    ),
    (names.no_template, "a{{b", TEMPLATE_LIMIT),
    (names.no_template, "}}", TEMPLATE_LIMIT),
    (names.no_template, "a\nb", "must not hold control characters"),
    (names.no_template, "\x7f", "must not hold control characters"),
]


def _case(value: object) -> str:
    return getattr(value, "__name__", None) or ascii(value)[:30]


@pytest.mark.parametrize(("check", "value", "canonical"), ACCEPTED, ids=_case)
def test_a_right_name_comes_back_in_its_canonical_form(check: Callable[[Any], Any], value: Any, canonical: Any) -> None:
    assert check(value) == canonical
    if check not in (names.port, names.url_host):
        assert check(canonical) == canonical


@pytest.mark.parametrize(("check", "value", "limit"), REFUSED, ids=_case)
def test_a_wrong_name_is_refused_with_its_limit(check: Callable[[Any], Any], value: Any, limit: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        check(value)
    assert str(caught.value) == limit


SHOWN: list[tuple[str, int, str]] = [
    ("plain ü 漢", 200, "plain ü 漢"),
    ("a\nb\tc\0", 200, "a\\nb\\tc\\x00"),
    ("\x1b[31mred", 200, "\\x1b[31mred"),
    ("\u202eright-to-left", 200, "\\u202eright-to-left"),
    ("\ud800", 200, "\\ud800"),
    ("\u2028", 200, "\\u2028"),
    ("a" * 200, 200, "a" * 200),
    ("a" * 201, 200, "a" * 197 + "..."),
    ("\n" * 60, 80, "\\n" * 38 + "\\..."),
]


@pytest.mark.parametrize(("text", "limit", "shown"), SHOWN, ids=_case)
def test_what_a_message_shows_stays_on_its_line(text: str, limit: int, shown: str) -> None:
    assert names.printable(text, limit) == shown
