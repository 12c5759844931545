"""The one list of commands that carry secrets, and what of them may be recorded.

The list is the driver specifications' (command monitoring, "Security"), used everywhere: what is recorded, logged or shown
passes here first. A secret value is replaced by a typed placeholder, a string that begins with ``$wardgateMasked``; its
place in the document stays, so that a reader sees what was there.

Law: masking never fails open. A sensitive command whose secret can't be found where it belongs has its whole document
withheld.
"""

from __future__ import annotations

from typing import NamedTuple

from ..audit.records import Sequences
from .facts import Command


class Recorded(NamedTuple):
    """What goes into a record: the kind-0 document, the kind-1 sections, and the paths that were masked."""

    body: bytes
    sequences: Sequences
    masked: tuple[str, ...]


def is_sensitive(name: str, has_speculative: bool = False) -> bool:
    """Whether a command is on the list; hello only with speculativeAuthenticate."""
    raise NotImplementedError


def record_body(command: Command) -> Recorded:
    """The command as it may be recorded."""
    raise NotImplementedError
