"""May this command run? The default policy of an account, before any rules that people write.

What it guards is not the data, which MongoDB's own roles guard, but the *bounds of the grant*: nothing may outlive it
(users, roles, settings, the cluster's shape) and nothing may reach into other people's work. An account with
`allow_admin` lifts the first; the login of the client stays wardgate's in any case.

A command that no known release of MongoDB has is refused too. The other choice, to pass it on, would let an effect that
nobody has judged through exactly where a server is newer than this list; the price is that such a command, or a typo,
gets our code 13 instead of MongoDB's 59. Drivers do not depend on that answer (they go by wire version), and the
catalogue lists what mongosh and Compass probe for.

Law: pure; facts about the session come as arguments. Effects are judged, not names: an explained command is judged like
the command itself. "No" is a value with a rule's name and a sentence that names the rule.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from ..command.catalogue import Area
from ..command.content import BY_UUID, CREDENTIALS, PROFILE_READ
from ..command.facts import Command
from ..wire.errors import MongoCode


class Rule(StrEnum):
    """Names of the rules that refuse; alphabetic and append-only, because records and people's tickets quote them."""

    COLLECTION_BY_UUID = "collection_by_uuid"
    CREDENTIALS = "credentials"
    INTERNAL_COMMAND = "internal_command"
    LOGIN_COMMAND = "login_command"
    OTHERS_WORK = "others_work"
    REPLICATION_COMMAND = "replication_command"
    SERVER_COMMAND = "server_command"
    SHARDING_COMMAND = "sharding_command"
    SYSTEM_COLLECTION = "system_collection"
    TRANSACTION_ELSEWHERE = "transaction_elsewhere"
    UNKNOWN_COMMAND = "unknown_command"
    USERS_COMMAND = "users_command"


@dataclass(frozen=True, slots=True)
class Policy:
    """What an account allows."""

    allow_admin: bool = False


