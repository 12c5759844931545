"""Mail: the one way in which the control plane writes to people.

Settings come from the environment: `WARDGATE_SMTP_URL` (or the file that `WARDGATE_SMTP_URL_FILE` names) is
`smtp://user:password@host:587` (STARTTLS, which only a server on loopback may lack) or `smtps://…:465`, and
`WARDGATE_SMTP_FROM` is the sender. Law: without them whatever needs mail says so; nothing is printed or logged in its
place. A user name and a password never travel in clear.
"""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from ..api.domain import is_loopback
from ..errors import WardgateError
from ..secret import Secret

_TIMEOUT_S = 15.0
_PORTS = {"smtp": 587, "smtps": 465}


class Mailer(Protocol):
    """Sends one message to one person."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """Hand it to the mail server; WardgateError `mail_failed` if that did not take it."""


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """Where mail goes, checked."""

    host: str
    port: int
    implicit_tls: bool
    sender: str
    user: str | None = None
    password: Secret | None = field(default=None, repr=False)
    ca_file: str | None = None

    @classmethod
    def parse(cls, url: str, sender: str | None, ca_file: str | None = None) -> SmtpSettings:
        """From the two settings; WardgateError `invalid_smtp_url` without a word of what was in them."""
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError:
            raise _invalid("it is no URL") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise _invalid("write smtp://host:587 or smtps://host:465, with user:password@ where they are needed")
        if not sender or "@" not in sender or not sender.isprintable():
            raise _invalid("WARDGATE_SMTP_FROM must be the sender's address")
        user, password = _login(parts)
        return cls(
            parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "smtps", sender, user, password, ca_file
        )

    @classmethod
    def from_environment(cls) -> SmtpSettings | None:
        """What the environment says; None if it says nothing."""
        url, file = os.environ.get("WARDGATE_SMTP_URL"), os.environ.get("WARDGATE_SMTP_URL_FILE")
        if not url and file:
            try:
                url = Path(file).read_text()
            except (OSError, UnicodeDecodeError):
                raise _invalid(f"the file {file} can't be read") from None
        if not url:
            return None
        return cls.parse(url, os.environ.get("WARDGATE_SMTP_FROM"), os.environ.get("WARDGATE_CA_FILE"))


def _login(parts: SplitResult) -> tuple[str | None, Secret | None]:
    if parts.username is None:
        return None, None
    return unquote(parts.username), Secret(unquote(parts.password or ""))


def _invalid(why: str) -> WardgateError:
    return WardgateError("invalid_smtp_url", f"The mail settings can't be used: {why}.")


class SmtpMailer:
    """Sends through a mail server, one connection a message: mail is rare here."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings

    async def send(self, to: str, subject: str, text: str) -> None:
        """Hand it to the mail server; WardgateError `mail_failed` if that did not take it."""
        message = compose(self._settings.sender, to, subject, text)
        try:
            await asyncio.to_thread(self._send, message)
        except (OSError, smtplib.SMTPException) as error:
            # The server's words may repeat what we said to it, the password included.
            what = type(error).__name__
            raise WardgateError("mail_failed", f"The mail server did not take the message ({what}).") from None

    def _send(self, message: EmailMessage) -> None:
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.ca_file is not None:
            context.load_default_certs()
        with self._connect(context) as server:
            secure = settings.implicit_tls
            if not secure and server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
                secure = True
            if not secure and not is_loopback(settings.host):
                raise smtplib.SMTPNotSupportedError("the server offers no TLS")
            if settings.user is not None and settings.password is not None:
                if not secure:
                    raise smtplib.SMTPNotSupportedError("no password in clear")
                server.login(settings.user, settings.password.reveal_text())
            server.send_message(message)

    def _connect(self, context: ssl.SSLContext) -> smtplib.SMTP:
        settings = self._settings
        if settings.implicit_tls:
            return smtplib.SMTP_SSL(settings.host, settings.port, timeout=_TIMEOUT_S, context=context)
        server = smtplib.SMTP(settings.host, settings.port, timeout=_TIMEOUT_S)
        server.ehlo()
        return server


class Outbox:
    """For the demo and for development: messages are added to a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, to: str, subject: str, text: str) -> None:
        """Add it to the file."""
        message = compose("wardgate@localhost", to, subject, text)
        await asyncio.to_thread(self._write, message.as_bytes() + b"\n\n")

    def _write(self, data: bytes) -> None:
        opened = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(opened, "ab") as file:
            file.write(data)


def compose(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    """A plain text message; a header can't be smuggled in, `EmailMessage` refuses line breaks there.

    WardgateError `mail_failed` if `to` would be read as anything but one address, which is itself.
    """
    message = EmailMessage()
    message["From"], message["Subject"] = sender, subject
    try:
        message["To"] = to
        read = [address.addr_spec for address in message["To"].addresses]
    except (AttributeError, IndexError, MessageError):  # the parser stumbles over some of what is no address
        read = []
    if read != [to]:
        raise WardgateError("mail_failed", "The recipient's address can't be written in a message.")
    message["Date"], message["Message-ID"] = formatdate(usegmt=True), make_msgid(domain="wardgate")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(text)
    return message
