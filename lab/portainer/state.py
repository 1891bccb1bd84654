"""What a stand-in keeps: users, keys, environments, stacks; on disk too, where a file is named."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class User:
    """A user; the first is the administrator."""

    id: int
    name: str
    salt: str
    digest: str


@dataclass
class Environment:
    """An environment."""

    id: int
    name: str
    url: str
    type: int = 2
    group: int = 1
    tags: list[int] = field(default_factory=list)
    public_url: str = ""
    tls: bool = True
    skip_verify: bool = True
    status: int = 1

    def as_json(self) -> dict[str, object]:
        """The environment as the API answers it."""
        return {
            "Id": self.id,
            "Name": self.name,
            "Type": self.type,
            "URL": self.url,
            "PublicURL": self.public_url,
            "GroupId": self.group,
            "TagIds": self.tags,
            "TLSConfig": {"TLS": self.tls, "TLSSkipVerify": self.skip_verify},
            "Status": self.status,
            "Snapshots": [],
        }


@dataclass
class Stack:
    """A stack."""

    id: int
    name: str
    endpoint: int
    text: str
    env: list[dict[str, str]]
    status: int = 1
    type: int = 2
    messages: list[str] = field(default_factory=list)
    git: dict[str, object] | None = None

    def as_json(self, *, asynchronous: bool) -> dict[str, object]:
        """The stack as the API answers it."""
        answer: dict[str, object] = {
            "Id": self.id,
            "Name": self.name,
            "Type": self.type,
            "EndpointId": self.endpoint,
            "SwarmId": "",
            "EntryPoint": "docker-compose.yml",
            "Env": [dict(pair) for pair in self.env],
            "Status": self.status,
            "ProjectPath": f"/data/compose/{self.id}",
            "CreatedBy": "admin",
            "GitConfig": self.git,
        }
        if asynchronous:
            answer["DeploymentStatus"] = [{"Status": self.status, "Message": text, "Time": 0} for text in self.messages]
        return answer


@dataclass
class State:
    """Everything kept. Hold ``lock`` while reading or changing it."""

    file: Path | None = None
    users: list[User] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    environments: dict[int, Environment] = field(default_factory=dict)
    stacks: dict[int, Stack] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=lambda: {"environment": 0, "stack": 0, "key": 0})
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def next_id(self, kind: str) -> int:
        """A number that was never used for this kind."""
        with self.lock:
            self.last[kind] += 1
            return self.last[kind]

    def save(self) -> None:
        """Write everything to the file, if there is one; only its owner may read it."""
        if self.file is None:
            return
        with self.lock:
            data = {
                "users": [asdict(user) for user in self.users],
                "keys": self.keys,
                "environments": [asdict(item) for item in self.environments.values()],
                "stacks": [asdict(item) for item in self.stacks.values()],
                "last": self.last,
            }
            draft = self.file.with_name(self.file.name + ".new")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(data, file)
            draft.replace(self.file)

    def load(self) -> None:
        """Read the file, if there is one."""
        if self.file is None or not self.file.exists():
            return
        data = json.loads(self.file.read_text(encoding="utf-8"))
        with self.lock:
            self.users = [User(**item) for item in data["users"]]
            self.keys = dict(data["keys"])
            self.environments = {item["id"]: Environment(**item) for item in data["environments"]}
            self.stacks = {item["id"]: Stack(**item) for item in data["stacks"]}
            self.last = dict(data["last"])
