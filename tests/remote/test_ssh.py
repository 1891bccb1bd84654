"""What is special to SSH: trust, keys, agents, jump hosts, lost connections."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import pytest
from remote_servers import AsyncsshServer, Keys, free_port

from phoenix.errors import CommandError, UnreachableError
from phoenix.remote import Connection, close_all, open_transport


def connect(data: dict, **changes: object) -> bytes:
    merged = {key: value for key, value in {**data, **changes}.items() if value is not None}
    return open_transport(Connection.parse(merged)).run("echo ok").stdout


def refusal(data: dict, **changes: object) -> str:
    with pytest.raises(UnreachableError) as caught:
        connect(data, **changes)
    message = str(caught.value)
    assert "\n" not in message
    assert "PRIVATE KEY" not in message
    return message


# Trust in the server


def known_hosts_line(server: AsyncsshServer, keys: Keys, *, hashed: bool) -> str:
    name = f"[127.0.0.1]:{server.port}"
    if hashed:
        salt = os.urandom(20)
        digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
        name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    return f"{name} {keys.host_line}\n"


@pytest.mark.parametrize("hashed", [False, True])
def test_known_hosts(ssh_data: dict, server: AsyncsshServer, keys: Keys, tmp_path: Path, hashed: bool) -> None:
    file = tmp_path / "known_hosts"
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    file.write_text(f"# a comment\nelsewhere.example.test {other}" + known_hosts_line(server, keys, hashed=hashed))
    assert connect(ssh_data, hostKey=None, knownHostsFile=str(file)) == b"ok\n"


def test_a_server_that_known_hosts_lacks(ssh_data: dict, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("")
    message = refusal(ssh_data, hostKey=None, knownHostsFile=str(file))
    assert "host key is not the one in knownHostsFile" in message
    assert "ssh-keyscan -p" in message


def test_a_known_hosts_file_that_is_missing(ssh_data: dict, tmp_path: Path) -> None:
    assert "does not exist or cannot be read" in refusal(ssh_data, hostKey=None, knownHostsFile=str(tmp_path / "none"))


def test_another_servers_key(ssh_data: dict) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    message = refusal(ssh_data, hostKey=other)
    assert "host key is not the one in hostKey" in message
    assert "if not, something else answers there" in message


def test_another_kind_of_key(ssh_data: dict) -> None:
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    message = refusal(ssh_data, hostKey=other)
    assert "no host key of the kind that hostKey holds" in message


# Keys


def test_a_key_from_the_configuration(ssh_data: dict, keys: Keys) -> None:
    text = keys.client_file.read_text()
    assert connect(ssh_data, privateKeyFile=None, privateKey=text) == b"ok\n"
    assert connect(ssh_data, privateKeyFile=None, privateKey=text.strip()) == b"ok\n"


def test_a_key_that_is_not_let_in(ssh_data: dict) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    message = refusal(ssh_data, privateKeyFile=None, privateKey=other)
    assert "does not let" in message
    assert "authorized_keys" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"", "give a private key in OpenSSH or PEM form"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n", "give a private key"),
        (b"\xff\x00binary", "give a private key"),
        ("encrypted", "put it into an SSH agent"),
        ("encrypted by OpenSSH", "put it into an SSH agent"),
        ("public", "give a private key"),
    ],
)
def test_key_files_that_are_none(ssh_data: dict, keys: Keys, tmp_path: Path, content: object, says: str) -> None:
    file = tmp_path / "key"
    if content == "encrypted":
        content = keys.client.export_private_key("pkcs8-pem", passphrase="x" * 12)
    elif content == "encrypted by OpenSSH":
        if shutil.which("ssh-keygen") is None:
            pytest.skip("OpenSSH's ssh-keygen is not installed")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "x" * 12, "-f", str(file)], check=True)
    elif content == "public":
        content = keys.client.export_public_key()
    if isinstance(content, bytes):
        file.write_bytes(content)
    message = refusal(ssh_data, privateKeyFile=str(file))
    assert says in message
    assert f"privateKeyFile {file}" in message


def test_no_key_at_all(ssh_data: dict) -> None:
    assert "set privateKeyFile, privateKey or agent" in refusal(ssh_data, privateKeyFile=None)


@pytest.fixture
def agent(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if shutil.which("ssh-agent") is None:
        pytest.skip("OpenSSH's ssh-agent is not installed")
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    subprocess.run(["ssh-add", "-q", str(keys.client_file)], check=True, stderr=subprocess.DEVNULL)
    yield path
    process.terminate()
    process.wait(10)


@pytest.mark.usefixtures("agent")
def test_an_agent(ssh_data: dict) -> None:
    assert connect(ssh_data, privateKeyFile=None, agent=True) == b"ok\n"


@pytest.mark.usefixtures("agent")
def test_an_agent_helps_after_a_wrong_key(ssh_data: dict) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    assert connect(ssh_data, privateKeyFile=None, privateKey=other, agent=True) == b"ok\n"


@pytest.mark.usefixtures("agent")
def test_an_agent_that_was_not_asked_for(ssh_data: dict) -> None:
    assert "set privateKeyFile" in refusal(ssh_data, privateKeyFile=None)


@pytest.mark.parametrize("value", ["", "/nowhere/agent"])
def test_a_dead_agent(ssh_data: dict, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", value)
    assert connect(ssh_data, agent=True) == b"ok\n"
    message = refusal(ssh_data, privateKeyFile=None, agent=True)
    assert ("does not answer" if value else "is not set") in message


# Reaching the server


def test_nothing_listens(ssh_data: dict) -> None:
    message = refusal(ssh_data, port=free_port())
    assert "connection refused" in message
    assert "start sshd or correct port" in message


def test_a_port_that_stays_silent(ssh_data: dict) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        message = refusal(ssh_data, port=silent.getsockname()[1], connectTimeout=0.5)
        assert "no answer within 0.5 s" in message
        assert time.monotonic() - began < 10


def test_a_port_that_is_no_ssh(ssh_data: dict) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def answer() -> None:
            connection, _ = other.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 50)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        message = refusal(ssh_data, port=other.getsockname()[1], connectTimeout=5)
        thread.join()
    assert "ssh" in message


def test_a_name_that_does_not_resolve(ssh_data: dict) -> None:
    message = refusal(ssh_data, host="no-such-host.invalid")
    assert "no-such-host.invalid" in message


def test_a_login_shell_that_talks(keys: Keys, environment: dict, ssh_data: dict) -> None:
    noisy = AsyncsshServer(keys, environment, noise="echo Welcome; echo 'setlocale: warning' >&2")
    try:
        transport = open_transport(Connection.parse({**ssh_data, "port": noisy.port}))
        done = transport.run("echo out; echo err >&2; exit 4", check=False)
        assert (done.exit_code, done.stdout, done.stderr) == (4, b"out\n", b"err\n")
        with pytest.raises(CommandError, match="exit code 5: mine"):
            transport.run("echo mine >&2; exit 5")
    finally:
        close_all()
        noisy.close()


def test_a_login_shell_that_refuses(keys: Keys, environment: dict, ssh_data: dict) -> None:
    closed = AsyncsshServer(keys, environment, noise="echo 'This account is not available'; exit 1")
    try:
        message = refusal(ssh_data, port=closed.port)
        assert "gives no shell (This account is not available)" in message
    finally:
        close_all()
        closed.close()


# One connection


def test_one_connection_for_all(server: AsyncsshServer, ssh_data: dict) -> None:
    before = server.logins
    with ThreadPoolExecutor(24) as threads:
        results = list(threads.map(lambda number: connect_and_echo(ssh_data, number), range(48)))
    assert results == [f"{number}\n".encode() for number in range(48)]
    assert server.logins == before + 1


def connect_and_echo(data: dict, number: int) -> bytes:
    with open_transport(Connection.parse(data)) as transport:
        return transport.run(f"echo {number}").stdout


def test_openssh_takes_many_commands_at_once(make_connection) -> None:
    connection = make_connection("ssh-openssh")
    with ThreadPoolExecutor(20) as threads:
        results = list(threads.map(lambda n: open_transport(connection).run(f"sleep 0.1; echo {n}").stdout, range(40)))
    assert results == [f"{number}\n".encode() for number in range(40)]


@pytest.fixture
def _every_worker_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if some time had gone by since its last command."""
    monkeypatch.setattr("phoenix.remote.worker.IDLE_SECONDS", -1.0)


