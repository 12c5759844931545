"""May this command run? The default policy of an account, before any rules that people write.

Law: pure; the facts about the session come as arguments. "No" is a value with a rule's name and a sentence.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from ..command.facts import Command


class Rule(StrEnum):
    """Names of the rules that refuse; alphabetic and append-only, because records and people's tickets quote them."""

    ADMIN_COMMAND = "admin_command"


@dataclass(frozen=True, slots=True)
class Policy:
    """What an account allows."""

    allow_admin: bool = False


@dataclass(frozen=True, slots=True)
class SessionWork:
    """What belongs to this access session: UUIDs (16 bytes) of logical sessions and ids of cursors seen in it."""

    logical_sessions: AbstractSet[bytes] = field(default_factory=frozenset)
    cursors: AbstractSet[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Deny:
    """Refused by `rule`; the client gets `code` and `message`, one sentence that names the rule."""

    rule: Rule
    message: str
    code: int = 13


Verdict: TypeAlias = Allow | Deny


def decide(command: Command, policy: Policy, work: SessionWork) -> Verdict:
    """The verdict. `work` may be live sets of the session; they are only read."""
    raise NotImplementedError
