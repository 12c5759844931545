"""Invitations and forgotten passwords: what a link does, how often, and what nobody learns from asking."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..mfa.conftest import Postbox, set_up

Client = httpx2.AsyncClient
V1 = "/api/v1"
ANN, NOBODY = "ann@example.com", "bob@example.com"
OLD, NEW = "correct horse battery staple", "wandering violet teapot"


@pytest.fixture
def postbox(control: Any) -> Postbox:
    box = Postbox()
    control.services.mail_links._mailer = box
    return box


def code_in(postbox: Postbox, number: int = -1) -> str:
    to, _, text = postbox.mails[number]
    found = re.search(r"^  (wgl1_\S+)$", text, re.MULTILINE)
    assert found is not None, text
    assert f"/password?token={found[1]}" in text
    assert to in (ANN, NOBODY)
    return found[1]


async def redeem(client: Client, code: str, password: str = NEW) -> httpx2.Response:
    return await client.post(f"{V1}/auth/password-link/redeem", json={"token": code, "password": password})


async def login(client: Client, email: str, password: str) -> int:
    return (await client.post(f"{V1}/auth/login", json={"email": email, "password": password})).status_code


async def forgot(control: Any, client: Client, email: str = ANN) -> httpx2.Response:
    answer = await client.post(f"{V1}/auth/password-link", json={"email": email})
    await control.services.mail_links.settled()
    return answer


async def test_who_is_invited_chooses_a_password(
    control: Any, admin: Client, nobody: Client, shop: str, postbox: Postbox
) -> None:
    invited = await admin.post(f"{V1}/users/invitations", json={"email": "Ann@Example.com "})
    assert (invited.status_code, invited.json()["email"], invited.json()["roles"]) == (201, ANN, [])
    bound = await admin.post(f"{V1}/bindings", json={"user": ANN, "role": "auditor", "scope": shop})
    assert bound.status_code == 201  # roles can be there before they are
    assert await login(nobody, ANN, NEW) == 401
    assert "admin@example.com" in postbox.mails[0][2]
    assert (await redeem(nobody, code_in(postbox))).status_code == 204
    assert await login(nobody, ANN, NEW) == 200
    assert (await redeem(nobody, code_in(postbox), OLD)).json()["code"] == "link_over"
    assert await login(nobody, ANN, NEW) == 200


async def test_an_invitation_is_sent_again_until_it_was_taken(
    control: Any, admin: Client, nobody: Client, postbox: Postbox
) -> None:
    for _ in range(2):
        assert (await admin.post(f"{V1}/users/invitations", json={"email": ANN})).status_code == 201
    assert (await redeem(nobody, code_in(postbox, 0))).status_code == 403
    control.clock.forward(days=7)
    await control.services.mail_links.sweep()
    assert (await redeem(nobody, code_in(postbox, 1))).status_code == 403
    late = await control.login("admin@example.com")
    assert (await late.post(f"{V1}/users/invitations", json={"email": ANN})).status_code == 201
    assert (await redeem(nobody, code_in(postbox))).status_code == 204
    assert (await late.post(f"{V1}/users/invitations", json={"email": ANN})).status_code == 409


async def test_a_forgotten_password_is_set_anew_and_everything_else_ends(
    control: Any, nobody: Client, login_as: Any, postbox: Postbox
) -> None:
    ann = await login_as(ANN)
    assert (await forgot(control, nobody)).status_code == 202
    assert await login(nobody, ANN, OLD) == 200  # asking changes nothing
    code = code_in(postbox)
    assert (await redeem(nobody, code, "short")).status_code == 422
    assert (await redeem(nobody, code)).status_code == 204
    await control.services.mail_links.settled()
    assert "was changed" in postbox.mails[-1][1]
    assert (await ann.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await login(nobody, ANN, OLD), await login(nobody, ANN, NEW)) == (401, 200)
    assert (await redeem(nobody, code, OLD)).status_code == 403


@pytest.mark.parametrize("meanwhile", ["an hour", "disabled", "changed", "deleted", "another link"])
async def test_what_ends_a_link(
    control: Any, admin: Client, nobody: Client, login_as: Any, postbox: Postbox, meanwhile: str
) -> None:
    ann = await login_as(ANN)
    await forgot(control, nobody)
    code = code_in(postbox)
    if meanwhile == "an hour":
        control.clock.forward(hours=1)
    elif meanwhile == "disabled":
        await admin.post(f"{V1}/users/{ANN}/disable")
    elif meanwhile == "changed":
        body = {"current_password": OLD, "new_password": "something else entirely"}
        assert (await ann.post(f"{V1}/auth/password", json=body)).status_code == 204
    elif meanwhile == "deleted":
        await admin.delete(f"{V1}/users/{ANN}")
    else:
        await forgot(control, nobody)
    refused = await redeem(nobody, code)
    assert (refused.status_code, refused.json()["code"]) == (403, "link_over")


async def test_a_link_is_no_second_factor(control: Any, admin: Client, nobody: Client, login_as: Any) -> None:
    """Whoever reads somebody's mail has not got their phone."""
    for client in (admin, await login_as(ANN)):
        await set_up(control, client)
    box = Postbox()
    control.services.mail_links._mailer = box
    rule = {"enforced": None, "at_sign_in": True}
    assert (await admin.put(f"{V1}/mfa/policy", json=rule)).status_code == 200
    await forgot(control, nobody)
    assert (await redeem(nobody, code_in(box))).status_code == 204
    answer = await nobody.post(f"{V1}/auth/login", json={"email": ANN, "password": NEW})
    assert answer.json()["code"] == "mfa_required"


