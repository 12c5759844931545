"""What the mails say: each function answers the subject and the text."""

from __future__ import annotations


def invitation(url: str, token: str, by: str, site: str) -> tuple[str, str]:
    """To who was invited."""
    text = f"""\
{by} has invited you to {site}.

Choose a password here, within seven days:

  {url}

{_by_hand(token)}
If you don't know what this is, ignore it: nothing happens.
"""
    return "You are invited to wardgate", text


def forgotten(url: str, token: str, site: str) -> tuple[str, str]:
    """To who has forgotten their password, or so it is said."""
    text = f"""\
Somebody, we hope you, wants to set your password for {site} anew.

Do so here, within an hour:

  {url}

{_by_hand(token)}
If it was not you, ignore this: your password stays as it is.
"""
    return "wardgate: choose a new password", text


def changed(site: str) -> tuple[str, str]:
    """After the fact, to whoever reads that mailbox."""
    text = f"""\
Your password for {site} was just set anew with a link that was sent to this
address, and you were signed out everywhere.

If it was not you, somebody reads your mail: tell your administrator at once.
"""
    return "wardgate: your password was changed", text


def _by_hand(token: str) -> str:
    return f"""\
The link works once. In a terminal, `wardgate password set` asks for this code instead:

  {token}
"""
