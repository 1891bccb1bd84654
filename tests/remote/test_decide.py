"""Remote state + desired state → steps, or none, and the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.errors import InputError
from phoenix.remote.file_model import (
    Decision,
    DesiredFile,
    FileState,
    Step,
    check_account,
    check_mode,
    check_path,
    decide,
)

DESIRED = DesiredFile("/etc/x.yml", b"content\n", "0640", "traefik", "www-data")
SAME = FileState(
    "file", DESIRED.sha256, "0640", owner="traefik", group="www-data", uid=990, gid=33, size=len(DESIRED.content)
)
OTHER = "0" * 64
WRITE = (Step.STAGE, Step.KEEP, Step.RENAME)
OWNER = (Step.OWNER, Step.MODE)

CASES: list[tuple[str, dict[str, Any], FileState, str, tuple[Step, ...], str]] = [
    ("just so", {}, SAME, "nothing", (), "content, mode and owner are as wanted"),
    ("not there", {}, FileState("absent"), "create", (Step.STAGE, Step.RENAME), "the file does not exist"),
    ("content", {}, replace(SAME, sha256=OTHER), "replace", WRITE, "the content differs"),
    ("mode", {}, replace(SAME, mode="0644"), "attributes", (Step.MODE,), "mode is 0644, not 0640"),
    ("set-uid bit", {}, replace(SAME, mode="4640"), "attributes", (Step.MODE,), "mode is 4640, not 0640"),
    ("owner", {}, replace(SAME, owner="root", uid=0), "attributes", OWNER, "owner is root, not traefik"),
    ("group", {}, replace(SAME, group="root", gid=0), "attributes", OWNER, "group is root, not www-data"),
    (
        "all of it",
        {},
        replace(SAME, sha256=OTHER, mode="0777", owner="eve", group="eve"),
        "replace",
        WRITE,
        "the content differs; mode is 0777, not 0640; owner is eve, not traefik; group is eve, not www-data",
    ),
    ("owner by number", {"owner": "990", "group": "33"}, SAME, "nothing", (), "content, mode and owner are as wanted"),
    ("wrong number", {"owner": "991"}, SAME, "attributes", OWNER, "owner is traefik, not 991"),
    (
        "owner not managed",
        {"owner": None, "group": None},
        replace(SAME, owner="eve", group="eve"),
        "nothing",
        (),
        "content, mode and owner are as wanted",
    ),
    (
        "a user without a name",
        {},
        replace(SAME, owner="4711", uid=4711),
        "attributes",
        OWNER,
        "owner is 4711, not traefik",
    ),
    (
        "a link",
        {},
        FileState("link", detail="/etc/shadow"),
        "refuse",
        (),
        "it is a symbolic link to /etc/shadow: manage that file, or remove the link",
    ),
    (
        "a directory",
        {},
        FileState("directory"),
        "refuse",
        (),
        "it is a directory: choose another path, or move the directory away",
    ),
    (
        "a device",
        {},
        FileState("other"),
        "refuse",
        (),
        "it is neither a file nor a directory: choose another path, or remove it",
    ),
    (
        "below a file",
        {},
        FileState("blocked", detail="/etc"),
        "refuse",
        (),
        "/etc is not a directory: choose another path, or move it away",
    ),
    (
        "below a closed directory",
        {},
        FileState("denied", detail="/root"),
        "refuse",
        (),
        "the user of this connection may not search /root: log in as root, or set sudo: true",
    ),
    (
        "unreadable",
        {},
        FileState("unreadable"),
        "refuse",
        (),
        "the user of this connection may not read it: log in as root, or set sudo: true",
    ),
]


@pytest.mark.parametrize(
    ("changes", "observed", "action", "steps", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_cases(changes: dict[str, Any], observed: FileState, action: str, steps: tuple[Step, ...], reason: str) -> None:
    decision = decide(replace(DESIRED, **changes), observed)
    assert (decision.action, decision.steps, decision.reason) == (action, steps, reason)


QUICK = settings(deadline=None, database=None, max_examples=100)

names = st.text("abcxyz_", min_size=1, max_size=6)
accounts = st.one_of(st.none(), names, st.integers(0, 70000).map(str))
modes = st.integers(0, 0o7777).map(lambda mode: f"{mode:04o}")
contents = st.sampled_from([b"", b"a", b"b\n", bytes(range(256))])
desired_files = st.builds(
    DesiredFile, path=st.just("/etc/x"), content=contents, mode=modes, owner=accounts, group=accounts
)
kinds = st.sampled_from(["file", "absent", "link", "directory", "other", "blocked", "denied", "unreadable"])


@st.composite
def states(draw: st.DrawFn) -> FileState:
    kind = draw(kinds)
    if kind != "file":
        return FileState(kind)
    content = draw(contents)
    sha256 = DesiredFile("/x", content).sha256
    uid, gid = draw(st.integers(0, 70000)), draw(st.integers(0, 70000))
    return FileState("file", sha256, draw(modes), draw(names), draw(names), uid, gid, len(content))


def carry_out(desired: DesiredFile, before: FileState, decision: Decision) -> FileState:
    """What a target looks like after the steps; deliberately naive."""
    after = before
    for step in decision.steps:
        if step is Step.RENAME:
            after = replace(
                after,
                kind="file",
                sha256=desired.sha256,
                mode=desired.mode,
                owner=desired.owner or before.owner or "root",
                group=desired.group or before.group or "root",
                size=len(desired.content),
            )
        elif step is Step.OWNER:
            # chown clears the set-uid and set-gid bits
            after = replace(after, mode=f"0{after.mode[1:]}", owner=desired.owner or after.owner)
            after = replace(after, group=desired.group or after.group)
        elif step is Step.MODE:
            after = replace(after, mode=desired.mode)
    return after


@QUICK
@given(desired_files, states())
def test_the_steps_lead_to_what_is_wanted(desired: DesiredFile, observed: FileState) -> None:
    decision = decide(desired, observed)
    assert decision.reasons
    assert all(reason.strip() and "\n" not in reason for reason in decision.reasons)
    if decision.action == "refuse":
        assert not decision.steps
        assert observed.kind not in ("file", "absent")
        return
    after = carry_out(desired, observed, decision)
    assert decide(desired, after).action == "nothing"
    assert bool(decision.steps) == (decision.action != "nothing")


@QUICK
@given(desired_files, states())
def test_content_travels_only_when_it_differs(desired: DesiredFile, observed: FileState) -> None:
    decision = decide(desired, observed)
    if observed.exists and observed.sha256 == desired.sha256:
        assert Step.STAGE not in decision.steps
    if observed.exists and Step.RENAME in decision.steps:
        assert decision.steps.index(Step.KEEP) < decision.steps.index(Step.RENAME)


def refusal(check: Callable[[Any], object], value: object) -> str | None:
    """The one sentence that refuses a value, or None."""
    try:
        check(value)
    except InputError as error:
        (sentence,) = error.mistakes
        return sentence
    return None


@QUICK
@given(st.text(max_size=40))
def test_any_text_is_a_safe_path_or_refused(text: str) -> None:
    for candidate in (text, f"/{text}"):
        sentence = refusal(check_path, candidate)
        if sentence is not None:
            assert "\n" not in sentence
            continue
        assert candidate.startswith("/")
        assert not set("\n\0\x1b") & set(candidate)
        assert not {"", ".", ".."} & set(candidate.split("/")[1:])


@QUICK
@given(st.one_of(st.text(max_size=12), st.integers(), st.none(), st.booleans()))
def test_any_value_is_a_safe_mode_and_account_or_refused(value: object) -> None:
    for check in (check_mode, lambda account: check_account(account, "owner")):
        sentence = refusal(check, value)
        if sentence is not None:
            assert "\n" not in sentence
        elif value is not None:
            assert isinstance(value, str)
            assert all(char.isalnum() or char in "_.-$" for char in value)
            assert not value.startswith("-")


def test_contents_never_show() -> None:
    secret = b"TOP-SECRET"
    assert "TOP" not in repr(DesiredFile("/x", secret))
    assert "TOP" not in repr(FileState("file", content=secret))
