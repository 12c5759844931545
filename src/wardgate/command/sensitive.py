"""The one list of commands that carry secrets, and what of them may be recorded.

The list is the driver specifications' (command monitoring, "Security") and what we know beside it. Whatever is
recorded, logged or shown passes here first. A secret value is replaced by a typed placeholder, a string such as
``$wardgateMasked:string``; its place in the document stays, so that a reader sees what was there.

Law: masking never fails open. In a command that we do not know, fields that are called like a secret are masked at any
depth; where a secret could stand anywhere (raw writes to the collection of users), the whole content is withheld.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from ..rawbson import build, walk
from .catalogue import CATALOGUE, Area
from .facts import Command
from .placeholders import placeholder, withheld

Sections: TypeAlias = tuple[tuple[str, bytes], ...]
_Judge: TypeAlias = Callable[[bytes], bool]

# The specification's list; hello and its ancestors only with speculativeAuthenticate.
SENSITIVE: Final = frozenset({
    "authenticate", "copydb", "copydbgetnonce", "copydbsaslstart", "createUser", "getnonce", "saslContinue",
    "saslStart", "updateUser",
})  # fmt: skip
HELLO: Final = frozenset({"hello", "isMaster", "ismaster"})

# Fields that hold secrets, in lower case: people mistype commands, and a typo must not put a password on record.
_SECRET_FIELDS: Final = frozenset({
    b"credentials", b"key", b"nonce", b"passwd", b"password", b"payload", b"pwd", b"secret", b"speculativeauthenticate",
})  # fmt: skip
_SECRET_PARTS: Final = (b"password", b"secret", b"accesskey")  # of a server parameter's name

# Areas whose commands carry no documents of the application's, so that a field of such a name can only be a secret.
_ADMINISTRATION: Final = frozenset({Area.INTERNAL, Area.SERVER, Area.USERS})
_BY_FIELD: Final = SENSITIVE | HELLO | {entry.name for entry in CATALOGUE.values() if entry.area in _ADMINISTRATION}
_BY_PARAMETER: Final = frozenset({"setParameter", "setClusterParameter"})
_ANYTHING: Final = frozenset({"applyOps", "doTxn", "_mergeAuthzCollections", "importCollection"})
_USERS_COLLECTION: Final = ".system.users"


class Recorded(NamedTuple):
    """What goes into a record: the kind-0 document, the kind-1 sections as they came, and the masked paths."""

    body: bytes
    sequences: Sections
    masked: tuple[str, ...]


def is_sensitive(name: str, *, speculative: bool = False) -> bool:
    """Whether a command is on the list; hello only with speculativeAuthenticate."""
    return name in SENSITIVE or (speculative and name in HELLO)


def record_body(command: Command) -> Recorded:
    """The command as it may be recorded."""
    request = command.request
    body = request.raw[request.body_start : request.body_end]
    name = command.inner if command.inner is not None else command.name
    if name in _ANYTHING or _writes_users(command):
        return Recorded(withheld(body, "it can hold credentials"), (), ("*",))
    if name in _BY_PARAMETER:
        return _recorded(body, _is_secret_parameter)
    if name in _BY_FIELD or not command.known or name.startswith("_"):
        return _recorded(body, _is_secret_field)
    if not request.sequences:
        return Recorded(body, (), ())
    return Recorded(body, tuple((s.identifier, request.raw[s.start : s.end]) for s in request.sequences), ())


def _writes_users(command: Command) -> bool:
    return any(namespace.endswith(_USERS_COLLECTION) for namespace in command.written)


def _recorded(body: bytes, is_secret: _Judge) -> Recorded:
    """A body without its secrets. Such a command has no use for sections, so that none are recorded."""
    masked: list[str] = []
    clean = _masked(body, 0, len(body), is_secret, "", masked)
    return Recorded(clean if masked else body, (), tuple(masked))


def _masked(data: bytes, start: int, stop: int, is_secret: _Judge, path: str, masked: list[str]) -> bytes:
    # Recursion is bounded: a body was checked for its depth before it came here.
    # The first field, which names the command, is no exception: fields in the wrong order make a command called `pwd`.
    parts: list[bytes] = []
    for kind, name, value, value_stop in walk.elements(data, start, stop):
        here = path + name.decode("utf-8", "backslashreplace")
        if is_secret(name):
            masked.append(here)
            parts.append(placeholder(kind, name))
        elif kind in (walk.DOCUMENT, walk.ARRAY):
            parts.append(build.element(kind, name, _masked(data, value, value_stop, is_secret, f"{here}.", masked)))
        else:
            parts.append(build.element(kind, name, data[value:value_stop]))
    return build.document(parts)


def _is_secret_field(name: bytes) -> bool:
    return name.lower() in _SECRET_FIELDS


def _is_secret_parameter(name: bytes) -> bool:
    lower = name.lower()
    return any(part in lower for part in _SECRET_PARTS)
