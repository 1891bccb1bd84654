"""systemctl's commands, their words and exit codes: as systemctl(1) of systemd 255 and LSB say them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.testing import ServiceManager, wait_for

Write = Callable[..., None]
RESET = "Failed to reset failed state of unit"
INSTALL = "[Install]\nWantedBy=multi-user.target"


def test_life_of_a_service(service_manager: ServiceManager, service: Write) -> None:
    service("a", rest="[Unit]\nDescription=The test service")
    assert service_manager.systemctl("is-active", "a").code == 3
    started = service_manager.systemctl("start", "a")
    assert (started.code, started.out, started.err) == (0, "", "")
    active = service_manager.systemctl("is-active", "a.service")
    assert (active.code, active.out) == (0, "active\n")
    pid = service_manager.pid_of("a")
    assert Path(f"/proc/{pid}").exists()
    assert service_manager.systemctl("stop", "a").code == 0
    assert service_manager.systemctl("is-active", "a").out == "inactive\n"
    assert not Path(f"/proc/{pid}").exists()
    assert "Started a.service - The test service." in service_manager.journal("a")


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (("start", "no"), 5, "", "Failed to start no.service: Unit no.service not found.\n"),
        (("stop", "no"), 5, "", "Failed to stop no.service: Unit no.service not loaded.\n"),
        (("restart", "no"), 5, "", "Failed to restart no.service: Unit no.service not found.\n"),
        (("reload", "no"), 5, "", "Failed to reload no.service: Unit no.service not found.\n"),
        (("is-active", "no"), 4, "inactive\n", ""),
        (("is-failed", "no"), 4, "inactive\n", ""),
        (("is-enabled", "no"), 4, "not-found\n", ""),
        (("status", "no"), 4, "", "Unit no.service could not be found.\n"),
        (("enable", "no"), 1, "", "Failed to enable unit: Unit file no.service does not exist.\n"),
        (("disable", "no"), 1, "", "Failed to disable unit: Unit file no.service does not exist.\n"),
        (("cat", "no"), 1, "", "No files found for no.service.\n"),
        (("show", "no", "-p", "LoadState,ActiveState"), 0, "LoadState=not-found\nActiveState=inactive\n", ""),
        (("reset-failed", "no"), 1, "", f"{RESET} no.service: Unit no.service not loaded.\n"),
        (("try-restart", "no"), 5, "", "Failed to try-restart no.service: Unit no.service not found.\n"),
        (("frobnicate", "no"), 1, "", "Unknown command verb 'frobnicate'.\n"),
        (("--frob", "start", "no"), 1, "", "systemctl: unrecognized option '--frob'\n"),
        (("start",), 1, "", "Too few arguments.\n"),
        (("is-active", "--quiet", "no"), 4, "", ""),
        (("is-system-running",), 0, "running\n", ""),
        (("daemon-reload",), 0, "", ""),
        (("is-active", "multi-user.target"), 0, "active\n", ""),
    ],
)  # fmt: skip
def test_words_and_exit_codes(
    service_manager: ServiceManager, arguments: tuple[str, ...], code: int, out: str, err: str
) -> None:
    done = service_manager.systemctl(*arguments)
    assert (done.code, done.out, done.err) == (code, out, err)


def test_is_active_of_several_is_good_when_one_is(service_manager: ServiceManager, service: Write) -> None:
    service("a")
    service_manager.systemctl("start", "a")
    done = service_manager.systemctl("is-active", "no", "a")
    assert (done.code, done.out) == (0, "inactive\nactive\n")


def test_enable_and_disable(service_manager: ServiceManager, service: Write) -> None:
    service("a", rest=INSTALL)
    link = service_manager.units / "multi-user.target.wants/a.service"
    assert service_manager.systemctl("is-enabled", "a").out == "disabled\n"
    assert service_manager.systemctl("is-enabled", "a").code == 1
    enabled = service_manager.systemctl("enable", "a")
    assert enabled.code == 0
    assert enabled.err == f"Created symlink {link} → {service_manager.units / 'a.service'}.\n"
    assert service_manager.systemctl("is-enabled", "a").out == "enabled\n"
    assert service_manager.systemctl("enable", "a").err == ""
    assert service_manager.systemctl("is-active", "a").code == 3
    disabled = service_manager.systemctl("disable", "a")
    assert disabled.err == f'Removed "{link}".\n'
    assert not link.is_symlink()
    assert service_manager.systemctl("is-enabled", "--quiet", "a").out == ""


def test_enable_and_disable_now(service_manager: ServiceManager, service: Write) -> None:
    service("a", rest=INSTALL)
    assert service_manager.systemctl("enable", "--now", "--quiet", "a").err == ""
    assert service_manager.systemctl("is-active", "a").code == 0
    assert service_manager.systemctl("disable", "--now", "a").code == 0
    assert service_manager.systemctl("is-active", "a").code == 3


def test_enable_without_install_section(service_manager: ServiceManager, service: Write) -> None:
    service("a")
    assert service_manager.systemctl("is-enabled", "a").out == "static\n"
    assert service_manager.systemctl("is-enabled", "a").code == 0
    done = service_manager.systemctl("enable", "a")
    assert done.code == 0
    assert "no installation config" in done.err


def test_enable_also_and_alias(service_manager: ServiceManager, service: Write) -> None:
    service("a", rest=f"{INSTALL}\nAlias=other.service\nAlso=a.socket")
    service_manager.write("a.socket", "[Socket]\nListenStream=127.0.0.1:0\n[Install]\nWantedBy=sockets.target\n")
    assert service_manager.systemctl("enable", "a").code == 0
    assert (service_manager.units / "other.service").is_symlink()
    assert (service_manager.units / "sockets.target.wants/a.socket").is_symlink()
    assert service_manager.systemctl("disable", "a").code == 0
    assert not (service_manager.units / "other.service").is_symlink()
    assert not (service_manager.units / "sockets.target.wants/a.socket").is_symlink()


def test_mask(service_manager: ServiceManager, service: Write) -> None:
    assert service_manager.systemctl("mask", "a").code == 0
    assert service_manager.systemctl("is-enabled", "a").out == "masked\n"
    started = service_manager.systemctl("start", "a")
    assert (started.code, started.err) == (1, "Failed to start a.service: Unit a.service is masked.\n")
    assert service_manager.systemctl("unmask", "a").code == 0
    service("a")
    refused = service_manager.systemctl("mask", "a")
    assert refused.code == 1
    assert "already exists" in refused.err


def test_show(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="Restart=on-failure\nRestartSec=1min 30s\nUMask=077\nEnvironment=A=1 'B=two words'")
    service_manager.systemctl("start", "a")
    shown = service_manager.systemctl("show", "a", "-p", "Restart,RestartUSec", "--property=UMask", "-pEnvironment")
    assert sorted(shown.out.splitlines()) == [
        "Environment=A=1 B=two words",
        "Restart=on-failure",
        "RestartUSec=1min 30s",
        "UMask=0077",
    ]
    assert service_manager.systemctl("show", "a", "-p", "SubState", "--value").out == "running\n"
    assert service_manager.systemctl("show", "-P", "MainPID", "a").out == f"{service_manager.pid_of('a')}\n"
    everything = service_manager.systemctl("show", "a").out
    assert "FragmentPath=" + str(service_manager.units / "a.service") in everything.splitlines()
    assert "ActiveEnterTimestampMonotonic=0" not in everything
    assert service_manager.systemctl("show", "-p", "Version").out.startswith("Version=255")


def test_status(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--ready", lines="Type=notify", rest="[Unit]\nDescription=Words")
    service_manager.systemctl("start", "a")
    done = service_manager.systemctl("status", "a")
    assert done.code == 0
    assert done.out.startswith("● a.service - Words\n     Loaded: loaded (")
    assert "Active: active (running) since" in done.out
    assert f"Main PID: {service_manager.pid_of('a')} (python" in done.out
    assert 'Status: "at work"' in done.out
    assert "systemd[1]: Started a.service - Words." in done.out
    service_manager.systemctl("stop", "a")
    stopped = service_manager.systemctl("status", "a", "-n", "0", "--no-pager")
    assert stopped.code == 3
    assert "Stopped" not in stopped.out


def test_cat_and_drop_ins(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="Environment=A=file\nEnvironment=B=file", options="--print=A,B")
    drop = service_manager.write("a.service.d/10-more.conf", "[Service]\nEnvironment=A=drop-in\n")
    shown = service_manager.systemctl("cat", "a").out
    assert shown.index(f"# {service_manager.units / 'a.service'}") < shown.index(f"# {drop}")
    service_manager.systemctl("start", "a")
    wait_for(lambda: "B=file" in service_manager.journal("a"), "the service's words")
    assert "A=drop-in" in service_manager.journal("a")
    assert service_manager.value("a", "DropInPaths") == str(drop)


def test_kill(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--on-hup")
    service_manager.systemctl("start", "a")
    wait_for(lambda: service_manager.journal("a")[-1].startswith("pid "), "the service at work")
    assert service_manager.systemctl("kill", "-s", "HUP", "a").code == 0
    wait_for(lambda: "reloaded" in service_manager.journal("a"), "the signal's work")
    assert service_manager.systemctl("kill", "--signal=NOPE", "a").code == 1
    assert service_manager.systemctl("kill", "no").code == 1
    assert service_manager.systemctl("kill", "--kill-whom=main", "-s", "SIGTERM", "a").code == 0
    service_manager.wait("a", ActiveState="inactive", Result="success")


def test_lists(service_manager: ServiceManager, service: Write) -> None:
    service("a")
    service("b", options="--for=0 --exit=3")
    service_manager.systemctl("start", "a", "b")
    service_manager.wait("b", ActiveState="failed")
    listed = service_manager.systemctl("list-units", "--type=service", "--plain", "--no-legend").out
    assert listed == "a.service loaded active running a.service\nb.service loaded failed failed  b.service\n"
    failed = service_manager.systemctl("list-units", "--failed").out
    assert "b.service" in failed
    assert "a.service" not in failed
    assert service_manager.systemctl("is-system-running").out == "degraded\n"
    assert service_manager.systemctl("list-unit-files").out.startswith("a.service")


def test_no_block_answers_at_once(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--before-ready=0.3 --ready", lines="Type=notify")
    assert service_manager.systemctl("start", "--no-block", "a").code == 0
    assert service_manager.value("a", "ActiveState") == "activating"
    service_manager.wait("a", ActiveState="active")


def test_changes_on_disk_count_after_daemon_reload(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--print=V", lines="Environment=V=old")
    service_manager.systemctl("start", "a")
    assert service_manager.value("a", "NeedDaemonReload") == "no"
    wait_for(lambda: "V=old" in service_manager.journal("a"), "the old value")
    service("a", options="--print=V", lines="Environment=V=brand-new")
    assert service_manager.value("a", "NeedDaemonReload") == "yes"
    restarted = service_manager.systemctl("restart", "a")
    assert restarted.code == 0
    assert "a.service changed on disk. Run 'systemctl daemon-reload'" in restarted.err
    wait_for(lambda: service_manager.journal("a").count("V=old") == 2, "the old value twice")
    assert service_manager.systemctl("daemon-reload").code == 0
    assert service_manager.value("a", "NeedDaemonReload") == "no"
    assert service_manager.systemctl("restart", "a").err == ""
    wait_for(lambda: "V=brand-new" in service_manager.journal("a"), "the new value")


def test_an_unreferenced_stopped_unit_is_read_anew(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--print=V", lines="Environment=V=old")
    service_manager.systemctl("start", "a")
    service_manager.systemctl("stop", "a")
    service("a", options="--print=V", lines="Environment=V=brand-new")
    assert service_manager.systemctl("start", "a").err == ""
    wait_for(lambda: "V=brand-new" in service_manager.journal("a"), "the new value")


def test_an_enabled_stopped_unit_is_not(service_manager: ServiceManager, service: Write) -> None:
    service("a", rest=INSTALL, lines="Environment=V=old", options="--print=V")
    service_manager.systemctl("enable", "--now", "a")
    wait_for(lambda: "V=old" in service_manager.journal("a"), "the old value")
    service_manager.systemctl("stop", "a")
    service("a", rest=INSTALL, lines="Environment=V=brand-new", options="--print=V")
    assert "changed on disk" in service_manager.systemctl("start", "a").err
    wait_for(lambda: service_manager.journal("a").count("V=old") == 2, "the old value twice")


def test_a_removed_unit_file(service_manager: ServiceManager, service: Write) -> None:
    service("a")
    service_manager.systemctl("start", "a")
    (service_manager.units / "a.service").unlink()
    service_manager.systemctl("daemon-reload")
    assert service_manager.show("a", "LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "active"}
    assert service_manager.systemctl("stop", "a").code == 0
    assert service_manager.systemctl("is-active", "a").code == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[Service]\nType=simple\n", "has no ExecStart=, ExecStop="),
        ("[Service]\nExecStart=/bin/true\nExecStart=/bin/true\n", "more than one ExecStart="),
        ("[Service]\nExecStart=/bin/sh -c 'x\n", "unbalanced quotes"),
        ("[Service]\nType=oneshot\nExecStart=/bin/true\nRestart=always\n", "isn't allowed for Type=oneshot"),
        ("[Service]\nType=forking\nExecStart=/bin/true\n", "Type=forking is not available in the lab"),
    ],
)
def test_bad_unit_files_are_refused(service_manager: ServiceManager, text: str, words: str) -> None:
    service_manager.write("a.service", text)
    done = service_manager.systemctl("start", "a")
    assert done.code == 1
    assert done.err.startswith("Failed to start a.service: Unit a.service has a bad unit file setting.\n")
    assert service_manager.value("a", "LoadState") == "bad-setting"
    assert any(words in line for line in service_manager.journal("a"))


def test_unknown_and_unenforced_settings_are_reported(service_manager: ServiceManager, service: Write) -> None:
    service("a", lines="ProtectSystem=strict\nNope=1\nRestartSec=soon\nX-Own=1")
    assert service_manager.systemctl("start", "a").code == 0
    lines = "\n".join(service_manager.journal("a"))
    assert "Unknown key name 'Nope' in section 'Service', ignoring." in lines
    assert "Failed to parse RestartSec= value, ignoring: soon" in lines
    assert "The lab does not enforce ProtectSystem." in lines
    assert "X-Own" not in lines
    assert service_manager.value("a", "RestartUSec") == "100ms"


def test_journalctl(service_manager: ServiceManager, service: Write) -> None:
    service("a", options="--print=PATH")
    service("b")
    service_manager.systemctl("start", "a", "b")
    wait_for(lambda: any(line.startswith("pid ") for line in service_manager.journal("b")), "the service's words")
    wait_for(lambda: any(line.startswith("PATH=") for line in service_manager.journal("a")), "the service's words")
    last = service_manager.journalctl("-u", "a", "-n", "1", "-o", "cat", "--no-pager").out
    assert last.startswith("PATH=")
    assert last.count("\n") == 1
    both = service_manager.journalctl("-xe", "-u", "a.service", "-u", "b").out
    assert "Started a.service." in both
    assert f"python3[{service_manager.pid_of('b')}]: pid" in both.replace("python[", "python3[")
    assert service_manager.journalctl("-u", "nope").out == "-- No entries --\n"
    assert '"_SYSTEMD_UNIT": "a.service"' in service_manager.journalctl("-ua", "-o", "json", "-n1").out
    assert service_manager.journalctl("-u", "a", "--since", "-5min").out.count("\n") >= 2
    assert (
        service_manager.journalctl("-u", "a", "--since", "2000-01-01", "-r")
        .out.splitlines()[-1]
        .endswith("Started a.service.")
    )
    assert service_manager.journalctl("--frob").code == 1
    assert service_manager.journalctl("-n", "x").code == 1


def test_without_a_manager_the_message_names_the_remedy(service_manager: ServiceManager) -> None:
    service_manager.close()
    done = service_manager.command("is-active", "a")
    assert done.code == 1
    assert "bin/lab up" in done.err


def test_the_command_itself(service_manager: ServiceManager, service: Write) -> None:
    service("a", rest=INSTALL)
    enabled = service_manager.command("enable", "--now", "a")
    assert (enabled.code, enabled.out) == (0, "")
    assert enabled.err.startswith("Created symlink ")
    active = service_manager.command("is-active", "a", "no")
    assert (active.code, active.out, active.err) == (0, "active\ninactive\n", "")
    assert service_manager.command("stop", "no").code == 5
