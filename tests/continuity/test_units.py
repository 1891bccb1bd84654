"""The units, the standby's configuration and the sandbox's probe: what is rendered, and that systemd takes it."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix.errors import InputError
from phoenix.settings import Settings, deep_merge, parse
from phoenix.traefik import continuity, document, hardening, service, static, unit
from phoenix.traefik.service import Service, State

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5xDhDUGZ1tzJzZ0XDoWvUbyvMVoxbBzZSBeVKvLfVK"
GATEWAY = {"gateway": {"connection": {"transport": "ssh", "host": "192.0.2.153", "hostKey": KEY}}}


def settings(*sections: dict[str, Any]) -> Settings:
    values: dict[str, Any] = {}
    for section in sections:
        values = deep_merge(values, section)
    return parse(values, "x")


def traefik(**values: Any) -> dict[str, Any]:
    return {"traefik": values}


MODES: dict[str, tuple[Settings, tuple[bool, bool, bool]]] = {
    "no gateway": (settings(), (False, False, True)),
    "a gateway": (settings(GATEWAY), (True, False, False)),
    "nothing": (settings(GATEWAY, traefik(continuity="none")), (False, False, False)),
    "sockets": (settings(GATEWAY, traefik(continuity="sockets")), (False, False, True)),
    "both": (settings(GATEWAY, traefik(continuity="both")), (True, False, True)),
    "always": (settings(GATEWAY, traefik(standbyRuns="always")), (True, True, False)),
    "always without a standby": (settings(traefik(standbyRuns="always")), (False, False, True)),
}


@pytest.mark.parametrize("case", MODES)
def test_the_means_a_stack_uses(case: str) -> None:
    chosen, (standby, always, sockets) = MODES[case]
    assert continuity.mode(chosen) == continuity.Mode(standby, always, sockets)
    assert list(continuity.mistakes(chosen)) == []
    names = set(unit.render_others(chosen, {}))
    assert (service.STANDBY in names) is (standby or sockets)
    assert (set(service.SOCKETS) <= names) is sockets
    if service.STANDBY in names:
        inherits = directives(unit.render_others(chosen, {})[service.STANDBY]).get("Sockets")
        assert inherits == (None if standby else [" ".join(service.SOCKETS)])


def directives(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        if mark and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_traefik_s_unit_holds_what_it_promises() -> None:
    found = directives(unit.render(settings(GATEWAY)))
    for key, value in {
        "Type": "notify",
        "WatchdogSec": "120",
        "Restart": "always",
        "User": "traefik",
        "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
        "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
        "StateDirectory": "traefik",
        "StateDirectoryMode": "0750",
        "UMask": "0077",
        "StartLimitIntervalSec": "0",
        "ExecReload": "/usr/local/bin/traefik healthcheck --configFile=/etc/traefik/traefik.yml",
    }.items():
        assert found[key] == [value], key
    assert "kill" not in found["ExecReload"][0], "a HUP can end Traefik"
    assert "Requires" not in found
    assert set(dict(hardening.DIRECTIVES)) <= set(found)


def test_what_the_container_refuses_is_left_out() -> None:
    found = directives(unit.render(settings(), ("ProtectSystem", "PrivateTmp")))
    assert not {"ProtectSystem", "PrivateTmp", "ReadWritePaths"} & set(found)
    assert "NoNewPrivileges" in found
    assert not set(dict(hardening.DIRECTIVES)) & set(directives(unit.render(settings(traefik(harden=False)))))


def test_other_directories_are_not_claimed_from_systemd() -> None:
    found = directives(unit.render(settings(traefik(stateDirectory="/srv/state", logDirectory="/var/log/a b"))))
    assert not {"StateDirectory", "LogsDirectory"} & set(found)
    assert found["ReadWritePaths"] == ['/srv/state "/var/log/a b"']


def test_a_unit_s_digest_names_the_rest_of_it() -> None:
    one = unit.render(settings())
    assert unit.render(settings()) == one
    marks = {directives(text)["Environment"][0] for text in (one, unit.render(settings(), ("PrivateTmp",)))}
    assert len(marks) == 2
    assert all(mark.startswith("PHOENIX_UNIT=") for mark in marks)


def test_sockets_are_named_like_entry_points_and_never_give_up() -> None:
    units = unit.render_others(settings(traefik(webAddress="192.0.2.12:8080")), {})
    web, websecure = directives(units["traefik-web.socket"]), directives(units["traefik-websecure.socket"])
    assert (web["ListenStream"], web["FileDescriptorName"]) == (["192.0.2.12:8080"], ["web"])
    assert (websecure["ListenStream"], websecure["FileDescriptorName"]) == (["443"], ["websecure"])
    assert web["TriggerLimitIntervalSec"] == websecure["TriggerLimitIntervalSec"] == ["0"]
    both = "traefik-web.socket traefik-websecure.socket"
    assert directives(unit.render(settings()))["Requires"] == [both]


def test_the_standby_talks_to_no_authority_and_takes_nobody_s_place() -> None:
    chosen = settings(GATEWAY, {"acmeEmail": "a@example.test"})
    main = static.static_config(chosen, "internal.example.test", "192.0.2.153")
    before = document.dump(main)
    standby = continuity.standby_static(main, chosen.traefik)
    assert document.dump(main) == before, "the original stays as it is"
    assert [standby["entryPoints"][name]["address"] for name in ("web", "websecure", "traefik")] == [
        "127.0.0.1:8000",
        ":8443",
        "127.0.0.1:8081",
    ]
    assert standby["entryPoints"]["web"]["http"]["redirections"]["entryPoint"]["to"] == ":443"
    for name, resolver in standby["certificatesResolvers"].items():
        assert resolver["acme"]["caServer"].startswith("http://127.0.0.1:1/"), name
        assert resolver["acme"]["storage"].startswith("/var/lib/traefik/standby/"), name
    assert standby["providers"] == main["providers"], "the same routes"
    assert (
        standby["entryPoints"]["websecure"]["forwardedHeaders"] == main["entryPoints"]["websecure"]["forwardedHeaders"]
    )


def test_the_standby_s_copies_are_its_own_and_private(tmp_path: Path) -> None:
    """The unit's own command line, run by a shell."""
    state = tmp_path / "a state"
    state.mkdir()
    chosen = settings(GATEWAY, traefik(stateDirectory=str(state)))
    (state / "acme-internal.json").write_text("{}")
    (state / "acme-internal.json").chmod(0o644)
    (state / "standby").mkdir()
    (state / "standby" / "left-over").touch()
    storages = [f"{state}/acme-internal.json", f"{state}/acme-external.json"]
    command = directives(unit.text(service.STANDBY, unit.standby_sections(chosen, storages)))["ExecStartPre"][0]
    run_as_systemd(command)
    assert [path.name for path in (state / "standby").iterdir()] == ["acme-internal.json"], (
        "what is missing is left out"
    )
    assert (state / "standby").stat().st_mode & 0o777 == 0o700
    assert (state / "standby" / "acme-internal.json").stat().st_mode & 0o777 == 0o600


