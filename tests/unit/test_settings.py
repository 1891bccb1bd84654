"""A stack's settings: defaults, merging, and a sentence for each unknown key and wrong value that shows no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from installations import PROJECT, SOURCE

from phoenix.errors import InputError
from phoenix.settings import Settings, deep_merge, parse
from phoenix.settings_files import read_mapping, stack_settings, stack_values

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"
SSH: dict[str, Any] = {"transport": "ssh", "host": "10.0.0.12", "hostKey": HOST_KEY}
LABELS = "it must be a host name whose labels hold only letters a to z, digits and inner hyphens, 63 characters at most"
PATH = "it must be an absolute path of letters, digits, blanks and ._+@- without '..', such as /etc/traefik"
LISTEN = 'it must be a listen address such as ":443" or "127.0.0.1:8080"'
URL = 'it must be a URL such as "https://ca.internal.example.test:9000"'


def _mistakes(values: dict[str, Any]) -> list[str]:
    try:
        parse(values, SOURCE)
    except InputError as error:
        return list(error.mistakes)
    return []


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown key": (
        {"internaldomain": "a.test"},
        ["internaldomain is no setting: see docs/configuration.md for the right name, or remove it."],
    ),
    "an unknown key further down": (
        {"traefik": {"webAdress": ":80"}},
        ["traefik.webAdress is no setting: see docs/configuration.md for the right name, or remove it."],
    ),
    "a misspelt secret shows no value": (
        {"sshPrivatKey": "-----BEGIN OPENSSH PRIVATE KEY-----"},
        ["sshPrivatKey is no setting: see docs/configuration.md for the right name, or remove it."],
    ),
    "an unknown key of a route": (
        {"routes": {"app-router": {"resolver": "x"}}},
        ["routes.app-router.resolver is no setting: see docs/configuration.md for the right name, or remove it."],
    ),
    "a wrong router name": (
        {"routes": {"a b": {}}},
        [
            "routes has the key 'a b': it must begin and end with a letter or digit and hold only letters, digits, "
            "dots, hyphens and underscores, 128 characters at most; correct it there."
        ],
    ),
    "a domain with a blank": (
        {"internalDomain": "a b"},
        [f"internalDomain is \"a b\": {LABELS} (the label 'a b' is not); correct it there."],
    ),
    "an unknown environment": (
        {"environment": "prod"},
        ["environment is \"prod\": it must be 'development', 'testing' or 'production'; correct it there."],
    ),
    "an environment in the list": (
        {"dockerEnvironments": ["testing", "prod"]},
        ["dockerEnvironments[1] is \"prod\": it must be 'development', 'testing' or 'production'; correct it there."],
    ),
    "a list that is text": (
        {"gateway": {"trusted": "10.0.0.0/24"}},
        ['gateway.trusted is "10.0.0.0/24": it must be an array; correct it there.'],
    ),
    "an object that is text": (
        {"traefik": "yes"},
        ['traefik is "yes": it must be an object; correct it there.'],
    ),
    "an object that is a list": ({"routes": []}, ["routes is []: it must be an object; correct it there."]),
    "text that is a number": ({"inventory": 5}, ["inventory is 5: it must be text; correct it there."]),
    "no e-mail address": (
        {"acmeEmail": "hostmaster"},
        [
            'acmeEmail is "hostmaster": it must be an e-mail address such as "hostmaster@example.test"; '
            "correct it there."
        ],
    ),
    "an e-mail address with a template mark": (
        {"acmeEmail": "{{env}}@example.test"},
        [
            'acmeEmail is "{{env}}@example.test": it must be an e-mail address such as "hostmaster@example.test"; '
            "correct it there."
        ],
    ),
    "no version": (
        {"traefik": {"version": "v3.7"}},
        ['traefik.version is "v3.7": it must be a version such as "3.7.15"; correct it there.'],
    ),
    "a relative path": (
        {"traefik": {"binary": "traefik"}},
        [f'traefik.binary is "traefik": {PATH}; correct it there.'],
    ),
    "a climbing path": (
        {"traefik": {"stateDirectory": "/var/lib/../../etc"}},
        [f'traefik.stateDirectory is "/var/lib/../../etc": {PATH}; correct it there.'],
    ),
    "a path that ends a line": (
        {"traefik": {"configDirectory": "/etc/traefik\nExecStart=/bin/sh"}},
        [f'traefik.configDirectory is "/etc/traefik\\nExecStart=/bin/sh": {PATH}; correct it there.'],
    ),
    "an account with a blank": (
        {"traefik": {"user": "tra efik"}},
        [
            'traefik.user is "tra efik": it must be a user or group name: a lower-case letter or _, then letters, '
            "digits, _ and -; correct it there."
        ],
    ),
    "a listen address by name": (
        {"traefik": {"webAddress": "localhost:80"}},
        [f'traefik.webAddress is "localhost:80": {LISTEN}; correct it there.'],
    ),
    "a listen address without a port": (
        {"traefik": {"webAddress": "127.0.0.1"}},
        [f'traefik.webAddress is "127.0.0.1": {LISTEN}; correct it there.'],
    ),
    "a port out of range": (
        {"traefik": {"webAddress": ":65536"}},
        ['traefik.webAddress is ":65536": it must be a port from 1 to 65535; correct it there.'],
    ),
    "a duration without a unit": (
        {"traefik": {"throttle": "2"}},
        ['traefik.throttle is "2": it must be a duration such as "500ms", "10s" or "1m"; correct it there.'],
    ),
    "a log level in lower case": (
        {"traefik": {"logLevel": "info"}},
        ["traefik.logLevel is \"info\": it must be 'TRACE', 'DEBUG', 'INFO', 'WARN' or 'ERROR'; correct it there."],
    ),
    "an answer that is no truth value": (
        {"traefik": {"harden": "perhaps"}},
        ['traefik.harden is "perhaps": it must be true or false; correct it there.'],
    ),
    "a gateway by name": (
        {"gateway": {"address": "gateway"}},
        ['gateway.address is "gateway": it must be a static IP address such as "10.0.0.12/24"; correct it there.'],
    ),
    "a network that is none": (
        {"gateway": {"trusted": ["10.0.0.1/24"]}},
        [
            'gateway.trusted[0] is "10.0.0.1/24": it must be an IP address or a network such as 10.0.0.0/24; '
            "correct it there."
        ],
    ),
    "a URL of another kind": (
        {"certificateAuthority": {"url": "ftp://ca"}},
        [f'certificateAuthority.url is "ftp://ca": {URL}; correct it there.'],
    ),
    "a URL with a port out of range": (
        {"certificateAuthority": {"externalDirectory": "https://ca.test:99999/dir"}},
        [f'certificateAuthority.externalDirectory is "https://ca.test:99999/dir": {URL}; correct it there.'],
    ),
    "a URL with a blank": (
        {"certificateAuthority": {"url": "https://ca test"}},
        [f'certificateAuthority.url is "https://ca test": {URL}; correct it there.'],
    ),
    "a directory with a template mark": (
        {"certificateAuthority": {"directory": "/{{acme}}"}},
        [
            'certificateAuthority.directory is "/{{acme}}": it must be the path of a URL, such as '
            '"/acme/acme/directory"; correct it there.'
        ],
    ),
    "certificates that never expire": (
        {"certificateAuthority": {"certificatesDuration": 0}},
        ["certificateAuthority.certificatesDuration is 0: it must be greater than or equal to 1; correct it there."],
    ),
    "a route's port": (
        {"routes": {"app-router": {"port": 0}}},
        ["routes.app-router.port is 0: it must be a port from 1 to 65535; correct it there."],
    ),
    "a private key of the wrong type is not shown": (
        {"sshPrivateKey": ["-----BEGIN", "hunter2"]},
        ["sshPrivateKey is [secret]: it must be text; correct it there."],
    ),
    "a key where a connection should be is not shown": (
        {"traefik": {"connection": "-----BEGIN OPENSSH PRIVATE KEY----- hunter2"}},
        ['traefik.connection is "[secret]": it must be an object; correct it there.'],
    ),
    "a connection without a checked host key shows no private key": (
        {"traefik": {"connection": {"transport": "ssh", "host": "10.0.0.12", "privateKey": "hunter2"}}},
        [
            'traefik.connection is {"transport": "ssh", "host": "10.0.0.12", "privateKey": "[secret]"}: transport ssh '
            "to 10.0.0.12 needs exactly one of hostKey and knownHostsFile, because an unchecked host key lets anybody "
            "answer in the server's place; correct it there."
        ],
    ),
    "an unknown transport": (
        {"traefik": {"connection": {**SSH, "transport": "telnet"}}},
        [
            "traefik.connection.transport is \"telnet\": it must be 'ssh', 'pct', 'pct-over-ssh', 'qm', 'qm-over-ssh' "
            "or 'local'; correct it there."
        ],
    ),
    "a state directory that is everybody's": (
        {"traefik": {"stateDirectory": "/", "logDirectory": "/var/log"}},
        [
            "traefik.stateDirectory is \"/\": it must be a directory of Traefik's own, since it becomes its account's "
            "alone; correct it there.",
            'traefik.logDirectory is "/var/log": it must be a directory of Traefik\'s own, since it becomes its '
            "account's alone; correct it there.",
        ],
    ),
    "a size that NGINX does not read": (
        {"gateway": {"maxBodySize": "lots"}},
        [
            'gateway.maxBodySize is "lots": it must be a size as NGINX writes it, such as "10m", or "0" for no limit; '
            "correct it there."
        ],
    ),
    "the file's own name": (
        {"source": "x"},
        ["source is no setting: see docs/configuration.md for the right name."],
    ),
    "several at once": (
        {"bogus": 1, "environment": "prod", "traefik": {"version": "3"}},
        [
            "environment is \"prod\": it must be 'development', 'testing' or 'production'; correct it there.",
            'traefik.version is "3": it must be a version such as "3.7.15"; correct it there.',
            "bogus is no setting: see docs/configuration.md for the right name, or remove it.",
        ],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_named(case: str) -> None:
    values, said = WRONG[case]
    found = _mistakes(values)
    assert sorted(found) == sorted(f"{SOURCE}: phoenix: {sentence}" for sentence in said)
    assert "hunter2" not in "".join(found)


EMPTY: list[dict[str, Any]] = [
    {},
    {"inventory": "", "internalDomain": "", "acmeEmail": "", "settingsFile": ""},
    {"traefik": None, "routes": None, "portainer": {"connection": None, "agents": {}}},
    {"traefik": {"version": None}, "routes": {"app-router": None}},
]


@pytest.mark.parametrize("values", EMPTY, ids=str)
def test_absent_null_and_empty_leave_the_defaults(values: dict[str, Any]) -> None:
    assert parse(values, "x") == Settings(source="x")


CANONICAL: list[tuple[dict[str, Any], str, Any]] = [
    ({"internalDomain": "Internal.Example.Test."}, "internal_domain", "internal.example.test"),
    ({"traefik": {"configDirectory": "/etc/traefik/"}}, "traefik.static_path", "/etc/traefik/traefik.yml"),
    ({"traefik": {"configDirectory": "/x"}}, "traefik.dynamic_path", "/x/dynamic/dynamic_conf.yml"),
    ({"traefik": {"unitDirectory": "/x"}}, "traefik.unit_path", "/x/traefik.service"),
    ({"gateway": {"address": "10.0.0.153/24"}}, "gateway.address", "10.0.0.153"),
    ({"gateway": {"trusted": ["10.0.0.0/24", "FD00::1"]}}, "gateway.trusted", ("10.0.0.0/24", "fd00::1")),
    ({"certificateAuthority": {"url": "https://ca.test:9000/"}}, "certificate_authority.url", "https://ca.test:9000"),
    (
        {"certificateAuthority": {"url": "https://[fd00::1]:9000"}},
        "certificate_authority.url",
        "https://[fd00::1]:9000",
    ),
    ({"traefik": {"websecureAddress": "[::1]:8443"}}, "traefik.websecure_address", "[::1]:8443"),
    ({"traefik": {"throttle": "1m30s"}}, "traefik.throttle", "1m30s"),
    ({"traefik": {"connection": SSH}}, "traefik.connection.host", "10.0.0.12"),
]


@pytest.mark.parametrize(("values", "path", "expected"), CANONICAL, ids=lambda value: ascii(value)[:40])
def test_values_come_in_their_canonical_form(values: dict[str, Any], path: str, expected: Any) -> None:
    found: Any = parse(values, "x")
    for name in path.split("."):
        found = getattr(found, name)
    assert found == expected


def test_secrets_do_not_print_themselves() -> None:
    settings = parse({"sshPrivateKey": "hunter2", "traefik": {"connection": {**SSH, "privateKey": "hunter2"}}}, "x")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


MERGES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {"a": 1}, {"a": 1}),
    ({"a": 1}, {}, {"a": 1}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
    ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
]


@pytest.mark.parametrize(("below", "above", "merged"), MERGES, ids=str)
def test_settings_are_merged_deep(below: dict[str, Any], above: dict[str, Any], merged: dict[str, Any]) -> None:
    assert deep_merge(below, above) == merged


PROJECT_TEXT = (
    "name: phoenix\nstackConfigDir: stacks\nconfig:\n  environment:\n    type: string\n    default: testing\n"
)


def _project(directory: Path, stack: str, project: str = PROJECT_TEXT) -> Path:
    (directory / "Pulumi.yaml").write_text(project, encoding="utf-8")
    (directory / "stacks").mkdir()
    (directory / "stacks" / "Pulumi.dev.yaml").write_text(stack, encoding="utf-8")
    return directory


def test_a_stacks_own_values_go_before_its_settings_file_and_the_projects_defaults(tmp_path: Path) -> None:
    stack = "config:\n  phoenix:settingsFile: more.yaml\n  phoenix:traefik:\n    version: 3.0.0\n  other:key: 1\n"
    project = _project(tmp_path, stack)
    more = {"traefik": {"version": "3.1.0", "user": "web"}, "internalDomain": "a.test"}
    (project / "more.yaml").write_text(json.dumps(more), encoding="utf-8")
    settings = stack_settings(project, "dev")
    assert settings.traefik.version == "3.0.0"
    assert settings.traefik.user == "web"
    assert settings.internal_domain == "a.test"
    assert settings.environment == "testing"
    assert settings.source == "stacks/Pulumi.dev.yaml"


def test_a_missing_settings_file_is_fine_for_rendering(tmp_path: Path) -> None:
    project = _project(tmp_path, "config:\n  phoenix:settingsFile: .lab/settings.yaml\n")
    assert stack_settings(project, "dev").traefik.connection is None


def test_encrypted_values_are_left_out_not_misread(tmp_path: Path) -> None:
    stack = (
        "config:\n  phoenix:sshPrivateKey:\n    secure: v1:abc\n  phoenix:traefik:\n"
        "    connection: {secure: v1:def}\n    user: web\n"
    )
    assert stack_values(_project(tmp_path, stack), "dev") == {
        "environment": "testing",
        "traefik": {"connection": None, "user": "web"},
    }


def test_values_that_pulumi_wrote_as_json_text_are_read(tmp_path: Path) -> None:
    stack = "config:\n  phoenix:gateway: '{\"port\": 8443}'\n  phoenix:acmeEmail: '{not json'\n"
    assert stack_values(_project(tmp_path, stack), "dev") == {
        "environment": "testing",
        "gateway": {"port": 8443},
        "acmeEmail": "{not json",
    }


BAD_FILES: list[tuple[str, str]] = [
    ("config: [1]", "stacks/Pulumi.dev.yaml: config is a list: it must be a mapping of phoenix:<key> to values."),
    ("- a", "stacks/Pulumi.dev.yaml: it holds a list, not a mapping of settings: correct it."),
    ("just text", "stacks/Pulumi.dev.yaml: it holds a text, not a mapping of settings: correct it."),
    ("a: 1\na: 2", "stacks/Pulumi.dev.yaml: line 2: the key 'a' stands twice in one mapping; correct it there."),
    (
        "a: [",
        "stacks/Pulumi.dev.yaml: line 2, column 1 is no YAML: did not find expected node content; correct it there.",
    ),
    ("a: &x [*x]", "stacks/Pulumi.dev.yaml: line 1: an alias stands inside what it names; correct it there."),
    ("[" * 100_000, "stacks/Pulumi.dev.yaml: it is nested too deep to be read; correct it there."),
]


@pytest.mark.parametrize(("text", "said"), BAD_FILES, ids=lambda value: ascii(value)[:40])
def test_a_broken_stack_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        stack_settings(_project(tmp_path, text), "dev")
    assert caught.value.mistakes == (f"{tmp_path}/{said}",)


def test_an_unknown_stack_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        stack_settings(_project(tmp_path, ""), "prod")
    assert caught.value.mistakes == (
        f"{tmp_path}/stacks/Pulumi.prod.yaml: there is no such file: `bin/pulumi stack init prod` makes it.",
    )


@pytest.mark.parametrize("stack", ["../dev", "a/b", "", "a b", "dev\n", "x" * 101])
def test_a_stacks_name_is_no_path(tmp_path: Path, stack: str) -> None:
    with pytest.raises(InputError, match="a name holds letters, digits"):
        stack_settings(_project(tmp_path, ""), stack)


def test_a_settings_file_that_is_no_utf8_or_no_file(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe4\n")
    with pytest.raises(InputError) as caught:
        read_mapping(tmp_path / "latin", "x")
    assert caught.value.mistakes == (f"{tmp_path}/latin: byte 3 is no UTF-8: save the file as UTF-8.",)
    with pytest.raises(InputError) as caught:
        read_mapping(tmp_path, "x")
    assert caught.value.mistakes == (f"{tmp_path}: it is no regular file: put the settings there.",)


@pytest.mark.parametrize("stack", ["local", "development", "testing", "production"])
def test_the_projects_own_stacks_are_right(stack: str) -> None:
    settings = stack_settings(PROJECT, stack)
    assert settings.source == f"stacks/Pulumi.{stack}.yaml"
    assert (stack == "local") is (settings.settings_file is not None)


def test_every_key_of_pulumi_yaml_is_a_setting_and_the_other_way_round() -> None:
    declared = read_mapping(PROJECT / "Pulumi.yaml", "x")["config"]
    known = {field.alias for name, field in Settings.model_fields.items() if not field.exclude}
    secret = {"sshPrivateKey"}
    assert set(declared) == known - secret
