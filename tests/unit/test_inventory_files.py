"""The inventory's files as files: missing, broken, hostile, huge; and a real one, where it lies beside the project."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from installations import PROJECT, lxc, mistakes, routed, texts, write

from phoenix.configuration import read
from phoenix.errors import InputError
from phoenix.inventory import FILES, load
from phoenix.inventory.load import MAXIMUM_BYTES
from phoenix.settings import parse

LXC, VM, HYP, STACKS = FILES
REAL = PROJECT.parent / "shared" / "inventory"

NAMED = b'{"lxc_configs": {"801": {"name": %s, "network_config": {"ip": "10.0.0.5"}, "ports": ["80"]}}}'
TEXT_FILES: list[tuple[str, bytes | None, list[str]]] = [
    (LXC, None, [f"{LXC}: the file is missing: put it into the inventory directory."]),
    (VM, None, [f"{VM}: the file is missing: put it into the inventory directory."]),
    (HYP, None, [f"{HYP}: the file is missing: put it into the inventory directory."]),
    (STACKS, None, []),
    (LXC, b"", [f"{LXC}: line 1, column 1 is no JSON (Expecting value): correct it there."]),
    (
        LXC,
        b'{\n  "lxc_configs": {\n    "801": {"name": },\n',
        [f"{LXC}: line 3, column 21 is no JSON (Expecting value): correct it there."],
    ),
    (LXC, b'{"lxc_configs": {}} x', [f"{LXC}: line 1, column 21 is no JSON (Extra data): correct it there."]),
    (HYP, b"\xff\xfe{\x00}\x00", [f"{HYP}: byte 0 is no UTF-8: save the file as UTF-8."]),
    (VM, b'{"vms": ["\xe4"]}', [f"{VM}: byte 10 is no UTF-8: save the file as UTF-8."]),
    (LXC, b"[]", [f"{LXC}: the whole file is []: it must be a JSON object."]),
    (LXC, b"null", [f"{LXC}: the whole file is null: it must be a JSON object."]),
    (LXC, b"5", [f"{LXC}: the whole file is 5: it must be a JSON object."]),
    (LXC, b'"lxc_configs"', [f'{LXC}: the whole file is "lxc_configs": it must be a JSON object.']),
    (LXC, b"{}", [f"{LXC}: lxc_configs is missing: add it, as an object of CTID → container."]),
    (LXC, b'{"lxc_configs": null}', [f"{LXC}: lxc_configs is missing: add it, as an object of CTID → container."]),
    (LXC, b'{"lxc_configs": []}', [f"{LXC}: lxc_configs is []: it must be an object of CTID → container."]),
    (VM, b'{"vms": {"1001": {}}}', [f'{VM}: vms is {{"1001": {{}}}}: it must be an array of VMs.']),
    (VM, b'{"vm": []}', [f"{VM}: vms is missing: add it, as an array of VMs."]),
    (HYP, b"{}", [f"{HYP}: domain_name is missing: add it."]),
    (
        STACKS,
        b'{"docker_stacks": []}',
        [f"{STACKS}: docker_stacks is []: it must be an object of name → Docker stack."],
    ),
    (
        LXC,
        b'{"lxc_configs": {"801": {"name": "a"}, "801": {"name": "b"}}}',
        [f"{LXC}: the key '801' stands twice in one object: remove one of the two."],
    ),
    (
        LXC,
        b'{"lxc_configs": {"801": {"name": "a", "ports": ["80"], "ports": []}}}',
        [f"{LXC}: the key 'ports' stands twice in one object: remove one of the two."],
    ),
    (
        LXC,
        b'{"lxc_configs": {"801": {"name": "a", "x": %s}}}' % (b"9" * 5000),
        [f"{LXC}: it holds a number of more than 4300 digits: correct it there."],
    ),
    (LXC, b"[" * 100_000, [f"{LXC}: it is nested too deep to be read: flatten it."]),
    (LXC, b'{"a":' * 100_000, [f"{LXC}: it is nested too deep to be read: flatten it."]),
    (
        LXC,
        NAMED % b'"\\ud800"',
        [
            f'{LXC}: LXC 801 (\\ud800): name is "\\ud800": it must be text of whole characters, without lone '
            "surrogates; correct it there."
        ],
    ),
]


@pytest.mark.parametrize(("name", "content", "said"), TEXT_FILES, ids=lambda value: ascii(value)[:50])
def test_a_broken_file_is_named(name: str, content: bytes | None, said: list[str]) -> None:
    assert mistakes({**texts(), name: content}) == said


def test_the_mistakes_of_all_files_are_named_in_one_run() -> None:
    files = {LXC: b"{", VM: None, HYP: b"\xff", STACKS: b"[]"}
    assert mistakes(files) == [
        f"{LXC}: line 1, column 2 is no JSON (Expecting property name enclosed in double quotes): correct it there.",
        f"{VM}: the file is missing: put it into the inventory directory.",
        f"{HYP}: byte 0 is no UTF-8: save the file as UTF-8.",
        f"{STACKS}: the whole file is []: it must be a JSON object.",
    ]


def test_a_broken_hypervisor_file_does_not_hide_the_routes_mistakes() -> None:
    found = mistakes({**texts({"801": lxc(ports=["0"])}), HYP: b"{}"})
    assert found == [
        f"{HYP}: domain_name is missing: add it.",
        f'{LXC}: LXC 801 (app): ports[0] is "0": it must be a port mapping such as "8001:8000", with ports from 1 to '
        "65535; correct it there.",
    ]


def test_a_byte_order_mark_and_unknown_keys_are_normal() -> None:
    content = NAMED % b'"app", "gpu_assignment": [0, 1], "x": NaN, "lxc_options": {"deep": [{"er": null}]}'
    assert set(routed({**texts(), LXC: b"\xef\xbb\xbf" + content})) == {"app-router"}


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, texts())
    with (tmp_path / VM).open("ab") as file:
        file.truncate(MAXIMUM_BYTES + 1)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert caught.value.mistakes == (f"{tmp_path / VM}: it is larger than 67108864 bytes: this is no inventory file.",)


def test_a_large_installation_is_read() -> None:
    files = texts({str(1000 + n): lxc(f"app-{n}", f"10.{n // 250}.{n % 250}.5", ports=["80"]) for n in range(2000)})
    assert len(routed(files)) == 2000


def test_a_directory_a_pipe_or_a_socket_in_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path, {HYP: texts()[HYP]})
    (tmp_path / LXC).mkdir()
    os.mkfifo(tmp_path / VM)
    bound = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(tmp_path)  # the path of a socket has a limit that a temporary directory may pass
    try:
        bound.bind(STACKS)
    finally:
        os.chdir(here)
    with bound, pytest.raises(InputError) as caught:
        load(tmp_path)
    assert caught.value.mistakes == tuple(
        f"{tmp_path / name}: it is no regular file: put the JSON file there." for name in (LXC, VM, STACKS)
    )


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, texts())
    (tmp_path / LXC).chmod(0)
    if os.access(tmp_path / LXC, os.R_OK):
        pytest.skip("this account reads every file, whatever its mode")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert caught.value.mistakes == (
        f"{tmp_path / LXC}: it cannot be read (Permission denied): check its permissions.",
    )


@pytest.mark.parametrize("name", ["nowhere", LXC])
def test_what_is_no_directory_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, texts())
    with pytest.raises(InputError) as caught:
        read(tmp_path / name, parse({}, "defaults"))
    assert caught.value.mistakes == (
        f"{tmp_path / name}: the inventory is no directory: name one that holds {LXC} and its siblings.",
    )


def test_a_symbolic_link_to_an_inventory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(tmp_path / "real", texts({"801": lxc(ports=["80"])}))
    (tmp_path / "link").symlink_to("real")
    assert load(tmp_path / "link") == load(tmp_path / "real")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real installation's inventory lies beside the project")
def test_a_real_installation() -> None:
    _, configuration = read(REAL, parse({}, "defaults"))
    domain = configuration.internal_domain
    found = {route.router: (route.hostnames[0], route.backend, route.resolvers[0]) for route in configuration.routes}
    internal = {
        f"{name}-router": (f"{name}.{domain}", backend, "internal-resolver")
        for name, backend in (
            ("granite-3.3-8b-fp8", "http://10.0.0.142:8000"),
            ("granite-embedding", "http://10.0.0.141:8000"),
            ("llamacpp-gpu0", "http://10.0.0.157:8081"),
            ("ollama-gpu0", "http://10.0.0.155:11434"),
        )
    }
    portainer = found.pop("portainer-router")
    assert found == internal
    assert portainer[0].startswith("portainer.")
    assert portainer[1:] == ("https://10.0.0.101:9443", "external-resolver")
    assert configuration.gateway == "10.0.0.153"
