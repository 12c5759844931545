"""Resources and accounts as an administrator and a connector use them, with the mouse and the keyboard."""

from __future__ import annotations

from playwright.async_api import Page, expect

from wardgate.api.models import HopKind
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..control.machines import failed, passed
from .conftest import OpenTab, Shop, Web
from .pictures import picture


async def test_a_resource_from_the_empty_list_to_the_saved_page(web: Web, shop: Shop, page: Page) -> None:
    await web.sign_in(page)
    await page.wait_for_url(f"{shop.url}/overview")
    await page.get_by_role("link", name="Resources", exact=True).click()
    await page.wait_for_url(f"{shop.url}/resources")
    await picture(page, "resources-empty")
    await page.get_by_role("link", name="Add resource").first.click()
    await page.get_by_label("Name", exact=True).fill("production-mongo")
    await page.get_by_label("Connection String").fill("mongodb://ann:secret@db1")
    await expect(page.locator("#live-check")).to_contain_text("Leave user and password out")
    await page.get_by_label("Connection String").fill("mongodb://db1:27017,db2:27017/?replicaSet=rs0")
    await expect(page.locator("#live-check")).to_contain_text("Leads to db1:27017, db2:27017")
    await page.get_by_role("button", name="Test without saving").click()
    await expect(page.locator("#test-result")).to_contain_text("Every hop works.")
    await picture(page, "resource-add", full=True)
    await page.get_by_role("button", name="Test and save").click()
    await page.wait_for_url(f"{shop.url}/resources/production-mongo")
    await expect(page.get_by_role("status").first).to_contain_text("The resource production-mongo is saved.")
    await picture(page, "resource-new")


async def test_a_test_that_fails_keeps_the_form_and_shows_the_hop(web: Web, shop: Shop, page: Page) -> None:
    shop.machine.verdict = lambda _: failed(HopKind.TLS, "Its certificate is for db.example, not for db1.")
    await web.sign_in(page)
    await page.goto(f"{shop.url}/add-resource")
    await page.get_by_label("Name", exact=True).fill("orders")
    await page.get_by_label("Connection String").fill("mongodb://db1")
    await page.get_by_label("Enable SSL").uncheck()
    await expect(page.get_by_label("Reject Unauthorized")).to_be_hidden()
    await page.get_by_label("Enable SSL").check()
    await page.get_by_role("button", name="Test and save").click()
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    await expect(page.locator(".hop.is-bad")).to_contain_text("not for db1")
    assert await page.get_by_label("Name", exact=True).input_value() == "orders"
    assert await page.get_by_label("Connection String").input_value() == "mongodb://db1"
    await picture(page, "resource-test-failed", full=True)
    await page.get_by_label("Save untested").check()
    await page.get_by_role("button", name="Test and save").click()
    await page.wait_for_url(f"{shop.url}/resources/orders")
    await expect(page.get_by_role("status").first).to_contain_text("Saved untested")


async def test_errors_stand_beside_their_fields(web: Web, shop: Shop, page: Page) -> None:
    await shop.resource("orders")
    await web.sign_in(page)
    await page.goto(f"{shop.url}/add-resource")
    await page.get_by_label("Name", exact=True).fill("Not A Name")
    await page.get_by_label("Connection String").fill("http://db1")
    await page.get_by_role("button", name="Test and save").click()
    await expect(page.locator("#error-name")).to_contain_text("lower-case")
    await page.get_by_label("Name", exact=True).fill("orders")
    await page.get_by_role("button", name="Test and save").click()
    await expect(page.locator("#error-connection_string, #error-name")).to_have_count(1)
    await page.get_by_label("Connection String").fill("mongodb://db1")
    await page.get_by_role("button", name="Test and save").click()
    await expect(page.locator("#error-name")).to_contain_text("already a resource orders")
    await picture(page, "resource-add-errors", full=True)


async def test_two_editors_do_not_overwrite_each_other_silently(web: Web, shop: Shop, page: Page) -> None:
    await shop.resource("orders")
    await web.sign_in(page)
    await page.goto(f"{shop.url}/resources/orders/edit")
    web.control.clock.forward(seconds=20)
    path = f"/api/v1/projects/{shop.project_id}/resources/orders"
    answer = await shop.api.patch(path, json={"connection_string": "mongodb://theirs"})
    assert answer.status_code == 200, answer.text
    await page.get_by_label("Connection String").fill("mongodb://mine")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_text("was changed by somebody else")).to_be_visible()
    await expect(page.get_by_text("mongodb://theirs")).to_be_visible()
    assert await page.get_by_label("Connection String").input_value() == "mongodb://mine"
    assert (await shop.api.get(path)).json()["connection_string"] == "mongodb://theirs"
    await picture(page, "resource-edit-conflict", full=True)
    await page.get_by_role("button", name="Save changes").click()
    await page.wait_for_url(f"{shop.url}/resources/orders")
    assert (await shop.api.get(path)).json()["connection_string"] == "mongodb://mine"


async def test_deleting_asks_for_the_name(web: Web, shop: Shop, page: Page) -> None:
    await shop.resource("orders")
    await web.sign_in(page)
    await page.goto(f"{shop.url}/resources/orders")
    await page.get_by_role("button", name="Delete…").click()
    button = page.get_by_role("button", name="Delete resource")
    await expect(button).to_be_disabled()
    await page.get_by_label("Type orders to delete it").fill("order")
    await expect(button).to_be_disabled()
    await page.get_by_label("Type orders to delete it").fill("orders")
    await button.click()
    await page.wait_for_url(f"{shop.url}/resources")
    assert await web.control.count("resources") == 0


