"""Setting a password with a link by mail, in a real browser."""

from __future__ import annotations

import re

from playwright.async_api import Page

from ..control.mfa.conftest import Postbox
from .conftest import Web, accessible

NEW = "wandering violet teapot"


async def test_a_forgotten_password(web: Web, page: Page) -> None:
    box = Postbox()
    web.control.services.mail_links._mailer = box
    await web.control.user("ann@example.com")
    await page.goto(f"{web.url}/password/forgotten")
    await accessible(page)
    for email in ("nobody@example.com", "ann@example.com"):
        await page.goto(f"{web.url}/password/forgotten")
        await page.get_by_label("E-mail").fill(email)
        await page.get_by_role("button", name="Send the link").click()
        await page.get_by_role("heading", name="Look into your mail").wait_for()
    await web.control.services.mail_links.settled()
    (mail,) = box.mails
    found = re.search(r"/password\?token=\S+", mail[2])
    assert found is not None
    for _ in range(2):  # looked at by a program that goes through mail, and by its owner
        await page.goto(web.url + found[0])
    await accessible(page)
    await page.get_by_label("New password").fill(NEW)
    await page.get_by_label("Once more").fill("something else")
    await page.get_by_role("button", name="Set the password").click()
    await page.get_by_text("The two are not the same.").first.wait_for()
    await page.get_by_label("New password").fill(NEW)
    await page.get_by_label("Once more").fill(NEW)
    await page.get_by_role("button", name="Set the password").click()
    await page.wait_for_url(f"{web.url}/sign-in")
    await page.get_by_label("E-mail").fill("ann@example.com")
    await page.get_by_label("Password").fill(NEW)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url(re.compile(re.escape(web.url) + "/(?!sign-in)"))
    response = await page.goto(web.url + found[0])
    assert response is not None
    assert response.status == 403
    assert "link is over" in await page.locator("h1").inner_text()
