"""The order of a restart's steps, on a model: whatever fails or is cut, no request does, and the next run finishes."""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.errors import PhoenixError, TraefikError, UnreachableError
from phoenix.traefik import restart
from phoenix.traefik.restart import Gateway, Restart
from phoenix.traefik.service import Service
from tests.continuity.machine import ADDRESS, MAIN, PLACE, SERVICE, STANDBY, Front, Instance, Target, World

ALWAYS = dataclasses.replace(SERVICE, standby_always=True)
SHARED = dataclasses.replace(SERVICE, sockets=True)
"""Without a gateway: both instances take connections from the same sockets."""

SERVICES = pytest.mark.parametrize("service", [SERVICE, ALWAYS, SHARED], ids=["restarts", "always", "shared"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The model's time passes with its commands."""
    clock = [0.0]

    def passes(seconds: float) -> None:
        clock[0] += seconds

    with monkeypatch.context() as patch:
        patch.setattr(restart, "time", types.SimpleNamespace(sleep=passes, monotonic=lambda: clock[0]))
        yield


def run(world: World) -> list[str]:
    said: list[str] = []
    Restart(
        target=Target(world),
        gateway=None if world.service.sockets else Gateway(Front(world), PLACE, ADDRESS, 443, 8443),
        service=world.service,
        api_url=f"http://127.0.0.1:{MAIN}",
        standby_api_url=f"http://127.0.0.1:{STANDBY}",
        revision="0123456789ab",
        say=said.append,
    ).run()
    return said


def settled(world: World) -> None:
    assert world.main.serves
    assert world.main.version == world.disk
    assert not world.switch
    assert world.standby.running is world.service.standby_always
    if world.standby.running:
        assert world.standby.version == world.disk
    assert world.lost == []


@SERVICES
def test_a_restart_that_is_due(service: Service) -> None:
    world = World(service=service, standby=Instance(service.standby_always, 1))
    said = run(world)
    settled(world)
    assert [line.split(" ")[0] for line in said] == ["traefik-standby.service", "traefik.service"]
    assert "since static changed" in said[1]


def test_nothing_is_restarted_without_need() -> None:
    world = World(disk=1)
    assert run(world) == []
    settled(world)
    assert world.commands <= 3


def test_a_stopped_traefik_is_started() -> None:
    world = World(main=Instance())
    said = run(world)
    assert world.main.serves
    assert not world.switch
    assert len(said) == 1
    assert "started in" in said[0]


@SERVICES
def test_cut_off_at_any_point_and_run_again(service: Service) -> None:
    whole = World(service=service, standby=Instance(service.standby_always, 1))
    run(whole)
    for point in range(1, whole.commands):
        world = World(service=service, standby=Instance(service.standby_always, 1), cut_after=point)
        with pytest.raises(UnreachableError):
            run(world)
        assert world.lost == [], f"cut after command {point}"
        world.cut_after = None
        run(world)
        settled(world)


@pytest.mark.parametrize("service", [SERVICE, SHARED], ids=["gateway", "shared"])
def test_a_standby_that_does_not_start_leaves_traefik_alone(service: Service) -> None:
    world = World(service=service, bad_for_standby=frozenset({2}))
    with pytest.raises(
        TraefikError, match=r"does not start: .*nothing works; Traefik itself was not restarted; the old"
    ):
        run(world)
    assert (world.main.version, world.disk, world.switch, world.standby.running) == (1, 1, False, False)
    assert world.lost == []


@pytest.mark.parametrize("service", [SERVICE, SHARED], ids=["gateway", "shared"])
def test_a_traefik_that_does_not_start_goes_back_to_what_it_ran_with(service: Service) -> None:
    world = World(service=service, bad_for_main=frozenset({2}))
    with pytest.raises(TraefikError, match=r"does not start: .*; it runs with the old traefik\.yml again"):
        run(world)
    assert (world.main.version, world.disk, world.switch, world.standby.running) == (1, 1, False, False)
    assert world.lost == []


@pytest.mark.parametrize("service", [SERVICE, SHARED], ids=["gateway", "shared"])
def test_where_nothing_starts_the_standby_goes_on(service: Service) -> None:
    world = World(service=service, bad_for_main=frozenset({1, 2}))
    with pytest.raises(TraefikError, match="does not start"):
        run(world)
    assert world.switch is not service.sockets
    assert world.standby.serves
    assert world.lost == []
    world.bad_for_main = frozenset()
    run(world)
    assert world.main.serves
    assert not world.switch
    assert world.lost == []


@pytest.mark.parametrize("service", [SERVICE, SHARED], ids=["gateway", "shared"])
def test_the_standby_goes_on_while_traefik_runs_but_does_not_serve(service: Service) -> None:
    stuck = Instance(True, 1, booting=10**6)
    world = World(service=service, main=stuck, standby=Instance(True, 2), switch=not service.sockets)
    run(world)
    settled(world)


@given(
    cuts=st.lists(st.integers(1, 40), max_size=4),
    service=st.sampled_from([SERVICE, ALWAYS, SHARED]),
    main_fails=st.booleans(),
    standby_fails=st.booleans(),
)
def test_any_sequence_of_failures(cuts: list[int], service: Service, main_fails: bool, standby_fails: bool) -> None:
    world = World(
        service=service,
        standby=Instance(service.standby_always, 1),
        bad_for_main=frozenset({2} if main_fails else ()),
        bad_for_standby=frozenset({2} if standby_fails else ()),
    )
    for cut in cuts:
        world.cut_after = world.commands + cut
        with contextlib.suppress(PhoenixError):
            run(world)
        assert world.lost == []
    world.cut_after = None
    world.bad_for_main = world.bad_for_standby = frozenset()
    run(world)
    settled(world)