@contextmanager
def statements(control: Any) -> Iterator[list[str]]:
    """What the database is asked, in order."""
    seen: list[str] = []
    engines = {control.services.database._reader.sync_engine, control.services.database._writer.sync_engine}

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


async def test_asking_tells_nothing_of_an_address(
    control: Any, admin: Client, nobody: Client, login_as: Any, postbox: Postbox
) -> None:
    """The same answer after the same work: only what happens after it differs."""
    await login_as(ANN)
    await login_as("off@example.com")
    await admin.post(f"{V1}/users/off@example.com/disable")
    await admin.post(f"{V1}/users/invitations", json={"email": "new@example.com"})
    mailed = len(postbox.mails)
    works, answers = [], []
    for email in (ANN, NOBODY, "off@example.com", "new@example.com", "no address", ""):
        with statements(control) as seen:
            answer = await nobody.post(f"{V1}/auth/password-link", json={"email": email})
            works.append(list(seen))
        headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
        answers.append((answer.status_code, answer.content, headers))
        await control.services.mail_links.settled()
    assert all(work == works[0] for work in works), works
    assert all(answer == answers[0] for answer in answers)
    assert [to for to, _, _ in postbox.mails[mailed:]] == [ANN]


async def test_nobody_fills_a_mailbox(control: Any, nobody: Client, login_as: Any, postbox: Postbox) -> None:
    await login_as(ANN)
    for number in range(15):
        async with control.client(address=f"198.51.100.{number}") as client:
            assert (await forgot(control, client)).status_code == 202
    assert len(postbox.mails) == 3
    control.clock.forward(minutes=21)
    await forgot(control, nobody)
    assert len(postbox.mails) == 4


async def test_asking_and_guessing_are_slowed(control: Any, nobody: Client, postbox: Postbox) -> None:
    asked = [(await forgot(control, nobody, f"{n}@example.com")).status_code for n in range(21)]
    assert asked == [202] * 20 + [429]
    tried = [(await redeem(nobody, f"wgl1_{n}")).status_code for n in range(21)]
    assert tried == [403] * 20 + [429]


async def test_without_a_mail_server_it_is_said(control: Any, admin: Client, nobody: Client) -> None:
    for client, path, body in (
        (admin, "/users/invitations", {"email": ANN}),
        (admin, "/users/admin@example.com/password-link", None),
        (nobody, "/auth/password-link", {"email": ANN}),
    ):
        answer = await client.post(V1 + path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "mfa_unavailable")
    assert await control.count("mail_links") == 0
    assert await control.count("users") == 1


async def test_a_mail_that_is_not_taken_is_said_to_administrators_only(
    control: Any, admin: Client, nobody: Client, login_as: Any, postbox: Postbox
) -> None:
    await login_as(ANN)
    postbox.broken = True
    assert (await admin.post(f"{V1}/users/{ANN}/password-link")).json()["code"] == "mfa_unavailable"
    assert (await admin.post(f"{V1}/users/invitations", json={"email": NOBODY})).status_code == 403
    assert (await forgot(control, nobody)).status_code == 202
    postbox.broken = False
    assert (await admin.post(f"{V1}/users/invitations", json={"email": NOBODY})).status_code == 201


async def test_administrators_send_links_and_never_see_them(
    control: Any, admin: Client, nobody: Client, login_as: Any, shop: str, postbox: Postbox
) -> None:
    await login_as(ANN)
    chief = await login_as("chief@example.com", (Role.ADMIN, Scope(shop)))
    assert (await chief.post(f"{V1}/users/{ANN}/password-link")).status_code == 403
    assert (await chief.post(f"{V1}/users/invitations", json={"email": NOBODY})).status_code == 403
    answer = await admin.post(f"{V1}/users/{ANN}/password-link")
    assert (answer.status_code, answer.content) == (204, b"")
    code = code_in(postbox)
    events = str([each.details for each in await control.events()])
    assert code not in events
    assert code.partition("_")[2].encode() not in control.dump()
    assert (await redeem(nobody, code)).status_code == 204
    await admin.post(f"{V1}/users/{ANN}/disable")
    assert (await admin.post(f"{V1}/users/{ANN}/password-link")).status_code == 409
