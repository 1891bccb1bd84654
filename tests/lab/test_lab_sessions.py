"""What a session in the lab's hosts can do: the same over OpenSSH's server and asyncssh's."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from pathlib import Path

import asyncssh
import pytest

from lab.local import Lab
from lab.testing import Session, wait_for


def test_exit_codes_output_and_input(lab: Lab) -> None:
    done = Session(lab).run("cat; echo err >&2; exit 7", b"in \x00\xff put"[:4])
    assert (done.code, done.out, done.err) == (7, "in \x00", "err\n")
    assert Session(lab).run("true").code == 0
    assert Session(lab).run("no-such-command").code == 127


def test_the_hosts_are_two(lab: Lab) -> None:
    assert Session(lab, "traefik").run("pwd").out == f"{lab.layout.traefik}/root\n"
    assert Session(lab, "portainer").run("pwd; echo $HOME").out == f"{lab.layout.portainer}/root\n" * 2
    assert lab.settings["traefik"]["connection"]["hostKey"] != lab.settings["portainer"]["connection"]["hostKey"]


def test_path_begins_with_the_labs_commands(lab: Lab) -> None:
    done = Session(lab).run(
        "echo $PATH; for x in systemctl journalctl traefik; do command -v $x; done; systemctl is-active nothing"
    )
    assert done.out.splitlines() == [
        done.out.splitlines()[0],
        *(f"{lab.layout.traefik}/{name}" for name in ("bin/systemctl", "bin/journalctl", "usr/local/bin/traefik")),
        "inactive",
    ]
    assert done.out.startswith(f"{lab.layout.traefik}/bin:")
    assert done.code == 4


def test_nothing_of_our_environment_gets_in(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Session(lab).run("env").out
    assert "PYTHONPATH" not in seen
    assert "PULUMI" not in seen
    monkeypatch.setenv("LAB_TEST_SECRET", "x")
    _, environment = lab.command("traefik", ["env"])
    assert "LAB_TEST_SECRET" not in environment


def test_binary_input_and_large_output(lab: Lab) -> None:
    blob = os.urandom(3_000_000)
    done = Session(lab).run("sha256sum; head -c 4000000 /dev/zero | tr '\\0' x", blob)
    digest, _, rest = done.out.partition("  -\n")
    assert digest == hashlib.sha256(blob).hexdigest()
    assert rest == "x" * 4_000_000


def test_an_end_by_signal_is_told(lab: Lab) -> None:
    async def ended() -> str:
        async with Session(lab).connect() as connection:
            done = await connection.run("kill -KILL $$")
            return f"{done.exit_signal and done.exit_signal[0]} {done.exit_status}"

    assert asyncio.run(ended()) in {"KILL -1", "None 137"}


def test_a_hang_up_ends_the_command(lab: Lab, tmp_path: Path) -> None:
    mark = tmp_path / "pid"

    async def hang_up() -> None:
        async with Session(lab).connect() as connection:
            await connection.create_process(f"echo $$ >{mark}; exec sleep 600")
            while not (mark.exists() and mark.read_text().strip()):
                await asyncio.sleep(0.01)

    asyncio.run(hang_up())
    pid = int(mark.read_text())
    # sshd lets a command without a terminal run on until it writes; the lab's end takes it along.
    if lab.record()["ssh"] == "asyncssh":
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the command's end")
    else:
        os.kill(pid, 15)


def test_many_commands_over_one_connection(lab: Lab) -> None:
    async def many() -> list[str]:
        async with Session(lab).connect() as connection:
            done = await asyncio.gather(*(connection.run(f"echo {number}") for number in range(12)))
            return [str(each.stdout).strip() for each in done]

    assert asyncio.run(many()) == [str(number) for number in range(12)]


def test_sftp(lab: Lab, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    absolute = lab.layout.traefik / "var/lib/traefik/put"

    async def transfer() -> str:
        async with Session(lab).connect() as connection, connection.start_sftp_client() as sftp:
            await sftp.put(str(source), "relative")
            await sftp.put(str(source), str(absolute))
            await sftp.chmod(str(absolute), 0o600)
            await sftp.posix_rename("relative", "renamed")
            await sftp.get("renamed", str(tmp_path / "back"))
            return str(await sftp.realpath("."))

    assert asyncio.run(transfer()) == f"{lab.layout.traefik}/root"
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert (lab.layout.traefik / "root/renamed").read_bytes() == source.read_bytes()
    assert stat.S_IMODE(absolute.stat().st_mode) == 0o600


def test_a_forwarded_connection(lab: Lab) -> None:
    backend = next(each for each in lab.record()["backends"] if each["scheme"] == "http")

    async def through() -> bytes:
        async with Session(lab).connect() as connection:
            reader, writer = await connection.open_connection(backend["address"], backend["port"])
            writer.write(b"GET / HTTP/1.1\r\nHost: jump\r\nConnection: close\r\n\r\n")
            answer: bytes = await reader.read()
            return answer

    assert f'"service": "{backend["name"]}"'.encode() in asyncio.run(through())


@pytest.mark.parametrize("options", [{"username": "somebody-else"}, {"client_keys": "foreign"}, {"client_keys": None}])
def test_who_is_not_let_in(lab: Lab, options: dict[str, object]) -> None:
    if options.get("client_keys") == "foreign":
        options = {"client_keys": [asyncssh.generate_private_key("ssh-ed25519")]}
    if options == {"client_keys": None}:
        options = {"client_keys": [], "password": "x"}

    async def attempt() -> None:
        async with Session(lab).connect(**options):
            pass

    with pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(attempt())


def test_the_host_key_is_the_one_in_the_settings(lab: Lab) -> None:
    other = lab.settings["portainer"]["connection"]["hostKey"]
    target = lab.settings["traefik"]["connection"]
    known = asyncssh.import_known_hosts(f"[{target['host']}]:{target['port']} {other}\n")

    async def attempt() -> None:
        async with Session(lab).connect(known_hosts=known):
            pass

    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        asyncio.run(attempt())


def test_exec_without_ssh(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    assert lab.exec("traefik", ["sh", "-c", 'echo "$1"; command -v systemctl; exit 5', "sh", "a  b"]) == 5
    assert capfd.readouterr().out == f"a  b\n{lab.layout.traefik}/bin/systemctl\n"
    assert lab.exec("portainer", ["sh", "-c", "kill -9 $$"]) == 137


def test_systemctl_over_ssh(lab: Lab) -> None:
    session = Session(lab)
    unit = "[Service]\\nExecStart=/bin/sleep 600\\nRestart=always\\n[Install]\\nWantedBy=multi-user.target\\n"
    directory = lab.settings["traefik"]["unitDirectory"]
    assert session.run(f"printf '{unit}' >'{directory}/nap.service' && systemctl daemon-reload").code == 0
    assert session.run("systemctl enable --now nap && systemctl is-active nap").out == "active\n"
    pid = session.run("systemctl show -P MainPID nap").out.strip()
    assert session.run(f"kill -9 {pid}").code == 0
    wait_for(lambda: session.run("systemctl show -P NRestarts nap").out == "1\n", "the restart")
    assert "nap.service" in [each["unit"] for each in lab.status()["services"]]
    assert session.run(f"systemctl disable --now nap; rm '{directory}/nap.service'; systemctl daemon-reload").code == 0
