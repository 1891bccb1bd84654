"""The stand-in's API: routes, logins and rules; environments and stacks are in their own modules."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Literal

from lab.portainer import environments, stacks
from lab.portainer.engine import Engine
from lab.portainer.guard import (
    COOKIE,
    JWT_SECONDS,
    CrossSite,
    LoginLimit,
    Tokens,
    foreign_origin,
    password_digest,
)
from lab.portainer.messages import Reply, Request, answer, error, text
from lab.portainer.modes import Mode
from lab.portainer.state import State, User

INITIALISE_SECONDS = 300.0
PASSWORD_LENGTH = 12


class Api:
    """One Portainer server, apart from its sockets.

    Attributes:
        mode: the version it plays.
        state: what it keeps.
        agents: agents that cannot be reached, by URL; every other answers.
        missing_images: images that no registry has.
        deploy_seconds: how long a deployment takes.
        agent_seconds: how long an agent that hangs is waited for.
        between: called between the look for a taken name and the write, where others may come in.
        setup_token: what 2.43 wants for the first user.
        generation: counts restarts.
    """

    def __init__(self, mode: Mode, state: State, clock: Callable[[], float]) -> None:
        self.mode = mode
        self.state = state
        self.clock = clock
        self.agents: dict[str, Literal["refused", "hang"]] = {}
        self.missing_images: set[str] = set()
        self.deploy_seconds = 0.0
        self.agent_seconds = 3.0
        self.between: Callable[[], object] = lambda: None
        self.setup_token = secrets.token_hex(16)
        self.generation = 0
        self.deploying = threading.Lock()
        self.threads: list[threading.Thread] = []
        self.instance = secrets.token_hex(16)
        self._engines: dict[str, Engine] = {}
        self._tokens = Tokens(clock)
        self._limit = LoginLimit(clock)
        self._cross_site = CrossSite()
        self._started = clock()

    def engine(self, url: str) -> Engine:
        """The Docker engine behind an agent; environments with one URL share it."""
        with self.state.lock:
            return self._engines.setdefault(url, Engine(self.missing_images))

    def restart(self) -> None:
        """What the process's end and start do to everything but the sockets."""
        with self.state.lock:
            self.generation += 1
            self._tokens.renew_key()
            self._limit.clear()
            self._cross_site = CrossSite()
            self._started = self.clock()
            for stack in self.state.stacks.values():
                # What becomes of a deployment that a restart cuts off was not measured; this is the harder case
                # of the two, since a client that only polls would wait for ever on the other.
                if stack.status == stacks.DEPLOYING:
                    stack.status, stack.messages = stacks.FAILED, ["the server was restarted"]

    # -- routing -----------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Reply:
        """The reply to a request.

        Raises:
            Interrupted: the server was restarted under it, so that there is none.
        """
        if not request.path.startswith("/api/"):
            return text(200, "<!doctype html><title>Portainer</title>")
        if not self.state.users and self.clock() - self._started >= INITIALISE_SECONDS:
            return Reply(303, b"", {"Redirect-Reason": "AdminInitTimeout"})
        if self.mode.setup_token and foreign_origin(request.headers):
            return text(403, "Forbidden - origin invalid\n")
        cookie = request.cookie(COOKIE)
        refusal = self._cross_site.refuses(request.method, request.headers, cookie)
        if refusal is not None:
            return text(403, refusal)
        if cookie is None and "x-api-key" in request.headers and "authorization" in request.headers:
            return error(403, "api key and auth header are not allowed at the same time")
        reply = self._public(request)
        if reply is None:
            reply = self._authenticated(request) if self._user(request) else self._unauthorised(request)
        if cookie is not None and 200 <= reply.status < 300:
            reply = Reply(reply.status, reply.body, {**reply.headers, "X-CSRF-Token": self._cross_site.token})
        return reply

    def _public(self, request: Request) -> Reply | None:
        match request.method, request.path:
            case "GET", "/api/system/status" | "/api/status":
                return answer({"Version": self.mode.version, "InstanceID": self.instance})
            case "GET", "/api/users/admin/check":
                if self.state.users:
                    return Reply(204)
                return error(404, "No administrator account found inside the database", "Object not found")
            case "POST", "/api/users/admin/init":
                return self._initialise(request)
            case "POST", "/api/auth":
                return self._login(request)
        return None

    def _authenticated(self, request: Request) -> Reply:  # noqa: PLR0911 - each is a route
        method, path = request.method, request.path
        if path == "/api/users/me":
            user = self._user(request)
            return answer({"Id": user.id, "Username": user.name, "Role": 1}) if user else self._unauthorised(request)
        if found := re.fullmatch(r"/api/users/(\d+)/tokens", path):
            return self._make_key(request, int(found[1])) if method == "POST" else _not_allowed()
        if path == "/api/endpoints":
            return self._choose(
                method,
                GET=lambda: environments.list_all(self, request),
                POST=lambda: environments.create(self, request),
            )
        if found := re.fullmatch(r"/api/endpoints/(\d+)", path):
            return self._environment(request, int(found[1]))
        if found := re.fullmatch(r"/api/endpoints/(\d+)/snapshot", path):
            number = int(found[1])
            return self._choose(method, POST=lambda: environments.snapshot(self, number))
        if found := re.fullmatch(r"/api/endpoints/(\d+)/docker(/.*)", path):
            return environments.docker(self, request, int(found[1]), found[2])
        return self._stacks(request)

    def _environment(self, request: Request, number: int) -> Reply:
        def inspect() -> Reply:
            with self.state.lock:
                item = self.state.environments.get(number)
                return environments.missing() if item is None else answer(item.as_json())

        return self._choose(
            request.method,
            GET=inspect,
            PUT=lambda: environments.update(self, request, number),
            DELETE=lambda: environments.delete(self, number),
        )

    def _stacks(self, request: Request) -> Reply:  # noqa: PLR0911 - each is a route
        method, path = request.method, request.path
        if path == "/api/stacks":
            if method == "POST" and self.mode.old_stack_route and request.parameter("method") == "string":
                return stacks.create(self, request)
            return self._choose(method, GET=lambda: stacks.list_all(self, request))
        if path == "/api/stacks/create/standalone/string":
            return self._choose(method, POST=lambda: stacks.create(self, request))
        found = re.fullmatch(r"/api/stacks/(\d+)(?:/(file|start|stop))?", path)
        if not found:
            return text(404, "404 page not found\n")
        number = int(found[1])
        match found[2]:
            case "file":
                return self._choose(method, GET=lambda: stacks.content(self, number))
            case "start" | "stop" as verb:
                return self._choose(method, POST=lambda: stacks.switch(self, request, number, verb))
        return self._choose(
            method,
            GET=lambda: stacks.inspect(self, number),
            PUT=lambda: stacks.update(self, request, number),
            DELETE=lambda: stacks.delete(self, request, number),
        )

    @staticmethod
    def _choose(method: str, **handlers: Callable[[], Reply]) -> Reply:
        handler = handlers.get(method)
        return handler() if handler else _not_allowed()

    # -- users -------------------------------------------------------------------------------------------------

    def _user(self, request: Request) -> User | None:
        key = request.headers.get("x-api-key")
        bearer = request.headers.get("authorization", "")
        token = bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else request.cookie(COOKIE)
        number = self.state.keys.get(key) if key else self._tokens.user(token) if token else None
        return next((user for user in self.state.users if user.id == number), None)

    @staticmethod
    def _unauthorised(request: Request) -> Reply:
        said = "Invalid JWT token" if "authorization" in request.headers else "A valid authorization token is missing"
        return error(401, said, "Unauthorized")

    def _initialise(self, request: Request) -> Reply:
        body = request.json() or {}
        name, password = body.get("Username"), body.get("Password")
        if self.mode.setup_token:
            given = request.headers.get("x-setup-token", "")
            if not hmac.compare_digest(given.encode(), self.setup_token.encode()):
                return error(403, "A valid setup token is required", "Forbidden")
        if not isinstance(name, str) or not name or " " in name:
            return error(400, "Invalid request payload", "Invalid username. Must not contain any whitespace")
        if not isinstance(password, str) or not password:
            return error(400, "Invalid request payload", "Invalid password")
        with self.state.lock:
            if self.state.users:
                return error(409, "Unable to create administrator user", "An administrator user already exists")
            if len(password) < PASSWORD_LENGTH:
                return error(400, "Password does not meet the requirements")
            salt = secrets.token_hex(8)
            self.state.users.append(User(1, name, salt, password_digest(password, salt)))
            self.state.save()
        return answer({"Id": 1, "Username": name, "Role": 1})

    def _login(self, request: Request) -> Reply:
        if not self._limit.allows(request.address):
            return error(403, "Access denied", "Access denied to resource")
        body = request.json() or {}
        name, password = body.get("Username"), body.get("Password")
        if not isinstance(name, str) or not name or not isinstance(password, str) or not password:
            return error(400, "Invalid request payload", "Invalid username")
        user = next((item for item in self.state.users if item.name == name), None)
        if user is None or not hmac.compare_digest(user.digest, password_digest(password, user.salt)):
            return error(422, "Invalid credentials", "Unauthorized")
        token = self._tokens.make(user.id, user.name)
        reply = answer({"jwt": token})
        cookie = f"{COOKIE}={token}; Path=/; Max-Age={JWT_SECONDS}; HttpOnly; SameSite=Strict"
        return Reply(reply.status, reply.body, {**reply.headers, "Set-Cookie": cookie})

    def _make_key(self, request: Request, number: int) -> Reply:
        body = request.json() or {}
        user = next((item for item in self.state.users if item.id == number), None)
        if user is None or not isinstance(body.get("description"), str) or not body["description"]:
            return error(400, "Invalid request payload", "invalid description: cannot be empty")
        given = str(body.get("password", ""))
        if not hmac.compare_digest(user.digest, password_digest(given, user.salt)):
            return error(403, "Current password doesn't match")
        key = "ptr_" + secrets.token_urlsafe(32)
        with self.state.lock:
            self.state.keys[key] = user.id
            self.state.save()
        made = {"id": self.state.next_id("key"), "userId": user.id, "description": body["description"]}
        return answer({"rawAPIKey": key, "apiKey": made}, self.mode.token_status)


def _not_allowed() -> Reply:
    return Reply(405)


def wall_clock() -> float:
    """The usual clock of a stand-in."""
    return time.monotonic()
