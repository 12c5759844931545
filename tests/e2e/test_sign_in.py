"""Signing a terminal in without typing a password into it: through a browser here, or by a code for one elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from wardgate.testing.stack import Stack, Wardgate
from wardgate.testing.terminal import CTRL_C, Terminal


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """A browser that writes down which page it was given; the environment of the terminal names it."""
    script = tmp_path / "browser.py"
    script.write_text("import pathlib, sys\npathlib.Path(__file__).with_name('page').write_text(sys.argv[1])\n")
    return script


@pytest.fixture
def new_machine(stack: Stack, tmp_path: Path) -> Wardgate:
    """A command line that has never logged in."""
    folder = tmp_path / "new"
    folder.mkdir()
    return Wardgate(folder, stack.domain)


@pytest.fixture
def person(stack: Stack) -> Iterator[httpx2.Client]:
    """Somebody who has just signed in at the control plane."""
    with httpx2.Client(base_url=f"{stack.domain}/api/v1", trust_env=False, timeout=30) as client:
        body = {"email": "admin@example.com", "password": stack.admin_password}
        tokens = client.post("/auth/login", json=body).json()
        client.headers["authorization"] = f"Bearer {tokens['access_token']}"
        yield client


def opened(browser: Path) -> str:
    """The page that was opened."""
    page = browser.with_name("page")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if page.exists() and (text := page.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError("no page was opened")


def typing(who: Wardgate, browser: Path | None, *words: str) -> Terminal:
    chosen = {} if browser is None else {"BROWSER": f"{sys.executable} {browser} %s"}
    return Terminal([who.executable, *words], env=who.environment(chosen))


def let_in(person: httpx2.Client, code: str, decision: str = "approve") -> Any:
    answer = person.post(f"/auth/waiting-devices/{code}/{decision}")
    assert answer.status_code == 200, answer.text
    return answer.json()["redirect"]


def come_back(redirect: str) -> str:
    """What the page on loopback says."""
    return httpx2.get(redirect, trust_env=False, timeout=30).text


def test_login_through_the_browser(new_machine: Wardgate, browser: Path, person: httpx2.Client) -> None:
    terminal = typing(new_machine, browser, "login")
    short_code = terminal.expect(r"The page shows the code ([0-9A-Z]{4})\.")[1]
    request_id = opened(browser).rpartition("/")[2]
    shown = person.get(f"/auth/waiting-devices/{request_id}").json()
    assert (shown["code"], shown["same_address"]) == (short_code, True)
    assert "signed in as admin@example.com" in come_back(let_in(person, request_id))
    terminal.expect("Logged in to .* as admin@example.com")
    assert terminal.wait() == 0
    terminal.close()
    devices = new_machine.run("devices", "list", "--json").json()
    (mine,) = [device for device in devices if device["current"]]
    assert (mine["name"], mine["method"]) == (shown["name"], "password")
    new_machine.run("devices", "rename", mine["id"], "my laptop")
    assert "my laptop" in new_machine.run("devices", "list").out
    new_machine.run("devices", "revoke", mine["id"])
    assert new_machine.run("whoami", check=False).status == 3


def test_a_terminal_that_is_turned_away(new_machine: Wardgate, browser: Path, person: httpx2.Client) -> None:
    terminal = typing(new_machine, browser, "login")
    assert "turned away" in come_back(let_in(person, opened(browser).rpartition("/")[2], "deny"))
    terminal.expect("turned away in the browser")
    assert terminal.wait() == 4
    terminal.close()


def test_access_without_a_login_signs_in_and_goes_on(
    stack: Stack, new_machine: Wardgate, browser: Path, person: httpx2.Client
) -> None:
    words = ["--resource", "rs", "--account", "ro", "--project-id", stack.project_id, "--duration", "5m"]
    terminal = typing(new_machine, browser, "pam", "db", "access", *words)
    terminal.expect("You are not logged in")
    come_back(let_in(person, opened(browser).rpartition("/")[2]))
    terminal.expect("mongodb://127.0.0.1")
    terminal.type(CTRL_C)
    assert terminal.wait() == 0
    terminal.close()


def test_login_by_a_code(new_machine: Wardgate, person: httpx2.Client) -> None:
    terminal = typing(new_machine, None, "login", "--device")
    terminal.expect("/device\n")
    let_in(person, terminal.expect(r"([B-Z]{4}-[B-Z]{4})")[1])
    terminal.expect("Logged in to .* as admin@example.com")
    assert terminal.wait() == 0
    terminal.close()


def test_what_does_not_fit_together_is_refused(new_machine: Wardgate) -> None:
    for words in (["--device", "--email", "a@b"], ["--password-stdin"]):
        assert new_machine.run("login", *words, check=False).status == 2
    assert new_machine.run("login", check=False).status == 3
