"""Signing in and out, and what the browser's login is worth."""

from __future__ import annotations

from playwright.async_api import Page

from ..control.conftest import ADMIN_EMAIL, PASSWORD
from ..control.mfa.conftest import set_up
from .conftest import Web, accessible


async def test_signing_in_leads_to_where_one_wanted_to_go(web: Web, page: Page) -> None:
    await page.goto(f"{web.url}/projects?after=x")
    await accessible(page)
    await page.get_by_label("E-mail").fill(ADMIN_EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{web.url}/projects?after=x")
    await accessible(page)


async def test_a_wrong_password_keeps_the_address_and_never_the_password(web: Web, page: Page) -> None:
    await page.goto(f"{web.url}/sign-in")
    await page.get_by_label("E-mail").fill(ADMIN_EMAIL)
    await page.get_by_label("Password").fill("not this one")
    await page.get_by_role("button", name="Sign in").click()
    assert "wrong" in await page.get_by_role("alert").inner_text()
    assert await page.get_by_label("E-mail").input_value() == ADMIN_EMAIL
    assert await page.get_by_label("Password").input_value() == ""
    assert "not this one" not in await page.content()
    await accessible(page)


async def test_signing_out_ends_the_sign_in_at_the_server(web: Web, page: Page) -> None:
    await web.sign_in(page)
    kept = await page.context.cookies()
    await page.get_by_role("button", name=ADMIN_EMAIL).click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(f"{web.url}/sign-in")
    assert await page.get_by_role("status").first.inner_text() == "You are signed out."
    await page.context.add_cookies([{**cookie} for cookie in kept])  # type: ignore[typeddict-item]
    await page.goto(f"{web.url}/projects")
    assert page.url.startswith(f"{web.url}/sign-in")


async def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(web: Web, page: Page) -> None:
    await web.sign_in(page)
    cookie = next(each for each in await page.context.cookies() if each["name"] == "wardgate")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert cookie["value"] not in await page.evaluate("document.cookie")
    assert cookie["value"] not in await page.content()


async def test_the_second_factor_is_a_second_step_without_the_password(web: Web, page: Page) -> None:
    async with await web.control.login(ADMIN_EMAIL) as admin:
        app = await set_up(web.control, admin)
        rule = {"enforced": None, "at_sign_in": True}
        assert (await admin.put("/api/v1/mfa/policy", json=rule)).status_code == 200
    await page.goto(f"{web.url}/sign-in?next=/projects")
    await page.get_by_label("E-mail").fill(ADMIN_EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Second factor").wait_for()
    await accessible(page)
    await page.get_by_label("Code").fill("000000")
    await page.get_by_role("button", name="Sign in").click()
    assert "wrong" in await page.locator("#error-code").inner_text()
    await accessible(page)
    await page.get_by_label("Code").fill(app.next_code())
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{web.url}/projects")


async def test_a_password_changed_between_the_steps_ends_the_sign_in(web: Web, page: Page) -> None:
    async with await web.control.login(ADMIN_EMAIL) as admin:
        app = await set_up(web.control, admin)
        assert (await admin.put("/api/v1/mfa/policy", json={"enforced": None, "at_sign_in": True})).status_code == 200
        await page.goto(f"{web.url}/sign-in")
        await page.get_by_label("E-mail").fill(ADMIN_EMAIL)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", name="Second factor").wait_for()
        changed = {"current_password": PASSWORD, "new_password": "another one entirely"}
        answer = await admin.post("/api/v1/auth/password", json=changed)
        assert answer.status_code == 204, answer.text
    await page.get_by_label("Code").fill(app.next_code())
    await page.get_by_role("button", name="Sign in").click()
    assert "wrong" in await page.get_by_role("alert").inner_text()
    await page.goto(f"{web.url}/projects")
    assert "/sign-in" in page.url
