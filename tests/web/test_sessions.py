"""The pages of sessions: the list, the page of one, its log as it grows, and what they refuse."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from wardgate.api.models import EndReason
from wardgate.audit.records import CommandIntent
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..control.conftest import ADMIN_EMAIL, PASSWORD
from .conftest import Web, accessible
from .recording import open_session, worked


@pytest.fixture
async def shop(web: Web) -> str:
    """A project."""
    async with await web.control.login(ADMIN_EMAIL) as client:
        made = await client.post("/api/v1/projects", json={"name": "shop"})
    assert made.status_code == 201
    project_id: str = made.json()["id"]
    return project_id


async def test_an_empty_list_says_what_a_session_is(web: Web, page: Page, shop: str) -> None:
    await web.sign_in(page)
    await page.goto(f"/projects/{shop}/sessions")
    await expect(page.get_by_text("No session yet")).to_be_visible()
    await accessible(page)


async def test_a_list_is_narrowed_by_its_url_and_stays_true(web: Web, page: Page, shop: str) -> None:
    live = await worked(web, shop, 20, reason="Ticket 4711: order 88 is stuck")
    web.control.clock.forward(seconds=1)
    over = await worked(web, shop, 9, user="jonas.weber@example.com")
    await over.end(EndReason.EXPIRED)
    await web.sign_in(page)
    await page.goto(f"/projects/{shop}/sessions")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("Time was up")
    await accessible(page)
    await page.get_by_role("link", name="Live").click()
    await expect(rows).to_have_count(1)
    await expect(rows.first).to_contain_text("Ticket 4711")
    before = await rows.first.locator("td").nth(5).inner_text()
    for _ in range(3):
        live.command()
    await live.ship()
    await expect(rows.first.locator("td").nth(5)).not_to_have_text(before)
    await page.get_by_label("Person: e-mail address").fill("nobody@example.com")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_text("No session fits")).to_be_visible()
    assert "user=nobody" in page.url


async def test_a_session_shows_its_facts_and_every_command(web: Web, page: Page, shop: str) -> None:
    work = await worked(web, shop, 60)
    await work.end()
    await web.sign_in(page)
    await page.goto(f"/sessions/{work.id}")
    await expect(page.locator("#facts")).to_contain_text("Closed by its user")
    await expect(page.locator(".log-line.is-command")).to_have_count(60)
    await expect(page.locator(".log-line.is-denied")).to_contain_text("users_and_roles")
    await expect(page.locator("#activity canvas")).to_be_visible()
    first = page.locator(".log-line.is-command").first
    await first.locator("summary").click()
    await expect(first.locator(".ejson")).to_contain_text('"$db": "shop"')
    await page.get_by_role("button", name="Verify the record").click()
    await expect(page.get_by_text("Every record is here and unaltered.")).to_be_visible()
    await accessible(page)
    await page.goto(f"/sessions/{work.id}?failed=true")
    failed = page.locator(".log-line")
    await expect(failed.first).to_contain_text("error 11000")
    assert await failed.count() == 4  # three that the database refused, and one that wardgate did


async def test_commands_appear_while_one_looks(web: Web, page: Page, shop: str) -> None:
    work = await open_session(web, shop)
    await work.ship()
    await web.sign_in(page)
    await page.goto(f"/sessions/{work.id}")
    await expect(page.get_by_role("button", name="Follow live")).to_have_attribute("aria-pressed", "true")
    await page.locator("#log").scroll_into_view_if_needed()
    work.command("orders")
    await work.ship()
    await expect(page.locator(".log-line.is-command")).to_have_count(1)
    await expect(page.locator("#facts")).to_contain_text("1")
    for _ in range(250):
        work.command()
    await work.ship()
    await expect(page.locator(".log-line.is-command").last).to_be_in_viewport()
    await expect(page.locator("#facts .tile").nth(2)).to_contain_text("251")
    await work.end()
    await expect(page.get_by_role("button", name="Follow live")).to_have_count(1)
    await expect(page.locator("#facts")).to_contain_text("Closed by its user")


async def test_a_long_log_keeps_only_what_is_near(web: Web, page: Page, shop: str) -> None:
    work = await worked(web, shop, 1500)
    await work.end()
    await web.sign_in(page)
    await page.goto(f"/sessions/{work.id}")
    log = page.locator("#log")
    for _ in range(40):
        await log.evaluate("log => { log.scrollTop = log.scrollHeight }")
        if await page.locator(".log-line.is-session").last.get_by_text("closed").count():
            break
        await page.wait_for_timeout(100)
    await expect(page.locator(".log-line.is-session").last).to_contain_text("closed")
    assert await page.locator(".log-line").count() < 700
    await log.evaluate("log => { log.scrollTop = 0 }")
    await expect(page.locator(".log-line").first).to_contain_text("opened")


async def test_what_was_recorded_can_do_nothing(web: Web, page: Page, shop: str) -> None:
    """Markup in names, bodies and reasons is text."""
    import bson

    evil = "<img src=x onerror=alert(1)>"
    work = await open_session(web, shop, reason=evil)
    raw = bson.encode({"find": evil, "filter": {evil: "</script><script>alert(1)</script>\u202e"}, "$db": "shop"})
    work.append(CommandIntent(1, 7, "shop", evil, "find", "read", raw, len(raw), client_app=evil))
    await work.ship()
    await work.end()
    await web.sign_in(page)
    await page.goto(f"/sessions/{work.id}")
    line = page.locator(".log-line.is-command")
    await line.locator("summary").click()
    await expect(line.locator(".ejson")).to_contain_text("</script>")
    await expect(line.locator(".ejson")).to_contain_text("\\u202e")
    assert await page.locator("main img").count() == 0


async def test_a_connector_sees_their_own_sessions_and_no_bodies(web: Web, page: Page, shop: str) -> None:
    work = await worked(web, shop, 5)
    (await web.control.user("con@example.com", (Role.CONNECTOR, Scope(shop)))).headers.clear()
    await web.sign_in(page, "con@example.com", PASSWORD)
    await page.goto(f"/projects/{shop}/sessions")
    await expect(page.get_by_text("No session yet")).to_be_visible()
    answer = await page.goto(f"/sessions/{work.id}")
    assert answer is not None
    assert answer.status == 404


async def test_an_administrator_ends_a_session(web: Web, page: Page, shop: str) -> None:
    work = await open_session(web, shop)
    await work.ship()
    await web.sign_in(page)
    await page.goto(f"/sessions/{work.id}")
    await page.get_by_role("button", name="Terminate").click()
    await accessible(page)
    await page.locator("dialog[open]").get_by_role("button", name="Terminate").click()
    await expect(page.get_by_text("The session is being ended.")).to_be_visible()
    assert (await work.recorded.row()).end_reason is EndReason.TERMINATED  # no gateway serves it
