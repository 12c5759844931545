"""Signing in by a provider in a real browser: the cookies and the policies of the pages let it through."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page

from wardgate.testing.issuer import Asked, Issuer, Reply

from ..control.conftest import ADMIN_EMAIL
from ..control.sso.conftest import Idp, add
from .conftest import Web, accessible


@pytest.fixture
def idp(web: Web) -> Iterator[Idp]:
    """A provider with a page of its own on which somebody signs in with one press."""
    with Issuer() as issuer:
        made = Idp(issuer, web.control)

        def page(asked: Asked) -> Reply:
            location = f"{issuer.url}/authorize?{urlencode(asked.query)}"
            back = f"{web.url}{made.authorize(location, made.claims())}".replace("&", "&amp;")
            html = f'<!doctype html><title>IdP</title><h1>Provider</h1><a href="{back}">I am Ann</a>'
            return Reply(200, html.encode(), {"content-type": "text/html"})

        issuer.route("/authorize", page)
        yield made


async def test_the_button_leads_there_and_back_and_in(web: Web, page: Page, idp: Idp) -> None:
    async with await web.control.login(ADMIN_EMAIL) as admin:
        await add(admin, idp, label="Corp & Sons")
    await page.goto(f"{web.url}/devices")
    await page.get_by_role("link", name="Sign in with Corp & Sons").wait_for()
    await accessible(page)
    await page.get_by_role("link", name="Sign in with Corp & Sons").click()
    await page.get_by_role("link", name="I am Ann").click()
    await page.wait_for_url(f"{web.url}/devices")
    await page.get_by_text("by single sign-on").wait_for()
    assert "ann@corp.example" in await page.locator("nav").first.inner_text()


async def test_a_refusal_is_told_on_the_sign_in_page(web: Web, page: Page, idp: Idp) -> None:
    async with await web.control.login(ADMIN_EMAIL) as admin:
        provider = await add(admin, idp)
    await page.goto(f"{web.url}/sign-in/sso/{provider['id']}/callback?code=x&state=y")
    assert "Single sign-on was refused" in await page.get_by_role("alert").inner_text()
    await accessible(page)


async def test_the_way_begins_under_the_name_that_it_ends_under(web: Web, page: Page, idp: Idp) -> None:
    """Under another name of the control plane, the cookie would not come back."""
    async with await web.control.login(ADMIN_EMAIL) as admin:
        provider = await add(admin, idp)
    await page.goto(f"{web.url.replace('localhost', '127.0.0.1')}/sign-in/sso/{provider['id']}?next=/devices")
    await page.get_by_role("link", name="I am Ann").click()
    await page.wait_for_url(f"{web.url}/devices")
