"""The three rendered files: golden copies, determinism, safety of an installation without routes.

After a wanted change of what is rendered, write the golden copies anew: ``PHOENIX_WRITE_GOLDEN=1 bin/test tests/unit``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from installations import PROJECT, configured, inventory_of, lxc, primary, texts

from phoenix.configuration import Configuration
from phoenix.traefik import dynamic
from phoenix.traefik.document import HEADER

GOLDEN = Path(__file__).parent / "golden"
LOCAL: dict[str, Any] = {
    "acmeEmail": "hostmaster@phoenix.test",
    "traefik": {"webAddress": "127.10.0.12:8000", "websecureAddress": "127.10.0.12:8443"},
    "routes": {"search-router": {"certResolver": "external-resolver"}},
}


def _rendered(configuration: Configuration) -> dict[str, str]:
    return {
        "traefik.yml": configuration.static_text,
        "dynamic_conf.yml": configuration.dynamic_text,
        "traefik.service": configuration.unit_text,
    }


CASES: dict[str, Configuration] = {
    "local": configured(inventory_of("local"), LOCAL),
    "empty": configured(texts()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_files_are_as_their_golden_copies(case: str) -> None:
    for name, text in _rendered(CASES[case]).items():
        golden = GOLDEN / case / name
        if os.environ.get("PHOENIX_WRITE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(text, encoding="utf-8")
        assert text == golden.read_text(encoding="utf-8"), f"{name} is not as {golden.relative_to(PROJECT)}"


_SCRIPT = """
import json, random, sys
from pathlib import Path
from phoenix.configuration import configure
from phoenix.inventory import parse
from phoenix.settings import parse as settings
sys.path.insert(0, "tests/unit")
from installations import SOURCE, inventory_of
from test_files_rendered import LOCAL, _rendered
def shuffled(data, order):
    if isinstance(data, dict):
        items = list(data.items())
        order.shuffle(items)
        return {key: shuffled(value, order) for key, value in items}
    if isinstance(data, list) and all(isinstance(item, dict) for item in data):
        return [shuffled(item, order) for item in order.sample(data, len(data))]
    return data
order = random.Random(int(sys.argv[1]))
files = {name: json.dumps(shuffled(json.loads(text), order)) for name, text in inventory_of("local").items()}
print(json.dumps(_rendered(configure(parse(files), settings(shuffled(LOCAL, order), SOURCE)))))
"""


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_the_same_inventory_gives_the_same_bytes_whatever_the_order_and_hash_seed(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, seed],
        cwd=PROJECT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == _rendered(CASES["local"])


@pytest.mark.parametrize("case", CASES)
def test_the_texts_mean_the_data(case: str) -> None:
    configuration = CASES[case]
    assert yaml.safe_load(configuration.static_text) == configuration.static
    assert yaml.safe_load(configuration.dynamic_text) == configuration.dynamic
    assert configuration.static_text.startswith(HEADER)
    assert configuration.dynamic_text.startswith(HEADER)
    assert "do not edit" in configuration.unit_text.splitlines()[0]


@pytest.mark.parametrize("case", CASES)
def test_the_files_are_plain_sorted_and_hold_no_template_marks(case: str) -> None:
    configuration = CASES[case]
    for text, data in (
        (configuration.static_text, configuration.static),
        (configuration.dynamic_text, configuration.dynamic),
    ):
        assert "{{" not in text
        assert "&id" not in text
        assert "\t" not in text
        assert _sorted(data) == json.loads(json.dumps(yaml.safe_load(text)))
        assert list(yaml.safe_load(text)) == sorted(data)


def _sorted(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _sorted(data[key]) for key in sorted(data)}
    return [_sorted(item) for item in data] if isinstance(data, list) else data


def test_without_routes_no_section_is_empty() -> None:
    """An empty file, a bare ``http:`` and ``routers: {}`` make Traefik drop every route or refuse the file."""
    assert CASES["empty"].dynamic == {
        "http": {
            "middlewares": {
                f"phoenix-revision-{CASES['empty'].dynamic_revision}": {
                    "headers": {"customResponseHeaders": {"X-Phoenix-Revision": CASES["empty"].dynamic_revision}}
                }
            }
        }
    }


def test_two_names_of_two_resolvers_are_two_routers_of_one_service() -> None:
    """A router has one resolver; the first serves all names, so that none is lost, and orders for its own only."""
    files = texts(vms=[primary(traefik_service={"name": "dash", "port": 9000})])
    routers = configured(files).dynamic["http"]["routers"]
    assert routers == {
        "portainer-router": {
            "entryPoints": ["websecure"],
            "rule": "Host(`portainer.example.test`) || Host(`dash.internal.example.test`)",
            "service": "portainer-service",
            "tls": {"certResolver": "external-resolver", "domains": [{"main": "portainer.example.test"}]},
        },
        "portainer-internal-router": {
            "entryPoints": ["websecure"],
            "rule": "Host(`dash.internal.example.test`)",
            "service": "portainer-service",
            "tls": {"certResolver": "internal-resolver"},
        },
    }


def test_two_names_of_one_resolver_are_one_router() -> None:
    files = texts(vms=[primary(traefik_service={"name": "dash", "port": 9000})])
    routers = configured(files, {"internalDomain": "example.test"}).dynamic["http"]["routers"]
    assert routers == {
        "portainer-router": {
            "entryPoints": ["websecure"],
            "rule": "Host(`portainer.example.test`) || Host(`dash.example.test`)",
            "service": "portainer-service",
            "tls": {"certResolver": "internal-resolver"},
        }
    }


def test_an_unverified_backend_names_no_root() -> None:
    settings = {"portainer": {"insecureSkipVerify": True}}
    http = configured(texts(vms=[primary()]), settings).dynamic["http"]
    assert http["serversTransports"] == {
        "portainer-transport": {"insecureSkipVerify": True, "serverName": "portainer.example.test"}
    }


CHANGES: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "nothing": ({}, False, False),
    "a route": ({"routes": {"app-router": {"port": 81}}}, True, True),
    "the log level": ({"traefik": {"logLevel": "DEBUG"}}, True, False),
    "the unit": ({"traefik": {"harden": False}}, True, False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_revisions_name_the_content(case: str) -> None:
    settings, all_files, routes = CHANGES[case]
    files = texts({"801": lxc(ports=["80"])})
    before, after = configured(files), configured(files, settings)
    assert (before.revision != after.revision) is all_files
    assert (before.dynamic_revision != after.dynamic_revision) is routes
    assert dynamic.revision(after.dynamic) == after.dynamic_revision
    assert len(after.dynamic_revision) == len(after.revision) == 12


@pytest.mark.parametrize(
    "data", [{}, {"http": None}, {"http": {"middlewares": ["x"]}}, {"http": {"middlewares": {1: {}}}}]
)
def test_a_configuration_that_is_not_ours_has_no_revision(data: dict[str, Any]) -> None:
    assert dynamic.revision(data) is None
