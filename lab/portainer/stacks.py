"""``/api/stacks``: deployed before the answer up to 2.39, after it from 2.41 on."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING

from lab.portainer.engine import DeployError
from lab.portainer.environments import missing as missing_environment
from lab.portainer.messages import Reply, Request, answer, error
from lab.portainer.state import Stack

if TYPE_CHECKING:
    from lab.portainer.api import Api

ACTIVE, INACTIVE, DEPLOYING, FAILED = 1, 2, 3, 4


class Interrupted(Exception):  # noqa: N818 - no error of the API: the process ended under a request
    """The server was restarted while it deployed."""


def normal(name: str) -> str:
    """How Portainer writes a stack's name."""
    return re.sub(r"[^-_a-z0-9]+", "", name.lower())


def _pairs(body: dict[str, object]) -> list[dict[str, str]]:
    env = body.get("Env")
    return [
        {"name": str(pair.get("name", "")), "value": str(pair.get("value", ""))}
        for pair in (env if isinstance(env, list) else [])
        if isinstance(pair, dict)
    ]


def _number(value: str | None) -> int:
    return int(value) if value and value.isdigit() else 0


def create(api: Api, request: Request) -> Reply:  # noqa: PLR0911 - each return is an answer of the API
    """Deploy a new stack."""
    body = request.json()
    name = normal(str(body.get("Name", ""))) if body else ""
    content = body.get("StackFileContent") if body else None
    if body is None or not name:
        return error(400, "Invalid request payload", "Invalid stack name")
    if not isinstance(content, str) or not content:
        return error(400, "Invalid request payload", "Invalid stack file content")
    place = _number(request.parameter("endpointId"))
    generation = api.generation
    with api.state.lock:
        environment = api.state.environments.get(place)
        if environment is None:
            return missing_environment()
        url = environment.url
        refused = _taken(api, name, place, url)
        if refused is not None:
            return refused
    if url in api.agents:
        return error(500, "Unable to check for name collision", f"dial {url}: connection refused")
    api.between()
    if api.mode.asynchronous:
        with api.state.lock:
            made = Stack(api.state.next_id("stack"), name, place, content, _pairs(body), status=DEPLOYING)
            api.state.stacks[made.id] = made
            api.state.save()
            reply = answer(made.as_json(asynchronous=True))
        _deploy_later(api, made, url, generation)
        return reply
    try:
        _deploy(api, url, name, content, _pairs(body), generation)
    except DeployError as failure:
        return error(500, f"failed to deploy a stack: {failure}", f"Failed to deploy a stack: {failure}")
    with api.state.lock:
        made = Stack(api.state.next_id("stack"), name, place, content, _pairs(body))
        api.state.stacks[made.id] = made
        api.state.save()
        return answer(made.as_json(asynchronous=False))


def _taken(api: Api, name: str, place: int, url: str) -> Reply | None:
    same = [item for item in api.state.stacks.values() if item.name.lower() == name]
    here = any(item.endpoint == place for item in same)
    running = url not in api.agents and bool(api.engine(url).list(name))
    if here or (running and same):
        return error(409, f"A stack with the normalized name '{name}' already exists", "Name is not unique")
    return None


def _deploy(api: Api, url: str, name: str, content: str, env: list[dict[str, str]], generation: int) -> None:
    with api.deploying:
        time.sleep(api.deploy_seconds)
        if api.generation != generation:
            raise Interrupted
        if url in api.agents:
            raise DeployError(f"Cannot connect to the Docker daemon at {url}")
        api.engine(url).up(name, content, {pair["name"]: pair["value"] for pair in env})


def _deploy_later(api: Api, stack: Stack, url: str, generation: int) -> None:
    content, env = stack.text, list(stack.env)

    def work() -> None:
        try:
            _deploy(api, url, stack.name, content, env, generation)
        except Interrupted:
            return
        except DeployError as failure:
            outcome, messages = FAILED, [f"failed to deploy a stack: {failure}"]
        else:
            outcome, messages = ACTIVE, []
        with api.state.lock:
            if api.generation == generation:
                stack.status, stack.messages = outcome, messages
                api.state.save()

    thread = threading.Thread(target=work, name=f"deploy-{stack.id}", daemon=True)
    api.threads.append(thread)
    thread.start()


