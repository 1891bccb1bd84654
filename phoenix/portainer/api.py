"""Portainer's API, typed: what the portainer manager reads and writes.

Sources: https://docs.portainer.io/api/docs, and how the servers 2.23, 2.39 and 2.41 answered;
    ``lab/portainer`` is a
server that behaves the same, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import SecretStr, TypeAdapter, ValidationError

from phoenix.portainer.errors import (
    ConflictError,
    DeploymentError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    SetupExpiredError,
    UncertainError,
)
from phoenix.portainer.records import (
    DEPLOYING,
    DOCKER_AGENT,
    FAILED,
    ContainerRecord,
    EnvironmentRecord,
    StackRecord,
    SystemStatus,
)
from phoenix.portainer.session import Call, Session

T = TypeVar("T")

_ENVIRONMENTS = TypeAdapter(list[EnvironmentRecord])
_ENVIRONMENT = TypeAdapter(EnvironmentRecord)
_STACKS = TypeAdapter(list[StackRecord])
_STACK = TypeAdapter(StackRecord)
_CONTAINERS = TypeAdapter(list[ContainerRecord])
_STATUS = TypeAdapter(SystemStatus)

#: An agent's certificate is its own and unnamed, and it trusts the server by the server's key; without these flags
#: Portainer answers 500 x509.
_AGENT_TLS = ("TLS", "TLSSkipVerify", "TLSSkipClientVerify")

Variables = Sequence[tuple[str, SecretStr]]


class Portainer:
    """The API of one server.

    Every method raises :class:`phoenix.errors.PortainerError`; which one is said where it matters.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def _typed(self, adapter: TypeAdapter[T], path: str, data: object) -> T:
        try:
            return adapter.validate_python(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ProtocolError(
                f"{self.session.target.describe()}: {path} answered a record whose {where or 'shape'} "
                "does not fit "
                f"({first['msg']}): this server's version is not supported; supported are 2.23 to 2.43."
            ) from None

    # -- the server
    # --------------------------------------------------------------------------------------------

    def status(self, *, timeout: float | None = None) -> SystemStatus:
        """The server's version; public, and the same before and after the first user exists."""
        path = "/api/system/status"
        return self._typed(_STATUS, path, self.session.get(path, public=True, timeout=timeout))

    def initialised(self) -> bool:
        """Whether the first user exists.

        Raises:
            SetupExpiredError: the server waits for a restart.
        """
        try:
            self.session.read(Call("GET", "/api/users/admin/check", public=True))
        except NotFoundError as error:
            if error.said == "404 page not found":
                raise
            return False
        return True

    def initialise(self, username: str, password: SecretStr, *, setup_token: SecretStr | None = None) -> bool:
        """Make the first user.

        Args:
            username: its name.
            password: at least 12 characters.
            setup_token: what servers from 2.43 on ask for.

        Returns:
            Whether it was made; not when it was there already.

        Raises:
            SetupExpiredError: the server waits for a restart.
            RefusedError: the password is too short, or the set-up token is missing or wrong.
        """
        self.session.secrets.add(password)
        headers = {}
        if setup_token is not None:
            self.session.secrets.add(setup_token)
            headers["X-Setup-Token"] = setup_token.get_secret_value()
        body = {"Username": username, "Password": password.get_secret_value()}
        try:
            self.session.send(Call("POST", "/api/users/admin/init", body=body, headers=headers, public=True))
        except ConflictError:
            return False
        except UncertainError:
            if not self.initialised():
                raise
        except SetupExpiredError:
            raise
        except RefusedError as error:
            if error.status == 403:
                raise RefusedError(
                    f"{self.session.target.describe()}: Portainer wants its set-up token for the first user "
                    f"({error.said or 'no reason given'}): put it into a file and name that as "
                    "portainer.api.setupTokenFile.",
                    status=403,
                    said=error.said,
                ) from None
            raise
        return True

    def current_user(self) -> str:
        """The name of the user who is logged in; the cheapest call that needs a login."""
        answer = self.session.get("/api/users/me")
        name = answer.get("Username") if isinstance(answer, dict) else None
        if not isinstance(name, str):
            raise ProtocolError(f"{self.session.target.describe()}: /api/users/me answered no user name.")
        return name

    # -- environments
    # ------------------------------------------------------------------------------------------

    def environments(self) -> list[EnvironmentRecord]:
        """Every environment, without its snapshots."""
        path = "/api/endpoints"
        return self._typed(_ENVIRONMENTS, path, self.session.get(path, params={"excludeSnapshots": "true"}))

    def create_environment(self, name: str, url: str, kind: int = DOCKER_AGENT) -> EnvironmentRecord:
        """Add an environment.

        Args:
            name: its name; Portainer keeps it as it is.
            url: the agent, ``tcp://host:port``, or the server's own Docker socket.
            kind: DOCKER_AGENT or DOCKER_LOCAL.

        Raises:
            ConflictError: the name is taken.
            ServerFailedError: the agent refused or did not answer, **or** the environment was made nevertheless:
                list before another try.
            UncertainError: it may have been made.
        """
        # A form, not JSON.
        form = {"Name": name, "EndpointCreationType": str(kind), "URL": url}
        if kind == DOCKER_AGENT:
            form |= dict.fromkeys(_AGENT_TLS, "true")
        path = "/api/endpoints"
        answer = self.session.send(Call("POST", path, form=form, timeout=self.session.timeouts.environment))
        return self._typed(_ENVIRONMENT, path, answer)

    def update_environment(
        self, identifier: int, *, name: str, url: str, kind: int = DOCKER_AGENT
    ) -> EnvironmentRecord:
        """Give an environment its declared name and address."""
        path = f"/api/endpoints/{identifier}"
        body: dict[str, object] = {"Name": name, "URL": url}
        if kind == DOCKER_AGENT:
            body |= dict.fromkeys(_AGENT_TLS, True)
        answer = self.session.send(Call("PUT", path, body=body, timeout=self.session.timeouts.environment))
        return self._typed(_ENVIRONMENT, path, answer)

    def delete_environment(self, identifier: int) -> None:
        """Remove an environment's record, if there is one; its stacks' records and containers stay."""
        try:
            self.session.send(Call("DELETE", f"/api/endpoints/{identifier}"))
        except NotFoundError:
            return

    def containers(self, environment: int, *, timeout: float | None = None) -> list[ContainerRecord]:
        """Every container of an environment, stopped ones too, as its Docker engine lists them."""
        path = f"/api/endpoints/{environment}/docker/containers/json"
        call = Call("GET", path, params={"all": "true"}, timeout=timeout)
        return self._typed(_CONTAINERS, path, self.session.send(call))

    # -- stacks
    # ------------------------------------------------------------------------------------------------

    def stacks(self) -> list[StackRecord]:
        """Every stack of every environment."""
        return self._typed(_STACKS, "/api/stacks", self.session.get("/api/stacks"))

    def stack(self, identifier: int) -> StackRecord:
        """One stack."""
        path = f"/api/stacks/{identifier}"
        return self._typed(_STACK, path, self.session.get(path))

    def stack_text(self, identifier: int) -> str:
        """The compose text of a stack."""
        path = f"/api/stacks/{identifier}/file"
        answer = self.session.get(path)
        text = answer.get("StackFileContent") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            raise ProtocolError(f"{self.session.target.describe()}: {path} answered no StackFileContent.")
        return text

    def create_stack(self, environment: int, name: str, text: str, variables: Variables) -> StackRecord:
        """Deploy a new stack; where the server does that after the answer, ``status`` is DEPLOYING.

        Raises:
            ConflictError: the name is taken in this environment.
            ServerFailedError: up to 2.39, the deployment failed and nothing was kept.
            UncertainError: it may be under way.
        """
        path = "/api/stacks/create/standalone/string"
        body: dict[str, object] = {"Name": name, "StackFileContent": text, "Env": self._pairs(variables)}
        answer = self._deploy("POST", path, environment, body)
        return self._typed(_STACK, path, answer)

    def update_stack(self, identifier: int, environment: int, text: str, variables: Variables) -> StackRecord:
        """Deploy another text or other variables, always complete: what is left out of ``Env`` is cleared.

        Raises:
            ConflictError: a deployment of this stack is under way.
            ServerFailedError: up to 2.39, the deployment failed, and the stack's containers may be gone.
            UncertainError: it may be under way.
        """
        path = f"/api/stacks/{identifier}"
        body: dict[str, object] = {
            "StackFileContent": text,
            "Env": self._pairs(variables),
            "Prune": True,
            "PullImage": False,
        }
        answer = self._deploy("PUT", path, environment, body)
        return self._typed(_STACK, path, answer)

    def delete_stack(self, identifier: int, environment: int) -> None:
        """Remove a stack and its containers; named volumes stay. Gone already is fine."""
        try:
            self._deploy("DELETE", f"/api/stacks/{identifier}", environment, None)
        except NotFoundError:
            return

    def _deploy(self, method: str, path: str, environment: int, body: dict[str, object] | None) -> object:
        query = {"endpointId": str(environment)}
        return self.session.send(Call(method, path, params=query, body=body, timeout=self.session.timeouts.deploy))

    def settled(self, record: StackRecord) -> StackRecord:
        """Wait until a stack is no longer DEPLOYING.

        Raises:
            DeploymentError: it failed, or took longer than ``timeouts.deploy``.
        """
        clock, timeouts = self.session.clock, self.session.timeouts
        deadline = clock.now() + timeouts.deploy
        pause = min(0.1, timeouts.poll)
        while record.status == DEPLOYING:
            if clock.now() >= deadline:
                raise DeploymentError(
                    f"{self.session.target.describe()}: stack {record.name!r} is still being deployed after "
                    f"{timeouts.deploy:g} s: look at its log in Portainer, then run again."
                )
            clock.sleep(pause)
            pause = min(pause * 1.5, timeouts.poll)
            record = self.stack(record.id)
        if record.status == FAILED:
            raise DeploymentError(self.deployment_failure(record.name, "; ".join(record.messages[-3:])))
        return record

    def deployment_failure(self, name: str, said: str) -> str:
        """The sentence for a stack that Portainer could not deploy."""
        told = " ".join(self.session.secrets.mask(said).split())[:600] or "no reason given"
        return (
            f"{self.session.target.describe()}: stack {name!r} could not be deployed ({told}): correct "
            "its compose file or "
            "variables and run again."
        )

    def _pairs(self, variables: Variables) -> list[dict[str, str]]:
        for _, value in variables:
            self.session.secrets.add(value)
        return [{"name": name, "value": value.get_secret_value()} for name, value in variables]
