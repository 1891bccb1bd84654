"""``/api/endpoints``: the environments, their agents and the Docker proxy."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from lab.portainer.messages import Reply, Request, answer, error
from lab.portainer.state import Environment

if TYPE_CHECKING:
    from lab.portainer.api import Api

_TRUE = "true"


def create(api: Api, request: Request) -> Reply:  # noqa: PLR0911 - each return is an answer of the API
    """Add an environment. Takes a form; four at once with one name make four."""
    fields = request.form()
    name = fields.get("Name", "")
    if not name:
        return error(400, "Invalid request payload", "Invalid environment name")
    kind = fields.get("EndpointCreationType", "")
    if kind not in {"1", "2", "4"}:
        return error(400, "Invalid request payload", "Invalid environment type value")
    with api.state.lock:
        if any(item.name == name for item in api.state.environments.values()):
            return error(409, "Name is not unique")
    url = fields.get("URL", "")
    if kind == "2":
        refused = _ping(api, url, fields)
        if refused is not None:
            return refused
    api.between()
    known_tags = {int(tag) for tag in re.findall(r"\d+", fields.get("TagIds", ""))}
    group = int(fields.get("GroupID") or 1)
    with api.state.lock:
        made = Environment(
            api.state.next_id("environment"),
            name,
            url,
            type=int(kind),
            group=group,
            tags=sorted(known_tags),
            public_url=fields.get("PublicURL", ""),
            tls=fields.get("TLS") == _TRUE,
            skip_verify=fields.get("TLSSkipVerify") == _TRUE,
        )
        api.state.environments[made.id] = made
        api.state.save()
    # The record is there; only then are its group and tags looked up.
    if group != 1:
        return error(500, "Unable to find an environment group inside the database", "Object not found")
    if known_tags:
        return error(500, "Unable to find a tag inside the database", "Object not found")
    return answer(made.as_json())


def _ping(api: Api, url: str, fields: dict[str, str]) -> Reply | None:
    if fields.get("TLS") != _TRUE or fields.get("TLSSkipVerify") != _TRUE:
        detail = f'Get "https://{url.partition("://")[2]}/ping": tls: failed to verify certificate: x509: no SANs'
        return error(500, "Unable to get environment type", detail)
    match api.agents.get(url):
        case "refused":
            return error(500, "Unable to get environment type", f"dial {url}: connect: connection refused")
        case "hang":
            time.sleep(api.agent_seconds)
            return error(500, "Unable to get environment type", f"dial {url}: context deadline exceeded")
    return None


def list_all(api: Api, request: Request) -> Reply:
    """Every environment. ``name`` and ``endpointIds[]`` filter; ``types`` and ``status`` are ignored."""
    wanted = {int(item) for item in request.query.get("endpointIds[]", []) if item.isdigit()}
    name = request.parameter("name")
    with api.state.lock:
        found = [
            item.as_json()
            for item in api.state.environments.values()
            if (not wanted or item.id in wanted) and (name is None or item.name == name)
        ]
    reply = answer(found)
    return Reply(reply.status, reply.body, {**reply.headers, "X-Total-Count": str(len(found))})


def update(api: Api, request: Request, identifier: int) -> Reply:
    """Change what is given; nothing is checked but the name."""
    body = request.json()
    if body is None:
        return error(400, "Invalid request payload", "invalid JSON")
    with api.state.lock:
        item = api.state.environments.get(identifier)
        if item is None:
            return missing()
        name = body.get("Name")
        if isinstance(name, str):
            others = (other for other in api.state.environments.values() if other.id != identifier)
            if any(other.name == name for other in others):
                return error(409, "Name is not unique")
            item.name = name
        if isinstance(body.get("URL"), str):
            item.url = str(body["URL"])
        if isinstance(body.get("PublicURL"), str):
            item.public_url = str(body["PublicURL"])
        if isinstance(body.get("TLS"), bool):
            item.tls = bool(body["TLS"])
        if isinstance(body.get("TLSSkipVerify"), bool):
            item.skip_verify = bool(body["TLSSkipVerify"])
        api.state.save()
        return answer(item.as_json())


def delete(api: Api, identifier: int) -> Reply:
    """Remove the record; its stacks' records and its containers stay."""
    with api.state.lock:
        if api.state.environments.pop(identifier, None) is None:
            return missing()
        api.state.save()
    return Reply(204)


def snapshot(api: Api, identifier: int) -> Reply:
    """Look at the agent; 204 whatever is found, and ``Status`` tells."""
    with api.state.lock:
        item = api.state.environments.get(identifier)
        if item is None:
            return missing()
        item.status = 2 if item.url in api.agents else 1
    return Reply(204)


def docker(api: Api, request: Request, identifier: int, path: str) -> Reply:
    """The Docker proxy: list containers, remove one."""
    with api.state.lock:
        item = api.state.environments.get(identifier)
        if item is None:
            return missing()
        url = item.url
    if url in api.agents:
        if api.agents[url] == "hang":
            time.sleep(api.agent_seconds)
        return error(502, "Unable to proxy the request", f"dial {url}: connection refused")
    engine = api.engine(url)
    if request.method == "GET" and path == "/containers/json":
        every = request.parameter("all") in {"1", "true"}
        return answer([item.as_json() for item in engine.list() if every or item.state == "running"])
    found = re.fullmatch(r"/containers/([0-9a-f]+)", path)
    if request.method == "DELETE" and found:
        return Reply(204) if engine.remove(found[1]) else error(404, f"No such container: {found[1]}")
    return error(404, "page not found")


def missing() -> Reply:
    """The answer for an environment that does not exist."""
    return error(
        404, "Unable to find an environment with the specified identifier inside the database", "Object not found"
    )
