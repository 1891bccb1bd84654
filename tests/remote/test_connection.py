"""Connections: every mistake has its sentence, and no sentence holds a secret."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from phoenix.errors import InputError
from phoenix.remote import Connection

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx1Z6f9K1oG2h3l4m5n6o7p8q9r0s1t2u3v4w5x6y7z"
SSH = {"transport": "ssh", "host": "10.0.0.12", "hostKey": KEY}
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nTOP-SECRET\n-----END OPENSSH PRIVATE KEY-----\n"

GOOD: list[dict[str, Any]] = [
    SSH,
    {**SSH, "port": 2222.0, "user": "admin", "sudo": True, "connectTimeout": 3, "commandTimeout": 0.5},
    {**SSH, "host": "fe80::1"},
    {**SSH, "host": "pve.example.test."},
    {**SSH, "hostKey": f"{KEY} root@host"},
    {**SSH, "hostKey": None, "knownHostsFile": "~/.ssh/known_hosts"},
    {**SSH, "privateKey": PRIVATE},
    {**SSH, "jump": {"host": "gate", "hostKey": KEY, "user": "hop", "privateKey": PRIVATE}},
    {**SSH, "transport": "pct-over-ssh", "guest": 102},
    {**SSH, "transport": "qm-over-ssh", "guest": 1001.0},
    {"transport": "pct", "guest": 102},
    {"transport": "qm", "guest": 1001, "sudo": True},
    {"transport": "local"},
    {"transport": "ssh", "host": "h", "host_key": KEY},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "connection.transport: missing; a connection names its transport, one of ssh, pct, pct-over-ssh, qm"),
    ({"transport": "telnet"}, "connection.transport: input should be 'ssh', 'pct', 'pct-over-ssh'"),
    ({"transport": "ssh"}, "connection: transport ssh needs a host"),
    ({"transport": "ssh", "host": "h"}, "needs exactly one of hostKey and knownHostsFile"),
    ({**SSH, "knownHostsFile": "x"}, "needs exactly one of hostKey and knownHostsFile"),
    ({**SSH, "host": "-oProxyCommand=id"}, "connection.host: must be a host name or an IP address"),
    ({**SSH, "host": "a b"}, "must be a host name"),
    ({**SSH, "host": "a;id"}, "must be a host name"),
    ({**SSH, "host": ""}, "must be a host name"),
    ({**SSH, "host": "a\nb"}, "must be a host name"),
    ({**SSH, "host": "x" * 300}, "must be a host name"),
    ({**SSH, "port": 0}, "connection.port: input should be greater than or equal to 1"),
    ({**SSH, "port": 65536}, "connection.port: input should be less than or equal to 65535"),
    ({**SSH, "port": 22.5}, "connection.port: input should be a valid integer"),
    ({**SSH, "user": "root; id"}, "connection.user: must be a user name"),
    ({**SSH, "user": "-l"}, "connection.user: must be a user name"),
    ({**SSH, "user": ""}, "connection.user: must be a user name"),
    ({**SSH, "hostKey": "nonsense"}, "connection.hostKey: must be a public key line"),
    ({**SSH, "hostKey": "ssh-ed25519 !!!!"}, "must be a public key line"),
    ({**SSH, "hostKey": KEY.replace("ssh-ed25519", "ssh-rsa")}, "must be a public key line"),
    ({**SSH, "hostKey": f"{KEY}\n{KEY}"}, "must be a public key line"),
    ({**SSH, "privateKey": PRIVATE, "privateKeyFile": "k"}, "names both privateKey and privateKeyFile"),
    ({**SSH, "privateKeyFile": "a\nb"}, "connection.privateKeyFile: must be a path without line breaks"),
    ({**SSH, "guest": 102}, "transport ssh takes no guest: use pct-over-ssh or qm-over-ssh to enter one"),
    ({**SSH, "transport": "pct-over-ssh"}, "transport pct-over-ssh needs guest, the CTID or VMID"),
    ({"transport": "pct", "guest": 99}, "connection.guest: input should be greater than or equal to 100"),
    ({"transport": "pct", "guest": "102; id"}, "connection.guest: input should be a valid integer"),
    ({"transport": "pct", "guest": 102, "host": "h"}, "takes no host; use pct-over-ssh"),
    ({"transport": "local", "host": "h"}, "transport local runs on this machine and takes no host; use ssh"),
    ({"transport": "local", "jump": {"host": "g", "hostKey": KEY}}, "takes no jump; use ssh"),
    ({**SSH, "jump": {"host": "g"}}, "connection.jump: a jump host to g needs exactly one of hostKey"),
    ({**SSH, "jump": {"hostKey": KEY}}, "connection.jump: a jump host needs a host"),
    ({**SSH, "jump": "gate"}, "connection.jump: input should be"),
    ({**SSH, "connectTimeout": 0}, "connection.connectTimeout: input should be greater than 0"),
    ({**SSH, "commandTimeout": -1}, "connection.commandTimeout: input should be greater than 0"),
    ({**SSH, "commandTimeout": float("nan")}, "connection.commandTimeout"),
    ({**SSH, "pasword": "TOP-SECRET"}, "connection.pasword: unknown field; a connection has agent, commandTimeout"),
    ({**SSH, "privateKey": {"x": "TOP-SECRET"}}, "connection.privateKey: input should be a valid string"),
]


@pytest.mark.parametrize("data", GOOD)
def test_good_ones_survive_a_round_trip(data: dict[str, Any]) -> None:
    connection = Connection.parse(data)
    again = Connection.parse(connection.to_props())
    assert again == connection
    assert hash(again) == hash(connection)
    assert pickle.loads(pickle.dumps(connection)) == connection  # noqa: S301 - made here
    for text in (repr(connection), str(connection), connection.description, connection.target):
        assert "TOP-SECRET" not in text


@pytest.mark.parametrize(("data", "says"), BAD)
def test_bad_ones_are_refused(data: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        Connection.parse(data)
    assert any(says in mistake for mistake in caught.value.mistakes), caught.value.mistakes
    for mistake in caught.value.mistakes:
        assert "TOP-SECRET" not in mistake
        assert "\n" not in mistake
        assert mistake.endswith(".")


def test_every_mistake_is_told() -> None:
    with pytest.raises(InputError) as caught:
        Connection.parse({**SSH, "port": 0, "user": "a b", "guess": 1}, "traefik: connection")
    assert len(caught.value.mistakes) == 3
    assert all(mistake.startswith("traefik: connection.") for mistake in caught.value.mistakes)


@pytest.mark.parametrize(
    ("data", "description", "target"),
    [
        (SSH, "ssh root@10.0.0.12:22", "10.0.0.12:22"),
        ({**SSH, "host": "fe80::1"}, "ssh root@[fe80::1]:22", "fe80::1:22"),
        (
            {**SSH, "transport": "pct-over-ssh", "guest": 102},
            "container 102 on ssh root@10.0.0.12:22",
            "pct 102 on 10.0.0.12:22",
        ),
        ({"transport": "qm", "guest": 1001}, "VM 1001 on this machine", "qm 1001 on this machine"),
        ({"transport": "local"}, "this machine", "this machine"),
    ],
)
def test_words_for_messages(data: dict[str, Any], description: str, target: str) -> None:
    connection = Connection.parse(data)
    assert (connection.description, connection.target) == (description, target)


def test_the_private_key_is_in_the_properties_only() -> None:
    connection = Connection.parse({**SSH, "privateKey": PRIVATE})
    assert connection.to_props()["privateKey"] == PRIVATE
    assert "TOP-SECRET" not in connection.model_dump_json()