async def test_an_account_and_the_command_to_copy(web: Web, shop: Shop, page: Page) -> None:
    await shop.resource("production-mongo", connection_string="mongodb://db1:27017,db2:27017/?replicaSet=rs0")
    await web.sign_in(page)
    await page.goto(f"{shop.url}/resources/production-mongo")
    await page.get_by_role("link", name="Add account").first.click()
    await page.get_by_label("Name", exact=True).fill("readonly-user")
    await page.get_by_label("Description").fill("Reads everything, writes nothing")
    await page.get_by_label("Username").fill("ro")
    await page.locator("#password").fill("the database's secret")
    await page.get_by_label("Require a reason").check()
    await page.get_by_label("Maximum duration").fill("8h")
    await picture(page, "account-add", full=True)
    await page.get_by_role("button", name="Test and save").click()
    await page.wait_for_url(f"{shop.url}/resources/production-mongo")
    await shop.account("production-mongo", "app-writer", require_mfa=True, require_approval=True)
    await page.reload()
    await picture(page, "resource", full=True)
    await page.get_by_role("link", name="Access readonly-user").click()
    dialog = page.get_by_role("dialog", name="Get in")
    await dialog.get_by_label("Duration").fill("30m")
    await dialog.get_by_label("Reason").fill("it's ticket 12")
    command = await dialog.locator("#access-command").inner_text()
    assert command == (
        f"wardgate pam db access --resource production-mongo --account readonly-user --project-id {shop.project_id} "
        f"""--duration 30m --domain {web.url} --reason 'it'"'"'s ticket 12'"""
    )
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await dialog.get_by_role("button", name="Copy the command", exact=True).click()
    await expect(page.locator("#announce")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == command
    await picture(page, "access-dialog")


async def test_a_password_is_never_shown_again(web: Web, shop: Shop, page: Page) -> None:
    await shop.resource("orders")
    shop.machine.verdict = lambda _: failed(HopKind.LOGIN, "The password is wrong.")
    await web.sign_in(page)
    await page.goto(f"{shop.url}/resources/orders/add-account")
    await page.get_by_label("Name", exact=True).fill("ro")
    await page.get_by_label("Username").fill("ro")
    await page.locator("#password").fill("never show this")
    await page.get_by_role("button", name="Test and save").click()
    await expect(page.locator(".hop.is-bad")).to_contain_text("The password is wrong.")
    assert await page.get_by_label("Username").input_value() == "ro"
    assert "never show this" not in await page.content()
    shop.machine.verdict = lambda _: passed()
    await page.locator("#password").fill("right")
    await page.get_by_role("button", name="Test and save").click()
    await page.wait_for_url(f"{shop.url}/resources/orders")
    await page.goto(f"{shop.url}/resources/orders/accounts/ro/edit")
    assert "right" not in await page.locator("#password").input_value()


async def test_a_connector_asks_and_an_administrator_lets_them_in(
    web: Web, shop: Shop, page: Page, open_tab: OpenTab
) -> None:
    await shop.resource("orders")
    await shop.account("orders", "writer", require_approval=True, description="Changes orders")
    await web.control.user("ann@example.com", (Role.CONNECTOR, Scope(shop.project_id)))
    await web.sign_in(page, "ann@example.com")
    await page.goto(f"{shop.url}/resources/orders/accounts/writer")
    await expect(page.get_by_role("link", name="Edit")).to_have_count(0)
    await page.get_by_label("Reason").fill("Ticket 4711: two orders are stuck")
    await picture(page, "account-request", full=True)
    await page.get_by_role("button", name="Request access").click()
    await expect(page.get_by_text("Your request waits for a decision.")).to_be_visible()

    async with open_tab(web.url) as chief:
        await web.sign_in(chief)
        await chief.goto(f"{shop.url}/requests")
        await picture(chief, "requests")
        await chief.get_by_role("link", name="ann@example.com").click()
        await picture(chief, "request")
        await chief.get_by_label("Note").fill("Go ahead")
        await chief.get_by_role("button", name="Approve").click()
        await expect(chief.get_by_role("status").first).to_contain_text("ann@example.com may get in now.")

    await page.goto(f"{shop.url}/resources/orders/accounts/writer")
    await expect(page.get_by_text("admin@example.com approved it.")).to_be_visible()
    await expect(page.locator("#access-command")).to_contain_text("--account writer")
    await picture(page, "account", full=True)


async def test_ten_thousand_resources_are_found_as_one_types(web: Web, shop: Shop, page: Page) -> None:
    first = await shop.resource("orders")
    await web.control.execute(
        "INSERT INTO resources (id, project_id, name, gateway_id, connection_string, database, ssl, "
        "reject_unauthorized, created_at, updated_at) "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
        "SELECT 'res_' || i, project_id, 'db-' || i, gateway_id, 'mongodb://h' || i, 'admin', ssl, "
        f"reject_unauthorized, created_at, updated_at FROM n, resources WHERE resources.id = '{first['id']}'"
    )
    await web.sign_in(page)
    answer = await page.goto(f"{shop.url}/resources")
    assert answer is not None
    assert len(await answer.body()) < 200_000
    await expect(page.locator("[data-row]")).to_have_count(50)
    await picture(page, "resources")
    await page.keyboard.press("/")
    await page.keyboard.type("db-9999")
    await expect(page.locator("[data-row]")).to_have_count(1)
    await page.wait_for_url("**q=db-9999**")
    await page.reload()
    await expect(page.locator("[data-row]")).to_have_count(1)
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{shop.url}/resources/db-9999")
    await page.keyboard.press("g")
    await page.keyboard.press("r")
    await page.wait_for_url(f"{shop.url}/resources")
    await page.get_by_role("link", name="Next").click()
    await expect(page.locator("[data-row]")).to_have_count(50)
    await page.get_by_role("link", name="First page").click()
    await expect(page.get_by_role("link", name="db-1", exact=True)).to_be_visible()
