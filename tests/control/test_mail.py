"""Mail through a real SMTP server: TLS, login, and what is refused rather than sent in clear."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from wardgate.control.mail import Outbox, SmtpMailer, SmtpSettings
from wardgate.errors import WardgateError
from wardgate.testing.ports import free_ports

SENDER = "wardgate@example.com"


class Inbox:
    """What arrived, and over what."""

    def __init__(self) -> None:
        self.mails: list[tuple[Any, Any, bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append((session.ssl, session.authenticated, envelope.content))
        return "250 OK"


def check(_server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"me@x", b"p@ss:w/rd")
    return AuthResult(success=right, handled=False)


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, str]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ca, str(tmp_path / "ca.pem")


Start = Callable[..., tuple[int, Inbox]]


@pytest.fixture
def start(authority: tuple[trustme.CA, str]) -> Iterator[Start]:
    running: list[Controller] = []

    def one(*, tls: bool = True, login: bool = True) -> tuple[int, Inbox]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority[0].issue_cert("localhost", "127.0.0.1").configure_cert(context)
        inbox = Inbox()
        (port,) = free_ports(1)
        extra: dict[str, Any] = {"tls_context": context, "require_starttls": True} if tls else {}
        server = Controller(
            inbox,
            hostname="127.0.0.1",
            port=port,
            authenticator=check if login else None,
            auth_required=login and tls,
            auth_require_tls=tls,
            **extra,
        )
        server.start()
        running.append(server)
        return port, inbox

    yield one
    for server in running:
        server.stop()


async def test_starttls_and_a_login(start: Start, authority: tuple[trustme.CA, str]) -> None:
    port, inbox = start()
    settings = SmtpSettings.parse(f"smtp://me%40x:p%40ss%3Aw%2Frd@localhost:{port}", SENDER, authority[1])
    await SmtpMailer(settings).send("ann@example.com", "Code", "Your code is 1234.")
    ((tls, authenticated, content),) = inbox.mails
    assert tls is not None
    assert authenticated
    assert b"To: ann@example.com" in content
    assert b"Your code is 1234." in content
    assert b"Auto-Submitted: auto-generated" in content


async def test_an_unknown_authority_gets_nothing(start: Start) -> None:
    port, inbox = start()
    settings = SmtpSettings.parse(f"smtp://me%40x:p%40ss%3Aw%2Frd@localhost:{port}", SENDER)
    with pytest.raises(WardgateError) as caught:
        await SmtpMailer(settings).send("ann@example.com", "Code", "1234")
    assert caught.value.code == "mail_failed"
    assert inbox.mails == []


async def test_a_wrong_password_is_a_failure_that_repeats_nothing(
    start: Start, authority: tuple[trustme.CA, str]
) -> None:
    port, inbox = start()
    settings = SmtpSettings.parse(f"smtp://me%40x:hunter2@localhost:{port}", SENDER, authority[1])
    with pytest.raises(WardgateError) as caught:
        await SmtpMailer(settings).send("ann@example.com", "Code", "1234")
    assert "hunter2" not in str(caught.value)
    assert inbox.mails == []


async def test_no_password_in_clear_even_on_loopback(start: Start) -> None:
    port, inbox = start(tls=False)
    settings = SmtpSettings.parse(f"smtp://me%40x:p%40ss%3Aw%2Frd@127.0.0.1:{port}", SENDER)
    with pytest.raises(WardgateError):
        await SmtpMailer(settings).send("ann@example.com", "Code", "1234")
    assert inbox.mails == []


async def test_loopback_may_lack_tls_where_nothing_is_secret(start: Start) -> None:
    port, inbox = start(tls=False, login=False)
    await SmtpMailer(SmtpSettings.parse(f"smtp://127.0.0.1:{port}", SENDER)).send("ann@example.com", "Hi", "there")
    assert len(inbox.mails) == 1


async def test_nobody_there(start: Start) -> None:
    (port,) = free_ports(1)
    with pytest.raises(WardgateError) as caught:
        await SmtpMailer(SmtpSettings.parse(f"smtp://127.0.0.1:{port}", SENDER)).send("ann@example.com", "Hi", "there")
    assert caught.value.code == "mail_failed"


@pytest.mark.parametrize(
    ("url", "sender"),
    [
        ("localhost:25", SENDER),
        ("http://localhost", SENDER),
        ("smtp://", SENDER),
        ("smtp://localhost:hunter2", SENDER),
        ("smtp://me:hunter2@localhost", None),
        ("smtp://me:hunter2@localhost", "a@b\nBcc: eve@example.com"),
    ],
)
def test_settings_that_make_no_sense(url: str, sender: str | None) -> None:
    with pytest.raises(WardgateError) as caught:
        SmtpSettings.parse(url, sender)
    assert caught.value.code == "invalid_smtp_url"
    assert "hunter2" not in str(caught.value)


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WARDGATE_SMTP_URL", "WARDGATE_SMTP_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert SmtpSettings.from_environment() is None
    (tmp_path / "url").write_text("smtps://me:secret@mail.example.com\n")
    monkeypatch.setenv("WARDGATE_SMTP_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("WARDGATE_SMTP_FROM", SENDER)
    settings = SmtpSettings.from_environment()
    assert settings is not None
    assert (settings.host, settings.port, settings.implicit_tls, settings.user) == ("mail.example.com", 465, True, "me")
    assert "secret" not in repr(settings)


async def test_the_outbox_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    for number in range(2):
        await Outbox(path).send("ann@example.com", f"Code {number}", "1234")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().count("To: ann@example.com") == 2
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        await Outbox(tmp_path / "link").send("ann@example.com", "Code", "1234")


def test_no_header_can_be_smuggled_in() -> None:
    from wardgate.control.mail import compose

    with pytest.raises(ValueError, match="linefeed or carriage return"):
        compose(SENDER, "ann@example.com\r\nBcc: eve@example.com", "Hi", "there")
    assert isinstance(compose(SENDER, "ann@example.com", "Hi", "there"), EmailMessage)


@pytest.mark.parametrize(
    "to", ["a<eve@example.com>@b", "eve@example.com,x@b", "a:eve@example.com", "a@[b", "(a@b", "@@b"]
)
async def test_a_message_goes_to_the_address_that_was_meant_or_to_nobody(start: Start, to: str) -> None:
    """An address may look like a list, or like a name with another address: a code must not go there."""
    port, inbox = start(tls=False, login=False)
    with pytest.raises(WardgateError) as caught:
        await SmtpMailer(SmtpSettings.parse(f"smtp://127.0.0.1:{port}", SENDER)).send(to, "Hi", "your code")
    assert caught.value.code == "mail_failed"
    assert inbox.mails == []
