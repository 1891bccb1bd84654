"""``pct`` and ``qm`` behave as on a hypervisor: exit codes, stdin, outputs, files with their modes, and the traps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lab.container.proxmox import RefusalError, parse
from lab.container.testing import ContainerLab

pytestmark = pytest.mark.container


@pytest.fixture
def traefik(container_lab: ContainerLab) -> str:
    return container_lab.number("traefik")


@pytest.fixture
def vm(container_lab: ContainerLab) -> str:
    return container_lab.number("portainer")


def answer(done: subprocess.CompletedProcess[bytes]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


class TestCommandLine:
    def test_options_stand_anywhere_with_one_dash_or_two(self) -> None:
        options = {"perms": "", "user": "", "flag": "0"}
        found = parse(
            ["-perms", "0644", "102", "a", "--user=root", "--flag", "b", "--", "-x"], options, frozenset({"flag"})
        )
        assert found == (["102", "a", "b"], ["-x"])
        assert options == {"perms": "0644", "user": "root", "flag": "1"}

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(RefusalError, match="Unknown option: nope"):
            parse(["--nope", "1"], {"perms": ""})


class TestPctExec:
    def test_exit_code_stdin_and_both_outputs(self, container_lab: ContainerLab, traefik: str) -> None:
        done = container_lab.pct("exec", traefik, "--", "sh", "-c", "cat; echo oops >&2; exit 7", stdin=b"in\0put\n")
        assert (done.returncode, done.stdout, done.stderr) == (7, b"in\0put\n", b"oops\n")

    def test_arguments_arrive_as_given(self, container_lab: ContainerLab, traefik: str) -> None:
        words = ["a b", "$HOME", "'", '"', "", "--perms", "*"]
        done = container_lab.pct("exec", traefik, "--", "printf", "%s\\n", *words)
        assert done.stdout.decode().split("\n")[:-1] == words

    def test_runs_inside_all_namespaces_of_the_guest(self, container_lab: ContainerLab, traefik: str) -> None:
        done = container_lab.pct("exec", traefik, "--", "sh", "-c", "hostname; cat /proc/1/comm; hostname -I; pwd")
        machine = container_lab.plan.machine("traefik")
        assert done.stdout.decode().split() == [machine.name.lower(), "systemd", machine.address, "/"]

    def test_path_has_no_usr_local_bin(self, container_lab: ContainerLab, traefik: str) -> None:
        done = container_lab.pct("exec", traefik, "--", "sh", "-c", "echo $PATH; command -v traefik")
        assert (done.returncode, done.stdout) == (127, b"/sbin:/bin:/usr/sbin:/usr/bin\n")

    def test_a_killed_command_gives_128_and_the_signal(self, container_lab: ContainerLab, traefik: str) -> None:
        assert container_lab.pct("exec", traefik, "--", "sh", "-c", "kill -9 $$").returncode in (-9, 137)

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["exec", "999", "--", "true"], 2, "Configuration file 'nodes/pve/lxc/999.conf' does not exist"),
            (["exec", "abc", "--", "true"], 255, "type check ('integer') failed"),
            (["status", "999"], 2, "lxc/999.conf' does not exist"),
            (["exec", "1001", "--", "true"], 2, "lxc/1001.conf' does not exist"),
            (["exec"], 255, "not enough arguments"),
            (["frobnicate", "102"], 255, "unknown command"),
        ],
    )
    def test_refusals(self, container_lab: ContainerLab, arguments: list[str], code: int, words: str) -> None:
        done = container_lab.pct(*arguments)
        assert (done.returncode, done.stdout) == (code, b"")
        assert words in done.stderr.decode()

    def test_a_stopped_container(self, container_lab: ContainerLab) -> None:
        guest = container_lab.number("gateway")  # a restarted authority has another root
        assert container_lab.pct("stop", guest).returncode == 0
        try:
            assert container_lab.pct("status", guest).stdout == b"status: stopped\n"
            done = container_lab.pct("exec", guest, "--", "true")
            assert (done.returncode, done.stderr.decode()) == (255, f"container '{guest}' not running!\n")
            pushed = container_lab.pct("push", guest, "/etc/hostname", "/tmp/x")
            assert (pushed.returncode, pushed.stderr) == (255, b"can only push files to a running CT\n")
        finally:
            assert container_lab.pct("start", guest).returncode == 0
            container_lab.start(guest)
        assert container_lab.pct("status", guest).stdout == b"status: running\n"


class TestPctFiles:
    def test_push_and_pull_keep_the_bytes(self, container_lab: ContainerLab, traefik: str, tmp_path: Path) -> None:
        content = bytes(range(256)) * 1000
        (tmp_path / "file").write_bytes(content)
        assert container_lab.pct("push", traefik, str(tmp_path / "file"), "/tmp/pushed").returncode == 0
        assert container_lab.pct("pull", traefik, "/tmp/pushed", str(tmp_path / "back")).returncode == 0
        assert (tmp_path / "back").read_bytes() == content

    def test_mode_and_owner(self, container_lab: ContainerLab, traefik: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        container_lab.shell(traefik, "rm -f /root/m")
        push = ("push", traefik, str(tmp_path / "file"), "/root/m")
        shown = ("exec", traefik, "--", "stat", "-c", "%a %U:%G", "/root/m")
        assert container_lab.pct(*push).returncode == 0
        assert container_lab.pct(*shown).stdout == b"644 root:root\n"
        assert container_lab.pct(*push, "--perms", "600", "--user", "traefik", "--group", "traefik").returncode == 0
        assert container_lab.pct(*shown).stdout == b"600 traefik:traefik\n"
        assert container_lab.pct(*push).returncode == 0
        assert container_lab.pct(*shown).stdout == b"600 traefik:traefik\n", "an existing file keeps mode and owner"

    def test_push_truncates_in_place(self, container_lab: ContainerLab, traefik: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("new")
        inode = container_lab.shell(traefik, "echo old >/tmp/t; stat -c %i /tmp/t")
        assert container_lab.pct("push", traefik, str(tmp_path / "file"), "/tmp/t").returncode == 0
        assert container_lab.shell(traefik, "stat -c %i /tmp/t; cat /tmp/t") == f"{inode}new"

    def test_refusals(self, container_lab: ContainerLab, traefik: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("kept?")
        for arguments, words in (
            (("push", traefik, "/no/such", "/tmp/x"), "failed to open /no/such for reading"),
            (("push", traefik, str(tmp_path / "file"), "/no/such/x"), "failed to create file: /no/such/x: No such"),
            (("push", traefik, str(tmp_path / "file"), "/tmp/x", "--perms", "9"), "invalid mode"),
            (("push", traefik, str(tmp_path / "file"), "/tmp/x", "--user", "nobody-here"), "failed to get uid for"),
            (("pull", traefik, "/no/such", str(tmp_path / "file")), "failed to open /no/such: No such"),
        ):
            done = container_lab.pct(*arguments)
            assert done.returncode == 255
            assert words in done.stderr.decode()
        assert (tmp_path / "file").read_text() == "", "pull opens its destination first"

    def test_a_link_in_the_guest_does_not_lead_outside(
        self, container_lab: ContainerLab, traefik: str, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("inside")
        target = tmp_path / "target"
        target.write_text("outside")
        container_lab.shell(traefik, f"mkdir -p {tmp_path}; ln -sfn {target} /tmp/link")
        assert container_lab.pct("push", traefik, str(tmp_path / "file"), "/tmp/link").returncode == 0
        assert target.read_text() == "outside"
        assert container_lab.shell(traefik, f"cat {target}") == "inside"


class TestPctList:
    def test_list_config_and_status(self, container_lab: ContainerLab, traefik: str) -> None:
        lines = container_lab.pct("list").stdout.decode().splitlines()
        assert lines[0].split() == ["VMID", "Status", "Lock", "Name"]
        lxcs = [one.number for one in container_lab.plan.machines if one.kind == "lxc"]
        lxcs += [one.number for one in container_lab.plan.backends]
        assert [line.split()[0] for line in lines[1:]] == sorted(lxcs, key=int)
        config = dict(line.split(": ", 1) for line in container_lab.pct("config", traefik).stdout.decode().splitlines())
        assert config["hostname"] == container_lab.plan.machine("traefik").name
        assert f"ip={container_lab.address('traefik')}/24" in config["net0"]
        assert container_lab.pct("status", traefik).stdout == b"status: running\n"


class TestQmGuestExec:
    def test_result_is_json_and_the_exit_code_is_zero(self, container_lab: ContainerLab, vm: str) -> None:
        done = container_lab.qm("guest", "exec", vm, "--", "sh", "-c", "echo out; echo oops >&2; exit 3")
        assert answer(done) == {"exitcode": 3, "exited": 1, "out-data": "out\n", "err-data": "oops\n"}

    def test_stdin_is_passed_only_when_asked(self, container_lab: ContainerLab, vm: str) -> None:
        passed = container_lab.qm("guest", "exec", vm, "--pass-stdin", "1", "--", "cat", stdin=b"data")
        assert answer(passed)["out-data"] == "data"
        assert "out-data" not in answer(container_lab.qm("guest", "exec", vm, "--", "cat", stdin=b"data"))
        big = container_lab.qm("guest", "exec", vm, "--pass-stdin", "1", "--", "cat", stdin=b"x" * (1024 * 1024 + 1))
        assert (big.returncode, b"limited to 1 MiB" in big.stderr) == (255, True)

    def test_time_limit_gives_the_pid_and_the_command_goes_on(self, container_lab: ContainerLab, vm: str) -> None:
        done = container_lab.qm("guest", "exec", vm, "--timeout", "1", "--", "sh", "-c", "sleep 2; echo late")
        assert b"timeout reached, returning pid" in done.stderr
        pid = str(answer(done)["pid"])
        assert answer(container_lab.qm("guest", "exec-status", vm, pid)) == {"exited": 0}
        status: dict[str, object] = {"exited": 0}
        while not status["exited"]:
            status = answer(container_lab.qm("guest", "exec-status", vm, pid))
        assert status == {"exitcode": 0, "exited": 1, "out-data": "late\n"}
        forgotten = container_lab.qm("guest", "exec-status", vm, pid)
        assert (forgotten.returncode, f"PID {pid} does not exist" in forgotten.stderr.decode()) == (255, True)

    def test_refusals(self, container_lab: ContainerLab, vm: str) -> None:
        missing = container_lab.qm("guest", "exec", "999", "--", "true")
        assert (missing.returncode, b"qemu-server/999.conf' does not exist" in missing.stderr) == (2, True)
        unknown = container_lab.qm("guest", "exec", vm, "--", "no-such-program")
        assert (unknown.returncode, b"No such file or directory" in unknown.stderr) == (255, True)

    def test_list_status_config_and_ping(self, container_lab: ContainerLab, vm: str) -> None:
        assert container_lab.qm("status", vm).stdout == b"status: running\n"
        assert container_lab.qm("agent", vm, "ping").returncode == 0
        assert f"name: {container_lab.plan.machine('portainer').name}" in container_lab.qm("config", vm).stdout.decode()
        assert vm in container_lab.qm("list").stdout.decode()
