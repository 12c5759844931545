"""The command line with a security key that is plugged in, against the real control plane over HTTP. The key is a
double at the level of CTAP; `fido2`'s own client, which speaks with keys, is what speaks with it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click
import pytest

from wardgate.api.client import ApiClient
from wardgate.api.mfa import ChangeRequest, FactorChange
from wardgate.cli import main, mfa, options, security_key
from wardgate.cli.logins import LoginFile, StoredLogin
from wardgate.control.audit_log import Cause
from wardgate.secret import Secret
from wardgate.testing.authenticator import SoftKey

from ..control.conftest import ADMIN_EMAIL, PASSWORD
from .conftest import Web

PIN = "1234"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command printed since: the server, which runs in this process too, logs to the same place."""
    return "\n".join(row for row in capsys.readouterr().out.splitlines() if "[info " not in row)


class Person:
    """Somebody at a terminal, with a key in the machine."""

    def __init__(self, web: Web, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.web, self.folder = web, folder
        self.key: SoftKey | None = SoftKey()
        self.asked: list[str] = []
        monkeypatch.setenv("WARDGATE_CONFIG_DIR", str(folder))
        monkeypatch.setenv("WARDGATE_DOMAIN", web.url)
        monkeypatch.setenv("BROWSER", "/nonexistent/browser")
        monkeypatch.setattr(security_key, "find", lambda: self.key)
        monkeypatch.setattr(click, "prompt", self._prompt)
        monkeypatch.setattr(options, "on_terminal", lambda: True)

    def _prompt(self, text: str, **_: Any) -> str:
        self.asked.append(text)
        return PIN if text.startswith("PIN") else PASSWORD

    async def log_in(self) -> None:
        tokens = await self.web.control.services.identity.login(ADMIN_EMAIL, Secret(PASSWORD), Cause("test"))
        LoginFile(self.folder).put(self.web.url, StoredLogin.of(tokens))

    async def run(self, *words: str) -> int:
        """One command, in a thread: the server is in this one."""
        return await asyncio.to_thread(main.run, list(words))


@pytest.fixture
def person(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    return Person(web, tmp_path / "me", monkeypatch)


async def test_set_up_used_as_proof_and_taken_away(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    await person.log_in()
    assert await person.run("mfa", "passkey", "add", "--name", "blue") == 0
    assert len(printed(capsys).split()) == 10
    assert person.asked == ["Password"]
    assert await person.run("mfa", "passkey", "list", "--json") == 0
    (listed,) = json.loads(printed(capsys))
    assert (listed["name"], listed["kind"]) == ("blue", "passkey")
    assert await person.run("mfa", "recovery-codes") == 0
    assert len(printed(capsys).split()) == 10
    assert await person.run("mfa", "passkey", "rename", "blue", "red") == 0
    assert await person.run("mfa", "passkey", "remove", "red") == 0
    assert await person.run("mfa", "passkey", "list", "--json") == 0
    assert json.loads(printed(capsys).splitlines()[-1]) == []
    assert person.asked == ["Password"]  # the key spoke for every change


async def test_a_key_with_a_pin(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person.key = SoftKey(verifies=False, pin=PIN)
    await person.log_in()
    assert await person.run("mfa", "passkey", "add") == 0
    assert person.asked == ["Password", "PIN of your security key"]
    person.key.pin = "4321"
    with ApiClient(person.web.url) as client:
        asked = await person.web.control.services.factor_changes.challenge(
            await _actor(person), ChangeRequest(change=FactorChange.RECOVERY_CODES)
        )
        assert mfa.by_security_key(client.domain, asked) is None
    assert "That is not the security key's PIN" in capsys.readouterr().err


async def test_a_key_that_is_set_up_is_not_set_up_twice(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    await person.log_in()
    assert await person.run("mfa", "passkey", "add") == 0
    assert await person.run("mfa", "passkey", "add", "--name", "again") == 1
    assert "set up already" in capsys.readouterr().err


async def test_another_key_is_told_and_the_browser_tried(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    await person.log_in()
    assert await person.run("mfa", "passkey", "add") == 0
    person.key = SoftKey()
    assert await person.run("mfa", "recovery-codes") == 4  # what is typed in place of a code is none
    said = capsys.readouterr().err
    assert "That security key does not fit" in said
    assert f"{person.web.url}/approve/" in said


async def test_without_a_key_the_page_is_named(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person.key = None
    await person.log_in()
    assert await person.run("mfa", "passkey", "add") == 0
    assert f"{person.web.url}/factors" in capsys.readouterr().err


async def test_a_login_with_the_key_as_second_factor(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    await person.log_in()
    assert await person.run("mfa", "passkey", "add") == 0
    assert await person.run("mfa", "policy", "--enforce", "passkey", "--at-sign-in") == 0
    capsys.readouterr()
    assert await person.run("login", "--email", ADMIN_EMAIL, "--json") == 0
    assert json.loads(printed(capsys))["email"] == ADMIN_EMAIL


async def test_nobody_touches_it(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person.key = SoftKey(touched=lambda: False)
    await person.log_in()
    assert await person.run("mfa", "passkey", "add") == 1
    assert "Nobody touched the security key in time." in capsys.readouterr().err


@pytest.mark.parametrize("domain", ["https://evil.example", "https://10.0.0.1"])
async def test_a_key_is_asked_for_the_domain_at_hand_only(domain: str) -> None:
    """Whatever name an answer contains."""
    key = security_key.SecurityKey(SoftKey(), domain, print, str)
    asked = {"challenge": "AAAAAAAAAAAAAAAAAAAAAA", "rpId": "localhost", "allowCredentials": []}
    with pytest.raises(security_key.NotThisKeyError, match="another name"):
        key.get(asked)


async def _actor(person: Person) -> Any:
    found = LoginFile(person.folder).get(person.web.url)
    assert found is not None
    return await person.web.control.services.sign_ins.authenticate(found.access_token, Cause("test"))
