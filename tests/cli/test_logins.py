"""Logins on disk: private, atomic, renewed once."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from wardgate.api import client as api_client
from wardgate.api.models import Tokens, User
from wardgate.cli import logins
from wardgate.cli.exits import ExitError
from wardgate.cli.logins import FileLogin, LoginFile, StoredLogin

DOMAIN = "http://127.0.0.1:8400"


def _login(access: str = "a1", refresh: str = "r1", minutes: int = 60) -> StoredLogin:
    return StoredLogin("kim@example.com", access, refresh, datetime.now(UTC) + timedelta(minutes=minutes))


def test_a_login_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    file = LoginFile(tmp_path / "me")
    file.put(DOMAIN, _login())
    assert stat.S_IMODE((tmp_path / "me").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "me" / "logins.json").stat().st_mode) == 0o600
    assert file.get(DOMAIN) == file.get(DOMAIN) != _login("other")
    assert file.domains() == [DOMAIN]


def test_a_login_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = LoginFile(tmp_path)
    file.put(DOMAIN, _login())
    (tmp_path / "logins.json").chmod(0o644)
    with pytest.raises(ExitError, match="can be read by other users"):
        file.get(DOMAIN)


def test_a_folder_that_others_can_change_is_refused(tmp_path: Path) -> None:
    """They could put a login of theirs there, and its domain would be talked to."""
    file = LoginFile(tmp_path)
    file.put(DOMAIN, _login())
    tmp_path.chmod(0o777)
    with pytest.raises(ExitError, match="can be changed by other users"):
        file.get(DOMAIN)
    with pytest.raises(ExitError, match="can be changed by other users"):
        file.put(DOMAIN, _login())


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "logins.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LoginFile(tmp_path).put(DOMAIN, _login())
    assert not (tmp_path / "elsewhere").exists()


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "logins.json").write_text("{")
    (tmp_path / "logins.json").chmod(0o600)
    with pytest.raises(ExitError, match="remove it and log in again"):
        LoginFile(tmp_path).domains()


def test_tokens_are_not_in_the_repr() -> None:
    assert "a1" not in repr(_login())
    assert "r1" not in repr(_login())


def test_removing_one_login_leaves_the_others(tmp_path: Path) -> None:
    file = LoginFile(tmp_path)
    file.put(DOMAIN, _login())
    file.put("https://b.example", _login("b"))
    file.remove(DOMAIN)
    assert file.domains() == ["https://b.example"]


class _Server:
    """Rotates refresh tokens as the control plane does, and counts what it sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(json.loads(request.content)["refresh_token"])
        number = len(self.seen) + 1
        tokens = Tokens(
            access_token=f"a{number}",
            refresh_token=f"r{number}",
            expires_at=datetime.now(UTC) + timedelta(hours=1),
            user=User(id="usr_1", email="kim@example.com"),
        )
        return httpx2.Response(200, content=tokens.model_dump_json())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> _Server:
    handler = _Server()

    class Client(api_client.ApiClient):
        def __init__(self, domain: str, login: api_client.Login, **_: object) -> None:
            super().__init__(domain, login, transport=httpx2.MockTransport(handler))

    monkeypatch.setattr(logins, "ApiClient", Client)
    return handler


def test_a_token_about_to_expire_is_renewed_before_it_is_used(tmp_path: Path, server: _Server) -> None:
    file = LoginFile(tmp_path)
    file.put(DOMAIN, _login(minutes=0))
    assert FileLogin(file, DOMAIN, None).token() == "a2"
    stored = file.get(DOMAIN)
    assert stored is not None
    assert stored.refresh_token == "r2"


def test_many_clis_present_one_refresh_token_once(tmp_path: Path, server: _Server) -> None:
    file = LoginFile(tmp_path)
    file.put(DOMAIN, _login(minutes=0))
    waiting = [FileLogin(LoginFile(tmp_path), DOMAIN, None) for _ in range(8)]
    threads = [Thread(target=login.token) for login in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.seen == ["r1"]
    assert {login.token() for login in waiting} == {"a2"}