@pytest.mark.usefixtures("_every_worker_is_asked")
def test_a_connection_that_died_is_made_anew(server: AsyncsshServer, ssh_data: dict) -> None:
    transport = open_transport(Connection.parse(ssh_data))
    assert transport.run("echo 1").stdout == b"1\n"
    before = server.logins
    server.drop()
    assert transport.run("echo 2").stdout == b"2\n"
    assert server.logins == before + 1


def test_a_connection_that_dies_this_very_moment(server: AsyncsshServer, ssh_data: dict, tmp_path: Path) -> None:
    """Whether the command ran cannot be known then; it must not run twice."""
    transport = open_transport(Connection.parse(ssh_data))
    log = tmp_path / "log"
    for number in range(20):
        transport.run("true")
        server.drop()
        with contextlib.suppress(UnreachableError):
            transport.run(f"echo {number} >>{log}")
    lines = log.read_text().split() if log.exists() else []
    assert len(lines) == len(set(lines))


@pytest.mark.usefixtures("_every_worker_is_asked")
def test_a_server_that_was_restarted(server: AsyncsshServer, ssh_data: dict) -> None:
    transport = open_transport(Connection.parse(ssh_data))
    transport.run("true")
    server.stop_listening()
    try:
        with pytest.raises(UnreachableError, match="connection refused"):
            transport.run("true")
    finally:
        server.listen_again()
    assert transport.run("echo back").stdout == b"back\n"