def run_as_systemd(command: str, **environment: str) -> None:
    """A command line with systemd's quoting undone (systemd.service(5), command lines)."""
    shell, option, text = command.split(" ", 2)
    script = text[1:-1].replace('\\"', '"').replace("\\\\", "\\").replace("$$", "$").replace("%%", "%")
    subprocess.run([shell, option, script], check=True, env={"PATH": "/usr/bin:/bin", **environment}, timeout=20)


@pytest.fixture
def place(tmp_path: Path) -> Service:
    """A deployment's files, and the record its unit's own command makes at a start."""
    chosen = settings(
        traefik(
            configDirectory=str(tmp_path / "etc"),
            stateDirectory=str(tmp_path / "state"),
            unitDirectory=str(tmp_path / "units"),
            binary=str(tmp_path / "traefik"),
            user=pwd.getpwuid(os.getuid()).pw_name,
        )
    )
    for name in ("etc", "state", "units", "bin"):
        (tmp_path / name).mkdir()
    text = unit.render(chosen)
    (tmp_path / "etc/traefik.yml").write_text("log: {}\n")
    (tmp_path / "units/traefik.service").write_text(text)
    (tmp_path / "traefik").write_text("program")
    found = directives(text)
    run_as_systemd(found["ExecStartPre"][0], PHOENIX_UNIT=found["Environment"][0].partition("=")[2])
    return continuity.service(chosen)


def replace(path: str, text: str) -> None:
    """By rename, as every file of ours is replaced."""
    other = Path(f"{path}.new")
    other.write_text(text)
    other.rename(path)


def everything(it: Service) -> None:
    for path in (it.static_path, it.unit_path, it.binary):
        replace(path, "")


