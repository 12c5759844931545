"""Every second factor from the command line through the whole product: a passkey in a real browser, mail over a real
SMTP server. (The authenticator app is in `test_gates`.)"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from playwright.sync_api import Browser, Page, expect, sync_playwright

from wardgate.testing import servers
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import free_ports
from wardgate.testing.stack import Stack, Wardgate
from wardgate.testing.terminal import Terminal

from ..conftest import need
from .test_gates import PASSWORD, access, logged_in, typing, works

ANN, BOB = "ann@example.com", "bob@example.com"


class Inbox:
    """What the mail server took."""

    def __init__(self) -> None:
        self._mails: list[str] = []
        self._came = threading.Condition()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        with self._came:
            self._mails.append(envelope.content.decode())
            self._came.notify_all()
        return "250 OK"

    def code(self, short_code: str) -> str:
        """The code of the mail about that challenge."""

        def about() -> list[str]:
            return [mail for mail in self._mails if f"code for {short_code}" in mail]

        with self._came:
            assert self._came.wait_for(about, 15), f"no mail about {short_code}"
            found = re.search(r"Your code is (\d{4} \d{4})", about()[-1])
        assert found is not None
        return found[1]


@pytest.fixture(scope="module")
def inbox() -> Iterator[tuple[Inbox, int]]:
    """A mail server on loopback, and its port."""
    box, (port,) = Inbox(), free_ports(1)
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    yield box, port
    server.stop()


@pytest.fixture(scope="module")
def guarded(mongod_rs1: MongoDeployment, inbox: tuple[Inbox, int]) -> Iterator[Stack]:
    """A product whose mail goes to that server, with an account that asks for a second factor."""
    folder = Path(tempfile.mkdtemp(prefix="wardgate-e2e-"))
    try:
        with Stack(folder) as stack:
            stack.wardgate.variables["WARDGATE_SMTP_URL"] = f"smtp://127.0.0.1:{inbox[1]}"
            stack.wardgate.variables["WARDGATE_SMTP_FROM"] = "wardgate@example.com"
            stack.up()
            stack.add_resource("rs", mongod_rs1)
            stack.add_account("mfa", "rs", mongod_rs1.ro, "--require-mfa")
            for email in (ANN, BOB):
                stack.wardgate.run("user", "create", email, "--password-stdin", stdin=PASSWORD)
                stack.wardgate.run("role", "grant", "connector", "--user", email, "--project-id", stack.project_id)
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=need(servers.CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def page(chromium: Browser, guarded: Stack) -> Iterator[Page]:
    """A tab with a virtual authenticator, in which Ann has signed in and set a passkey up."""
    url = guarded.domain.replace("127.0.0.1", "localhost")  # a passkey belongs to a name
    context = chromium.new_context(base_url=url, locale="en-GB")
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    tab.goto("/sign-in?next=/factors/add-passkey")
    tab.get_by_label("E-mail").fill(ANN)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Sign in", exact=True).click()
    tab.get_by_label("Password", exact=True).fill(PASSWORD)
    tab.get_by_role("button", name="Go on").click()
    tab.get_by_role("button", name="Create the passkey").click()
    tab.get_by_role("heading", name="Recovery codes").wait_for()
    yield tab
    context.close()


@pytest.fixture
def ann(guarded: Stack, page: Page, tmp_path: Path) -> Wardgate:
    """Ann at her terminal, whose browser writes down what it is to open."""
    person = logged_in(guarded, tmp_path / "ann", ANN)
    opener = tmp_path / "browser"
    opener.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> {tmp_path / "opened"}\n')
    opener.chmod(0o700)
    person.variables["BROWSER"] = str(opener)
    return person


def opened(terminal: Terminal) -> tuple[str, str]:
    """What the terminal says of the page: the code that it shows, and its address."""
    short = terminal.expect(r"The page shows the code ([0-9A-Z]{4})")[1]
    return short, terminal.expect(r"(http://localhost:\d+/approve/mfc_[0-9a-f]{32})")[1]


def test_a_passkey_in_the_browser_opens_the_session(guarded: Stack, ann: Wardgate, page: Page, tmp_path: Path) -> None:
    terminal = typing(ann, *access(guarded, "mfa", "--reason", "ticket 42"))
    short, url = opened(terminal)
    assert (tmp_path / "opened").read_text().split() == [url]
    page.goto(url)
    expect(page.locator("#code")).to_have_text(short)
    facts = page.locator("dl.facts").inner_text()
    for shown in (ANN, "rs", "mfa", "10 m", "ticket 42"):
        assert shown in facts
    page.get_by_role("button", name="Approve with your passkey").click()
    page.get_by_role("heading", name="Approved").wait_for()
    works(terminal)
    page.goto(url)
    page.get_by_role("heading", name="It is over").wait_for()


def test_what_is_refused_in_the_browser_ends_at_the_terminal(guarded: Stack, ann: Wardgate, page: Page) -> None:
    terminal = typing(ann, *access(guarded, "mfa"))
    _, url = opened(terminal)
    page.goto(url)
    page.get_by_role("button", name="It was not me").click()
    terminal.expect("It was refused in the browser")
    assert terminal.wait() == 4
    terminal.close()


def test_a_kind_that_is_ruled_out_meanwhile_ends_the_waiting(guarded: Stack, ann: Wardgate, page: Page) -> None:
    terminal = typing(ann, *access(guarded, "mfa"))
    _, url = opened(terminal)
    page.goto(url)
    try:
        guarded.wardgate.run("mfa", "policy", "--enforce", "email")
        page.get_by_role("button", name="Approve with your passkey").click()
        page.get_by_role("heading", name="It is over").wait_for()
        terminal.expect("no longer allowed")
        assert terminal.wait() == 4
    finally:
        guarded.wardgate.run("mfa", "policy", "--enforce", "none")
        terminal.close()


def test_another_users_question_is_not_there(guarded: Stack, ann: Wardgate, page: Page, chromium: Browser) -> None:
    terminal = typing(ann, *access(guarded, "mfa"))
    _, url = opened(terminal)
    context = chromium.new_context()
    other = context.new_page()
    other.goto(url)
    other.get_by_label("E-mail").fill(BOB)
    other.get_by_label("Password").fill(PASSWORD)
    with other.expect_response(url) as answer:
        other.get_by_role("button", name="Sign in", exact=True).click()
    assert answer.value.status == 404
    context.close()
    terminal.type("\x03")
    assert terminal.wait() == 130
    terminal.close()


def test_a_program_is_told_where_to_approve(guarded: Stack, ann: Wardgate) -> None:
    refused = ann.run(*access(guarded, "mfa", "--json"), check=False)
    assert refused.status == 4
    problem = refused.problem()
    assert (problem["code"], problem["context"]["kind"]) == ("mfa_required", "passkey")
    assert problem["context"]["approve_url"].startswith("http://localhost:")


def test_without_a_browser_a_recovery_code_does(guarded: Stack, ann: Wardgate, page: Page) -> None:
    page.goto("/factors/recovery-codes")
    page.get_by_role("button", name="Confirm with your passkey").click()
    codes = page.locator("#codes")
    codes.wait_for()
    recovery = codes.inner_text().split()[0]
    ann.variables["BROWSER"] = "/nonexistent/browser"
    terminal = typing(ann, *access(guarded, "mfa"))
    terminal.expect("Approve this with your passkey in a browser: http://localhost")
    terminal.expect("Or a code from your list of recovery codes")
    terminal.type("0000-0000-0000-0000\n")
    terminal.expect("That code is wrong: 4 tries are left")
    terminal.expect("Code from your list of recovery codes")
    terminal.type(recovery + "\n")
    works(terminal)


def test_mail_over_smtp(guarded: Stack, inbox: tuple[Inbox, int], tmp_path: Path) -> None:
    bob = logged_in(guarded, tmp_path / "bob", BOB)
    terminal = typing(bob, *access(guarded, "mfa"))
    short = terminal.expect(r"Code from the mail that was just sent to you \(challenge ([0-9A-Z]{4}),")[1]
    terminal.type("0000 0000\n")
    terminal.expect("That code is wrong: 4 tries are left")
    terminal.expect("Code from the mail")
    terminal.type(inbox[0].code(short) + "\n")
    works(terminal)