def test_a_command_is_never_run_twice(server: AsyncsshServer, ssh_data: dict, tmp_path: Path) -> None:
    transport = open_transport(Connection.parse(ssh_data))
    log = tmp_path / "log"

    def cut() -> None:
        deadline = time.monotonic() + 10
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        server.drop()

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(UnreachableError, match=r"lost while a command ran .* not known how far it got: run again"):
        transport.run(f"echo ran >> {log}; sleep 30")
    thread.join()
    assert transport.run(f"cat {log}").stdout == b"ran\n"


@pytest.mark.parametrize("name", ["ssh", "pct", "pct-over-ssh"])
def test_a_worker_that_was_killed_is_replaced(make_connection, tmp_path: Path, name: str) -> None:
    transport = open_transport(make_connection(name))
    pid_file = tmp_path / "pid"
    killer = threading.Thread(target=kill_worker_above, args=(pid_file,))
    killer.start()
    with pytest.raises(UnreachableError, match="lost while a command ran"):
        transport.run(f"echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; sleep 2")
    killer.join()
    assert transport.run("echo ok").stdout == b"ok\n"


def kill_worker_above(pid_file: Path) -> None:
    """Kill the topmost shell above a script that runs the worker's loop."""
    deadline = time.monotonic() + 15
    while not pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    pid, worker = int(pid_file.read_text()), 0
    while pid > 1:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if command.startswith(b"sh\0-c\0PATH=") and b"phoenix-no" in command:
            worker = pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(worker, signal.SIGKILL)


def test_a_server_with_few_sessions(make_connection, keys: Keys, tmp_path: Path, environment: dict) -> None:
    from remote_servers import openssh_server, sshd_problem

    if sshd_problem() is not None:
        pytest.skip(str(sshd_problem()))
    with openssh_server(keys, tmp_path, environment, "MaxSessions 2") as port:
        connection = make_connection("ssh", port=port)
        with ThreadPoolExecutor(6) as threads:
            results = list(
                threads.map(lambda n: open_transport(connection).run(f"sleep 0.2; echo {n}").stdout, range(12))
            )
        close_all()
    assert results == [f"{number}\n".encode() for number in range(12)]


def test_a_target_without_an_exact_head(keys: Keys, ssh_data: dict, tmp_path: Path, environment: dict) -> None:
    """Without it there is a session per command, and everything works all the same."""
    head = tmp_path / "head"
    head.write_text("#!/bin/sh\nexec cat\n")
    head.chmod(0o755)
    greedy = AsyncsshServer(keys, {**environment, "PATH": f"{tmp_path}:{environment['PATH']}"})
    try:
        transport = open_transport(Connection.parse({**ssh_data, "port": greedy.port}))
        for _ in range(3):
            done = transport.run("cat; echo err >&2; exit 6", stdin=b"\0in", check=False)
            assert (done.exit_code, done.stdout, done.stderr) == (6, b"\0in", b"err\n")
        assert len(greedy.commands) == 4
    finally:
        close_all()
        greedy.close()


def test_scripts_do_not_get_in_each_others_way(transport) -> None:
    assert transport.run("head -c 3", stdin=b"abc" * 100_000).stdout == b"abc"
    assert transport.run("cd /tmp; export LEFT=over; umask 000; exec >/dev/null; echo lost").stdout == b""
    assert transport.run('echo "$LEFT"; pwd; umask').stdout.split() != [b"over"]
    assert transport.run("cat", stdin=b"last").stdout == b"last"
    late = transport.run("(sleep 0.3; echo late) & echo early", check=False)
    assert late.stdout == b"early\nlate\n"
    assert transport.run("echo clean").stdout == b"clean\n"


