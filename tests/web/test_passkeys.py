"""Passkeys in a real browser: its own WebAuthn, with a virtual authenticator in place of a fingerprint reader."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from playwright.async_api import CDPSession, Page, expect

from ..control.conftest import ADMIN_EMAIL, PASSWORD
from .conftest import Web, accessible

V1 = "/api/v1"


class Authenticator:
    """The virtual authenticator of one tab."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session
        self.id = ""

    async def plug_in(self, *, verifies: bool = True) -> None:
        await self._session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal" if verifies else "usb",
            "hasResidentKey": True,
            "hasUserVerification": verifies,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        self.id = (await self._session.send("WebAuthn.addVirtualAuthenticator", {"options": options}))[
            "authenticatorId"
        ]

    async def forget(self) -> None:
        await self._session.send("WebAuthn.clearCredentials", {"authenticatorId": self.id})

    async def credentials(self) -> list[dict[str, Any]]:
        found = await self._session.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        credentials: list[dict[str, Any]] = found["credentials"]
        return credentials

    async def rewind(self) -> None:
        """Put a copy of the key, as it was before it was ever used, in its place."""
        old = (await self.credentials())[0]
        await self.forget()
        await self._session.send(
            "WebAuthn.addCredential", {"authenticatorId": self.id, "credential": {**old, "signCount": 1}}
        )


@pytest_asyncio.fixture(loop_scope="session")
async def authenticator(page: Page) -> AsyncIterator[Authenticator]:
    """One that checks its user, in the tab of `page`."""
    session = await page.context.new_cdp_session(page)
    made = Authenticator(session)
    await made.plug_in()
    yield made
    await session.detach()


async def add_passkey(web: Web, page: Page, name: str = "laptop") -> None:
    """Set the first one up, on the page, as a person does."""
    await page.goto(f"{web.url}/factors")
    await accessible(page)
    await page.get_by_role("link", name="Add a passkey").click()
    await accessible(page)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_label("Name").fill(name)
    await accessible(page)
    await page.get_by_role("button", name="Create the passkey").click()
    await page.get_by_role("heading", name="Recovery codes").wait_for()


async def sign_out(page: Page) -> None:
    await page.context.clear_cookies()


