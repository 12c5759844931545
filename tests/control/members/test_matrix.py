"""The golden matrix: every endpoint of people, tried by every kind of caller, against the table that was agreed on.

A cell says what the guard decided, not whether the request was a good one: bodies are empty on purpose, so `yes` is any
answer but a refusal. A caller who may do harm gets things of their own to harm, so that no cell spoils another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import MACHINE, Role
from wardgate.control.web.routes import PUBLIC, Endpoint, endpoints

from ..access.test_sessions import account, ask, relay
from ..machines import Machine

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient
V1 = "/api/v1"
GOLDEN = Path(__file__).with_name("matrix.txt")
CALLERS = (
    "nobody",
    "revoked",
    "elsewhere",
    "connector",
    "auditor",
    "admin",
    "owner",
    "svc out",  # a service whose secret was revoked
    "svc connect",  # a service that is admin of the project, with the scope that a new one has
    "svc admin",  # the same with the scope to administer
)
_PEOPLE = frozenset({"elsewhere", "connector", "auditor", "admin", "owner"})
_HARMFUL = frozenset({"admin", "owner", "svc admin"})
_REFUSED = {401: "401", 403: "403", 404: "404"}


class Things:
    """What the paths of the endpoints name; `fresh` makes another set, so that the last may be spoilt."""

    def __init__(self, owner: Client, project_id: str) -> None:
        self._owner = owner
        self._project = project_id
        self._made = 0

    async def fresh(self, path: str | None = None) -> dict[str, str]:
        """Names and ids by the parameters of the paths; of all that there is, or of what stands in `path`."""
        self._made += 1
        name, project = f"thing-{self._made}", f"{V1}/projects/{self._project}"
        names = {"project_id": self._project}

        def asked(*parts: str) -> bool:
            return path is None or any(part in path for part in parts)

        if asked("{user}", "{binding}"):
            user = await self._post(f"{V1}/users", email=f"{name}@example.com", password="correct horse")
            binding = await self._post(f"{V1}/bindings", user=user["id"], role="auditor", scope=self._project)
            names |= {"user": user["id"], "binding": binding["id"]}
        for kind in ("group", "service"):
            if asked(f"{{{kind}}}"):
                await self._post(f"{V1}/{kind}s", name=name)
        if asked("/gateways/{name}"):
            await self._post(f"{project}/gateways", name=name)
        if asked("/relays/{name}"):
            await self._post(f"{V1}/relays", name=name)
        if asked("{resource}", "{session_id}", "{request_id}"):
            names |= await self._resource(name, project)
        # What is not made here is asked for by a name that nobody has: a refusal by the guard comes before that.
        return defaultdict(lambda: name, names)

    async def _resource(self, name: str, project: str) -> dict[str, str]:
        form = {"gateway": "near-db", "connection_string": "mongodb://db1"}
        await self._post(f"{project}/resources?no_test=true", name=name, **form)
        place = f"{project}/resources/{name}/accounts?no_test=true"
        await self._post(place, name=name, username="reader", password="database secret")
        session = (await ask(self._owner, self._project, resource=name, account=name)).json()["session"]
        wish = {"resource": name, "account": name, "duration": "1h", "reason": "why"}
        request = await self._post(f"{project}/requests", **wish)
        return {"session_id": session["id"], "request_id": request["id"]}

    async def _post(self, url: str, **body: str) -> dict[str, Any]:
        answer = await self._owner.post(url, json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


async def callers(control: Any, admin: Client, shop: str) -> dict[str, Client]:
    bank = (await admin.post(f"{V1}/projects", json={"name": "bank"})).json()["id"]
    gone = await control.user("gone@example.com", (Role.ADMIN, Scope(shop)))
    assert (await gone.post(f"{V1}/auth/logout")).status_code == 204
    return {
        "nobody": control.client(),
        "revoked": gone,
        "elsewhere": await control.user("elsewhere@example.com", (Role.ADMIN, Scope(bank))),
        "connector": await control.user("connector@example.com", (Role.CONNECTOR, Scope(shop))),
        "auditor": await control.user("auditor@example.com", (Role.AUDITOR, Scope(shop))),
        "admin": await control.user("chief@example.com", (Role.ADMIN, Scope(shop))),
        "owner": await control.user("owner@example.com", (Role.ADMIN, Scope())),
        **await _services(control, admin, shop),
    }


async def _services(control: Any, admin: Client, shop: str) -> dict[str, Client]:
    made = {}
    for caller, scope in (("svc out", "administer"), ("svc connect", "connect"), ("svc admin", "administer")):
        name = caller.replace(" ", "-")
        await admin.post(f"{V1}/services", json={"name": name, "scopes": [scope]})
        await admin.post(f"{V1}/bindings", json={"service": name, "role": "admin", "scope": shop})
        secret = (await admin.post(f"{V1}/services/{name}/secrets", json={})).json()
        token = await control.client().post(f"{V1}/auth/service-token", json={"secret": secret["secret"]})
        made[caller] = control.client(token.json()["access_token"])
        if caller == "svc out":
            assert (await admin.delete(f"{V1}/services/{name}/secrets/{secret['id']}")).status_code == 204
    return made


async def try_one(control: Any, caller: str, client: Client, endpoint: Endpoint, names: dict[str, str]) -> str:
    path = endpoint.path.format_map(names)
    if path == f"{V1}/auth/logout" and caller in _PEOPLE:
        client = await control.login(f"{'chief' if caller == 'admin' else caller}@example.com")  # it ends this one
    body: dict[str, str] | None = {} if endpoint.method in ("POST", "PATCH", "PUT") else None
    answer = await client.request(endpoint.method, path, json=body)
    return _REFUSED.get(answer.status_code, "yes")


def _line(head: str, cells: Sequence[str]) -> str:
    return f"{head:<80}" + "".join(f"{cell:<12}" for cell in cells).rstrip()


async def test_the_golden_matrix_holds(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any], tmp_path: Path
) -> None:
    clients, things = await callers(control, admin, shop), Things(admin, shop)
    shared = await things.fresh()
    table = [_line("", CALLERS)]
    for endpoint in sorted(endpoints(control.app), key=lambda each: (each.path, each.method)):
        if (endpoint.method, endpoint.path) in PUBLIC or endpoint.permission in MACHINE or endpoint.is_page:
            continue
        cells = []
        for caller in CALLERS:
            harmful = caller in _HARMFUL and endpoint.method != "GET"
            names = await things.fresh(endpoint.path) if harmful else shared
            cells.append(await try_one(control, caller, clients[caller], endpoint, names))
        table.append(_line(f"{endpoint.method:<7}{endpoint.path.removeprefix(V1)}", cells))
    actual = "\n".join(table) + "\n"
    (tmp_path / "matrix.txt").write_text(actual)
    assert actual == GOLDEN.read_text(), f"if this is what was meant, copy {tmp_path / 'matrix.txt'}"