def exposed_at_start(it: Service) -> None:
    """Traefik skips a resolver whose storage others may read, and goes on so when it is closed later."""
    storage = Path(it.state_directory, "acme-internal.json")
    storage.write_text("{}")
    storage.chmod(0o644)
    found = directives(Path(it.unit_path).read_text())
    run_as_systemd(found["ExecStartPre"][0], PHOENIX_UNIT=found["Environment"][0].partition("=")[2])
    storage.chmod(0o600)


DUE: dict[str, tuple[Callable[[Service], object], tuple[str, ...]]] = {
    "nothing": (lambda _: None, ()),
    "traefik.yml": (lambda it: replace(it.static_path, "log: {level: DEBUG}\n"), ("static",)),
    "the unit": (lambda it: replace(it.unit_path, "[Service]\nEnvironment=PHOENIX_UNIT=0\n"), ("unit",)),
    "a unit of somebody else's": (lambda it: replace(it.unit_path, "[Service]\n"), ("unit",)),
    "the program": (lambda it: replace(it.binary, "program"), ("binary",)),
    "a program that is gone": (lambda it: Path(it.binary).unlink(), ()),
    "all": (everything, ("static", "unit", "binary")),
    "an exposed storage": (exposed_at_start, ("storage",)),
}  # fmt: skip


@pytest.mark.parametrize("case", DUE)
def test_what_makes_a_restart_due(case: str, place: Service, tmp_path: Path) -> None:
    change, due = DUE[case]
    change(place)
    assert under_systemd(service.inspect_script(place), tmp_path).due == due


