"""Letting a device in from the browser, and the list of devices, as a person sees them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from typing import Any

import httpx2
from playwright.async_api import Page

from wardgate.cli.loopback import Listener

from ..control.conftest import ADMIN_EMAIL, PASSWORD
from .conftest import Web, accessible

V1 = "/api/v1"
VERIFIER = "v" * 43


async def ask(web: Web, client: httpx2.AsyncClient, listener: Listener) -> dict[str, Any]:
    """A command line asks to be let in."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    body = {
        "code_challenge": challenge,
        "redirect_uri": listener.redirect_uri,
        "state": listener.state,
        "device": "ann's laptop <b>",
    }
    answer = await client.post(f"{V1}/auth/browser-requests", json=body)
    assert answer.status_code == 201
    asked: dict[str, Any] = answer.json()
    return asked


def redeem_when_it_comes(web: Web, listener: Listener, asked: dict[str, Any], done: list[Any]) -> threading.Thread:
    """What the command line does once the browser is back."""

    def work() -> None:
        arrival = listener.wait(30)
        assert arrival is not None
        done.append(arrival)
        arrival.tell("Signed in" if arrival.code else "Not signed in", "You can close this page.")

    thread = threading.Thread(target=work)
    thread.start()
    return thread


async def test_a_terminal_is_let_in_through_the_browser(web: Web, page: Page) -> None:
    done: list[Any] = []
    with Listener() as listener:
        async with web.control.client() as client:
            asked = await ask(web, client, listener)
            thread = redeem_when_it_comes(web, listener, asked, done)
            await page.goto(asked["url"])
            assert "/sign-in" in page.url
            await page.get_by_label("E-mail").fill(ADMIN_EMAIL)
            await page.get_by_label("Password").fill(PASSWORD)
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_role("heading", name="Let this device in?").wait_for()
            assert await page.locator("#code").inner_text() == asked["short_code"]
            assert await page.get_by_text("ann's laptop <b>").is_visible()
            await accessible(page)
            await page.get_by_role("button", name="Let it in").click()
            await page.get_by_role("heading", name="Signed in").wait_for()
            await asyncio.to_thread(thread.join)
            body = {"code": done[0].code, "code_verifier": VERIFIER, "redirect_uri": listener.redirect_uri}
            tokens = await client.post(f"{V1}/auth/browser-requests/{asked['request_id']}/token", json=body)
            assert tokens.json()["user"]["email"] == ADMIN_EMAIL


async def test_a_terminal_is_turned_away_in_the_browser(web: Web, page: Page) -> None:
    done: list[Any] = []
    with Listener() as listener:
        async with web.control.client() as client:
            asked = await ask(web, client, listener)
        thread = redeem_when_it_comes(web, listener, asked, done)
        await web.sign_in(page)
        await page.goto(asked["url"])
        await page.get_by_role("button", name="Turn it away").click()
        await page.get_by_role("heading", name="Not signed in").wait_for()
        await asyncio.to_thread(thread.join)
    assert done[0].error == "access_denied"


async def test_an_old_sign_in_is_asked_to_sign_in_again(web: Web, page: Page) -> None:
    await web.sign_in(page)
    web.control.clock.forward(minutes=16)
    with Listener() as listener:
        async with web.control.client() as client:
            asked = await ask(web, client, listener)
        await page.goto(asked["url"])
        assert "again=1" in page.url
        await accessible(page)
        await page.get_by_label("E-mail").fill(ADMIN_EMAIL)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", name="Let this device in?").wait_for()


async def test_a_code_is_typed_in(web: Web, page: Page) -> None:
    async with web.control.client(address="198.51.100.7") as client:
        begun = (await client.post(f"{V1}/auth/device-requests", json={"device": "server-7"})).json()
        await web.sign_in(page)
        await page.goto(f"{web.url}/device")
        await accessible(page)
        await page.get_by_label("Code").fill("BBBB-BBBB")
        await page.get_by_role("button", name="Continue").click()
        assert "There is no" in await page.locator("#error-code").inner_text()
        await accessible(page)
        await page.get_by_label("Code").fill(begun["user_code"].lower())
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_text("another address than yours").wait_for()
        await accessible(page)
        await page.get_by_role("button", name="Let it in").click()
        await page.get_by_role("heading", name="The device is let in").wait_for()
        await accessible(page)
        polled = await client.post(f"{V1}/auth/device-requests/token", json={"device_code": begun["device_code"]})
        assert polled.status_code == 200


async def test_a_link_spares_nobody_the_typing(web: Web, page: Page) -> None:
    async with web.control.client() as client:
        begun = (await client.post(f"{V1}/auth/device-requests", json={"device": "server-7"})).json()
    await web.sign_in(page)
    await page.goto(f"{web.url}/authorize/{begun['user_code']}")
    assert page.url == f"{web.url}/device"


async def test_devices_are_listed_renamed_and_signed_out(web: Web, page: Page) -> None:
    other = await web.control.login(ADMIN_EMAIL)
    third = await web.control.login(ADMIN_EMAIL)
    await web.sign_in(page)
    await page.goto(f"{web.url}/devices")
    await accessible(page)
    rows = page.locator("tbody tr")
    assert await rows.count() == 3
    command_line = rows.filter(has_text="A command line").first
    await command_line.get_by_role("button", name="Rename").click()
    await page.get_by_role("dialog").get_by_label("Name").fill("build server")
    await page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    await page.get_by_text("It is called build server now.").wait_for()
    await page.get_by_role("button", name="Sign out build server").click()
    await page.get_by_text("That device is signed out").wait_for()
    assert await rows.count() == 2
    statuses = [(await each.get(f"{V1}/auth/whoami")).status_code for each in (other, third)]
    assert sorted(statuses) == [200, 401]
    await page.get_by_role("button", name="Sign out all others").click()
    await page.get_by_role("dialog").get_by_role("button", name="Sign out all others").click()
    await page.get_by_text("All other devices are signed out.").wait_for()
    assert await rows.count() == 1
    assert await page.get_by_text("this one").is_visible()
    await page.set_viewport_size({"width": 390, "height": 800})
    await accessible(page)


async def test_the_decision_needs_our_own_form(web: Web, page: Page) -> None:
    async with web.control.client() as client:
        begun = (await client.post(f"{V1}/auth/device-requests", json={"device": "server-7"})).json()
    await web.sign_in(page)
    place = f"{web.url}/authorize/{begun['user_code']}"
    for headers in ({"origin": "https://evil.example"}, {}):
        answer = await page.request.post(place, form={"decision": "approve"}, headers=headers)
        assert answer.status == 403
    answer = await page.request.post(place, form={"decision": "approve", "csrf": "x"}, headers={"origin": web.url})
    assert answer.status == 403
