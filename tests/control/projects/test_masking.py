"""Masking rules of a project: who may make them, what is refused, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from wardgate.api.machine import MaskRule
from wardgate.api.masking import MaskingRuleCreate
from wardgate.api.problems import ProblemError
from wardgate.command.masking import rules
from wardgate.control.audit_log import Cause
from wardgate.control.audit_log.model import AuditEvent
from wardgate.control.identity.actor import Actor, Scope
from wardgate.control.identity.permissions import Role

from .test_projects import URL, create

Client = httpx2.AsyncClient
LoginAs = Callable[..., Awaitable[Client]]

NOBODY = Actor("usr_nobody", "nobody@example.com", "s", Cause("nobody@example.com"), ())


async def add(client: Client, project: str, name: str, **rule: Any) -> httpx2.Response:
    return await client.post(f"{URL}/{project}/masking", json={"name": name, **rule})


async def names(client: Client, project: str) -> list[str]:
    return [rule["name"] for rule in (await client.get(f"{URL}/{project}/masking")).json()["items"]]


async def events(control: Any) -> list[dict[str, Any]]:
    async with control.services.database.read() as session:
        query = select(AuditEvent).where(AuditEvent.event == "project.masking_updated").order_by(AuditEvent.seq)
        return [row.details for row in await session.scalars(query)]


async def test_rules_are_made_listed_and_removed_and_each_change_is_an_event(control: Any, admin: Client) -> None:
    shop, bank = await create(admin, "shop"), await create(admin, "bank")
    made = await add(admin, shop, "card", path="customers.card.number", description="PCI")
    assert made.status_code == 201, made.text
    assert made.json()["path"] == "customers.card.number"
    assert made.json()["pattern"] is None
    assert (await add(admin, shop, "ssn", pattern=r"\d{3}-\d{2}")).status_code == 201
    assert await names(admin, shop) == ["card", "ssn"]
    assert await names(admin, bank) == []
    assert (await admin.delete(f"{URL}/{shop}/masking/card")).status_code == 204
    assert (await admin.delete(f"{URL}/{shop}/masking/card")).status_code == 404
    assert (await admin.delete(f"{URL}/{bank}/masking/ssn")).status_code == 404
    assert await names(admin, shop) == ["ssn"]
    assert await events(control) == [
        {"rule": "card", "from": None, "to": {"path": "customers.card.number", "description": "PCI"}},
        {"rule": "ssn", "from": None, "to": {"pattern": r"\d{3}-\d{2}", "description": ""}},
        {"rule": "card", "from": {"path": "customers.card.number", "description": "PCI"}, "to": None},
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"path": "a.b", "pattern": "x"},
        {"path": "customers"},
        {"path": "a..b"},
        {"path": "**"},
        {"path": "a.b" * 200},
        {"pattern": "(unclosed"},
        {"pattern": "(?=look)"},
        {"pattern": "x*"},
        {"pattern": ""},
        {"path": "a.b", "name": "Not A Name"},
        {"path": "a.b", "more": 1},
    ],
    ids=str,
)
async def test_a_rule_that_can_not_be_used_changes_nothing(control: Any, admin: Client, rule: dict[str, Any]) -> None:
    shop = await create(admin, "shop")
    refused = await add(admin, shop, **{"name": "bad", **rule})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert await names(admin, shop) == []
    assert await events(control) == []


async def test_a_name_is_used_once_and_a_project_has_so_many(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "RULES_MAX", 3)
    shop = await create(admin, "shop")
    await add(admin, shop, "card", path="a.b")
    taken = await add(admin, shop, "card", path="a.c")
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    assert (await add(admin, "prj_absent", "card", path="a.b")).status_code == 404
    for number in range(2):
        assert (await add(admin, shop, f"r{number}", path=f"a.f{number}")).status_code == 201
    full = await add(admin, shop, "last", path="a.b")
    assert full.status_code == 422
    assert "at most 3" in full.json()["detail"]


async def test_two_at_once_make_one_rule_of_a_name(control: Any, admin: Client) -> None:
    shop = await create(admin, "shop")
    answers = await asyncio.gather(*(add(admin, shop, "card", path=f"a.b{number}") for number in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    assert await names(admin, shop) == ["card"]


async def test_only_an_administrator_of_the_project_changes_them(admin: Client, login_as: LoginAs) -> None:
    shop, bank = await create(admin, "shop"), await create(admin, "bank")
    await add(admin, shop, "card", path="customers.card.number")
    auditor = await login_as("auditor@example.com", (Role.AUDITOR, Scope(shop)))
    connector = await login_as("connector@example.com", (Role.CONNECTOR, Scope(shop)))
    stranger = await login_as("stranger@example.com", (Role.ADMIN, Scope(bank)))
    assert await names(auditor, shop) == ["card"]
    for client, status in ((auditor, 403), (connector, 403), (stranger, 404)):
        assert (await add(client, shop, "more", path="a.b")).status_code == status
        assert (await client.delete(f"{URL}/{shop}/masking/card")).status_code == status
    assert (await connector.get(f"{URL}/{shop}/masking")).status_code == 403
    assert (await stranger.get(f"{URL}/{shop}/masking")).status_code == 404
    assert await names(admin, shop) == ["card"]


async def test_what_a_gateway_gets(control: Any, admin: Client) -> None:
    shop = await create(admin, "shop")
    await add(admin, shop, "z", path="a.b")
    await add(admin, shop, "a", pattern="x+")
    masking = control.services.masking
    async with control.services.database.read() as session:
        given = await masking.rules(session, shop)
        assert await masking.rules(session, "prj_absent") == []
    assert given == [MaskRule(kind="pattern", expression="x+"), MaskRule(kind="path", expression="a.b")]
    with pytest.raises(ProblemError):
        await masking.add(NOBODY, shop, MaskingRuleCreate(name="x", path="a.b"))
