"""The pages of people, groups, services, roles, settings and the audit log: what each shows, does and refuses."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..control.conftest import ADMIN_EMAIL, PASSWORD
from .conftest import Web, accessible


@pytest.fixture
async def shop(web: Web) -> str:
    """A project."""
    async with await web.control.login(ADMIN_EMAIL) as client:
        made = await client.post("/api/v1/projects", json={"name": "shop"})
    project_id: str = made.json()["id"]
    return project_id


@pytest.mark.parametrize(
    "path",
    ["/users", "/groups", "/services", "/settings", "/audit", "/projects/{}/members", "/projects/{}/settings"],
)
async def test_each_page_is_for_everybody(web: Web, page: Page, shop: str, path: str) -> None:
    await web.sign_in(page)
    answer = await page.goto(path.format(shop))
    assert answer is not None
    assert answer.status == 200
    await accessible(page)


async def test_a_person_gets_a_role_through_a_group_and_loses_it(web: Web, page: Page, shop: str) -> None:
    await web.sign_in(page)
    await page.goto("/users")
    await page.get_by_role("button", name="Add a person").click()
    await page.get_by_label("E-mail").fill("maria@example.com")
    await page.get_by_label("First password").fill("correct horse battery")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.get_by_text("maria@example.com can sign in now")).to_be_visible()
    await accessible(page)
    await page.goto("/groups")
    await page.get_by_role("button", name="New group").first.click()
    await page.get_by_label("Name").fill("Not A Name")
    await page.get_by_role("button", name="Make the group").click()
    await expect(page.locator("#error-name")).to_be_visible()  # the dialog is open again, with what was typed
    await expect(page.get_by_label("Name")).to_have_value("Not A Name")
    await page.get_by_label("Name").fill("on-call")
    await page.get_by_role("button", name="Make the group").click()
    await page.get_by_label("Put somebody in").fill("nobody@example.com")
    await page.get_by_role("button", name="Add").click()
    await expect(page.locator("#error-user")).to_be_visible()
    await page.get_by_label("Put somebody in").fill("maria@example.com")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_text("maria@example.com is in the group now.")).to_be_visible()
    await page.goto(f"/projects/{shop}/members")
    await page.get_by_role("button", name="Give a role").click()
    await page.get_by_label("To", exact=True).select_option("group")
    await page.get_by_label("Who", exact=True).fill("on-call")
    await page.get_by_role("button", name="Give the role").click()
    await expect(page.get_by_text("on-call is connector here now.")).to_be_visible()
    await accessible(page)
    async with await web.control.login("maria@example.com", "correct horse battery") as maria:
        assert (await maria.get(f"/api/v1/projects/{shop}")).status_code == 200
        await page.get_by_role("button", name="Take back the role connector of on-call").click()
        await expect(page.get_by_text("The role is taken back.")).to_be_visible()
        assert (await maria.get(f"/api/v1/projects/{shop}")).status_code == 404


async def test_a_services_secret_is_shown_once(web: Web, page: Page, shop: str) -> None:
    await web.sign_in(page)
    await page.goto("/services")
    await page.get_by_role("button", name="New service").first.click()
    await page.get_by_label("Name").fill("nightly")
    await page.get_by_label("Networks").fill("10.0.0.0/8 not-a-network")
    await page.get_by_role("button", name="Make the service").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Networks").fill("10.0.0.0/8")
    await page.get_by_role("button", name="Make the service").click()
    await page.get_by_role("button", name="Make a secret").click()
    secret = await page.locator("#new-secret").inner_text()
    assert secret.startswith("wgk1_")
    await accessible(page)
    await page.goto(page.url.partition("/secrets")[0])
    assert secret not in await page.content()
    await expect(page.get_by_role("button", name="Take back secret")).to_have_count(1)


async def test_a_projects_settings_are_kept_and_a_bad_rule_is_refused(web: Web, page: Page, shop: str) -> None:
    await web.sign_in(page)
    await page.goto(f"/projects/{shop}/settings")
    await page.get_by_label("Kept for, days").fill("ninety")
    await page.get_by_role("button", name="Keep").click()
    await expect(page.locator("#error-retention_days")).to_be_visible()
    await page.get_by_label("Kept for, days").fill("90")
    await page.get_by_label("Legal hold").check()
    await page.get_by_role("button", name="Keep").click()
    await expect(page.get_by_label("Kept for, days")).to_have_value("90")
    await expect(page.get_by_label("Legal hold")).to_be_checked()
    await page.get_by_label("Name").fill("cards")
    await page.get_by_label("or pattern").fill("(unclosed")
    await page.get_by_role("button", name="Add the rule").click()
    await expect(page.get_by_role("alert").first).to_be_visible()
    await page.get_by_label("or pattern").fill("")
    await page.get_by_label("Path").fill("customers.card.number")
    await page.get_by_role("button", name="Try it on past records").click()
    await expect(page.locator("#preview")).to_contain_text("in 0 of 0 commands")
    await page.get_by_role("button", name="Add the rule").click()
    await expect(page.get_by_text("The rule cards holds")).to_be_visible()
    await accessible(page)


async def test_the_audit_log_tells_verifies_and_is_narrowed(web: Web, page: Page, shop: str) -> None:
    await web.sign_in(page)
    await page.goto("/audit")
    await expect(page.locator("tbody")).to_contain_text("project.created")
    await page.get_by_role("button", name="Verify").click()
    await expect(page.get_by_text("events are here and unaltered")).to_be_visible()
    await page.get_by_label("Event, or the first part of its name").fill("project")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator("tbody tr")).to_have_count(1)


async def test_a_connector_opens_none_of_them(web: Web, page: Page, shop: str) -> None:
    await (await web.control.user("con@example.com", (Role.CONNECTOR, Scope(shop)))).aclose()
    await web.sign_in(page, "con@example.com", PASSWORD)
    for path in (
        "/users",
        "/groups",
        "/services",
        "/settings",
        f"/projects/{shop}/members",
        f"/projects/{shop}/settings",
    ):
        answer = await page.goto(path)
        assert answer is not None
        assert answer.status == 403, path