def under_systemd(script: str, directory: Path) -> State:
    """What a script prints where every unit is active."""
    fake = directory / "bin/systemctl"
    fake.write_text('#!/bin/sh\n[ "$1" = show ] && printf "ActiveState=active\\n\\nActiveState=active\\n"\ntrue\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        capture_output=True,
        text=True,
        env={"PATH": f"{directory}/bin:/usr/bin:/bin"},
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return State.parse(done.stdout)


def test_header_aliases_are_taken_out_where_traefik_knows_how() -> None:
    """An older Traefik does not start with a key it does not know."""
    for version, known in (("3.7.15", True), ("3.7.12", True), ("3.7.11", False), ("3.6.99", False), ("4.0.0", True)):
        points = static.static_config(settings(traefik(version=version)), "internal.example.test", None)["entryPoints"]
        found = [point.get("http", {}).get("aliasHeadersStrategy") for point in points.values()]
        assert found == ["delete" if known else None] * 3, version


GOOD = State(enabled="enabled", active="active", standby="inactive", sockets=2, sockets_enabled=2)


def service_of(*sections: dict[str, Any]) -> Service:
    return continuity.service(settings(*sections))


PROBLEMS: dict[str, tuple[Service, State, list[str]]] = {
    "all well": (service_of(), GOOD, []),
    "disabled": (service_of(), dataclasses.replace(GOOD, enabled="disabled"), ["not enabled"]),
    "stopped": (service_of(), dataclasses.replace(GOOD, active="failed"), ["is failed"]),
    "no socket": (
        service_of(),
        State(enabled="enabled", active="active", sockets=1, sockets_enabled=2),
        ["1 of traefik-web.socket and traefik-websecure.socket do not listen"],
    ),
    "a socket too many": (
        service_of(GATEWAY),
        State(enabled="enabled", active="active", sockets=1),
        ["is active, though phoenix:traefik.continuity does not ask for it"],
    ),
    "a standby left behind": (
        service_of(GATEWAY),
        State(enabled="enabled", active="active", standby="active"),
        ["traefik-standby.service is active, though no restart is going on"],
    ),
    "a standby that does not run": (
        service_of(GATEWAY, traefik(standbyRuns="always")),
        State(enabled="enabled", active="active", standby="failed", standby_enabled="enabled"),
        ["it shall run"],
    ),
    "a standby with old files": (
        service_of(GATEWAY, traefik(standbyRuns="always")),
        State(enabled="enabled", active="active", standby="active", standby_enabled="enabled", standby_due=("static",)),
        ["runs with another configuration"],
    ),
    "everything due": (
        service_of(GATEWAY),
        State(enabled="enabled", active="active", stale=True, due=("static", "unit", "binary")),
        ["has not read it yet", "another static configuration", "another unit", "another program"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_a_preview_says(case: str) -> None:
    wanted, state, phrases = PROBLEMS[case]
    found = list(service.problems(wanted, state))
    assert len(found) == len(phrases), found
    for phrase, text in zip(phrases, found, strict=True):
        assert phrase in text


def test_nonsense_from_a_target_is_no_state() -> None:
    assert State.parse("") == State.parse("what\n\n=\ndue=rm -rf\n") == State()


@pytest.mark.parametrize(
    "sections",
    [
        {},
        GATEWAY,
        deep_merge(GATEWAY, traefik(standbyRuns="always")),
        deep_merge(GATEWAY, traefik(continuity="both")),
        traefik(continuity="none", harden=False),
        traefik(stateDirectory="/srv/my state", configDirectory="/srv/my config"),
    ],
    ids=["sockets", "standby", "always", "both", "plain", "blanks"],
)
def test_systemd_finds_nothing_to_say_about_any_unit(sections: dict[str, Any], tmp_path: Path) -> None:
    """Its exit code is 0 for unknown keys and wrong values: only silence counts."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze on this machine")
    chosen = settings(sections, traefik(binary="/bin/true"))
    main = static.static_config(chosen, "internal.example.test", None)
    units = {service.UNIT: unit.render(chosen), **unit.render_others(chosen, main)}
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "traefik" in line]
    assert (done.returncode, said) == (0, []), done
    if shutil.which("systemd-analyze"):
        (tmp_path / service.UNIT).write_text(unit.render(chosen) + "[Service]\nNoSuchThing=1\n")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "NoSuchThing" in done.stderr, "this test would see a wrong key"


def test_a_standby_that_shares_the_sockets_has_its_own_api_alone() -> None:
    chosen = settings()
    main = static.static_config(chosen, "internal.example.test", None)
    found = continuity.standby_static(main, chosen.traefik, shared=True)
    assert found["entryPoints"]["traefik"]["address"] == chosen.traefik.standby_api_address
    for name in ("web", "websecure"):
        assert found["entryPoints"][name] == main["entryPoints"][name]
    assert found["certificatesResolvers"] != main["certificatesResolvers"]
    (mistake,) = continuity.mistakes(settings(traefik(standbyApiAddress="127.0.0.1:8080")))
    assert "apiAddress listens too" in mistake


REFUSED = {
    ("standbyWebsecureAddress", ":443"): "where websecureAddress listens too",
    ("standbyWebAddress", "192.0.2.12:443"): "where websecureAddress listens too",
    ("standbyApiAddress", "127.0.0.1:8080"): "where apiAddress listens too",
}


@pytest.mark.parametrize("key", REFUSED)
def test_two_instances_share_no_port(key: tuple[str, str]) -> None:
    (mistake,) = continuity.mistakes(settings(GATEWAY, traefik(**{key[0]: key[1]})))
    assert REFUSED[key] in mistake
    assert mistake.startswith(f"x: phoenix:traefik: {key[0]} is ")


def test_one_port_on_two_addresses_is_no_conflict() -> None:
    chosen = settings(GATEWAY, traefik(websecureAddress="192.0.2.12:443", standbyWebsecureAddress="192.0.2.13:443"))
    assert list(continuity.mistakes(chosen)) == []


def test_the_api_stays_on_loopback() -> None:
    with pytest.raises(InputError, match="must be on a loopback address"):
        settings(GATEWAY, traefik(standbyApiAddress=":8081"))


def test_the_probe_s_words() -> None:
    assert hardening.refused("") == ()
    assert hardening.refused("PrivateTmp\nProtectSystem\n") == ("PrivateTmp", "ProtectSystem")
    assert hardening.refused("*\n") == tuple(name for name, _ in hardening.DIRECTIVES)
    assert hardening.refused("SomethingElse\n") == ()
    assert "--property='User=a b'" in hardening.probe_script("a b")


@pytest.mark.parametrize("place", ["/etc/traefik", "/etc/traefik/dynamic", "/etc/own/units", "/srv/traefik/bin"])
def test_what_becomes_the_accounts_alone_holds_nothing_of_roots(place: str) -> None:
    """Else Traefik's account could write its own unit, or its program."""
    (mistake,) = continuity.mistakes(
        settings(traefik(stateDirectory=place, unitDirectory="/etc/own/units", binary="/srv/traefik/bin/traefik"))
    )
    assert f"stateDirectory is '{place}', which holds " in mistake


def test_a_state_directory_below_the_configuration_is_fine() -> None:
    assert list(continuity.mistakes(settings(traefik(stateDirectory="/etc/traefik/state")))) == []
