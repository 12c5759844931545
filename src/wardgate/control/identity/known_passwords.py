"""Passwords that everybody knows: those that breaches have shown to be chosen most, which are what is guessed first.

The list stands beside this file (`tools/write_known_passwords.py` says where it comes from), so that nothing of a
password ever leaves this process. Law: a password is refused that is on the list, or is a word of it with digits and
signs at its end, in capitals or not; or that is the address it belongs to.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from string import digits, punctuation

_FILE = Path(__file__).with_name("known_passwords.txt.gz")


@cache
def _known() -> frozenset[str]:
    return frozenset(gzip.decompress(_FILE.read_bytes()).decode().split("\n")) - {""}


def why_not(password: str, email: str = "") -> str | None:
    """One sentence against choosing it, None if there is nothing against it."""
    text = password.casefold()
    if text in _known() or text.rstrip(digits + punctuation + " ") in _known():
        return "That password is on the list of those that are guessed first: choose another, a few words will do."
    own = email.casefold()
    if own and text in (own, own.partition("@")[0], own.partition("@")[2]):
        return "That password is a part of the e-mail address: choose another, a few words will do."
    return None