def test_closing_twice_and_using_again(ssh_data: dict) -> None:
    transport = open_transport(Connection.parse(ssh_data))
    transport.run("true")
    close_all()
    close_all()
    assert transport.run("echo again").stdout == b"again\n"


def test_the_time_limit_ends_the_command_there(server: AsyncsshServer, ssh_data: dict, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    transport = open_transport(Connection.parse(ssh_data))
    with pytest.raises(CommandError, match="time limit"):
        transport.run(f"echo $$ > {pid_file}; sleep 300", timeout=1)
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


def test_without_timeout_on_the_target_this_side_ends_it(
    keys: Keys, ssh_data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "sleep", "echo"):
        (tools / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setattr("phoenix.remote.guests.ANSWER_MARGIN", -4.5)  # KILL_GRACE is 5
    monkeypatch.setattr("phoenix.remote.wrapping.BOOTSTRAP", bootstrap_without_path())
    bare = AsyncsshServer(keys, {"PATH": str(tools)})
    try:
        transport = open_transport(Connection.parse({**ssh_data, "port": bare.port}))
        with pytest.raises(CommandError, match=r"time limit.*printed was: begun"):
            transport.run("echo begun >&2; sleep 300", timeout=1)
        assert transport.run("echo alive").stdout == b"alive\n"
    finally:
        close_all()
        bare.close()


def bootstrap_without_path() -> str:
    """The real bootstrap, without its first line that adds the system's directories."""
    from phoenix.remote.wrapping import BOOTSTRAP

    return BOOTSTRAP.split("\n", 1)[1]


def test_endless_output_is_ended(ssh_data: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix.remote.streams.OUTPUT_LIMIT", 1_000_000)
    transport = open_transport(Connection.parse(ssh_data))
    with pytest.raises(CommandError, match="was ended: let it write less"):
        transport.run("yes")
    assert transport.run("echo alive").stdout == b"alive\n"


# Jump hosts


def test_a_jump_host_carries_the_connection(server: AsyncsshServer, ssh_data: dict, make_connection) -> None:
    before = server.logins
    assert open_transport(make_connection("ssh-jump")).run("echo ok").stdout == b"ok\n"
    assert server.logins == before + 2


def test_a_jump_host_takes_the_targets_key_by_default(ssh_data: dict) -> None:
    hop = {key: value for key, value in ssh_data.items() if key not in ("transport", "privateKeyFile")}
    assert connect(ssh_data, jump=hop) == b"ok\n"


@pytest.mark.usefixtures("agent")
def test_a_jump_host_takes_the_agent_too(ssh_data: dict) -> None:
    hop = {key: value for key, value in ssh_data.items() if key not in ("transport", "privateKeyFile")}
    assert connect(ssh_data, jump=hop, privateKeyFile=None, agent=True) == b"ok\n"


def test_a_jump_hosts_key_is_checked_too(ssh_data: dict, make_connection) -> None:
    hop = {key: value for key, value in ssh_data.items() if key != "transport"}
    hop["hostKey"] = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    message = refusal(ssh_data, jump=hop)
    assert message.startswith("jump host ")
    assert "host key is not the one in hostKey" in message


def test_a_target_that_the_jump_host_cannot_reach(ssh_data: dict) -> None:
    hop = {key: value for key, value in ssh_data.items() if key != "transport"}
    message = refusal(ssh_data, jump=hop, port=free_port())
    assert message.startswith("ssh ")


# sudo


def test_sudo_is_used(make_connection) -> None:
    assert open_transport(make_connection("ssh-sudo")).run("echo $THROUGH_SUDO").stdout == b"yes\n"
    assert open_transport(make_connection("ssh")).run("echo $THROUGH_SUDO").stdout == b"\n"


def test_sudo_that_wants_a_password(keys: Keys, environment: dict, ssh_data: dict) -> None:
    strict = AsyncsshServer(keys, {**environment, "SUDO_REFUSES": "yes"})
    try:
        message = refusal(ssh_data, port=strict.port, sudo=True)
        assert "sudo: a password is required" in message
        assert "use sudo without a password, or set sudo: false" in message
    finally:
        close_all()
        strict.close()
