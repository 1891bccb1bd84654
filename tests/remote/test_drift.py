"""Drift in words, and secrets that stay out of them."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from phoenix.remote.drift import LINE_LIMIT, explain_drift
from phoenix.remote.file_model import DesiredFile, FileState
from phoenix.remote.masking import MASK, Secret, mask, printable

DEPLOYED = DesiredFile("/etc/x.yml", b"a: 1\nb: 2\nc: 3\n", "0640", "traefik")


def found(content: bytes | None = DEPLOYED.content, mode: str = "0640", owner: str = "traefik") -> FileState:
    sha256 = hashlib.sha256(content or b"?").hexdigest()
    return FileState("file", sha256, mode, owner, "root", 990, 0, len(content or b"?"), content)


CASES = [
    ("nothing", found(), []),
    ("removed", FileState("absent"), ["/etc/x.yml was removed by hand"]),
    ("mode", found(mode="0666"), ["/etc/x.yml was changed by hand: mode is 0666, not 0640"]),
    ("owner", found(owner="eve"), ["/etc/x.yml was changed by hand: owner is eve, not traefik"]),
    (
        "link",
        FileState("link", detail="/tmp/evil"),
        ["/etc/x.yml was replaced by hand: it is a symbolic link to /tmp/evil: manage that file, or remove the link"],
    ),
    (
        "a line and the mode",
        found(b"a: 1\nb: 9\nc: 3\n", mode="0600"),
        [
            "/etc/x.yml was changed by hand: +1 -1 lines, mode is 0600, not 0640",
            "--- /etc/x.yml (deployed)",
            "+++ /etc/x.yml (found)",
            "@@ -1,3 +1,3 @@",
            " a: 1",
            "-b: 2",
            "+b: 9",
            " c: 3",
        ],
    ),
    (
        "emptied",
        found(b""),
        [
            "/etc/x.yml was changed by hand: +0 -3 lines",
            "--- /etc/x.yml (deployed)",
            "+++ /etc/x.yml (found)",
            "@@ -1,3 +0,0 @@",
            "-a: 1",
            "-b: 2",
            "-c: 3",
        ],
    ),
    ("line ends", found(b"a: 1\r\nb: 2\r\nc: 3\r\n"), ["/etc/x.yml was changed by hand: line ends differ"]),
    (
        "binary",
        found(b"\0\xff"),
        ["/etc/x.yml was changed by hand: the content differs (15 bytes deployed, 2 found)"],
    ),
    (
        "too large to bring over",
        FileState("file", "0" * 64, "0640", "traefik", "root", 990, 0, 5_000_000),
        ["/etc/x.yml was changed by hand: the content differs (15 bytes deployed, 5000000 found)"],
    ),
]


@pytest.mark.parametrize(("observed", "lines"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_explanations(observed: FileState, lines: list[str]) -> None:
    assert explain_drift(DEPLOYED, observed) == lines


def test_secret_content_shows_numbers_only() -> None:
    lines = explain_drift(DEPLOYED, found(b"a: 1\nhunter2\n"), secret=True)
    assert lines == ["/etc/x.yml was changed by hand: +1 -2 lines [secret]"]


def test_secrets_within_are_masked() -> None:
    deployed = DesiredFile("/x", b"one\nkey0 s3cr3t-value end\n")
    changed = FileState("file", "0" * 64, "0644", content=b"two\nkey0 s3cr3t-value end\npassword: typed-by-hand\n")
    text = "\n".join(explain_drift(deployed, changed, secrets=["s3cr3t-value"]))
    assert "+two" in text
    assert "s3cr3t" not in text
    assert "typed-by-hand" not in text
    assert f"key0 {MASK} end" in text
    assert f"+password: {MASK}" in text


def test_a_change_within_a_secret_shows_as_one() -> None:
    deployed = DesiredFile("/x", b"password: one\n")
    changed = FileState("file", "0" * 64, "0644", content=b"password: two\n")
    assert explain_drift(deployed, changed) == ["/x was changed by hand: a secret within the content differs [secret]"]


def test_hostile_content_cannot_drive_a_terminal() -> None:
    lines = explain_drift(DEPLOYED, found(b"a: 1\n\x1b[2J\x1b]0;owned\x07\nb: 2\nc: 3\n\xc2\x9b31m\n"))
    assert all(printable(line) == line for line in lines)
    assert "+\\x1b[2J\\x1b]0;owned\\x07" in lines


def test_long_diffs_are_cut() -> None:
    lines = explain_drift(DEPLOYED, found(b"x\n" * 5000))
    assert len(lines) == LINE_LIMIT + 2
    assert lines[-1].endswith("more lines of this diff")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password: hunter22", "password: [secret]"),
        ("  adminPassword: 'hunter22'", "  adminPassword: [secret]"),
        ('"api_key": "abcdefgh",', '"api_key": [secret]'),
        ("DB_PASSWORD=hunter22", "DB_PASSWORD=[secret]"),
        ("by hand password: hunter22", "by hand password: [secret]"),
        ("- admin:$apr1$abcdefgh$0123456789abcdefghijkl", "- admin:[secret]"),
        ("- admin:$2y$05$abcdefghijklmnopqrstuv", "- admin:[secret]"),
        ("- admin:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "- admin:[secret]"),
        ("https://user:hunter22@host/x", "https://user:[secret]@host/x"),
        ("tokenUrl: https://x", "tokenUrl: https://x"),
        ("certResolver: internal-resolver", "certResolver: internal-resolver"),
        ("a\n-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nb", "a\n[secret]\nb"),
        ("a\n-----BEGIN OPENSSH PRIVATE KEY-----\ncut off", "a\n[secret]"),
        ("password:\n  next: line", "password:\n  next: line"),
    ],
)
def test_what_looks_like_a_secret(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_known_values_in_every_line() -> None:
    assert mask("x first-line y\nsecond-line", ["first-line\nsecond-line", Secret("x fi")]) == "x [secret] y\n[secret]"
    assert mask("a b c", ["b"]) == "a b c"


def test_a_secret_masks_itself() -> None:
    secret = Secret("hunter22")
    assert {str(secret), repr(secret), f"{secret}", f"{[secret]}"} == {MASK, f"[{MASK}]"}
    assert f"{secret:>10}".strip() == MASK
    assert secret.reveal() == "hunter22"
    assert secret == Secret("hunter22")
    assert secret != Secret("other")
    assert len({secret, Secret("hunter22")}) == 1
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