def update(api: Api, request: Request, identifier: int) -> Reply:  # noqa: PLR0911 - each return is an answer of the API
    """Deploy another text. ``Env`` left out clears it. Another environment's number moves the record there."""
    body = request.json()
    content = body.get("StackFileContent") if body else None
    generation = api.generation
    with api.state.lock:
        stack = api.state.stacks.get(identifier)
        if stack is None:
            return _missing()
        place = _number(request.parameter("endpointId"))
        environment = api.state.environments.get(place)
        if environment is None:
            return missing_environment()
        if body is None or not isinstance(content, str) or not content:
            return error(400, "Invalid request payload", "Invalid stack file content")
        if stack.status == DEPLOYING:
            return error(409, "Stack deployment is already in progress")
        url, name, env = environment.url, stack.name, _pairs(body)
        if api.mode.asynchronous:
            stack.endpoint, stack.text, stack.env, stack.git = place, content, env, None
            stack.status, stack.messages = DEPLOYING, []
            api.state.save()
            reply = answer(stack.as_json(asynchronous=True))
    if api.mode.asynchronous:
        _deploy_later(api, stack, url, generation)
        return reply
    try:
        _deploy(api, url, name, content, env, generation)
    except DeployError as failure:
        # The record stays as it was, Status 1 too; the containers are gone.
        if url not in api.agents:
            api.engine(url).down(name)
        return error(500, f"failed to deploy a stack: {failure}", f"Failed to deploy a stack: {failure}")
    with api.state.lock:
        stack.endpoint, stack.text, stack.env, stack.git = place, content, env, None
        stack.status = ACTIVE
        api.state.save()
        return answer(stack.as_json(asynchronous=False))


def delete(api: Api, request: Request, identifier: int) -> Reply:
    """Take a stack down and remove its record."""
    with api.state.lock:
        stack = api.state.stacks.get(identifier)
        if stack is None:
            return _missing()
        environment = api.state.environments.get(_number(request.parameter("endpointId")))
        if environment is None:
            return error(404, "Unable to find the endpoint associated to the stack inside the database")
        if stack.status == DEPLOYING:
            return error(409, "Stack deployment is already in progress")
    if environment.url in api.agents:
        return error(500, "failed to remove a stack: connection refused")
    with api.deploying:
        api.engine(environment.url).down(stack.name)
    with api.state.lock:
        api.state.stacks.pop(identifier, None)
        api.state.save()
    return Reply(204)


def list_all(api: Api, request: Request) -> Reply:
    """Every stack, or those of ``filters={"EndpointID":N}``; those of deleted environments are left out then."""
    try:
        filters = json.loads(request.parameter("filters") or "{}")
    except ValueError:
        return error(400, "Invalid query parameter: filters")
    place = filters.get("EndpointID") if isinstance(filters, dict) else None
    with api.state.lock:
        return answer(
            [
                item.as_json(asynchronous=api.mode.asynchronous)
                for item in api.state.stacks.values()
                if not place or item.endpoint == place
            ]
        )


def inspect(api: Api, identifier: int) -> Reply:
    """One stack."""
    with api.state.lock:
        stack = api.state.stacks.get(identifier)
        return _missing() if stack is None else answer(stack.as_json(asynchronous=api.mode.asynchronous))


def content(api: Api, identifier: int) -> Reply:
    """The compose text of a stack."""
    with api.state.lock:
        stack = api.state.stacks.get(identifier)
        return _missing() if stack is None else answer({"StackFileContent": stack.text})


def switch(api: Api, request: Request, identifier: int, verb: str) -> Reply:
    """Stop a stack, or start it again."""
    with api.state.lock:
        stack = api.state.stacks.get(identifier)
        environment = api.state.environments.get(_number(request.parameter("endpointId")))
        if stack is None or environment is None:
            return _missing()
        wanted = INACTIVE if verb == "stop" else ACTIVE
        if stack.status == wanted:
            return error(400, f"Stack is already {'inactive' if verb == 'stop' else 'active'}")
        if verb == "stop":
            api.engine(environment.url).down(stack.name)
        else:
            variables = {pair["name"]: pair["value"] for pair in stack.env}
            api.engine(environment.url).up(stack.name, stack.text, variables)
        stack.status = wanted
        api.state.save()
        return answer(stack.as_json(asynchronous=api.mode.asynchronous))


def _missing() -> Reply:
    return error(404, "Unable to find a stack with the specified identifier inside the database", "Object not found")