@dataclass(frozen=True, slots=True)
class SessionWork:
    """What belongs to this access session, as seen in its own traffic.

    UUIDs (16 bytes) of logical sessions, ids of open cursors, and killOp's operations that are known to be its own.
    """

    logical_sessions: AbstractSet[bytes] = field(default_factory=frozenset)
    cursors: AbstractSet[int] = field(default_factory=frozenset)
    operations: AbstractSet[int | str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Deny:
    """Refused by `rule`; the client gets `code` and `message`, one sentence that names the rule, and the error labels
    by which drivers know how to go on."""

    rule: Rule
    message: str
    code: int = 13  # Unauthorized: what MongoDB itself says to those who may not
    labels: tuple[str, ...] = ()


Verdict: TypeAlias = Allow | Deny

ALLOW: Final = Allow()

_SHOWN: Final = 100
_NOT_OPENED: Final = "names a cursor that this access session did not open, or that is closed"
_CREDENTIALS_COLLECTION: Final = "admin.system.users"
_SYSTEM_DATABASES: Final = frozenset({"config", "local"})

# Areas whose commands change what outlives the grant.
_AREAS: Final = {
    Area.INTERNAL: (Rule.INTERNAL_COMMAND, "is internal to MongoDB"),
    Area.REPLICATION: (Rule.REPLICATION_COMMAND, "changes the replica set"),
    Area.SERVER: (Rule.SERVER_COMMAND, "changes the server or its settings"),
    Area.SHARDING: (Rule.SHARDING_COMMAND, "changes the sharded cluster"),
    Area.USERS: (Rule.USERS_COMMAND, "changes users or roles"),
}
_PLAIN: Final = frozenset({Area.DATA, Area.DIAGNOSIS})


def decide(command: Command, policy: Policy, work: SessionWork) -> Verdict:
    """The verdict. `work` may be live sets of the session; they are only read."""
    if command.area is Area.LOGIN:
        return _deny(command, Rule.LOGIN_COMMAND, "is answered by wardgate and never forwarded")
    if policy.allow_admin:
        return ALLOW
    if not command.known:
        return _deny(command, Rule.UNKNOWN_COMMAND, "is no command that wardgate knows")
    if command.area not in _PLAIN:
        verdict = _decide_area(command, work)
        if verdict is not ALLOW:
            return verdict
    elif command.name == "endSessions" and not _own_sessions(command, work):
        return _deny_others(command, "ends logical sessions that this access session did not use")
    elif command.name == "getMore" and not all(cursor in work.cursors for cursor in command.cursor_ids):
        # MongoDB's own code for it: drivers open a change stream anew after it, which is right after a reconnect too.
        return _deny_others(command, _NOT_OPENED, MongoCode.CURSOR_NOT_FOUND)
    return _decide_content(command)


def _decide_area(command: Command, work: SessionWork) -> Verdict:
    if command.area is Area.KILL:
        return _decide_kill(command, work)
    if PROFILE_READ in command.traits:
        return ALLOW
    rule, reason = _AREAS[command.area]
    return _deny(command, rule, reason)


def _decide_kill(command: Command, work: SessionWork) -> Verdict:
    """Work of one's own may be stopped, and nobody else's."""
    if command.name == "killCursors":
        # Whoever opened them on this account did so with the same MongoDB user: MongoDB itself would let it pass.
        if all(cursor in work.cursors for cursor in command.cursor_ids):
            return ALLOW
        return _deny_others(command, _NOT_OPENED)
    if command.name == "killSessions":
        # An empty list means every session of the MongoDB user, which other people share.
        if command.logical_sessions and _own_sessions(command, work):
            return ALLOW
        return _deny_others(command, "reaches logical sessions that this access session did not use")
    if command.name == "killOp":
        if command.op is not None and command.op in work.operations:
            return ALLOW
        return _deny_others(command, "may reach an operation of somebody else")
    return _deny_others(command, "reaches everybody's logical sessions")


def _own_sessions(command: Command, work: SessionWork) -> bool:
    return all(uuid is not None and uuid in work.logical_sessions for uuid in command.logical_sessions)


def _decide_content(command: Command) -> Verdict:
    if command.traits:
        if BY_UUID in command.traits:
            # A collection's name would stay unknown, and with it what is touched.
            return _deny(command, Rule.COLLECTION_BY_UUID, "names a collection by its UUID")
        if CREDENTIALS in command.traits:
            return _deny(command, Rule.CREDENTIALS, "asks for credentials")
    if _CREDENTIALS_COLLECTION in command.namespaces:
        return _deny(command, Rule.CREDENTIALS, f"touches {_CREDENTIALS_COLLECTION}")
    for namespace in command.written:
        if _is_system(namespace):
            return _deny(command, Rule.SYSTEM_COLLECTION, f"may change {namespace[:_SHOWN]}")
    return ALLOW


def _is_system(namespace: str) -> bool:
    database, _, collection = namespace.partition(".")
    if database in _SYSTEM_DATABASES:
        return True
    return database == "admin" and (not collection or collection.startswith("system."))


def foreign_session(command: Command) -> Deny:
    """The refusal of a command in somebody else's logical session; `allow_admin` does not lift it."""
    name = command.name[:_SHOWN]
    rule = Rule.OTHERS_WORK
    return Deny(rule, f"wardgate: {name} is refused by the rule {rule.value}: its logical session is somebody else's.")


def unknown_transaction(command: Command, *, began_here: bool) -> Deny:
    """The refusal of a command in a transaction whose beginning was not seen; `allow_admin` does not lift it.

    Whose it is can't be known: MongoDB does not tell people with one MongoDB user apart, and another instance of the
    gateway may serve one of them. Of a commit it would be wrong to say that there is no such transaction, by which a
    driver does all of it again: it may have been committed before its gateway was lost. So it is answered like one that
    took too long, which drivers report and do not repeat. With `began_here` its beginning was tried here and failed, so
    that nothing can have been committed.
    """
    name, rule = command.name[:_SHOWN], Rule.TRANSACTION_ELSEWHERE
    if command.name == "commitTransaction" and not began_here:
        why = "its transaction did not begin at this instance of the gateway, so whether it was committed is not known"
        code, label = MongoCode.MAX_TIME_MS_EXPIRED, "UnknownTransactionCommitResult"
    else:
        why = "its transaction did not begin at this instance of the gateway"
        code, label = MongoCode.NO_SUCH_TRANSACTION, "TransientTransactionError"
    return Deny(rule, f"wardgate: {name} is refused by the rule {rule.value}: {why}.", int(code), (label,))


def _deny_others(command: Command, reason: str, code: int = MongoCode.UNAUTHORIZED) -> Deny:
    return _deny(command, Rule.OTHERS_WORK, reason, code)


def _deny(command: Command, rule: Rule, reason: str, code: int = MongoCode.UNAUTHORIZED) -> Deny:
    name = command.inner or command.name
    hint = "" if rule is Rule.LOGIN_COMMAND else " It needs an account with allow_admin."
    return Deny(rule, f"wardgate: {name[:_SHOWN]} is refused by the rule {rule.value}: it {reason}.{hint}", int(code))
