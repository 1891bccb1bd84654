"""What every transport must do, over every transport."""

from __future__ import annotations

import os

import pytest

from phoenix.errors import CommandError
from phoenix.remote import Transport

EVERY_BYTE = bytes(range(256)) * 7 + b"\r\n\n"


def test_output_and_exit_code(transport: Transport) -> None:
    done = transport.run("echo out; echo err >&2; exit 7", check=False)
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


@pytest.mark.parametrize("size", [0, 1, 70_000, 10_000_000])
def test_binary_input_and_output(transport: Transport, size: int) -> None:
    data = (EVERY_BYTE * (size // len(EVERY_BYTE) + 1))[:size]
    assert transport.run("cat", stdin=data).stdout == data


def test_binary_errors(transport: Transport) -> None:
    assert transport.run("cat >&2", stdin=EVERY_BYTE).stderr == EVERY_BYTE


def test_input_that_nobody_reads(transport: Transport) -> None:
    assert transport.run("echo done", stdin=b"x" * 3_000_000).stdout == b"done\n"


def test_no_input_is_an_end_of_file(transport: Transport) -> None:
    assert transport.run("cat; echo end").stdout == b"end\n"


def test_script_with_every_awkward_character(transport: Transport) -> None:
    text = "a'b\"c`d$e\\f*g\nh!i#j;k&l|m<n>o(p)q{r}s[t]u?v~w%x é ü \t end"
    quoted = "'" + text.replace("'", "'\"'\"'") + "'"
    assert transport.run(f"printf %s {quoted}").stdout == text.encode()


def test_signal_is_128_and_its_number(transport: Transport) -> None:
    assert transport.run("kill -TERM $$", check=False).exit_code == 143


def test_failure_names_the_complaint_and_not_the_script(transport: Transport) -> None:
    with pytest.raises(CommandError) as caught:
        transport.run("echo 'no such thing' >&2; : TOP-SECRET-SCRIPT; exit 3", stdin=b"TOP-SECRET-INPUT")
    message = str(caught.value)
    assert "exit code 3: no such thing" in message
    assert transport.description in message
    assert "TOP-SECRET" not in message


def test_time_limit(transport: Transport, tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(CommandError, match="ended after 1 s, its time limit") as caught:
        transport.run("echo started >&2; sleep 60; echo never", timeout=1)
    assert "started" in str(caught.value)
    assert transport.run("echo alive").stdout == b"alive\n"


def test_path_holds_the_system_directories(transport: Transport) -> None:
    assert b"/usr/sbin" in transport.run('printf %s "$PATH"').stdout
