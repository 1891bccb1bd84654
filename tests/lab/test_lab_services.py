"""How services are started, watched, restarted and stopped: systemd.service(5), systemd.exec(5), systemd.kill(5)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.testing import ServiceManager, wait_for

Write = Callable[..., None]


def words(service_manager: ServiceManager, unit: str, text: str) -> None:
    wait_for(lambda: text in service_manager.journal(unit), f"{text!r} in the journal of {unit}")


# Restart=


def test_killing_the_main_process_restarts_it(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="Restart=always\nRestartSec=0")
    service_manager.systemctl("start", "a")
    first = service_manager.pid_of("a")
    os.kill(first, signal.SIGKILL)
    service_manager.wait("a", NRestarts="1", ActiveState="active", SubState="running")
    second = service_manager.pid_of("a")
    assert second not in {0, first}
    assert Path(f"/proc/{second}").exists()
    assert "a.service: Main process exited, code=killed, status=9/KILL" in service_manager.journal("a")
    assert "a.service: Scheduled restart job, restart counter is at 1." in service_manager.journal("a")


@pytest.mark.parametrize(
    ("restart", "end", "again", "result"),
    [
        ("no", "--exit=1", False, "exit-code"),
        ("no", "--exit=0", False, "success"),
        ("on-failure", "--exit=0", False, "success"),
        ("on-failure", "--exit=1", True, ""),
        ("on-failure", "SIGKILL", True, ""),
        ("on-failure", "SIGHUP", False, "success"),
        ("on-failure", "SIGTERM", False, "success"),
        ("on-success", "--exit=0", True, ""),
        ("on-success", "--exit=1", False, "exit-code"),
        ("on-abnormal", "--exit=1", False, "exit-code"),
        ("on-abnormal", "SIGKILL", True, ""),
        ("on-abort", "--exit=1", False, "exit-code"),
        ("on-abort", "SIGUSR1", True, ""),
        ("always", "--exit=0", True, ""),
        ("always", "SIGHUP", True, ""),
    ],
)
def test_restart_conditions(
    service_manager: ServiceManager, service: Write, restart: str, end: str, again: bool, result: str
) -> None:
    by_signal = end.startswith("SIG")
    options = "" if by_signal else f"--for=0.05 {end}"
    service("a", options=options, lines=f"Restart={restart}\nRestartSec=0", rest="[Unit]\nStartLimitIntervalSec=0")
    service_manager.systemctl("start", "a")
    if by_signal:
        words(service_manager, "a", f"pid {service_manager.pid_of('a')}")
        os.kill(service_manager.pid_of("a"), signal.Signals[end])
    if again:
        wait_for(lambda: int(service_manager.value("a", "NRestarts")) > 0, "a restart")
    else:
        state = "inactive" if result == "success" else "failed"
        service_manager.wait("a", ActiveState=state, Result=result, NRestarts="0")


@pytest.mark.parametrize(
    ("lines", "exit_code", "again"),
    [
        ("Restart=on-failure\nRestartPreventExitStatus=7", 7, False),
        ("Restart=on-failure\nSuccessExitStatus=7", 7, False),
        ("Restart=no\nRestartForceExitStatus=7", 7, True),
    ],
)
def test_exceptions_to_restart(
    service_manager: ServiceManager, service: Write, lines: str, exit_code: int, again: bool
) -> None:
    service("a", options=f"--for=0.05 --exit={exit_code}", lines=lines, rest="[Unit]\nStartLimitIntervalSec=0")
    service_manager.systemctl("start", "a")
    if again:
        wait_for(lambda: int(service_manager.value("a", "NRestarts")) > 0, "a restart")
    else:
        wait_for(lambda: service_manager.value("a", "ActiveState") in {"inactive", "failed"}, "the end")
        assert service_manager.value("a", "NRestarts") == "0"


def test_stop_while_waiting_for_the_restart(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--for=0 --exit=1", lines="Restart=always\nRestartSec=1h")
    service_manager.systemctl("start", "a")
    service_manager.wait("a", ActiveState="activating", SubState="auto-restart", Result="exit-code")
    assert service_manager.systemctl("is-active", "a").out == "activating\n"
    assert service_manager.systemctl("stop", "a").code == 0
    assert service_manager.systemctl("is-active", "a").code == 3


def test_start_while_waiting_for_the_restart(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="Restart=always\nRestartSec=1h")
    service_manager.systemctl("start", "a")
    service_manager.systemctl("kill", "-s", "KILL", "a")
    service_manager.wait("a", SubState="auto-restart")
    assert service_manager.systemctl("start", "a").code == 0
    assert service_manager.value("a", "SubState") == "running"


def test_the_start_limit(service_manager: ServiceManager, service: Write) -> None:
    limit = "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=3"
    service("a", options="--for=0 --exit=1", lines="Restart=always\nRestartSec=0", rest=limit)
    service_manager.systemctl("start", "a")
    service_manager.wait("a", ActiveState="failed", NRestarts="3")
    assert "a.service: Start request repeated too quickly." in service_manager.journal("a")
    again = service_manager.systemctl("start", "a")
    assert again.code == 1
    assert again.err.startswith("Job for a.service failed")
    service("a", lines="Restart=always", rest=limit)
    service_manager.systemctl("daemon-reload")
    assert service_manager.systemctl("start", "a").code == 1
    assert service_manager.systemctl("reset-failed", "a").code == 0
    assert service_manager.systemctl("is-active", "a").out == "inactive\n"
    assert service_manager.systemctl("start", "a").code == 0


def test_manual_starts_count_for_the_limit(service_manager: ServiceManager, service: Write) -> None:
    service("a", rest="[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2")
    assert service_manager.systemctl("start", "a").code == 0
    assert service_manager.systemctl("restart", "a").code == 0
    refused = service_manager.systemctl("restart", "a")
    assert refused.code == 1
    assert "start of the service was attempted too often" in refused.err
    assert 'systemctl reset-failed a.service"' in refused.err


# Type=


def test_simple_is_started_before_it_runs_and_exec_after(service_manager: ServiceManager) -> None:
    service_manager.write("s.service", "[Service]\nType=simple\nExecStart=/nonexistent/program\n")
    service_manager.write("e.service", "[Service]\nType=exec\nExecStart=/nonexistent/program\n")
    assert service_manager.systemctl("start", "s").code == 0
    service_manager.wait("s", ActiveState="failed", Result="exit-code", ExecMainStatus="203")
    failed = service_manager.systemctl("start", "e")
    assert failed.code == 1
    assert "the control process exited with error code" in failed.err
    service_manager.wait("e", ActiveState="failed", ExecMainStatus="203")
    lines = service_manager.journal("e")
    assert any("Failed at step EXEC spawning /nonexistent/program: No such file" in line for line in lines)


def test_exec_of_a_good_program(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="Type=exec")
    assert service_manager.systemctl("start", "a").code == 0
    assert service_manager.value("a", "SubState") == "running"


def test_notify_is_up_when_it_says_so(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--before-ready=0.2 --ready --print=NOTIFY_SOCKET", lines="Type=notify")
    assert service_manager.systemctl("start", "a").code == 0
    assert service_manager.show("a", "SubState", "StatusText") == {"SubState": "running", "StatusText": "at work"}
    journal = service_manager.journal("a")
    assert journal[0] == "Starting a.service..."
    assert journal.index("Started a.service.") == len(journal) - 1


def test_notify_that_ends_without_a_word(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--for=0", lines="Type=notify")
    failed = service_manager.systemctl("start", "a")
    assert failed.code == 1
    assert "did not take the steps required by its unit configuration" in failed.err
    assert service_manager.show("a", "ActiveState", "Result") == {"ActiveState": "failed", "Result": "protocol"}


def test_notify_that_says_nothing_in_time(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="Type=notify\nTimeoutStartSec=200ms")
    failed = service_manager.systemctl("start", "a")
    assert failed.code == 1
    assert "a timeout was exceeded" in failed.err
    assert service_manager.show("a", "ActiveState", "Result") == {"ActiveState": "failed", "Result": "timeout"}
    assert service_manager.pid_of("a") == 0


@pytest.mark.parametrize(("access", "limit", "up"), [("main", "1s", False), ("all", "1h", True)])
def test_who_may_notify(service_manager: ServiceManager, service: Write, access: str, limit: str, up: bool) -> None:
    service("a", options="--child-ready", lines=f"Type=notify\nNotifyAccess={access}\nTimeoutStartSec={limit}")
    assert (service_manager.systemctl("start", "a").code == 0) is up


def test_oneshot(service_manager: ServiceManager, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    service_manager.write(
        "o.service", f"[Service]\nType=oneshot\nExecStart=/bin/touch {one}\nExecStart=/bin/touch {two}\n"
    )
    assert service_manager.systemctl("start", "o").code == 0
    assert one.exists()
    assert two.exists()
    assert service_manager.systemctl("is-active", "o").code == 3
    service_manager.write("r.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
    service_manager.systemctl("start", "r")
    assert service_manager.show("r", "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "exited"}
    assert service_manager.systemctl("stop", "r").code == 0
    service_manager.write("f.service", "[Service]\nType=oneshot\nExecStart=-/bin/false\nExecStart=/bin/false\n")
    assert service_manager.systemctl("start", "f").code == 1


# Watchdog


def test_a_watchdog_without_pings_ends_and_restarts_the_service(
    service_manager: ServiceManager, service: Write
) -> None:
    service(
        "a",
        options="--ready --pings=30 --print=WATCHDOG_USEC",
        lines="Type=notify\nWatchdogSec=400ms\nRestart=on-watchdog\nRestartSec=0",
    )
    service_manager.systemctl("start", "a")
    first = service_manager.pid_of("a")
    wait_for(lambda: int(service_manager.value("a", "NRestarts")) >= 1, "the watchdog's restart")
    journal = service_manager.journal("a")
    assert "WATCHDOG_USEC=400000" in journal
    assert "a.service: Watchdog timeout (limit 400ms)!" in journal
    assert "a.service: Failed with result 'watchdog'." in journal
    assert any(f"Killing process {first} (" in line and "with signal SIGABRT" in line for line in journal)


def test_a_fed_watchdog_keeps_quiet(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--ready --pings=100000", lines="Type=notify\nWatchdogSec=300ms")
    service_manager.systemctl("start", "a")
    pid = service_manager.pid_of("a")
    service("b", options="--for=1")
    service_manager.systemctl("start", "b")
    service_manager.wait("b", ActiveState="inactive")
    assert service_manager.pid_of("a") == pid


# Reload


def test_reload_runs_its_command_with_the_main_pid(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--on-hup", lines="ExecReload=/bin/kill -HUP $MAINPID")
    inactive = service_manager.systemctl("reload", "a")
    assert (inactive.code, inactive.err) == (1, "a.service is not active, cannot reload.\n")
    service_manager.systemctl("start", "a")
    words(service_manager, "a", f"pid {service_manager.pid_of('a')}")
    pid = service_manager.pid_of("a")
    assert service_manager.systemctl("reload", "a").code == 0
    words(service_manager, "a", "reloaded")
    assert service_manager.pid_of("a") == pid
    assert service_manager.value("a", "CanReload") == "yes"


def test_reload_that_is_not_there(service_manager: ServiceManager, service: Write) -> None:
    service("a")
    service_manager.systemctl("start", "a")
    done = service_manager.systemctl("reload", "a")
    assert done.code == 3
    assert done.err == "Failed to reload a.service: Job type reload is not applicable for unit a.service.\n"


def test_a_failing_reload_leaves_the_service_alone(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="ExecReload=/bin/sh -c 'echo cause >&2; exit 9'")
    service_manager.systemctl("start", "a")
    pid = service_manager.pid_of("a")
    done = service_manager.systemctl("reload", "a")
    assert done.code == 1
    assert done.err.startswith("Job for a.service failed.\nSee ")
    assert service_manager.show("a", "ActiveState", "ReloadResult") == {
        "ActiveState": "active",
        "ReloadResult": "exit-code",
    }
    assert service_manager.pid_of("a") == pid
    assert "cause" in service_manager.journal("a")


@pytest.mark.parametrize(("restart", "state"), [("on-failure", "inactive"), ("always", "active")])
def test_a_hang_up_that_kills_during_reload(
    service_manager: ServiceManager, service: Write, restart: str, state: str
) -> None:
    """What Traefik without a file provider does: reload succeeds, and the service is gone."""
    service("a", lines=f"ExecReload=/bin/kill -HUP $MAINPID\nRestart={restart}\nRestartSec=0")
    service_manager.systemctl("start", "a")
    words(service_manager, "a", f"pid {service_manager.pid_of('a')}")
    first = service_manager.pid_of("a")
    assert service_manager.systemctl("reload", "a").code == 0
    wait_for(lambda: service_manager.pid_of("a") != first, "the end of the first process")
    service_manager.wait("a", ActiveState=state, Result="success")


@pytest.mark.parametrize(("running", "restarts"), [(True, False), (False, True)])
def test_reload_or_restart(service_manager: ServiceManager, service: Write, running: bool, restarts: bool) -> None:
    service("a", options="--on-hup", lines="ExecReload=/bin/kill -HUP $MAINPID")
    if running:
        service_manager.systemctl("start", "a")
        words(service_manager, "a", f"pid {service_manager.pid_of('a')}")
    before = service_manager.pid_of("a")
    assert service_manager.systemctl("reload-or-restart", "a").code == 0
    assert (service_manager.pid_of("a") != before) is restarts


def test_notify_reload_waits_until_the_service_is_ready_again(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--ready --on-hup --reload-takes=0.2", lines="Type=notify-reload")
    service_manager.systemctl("start", "a")
    service_manager.systemctl("reload", "--no-block", "a")
    service_manager.wait("a", ActiveState="reloading")
    service_manager.wait("a", ActiveState="active", SubState="running")
    assert service_manager.systemctl("reload", "a").code == 0
    assert service_manager.journal("a").count("reloaded") == 2


# ExecStartPre=, ExecStop= and the like


def test_a_failing_start_pre(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="ExecStartPre=/bin/sh -c 'echo why; exit 4'")
    failed = service_manager.systemctl("start", "a")
    assert failed.code == 1
    assert "the control process exited with error code" in failed.err
    assert "why" in service_manager.journal("a")
    assert service_manager.value("a", "Result") == "exit-code"
    assert service_manager.pid_of("a") == 0


def test_an_ignored_start_pre_and_a_start_post(service_manager: ServiceManager, service: Write, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    service("a", lines=f"ExecStartPre=-/bin/false\nExecStartPost=/bin/touch {mark}")
    assert service_manager.systemctl("start", "a").code == 0
    assert mark.exists()


def test_stop_commands(service_manager: ServiceManager, service: Write, tmp_path: Path) -> None:
    log = tmp_path / "log"
    service(
        "a",
        lines=f"ExecStop=/bin/sh -c 'echo stop $MAINPID >>{log}'\nExecStopPost=/bin/sh -c 'echo post >>{log}'",
    )
    service_manager.systemctl("start", "a")
    pid = service_manager.pid_of("a")
    assert service_manager.systemctl("stop", "a").code == 0
    assert log.read_text() == f"stop {pid}\npost\n"


def test_conditions(service_manager: ServiceManager, service: Write, tmp_path: Path) -> None:
    service("a", rest=f"[Unit]\nConditionPathExists={tmp_path}/no")
    assert service_manager.systemctl("start", "a").code == 0
    assert service_manager.systemctl("is-active", "a").code == 3
    service("b", rest=f"[Unit]\nConditionPathExists=!{tmp_path}/no")
    service_manager.systemctl("start", "b")
    assert service_manager.systemctl("is-active", "b").code == 0
    service("c", lines="ExecCondition=/bin/false")
    assert service_manager.systemctl("start", "c").code == 0
    assert service_manager.systemctl("is-active", "c").out == "inactive\n"


# Stopping


def test_a_process_that_ignores_its_signal_is_killed_in_time(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--ignore-term", lines="TimeoutStopSec=300ms")
    service_manager.systemctl("start", "a")
    words(service_manager, "a", f"pid {service_manager.pid_of('a')}")
    pid = service_manager.pid_of("a")
    assert service_manager.systemctl("stop", "a").code == 0
    assert not Path(f"/proc/{pid}").exists()
    assert service_manager.show("a", "ActiveState", "Result") == {"ActiveState": "failed", "Result": "timeout"}
    assert "a.service: State 'stop-sigterm' timed out. Killing." in service_manager.journal("a")


def test_another_kill_signal(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--ignore-term", lines="KillSignal=SIGINT\nTimeoutStopSec=30")
    service_manager.systemctl("start", "a")
    words(service_manager, "a", f"pid {service_manager.pid_of('a')}")
    assert service_manager.systemctl("stop", "a").code == 0
    assert not any("timed out" in line for line in service_manager.journal("a"))


@pytest.mark.parametrize("mode", ["control-group", "mixed"])
def test_daemons_that_run_away_are_ended_too(
    service_manager: ServiceManager, service: Write, tmp_path: Path, mode: str
) -> None:
    file = tmp_path / "daemon"
    service("a", options=f"--daemon={file}", lines=f"KillMode={mode}\nTimeoutStopSec=300ms")
    service_manager.systemctl("start", "a")
    wait_for(lambda: file.exists() and file.read_text(), "the daemon's pid")
    runaway = int(file.read_text())
    assert os.getsid(runaway) != os.getsid(service_manager.pid_of("a"))
    service_manager.systemctl("stop", "a")
    assert not Path(f"/proc/{runaway}").exists()


def test_kill_mode_process_leaves_the_others(service_manager: ServiceManager, service: Write, tmp_path: Path) -> None:
    file = tmp_path / "daemon"
    service("a", options=f"--daemon={file}", lines="KillMode=process")
    service_manager.systemctl("start", "a")
    wait_for(lambda: file.exists() and file.read_text(), "the daemon's pid")
    runaway = int(file.read_text())
    service_manager.systemctl("stop", "a")
    assert Path(f"/proc/{runaway}").exists()
    os.kill(runaway, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{runaway}").exists(), "the manager to reap the orphan")


def test_stop_overtakes_a_start(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="Type=notify\nTimeoutStartSec=1h")
    service_manager.systemctl("start", "--no-block", "a")
    service_manager.wait("a", ActiveState="activating")
    assert service_manager.systemctl("stop", "a").code == 0
    assert service_manager.systemctl("is-active", "a").code == 3


def test_the_manager_takes_its_services_with_it(service_manager: ServiceManager, service: Write) -> None:
    service("a")
    service("b", options="--ignore-term")
    service_manager.systemctl("start", "a", "b")
    pids = [service_manager.pid_of(name) for name in ("a", "b")]
    os.kill(service_manager.pid, signal.SIGKILL)
    wait_for(lambda: not any(running(pid) for pid in pids), "the end of all services")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# The environment


def test_environment(service_manager: ServiceManager, service: Write, tmp_path: Path) -> None:
    file = tmp_path / "env file"
    file.write_text("FROM_FILE='two words'\nBOTH=file\n")
    service(
        "a",
        options="--print=OWN,FROM_FILE,BOTH,HOME,INVOCATION_ID,PYTHONPATH",
        lines=f'Environment="OWN=a b" BOTH=unit\nEnvironmentFile={file}\nEnvironmentFile=-/nonexistent\n',
    )
    assert service_manager.systemctl("start", "a").code == 0
    words(service_manager, "a", "PYTHONPATH=<unset>")
    journal = service_manager.journal("a")
    assert {"OWN=a b", "FROM_FILE=two words", "BOTH=file", "HOME=<unset>"} <= set(journal)
    assert f"INVOCATION_ID={service_manager.value('a', 'InvocationID')}" in journal


def test_a_missing_environment_file(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="EnvironmentFile=/nonexistent/file")
    failed = service_manager.systemctl("start", "a")
    assert failed.code == 1
    assert "of unavailable resources or another system error" in failed.err


def test_directory_mask_limit_and_output(service_manager: ServiceManager, tmp_path: Path) -> None:
    work, out = tmp_path / "work dir", tmp_path / "out"
    work.mkdir()
    out.write_text("before\n")
    service_manager.write(
        "a.service",
        f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'pwd; umask; ulimit -n; touch made; echo err >&2'\n"
        f"WorkingDirectory={work}\nUMask=0027\nLimitNOFILE=512\n"
        f"StandardOutput=append:{out}\nStandardError=journal\nSyslogIdentifier=tagged\n",
    )
    assert service_manager.systemctl("start", "a").code == 0
    assert out.read_text().splitlines() == ["before", str(work), "0027", "512"]
    assert (work / "made").stat().st_mode & 0o777 == 0o640
    assert "tagged[" in service_manager.journalctl("-u", "a").out


def test_a_missing_working_directory(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="WorkingDirectory=/nonexistent\nType=exec")
    assert service_manager.systemctl("start", "a").code == 1
    assert service_manager.value("a", "ExecMainStatus") == "200"
    service("b", lines="WorkingDirectory=-/nonexistent\nType=exec")
    assert service_manager.systemctl("start", "b").code == 0


def test_state_and_runtime_directories(service_manager: ServiceManager, service: Write) -> None:
    service(
        "a", options="--print=STATE_DIRECTORY", lines="StateDirectory=a/deep\nStateDirectoryMode=0700\nLogsDirectory=a"
    )
    assert service_manager.systemctl("start", "a").code == 0
    path = service_manager.root / "var/lib/a/deep"
    assert path.stat().st_mode & 0o777 == 0o700
    assert (service_manager.root / "var/log/a").is_dir()
    words(service_manager, "a", f"STATE_DIRECTORY={path}")


def test_users(service_manager: ServiceManager) -> None:
    own = os.geteuid()
    service_manager.write("own.service", f"[Service]\nType=oneshot\nUser={own}\nExecStart=/bin/sh -c 'id -u'\n")
    assert service_manager.systemctl("start", "own").code == 0
    assert str(own) in service_manager.journal("own")
    service_manager.write("none.service", "[Service]\nType=exec\nUser=no-such-user\nExecStart=/bin/true\n")
    assert service_manager.systemctl("start", "none").code == 1
    assert service_manager.value("none", "ExecMainStatus") == "217"


def test_another_user(service_manager: ServiceManager) -> None:
    service_manager.write(
        "n.service", "[Service]\nType=oneshot\nUser=nobody\nExecStart=/bin/sh -c 'id -un; echo $USER'\n"
    )
    done = service_manager.systemctl("start", "n")
    if os.geteuid() == 0:
        assert done.code == 0
        assert service_manager.journal("n").count("nobody") == 2
    else:
        assert done.code == 1
        assert service_manager.value("n", "ExecMainStatus") == "217"


def test_specifiers_and_templates(service_manager: ServiceManager) -> None:
    service_manager.write("t@.service", "[Service]\nType=oneshot\nExecStart=/bin/echo %i of %n under %S\n")
    assert service_manager.systemctl("start", "t@one").code == 0
    state = service_manager.root / "var/lib"
    assert f"one of t@one.service under {state}" in service_manager.journal("t@one")


# Dependencies


def test_required_units_start_first_and_stop_together(service_manager: ServiceManager, service: Write) -> None:
    service("base")
    service("top", rest="[Unit]\nRequires=base.service\nWants=missing.service\nAfter=base.service")
    assert service_manager.systemctl("start", "top").code == 0
    assert service_manager.systemctl("is-active", "base").code == 0
    service_manager.systemctl("stop", "base")
    assert service_manager.systemctl("is-active", "top").code == 3


def test_a_failing_requirement(service_manager: ServiceManager, service: Write) -> None:
    service("base", lines="ExecStartPre=/bin/false")
    service("top", rest="[Unit]\nRequires=base.service\nAfter=base.service")
    failed = service_manager.systemctl("start", "top")
    assert failed.code == 1
    assert failed.err.startswith("A dependency job for top.service failed.")
    service("lost", rest="[Unit]\nRequires=nowhere.service")
    assert service_manager.systemctl("start", "lost").code == 5


def test_on_failure(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--for=0 --exit=1", rest="[Unit]\nOnFailure=alarm.service")
    service("alarm")
    service_manager.systemctl("start", "a")
    service_manager.wait("alarm", ActiveState="active")