async def test_a_passkey_is_set_up_and_signs_in_alone(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    await accessible(page)
    assert len((await page.locator("#codes").inner_text()).split()) == 10
    await page.get_by_role("link", name="I have kept them").click()
    await expect(page.get_by_role("cell", name="laptop").first).to_be_visible()
    await accessible(page)
    await sign_out(page)
    await page.goto(f"{web.url}/sign-in?next=/factors")
    await page.get_by_role("button", name="Use a passkey").click()
    await page.wait_for_url(f"{web.url}/factors")
    assert (await authenticator.credentials())[0]["rpId"] == "localhost"


async def test_who_has_no_passkey_hears_it_and_can_go_on(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    await authenticator.forget()
    await sign_out(page)
    await page.goto(f"{web.url}/sign-in")
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("did not get an answer")
    await accessible(page)
    await web.sign_in(page)


async def test_a_copy_that_was_used_before_is_refused(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    for _ in range(2):
        await sign_out(page)
        await page.goto(f"{web.url}/sign-in?next=/factors")
        await page.get_by_role("button", name="Use a passkey").click()
        await page.wait_for_url(f"{web.url}/factors")
    await authenticator.rewind()
    await sign_out(page)
    await page.goto(f"{web.url}/sign-in?next=/factors")
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_text("does not open this control plane")).to_be_visible()
    assert "mfa.clone_suspected" in [row.event for row in await web.control.events()]
    await web.sign_in(page)
    await page.goto(f"{web.url}/factors")
    await expect(page.get_by_text("There may be a copy of this key")).to_be_visible()
    await accessible(page)


async def test_the_second_step_of_a_sign_in(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    async with await web.control.login(ADMIN_EMAIL) as admin:
        assert (await admin.put(f"{V1}/mfa/policy", json={"enforced": None, "at_sign_in": True})).status_code == 200
    await sign_out(page)
    await page.goto(f"{web.url}/sign-in?next=/factors")
    await page.get_by_label("E-mail").fill(ADMIN_EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("heading", name="Second factor").wait_for()
    await accessible(page)
    await page.get_by_label("Code").fill("nonsense")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.locator("#error-code")).to_contain_text("wrong")
    await accessible(page)
    await page.get_by_role("button", name="Use your passkey").click()
    await page.wait_for_url(f"{web.url}/factors")


async def test_a_recovery_code_at_the_second_step(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    codes = (await page.locator("#codes").inner_text()).split()
    async with await web.control.login(ADMIN_EMAIL) as admin:
        assert (await admin.put(f"{V1}/mfa/policy", json={"enforced": None, "at_sign_in": True})).status_code == 200
    await sign_out(page)
    await page.goto(f"{web.url}/sign-in?next=/factors")
    await page.get_by_label("E-mail").fill(ADMIN_EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_label("Code").fill(codes[0])
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url(f"{web.url}/factors")
    await expect(page.get_by_text("9 left.")).to_be_visible()


async def test_changes_ask_for_the_passkey_or_a_code(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    codes = (await page.locator("#codes").inner_text()).split()
    await page.goto(f"{web.url}/factors/recovery-codes")
    await accessible(page)
    await page.get_by_role("button", name="Confirm with your passkey").click()
    await page.get_by_role("heading", name="Recovery codes", exact=True).wait_for()
    fresh = (await page.locator("#codes").inner_text()).split()
    assert not set(codes) & set(fresh)
    await page.goto(f"{web.url}/factors")
    await page.get_by_role("button", name="Rename laptop").click()
    await page.get_by_role("dialog").get_by_label("Name").fill("anvil")
    await page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    await page.get_by_role("link", name="Remove anvil").click()
    await page.get_by_label("Code").fill(codes[1])
    await page.get_by_role("button", name="Use the code").click()
    await expect(page.locator("#error-code")).to_be_visible()
    await accessible(page)
    await page.get_by_label("Code").fill(fresh[1])
    await page.get_by_role("button", name="Use the code").click()
    await page.wait_for_url(f"{web.url}/factors")
    await expect(page.get_by_text("It is taken away.")).to_be_visible()
    async with await web.control.login(ADMIN_EMAIL) as admin:
        assert (await admin.get(f"{V1}/mfa")).json()["methods"] == []


async def test_the_authenticator_app_on_the_page(web: Web, page: Page) -> None:
    await web.sign_in(page)
    await page.goto(f"{web.url}/factors/add-app")
    await page.get_by_label("Password", exact=True).fill("wrong")
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator("#error-password")).to_be_visible()
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Go on").click()
    secret = (await page.locator("#secret").inner_text()).strip()
    await accessible(page)
    await page.get_by_label("Code").fill("000000")
    await page.get_by_role("button", name="Set it up").click()
    await expect(page.locator("#error-code")).to_be_visible()
    raw = base64.b32decode(secret + "=" * (-len(secret) % 8))
    code = TOTP(raw, 6, SHA1(), 30).generate(int(web.control.clock().timestamp())).decode()
    await page.get_by_label("Code").fill(code)
    await page.get_by_role("button", name="Set it up").click()
    await page.get_by_role("heading", name="Recovery codes").wait_for()


async def challenge_of(web: Web) -> tuple[str, str]:
    """A question that another sign-in of the administrator was asked: its id, and the code for comparing."""
    async with await web.control.login(ADMIN_EMAIL) as cli:
        asked = await cli.post(f"{V1}/mfa/challenges", json={"change": "recovery_codes"})
        assert asked.status_code == 201, asked.text
        return asked.json()["challenge_id"], asked.json()["short_code"]


async def test_approving_what_a_terminal_asked_for(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    challenge, short = await challenge_of(web)
    await sign_out(page)
    await page.goto(f"{web.url}/approve/{challenge}")  # leads through the sign-in
    await page.get_by_role("button", name="Use a passkey").click()
    await page.wait_for_url(f"{web.url}/approve/{challenge}")
    await expect(page.locator("#code")).to_have_text(short)
    await accessible(page)
    await page.get_by_role("button", name="Approve with your passkey").click()
    await page.get_by_role("heading", name="Approved").wait_for()
    await accessible(page)


async def test_it_was_not_me(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    challenge, _ = await challenge_of(web)
    await page.goto(f"{web.url}/approve/{challenge}")
    await page.get_by_role("button", name="It was not me").click()
    await page.get_by_role("heading", name="Refused").wait_for()
    await accessible(page)
    assert "mfa.challenge_refused" in [row.event for row in await web.control.events()]


async def test_another_ones_question_is_not_there(web: Web, page: Page, authenticator: Authenticator) -> None:
    await web.sign_in(page)
    await add_passkey(web, page)
    challenge, _ = await challenge_of(web)
    await sign_out(page)
    await web.control.user("eve@example.com")
    await web.sign_in(page, "eve@example.com")
    answer = await page.goto(f"{web.url}/approve/{challenge}")
    assert answer is not None
    assert answer.status == 404


async def test_at_an_ip_address_the_page_says_where_passkeys_work(web: Web, page: Page) -> None:
    elsewhere = web.url.replace("localhost", "127.0.0.1")
    await page.goto(f"{elsewhere}/sign-in?next=/factors")
    await expect(page.get_by_role("link", name=web.url)).to_have_attribute("href", f"{web.url}/sign-in?next=%2Ffactors")
    assert await page.get_by_role("button", name="Use a passkey").count() == 0
    await accessible(page)


async def test_a_page_elsewhere_can_send_nothing(web: Web, page: Page) -> None:
    for path in ("/sign-in/passkey", "/sign-in/passkey/options"):
        answer = await page.request.post(f"{web.url}{path}", headers={"origin": "https://evil.example"})
        assert answer.status == 403
