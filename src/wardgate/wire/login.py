"""The login that a client may try although it needs none: a SASL server that lets in whom it can.

The server connection is authenticated by the gateway; nothing of a client's login is ever forwarded. PLAIN and X.509
always succeed. SCRAM proves the server to the client too, so it can succeed only with a password that both know: the
empty one, or the session password, which the local proxy shows. Anything else is code 18 and a sentence that says what
to do.

With `required` (local authentication), only the session password counts, over SCRAM or PLAIN, and until it was given
`allows` refuses every other command.

Law: sans-IO. Nonces and salts come from the `random` that is passed in; nothing that a client sends raises, and nothing
of it is kept or quoted but the mechanism's name.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..rawbson import build, walk
from ..rawbson.walk import BsonError
from ..scram.primitives import (
    ClientFinal,
    ClientFirst,
    Keys,
    Mechanism,
    ScramError,
    ServerFinal,
    ServerFirst,
    auth_message,
    derive_keys,
    prepare_password,
    proof_is_right,
    server_signature,
    stored_key,
)
from ..secret import Secret
from .errors import MongoCode, error_document

LOGIN_COMMANDS: Final = frozenset({"authenticate", "getnonce", "logout", "saslContinue", "saslStart"})
# What a driver needs before it can log in, and no more.
_BEFORE_LOGIN: Final = LOGIN_COMMANDS | {"hello", "isMaster", "ismaster"}

# The fewest that drivers accept. The passwords are empty or of full entropy: stretching them protects nothing.
_ITERATIONS: Final = 4_096
_SALT_BYTES: Final = {Mechanism.SHA_1: 16, Mechanism.SHA_256: 28}  # as mongod's own: drivers were tried with these
_NONCE_BYTES: Final = 24
_CACHE: Final = 64  # user names whose SCRAM-SHA-1 keys are kept (they depend on the name)
_NAME_SHOWN: Final = 40

_OPEN_HINT: Final = (
    "wardgate logs in to MongoDB for you and knows no password of yours: remove user and password from the connection "
    "string, leave the password empty, or give the session password that was printed when the session started."
)
_REQUIRED_HINT: Final = "this session wants its session password (SCRAM or PLAIN), which was printed when it started."


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """`document` (raw BSON) answers the client. `finished` marks the end of an attempt, `succeeded` how it ended."""

    document: bytes
    mechanism: str | None = None
    finished: bool = False
    succeeded: bool = False


@dataclass(frozen=True, slots=True)
class _Offer:
    """A salt, and the keys that the passwords in question give with it."""

    salt: bytes
    keys: tuple[Keys, ...]


class LoginKeys:
    """Passwords that are accepted, and the SCRAM keys made from them: one per session, shared by its connections."""

    def __init__(self, random: Callable[[int], bytes], session_password: Secret | None = None) -> None:
        self._random = random
        self._password = session_password
        self._offers: dict[tuple[Mechanism, str, bool], _Offer] = {}

    def wipe(self) -> None:
        """Forget passwords and keys."""
        for offer in self._offers.values():
            for keys in offer.keys:
                keys.wipe()
        self._offers.clear()
        if self._password is not None:
            self._password.wipe()
        self._password = None

    def is_password(self, given: bytes) -> bool:
        """Whether `given` is the session password, in constant time."""
        return self._password is not None and hmac.compare_digest(self._password.reveal(), given)

    def offer(self, mechanism: Mechanism, username: str, *, required: bool) -> _Offer:
        """What to offer a client that says it is `username`. Takes about 2 ms the first time. May raise ScramError."""
        # SCRAM-SHA-256 keys do not depend on the name; one salt for all names tells nothing about them either.
        key = (mechanism, username if mechanism is Mechanism.SHA_1 else "", required)
        offer = self._offers.get(key)
        if offer is None:
            passwords = [] if required else [""]
            if self._password is not None:
                passwords.append(self._password.reveal_text())
            salt = self._random(_SALT_BYTES[mechanism])
            offer = _Offer(
                salt,
                tuple(
                    derive_keys(mechanism, prepare_password(mechanism, username, password), salt, _ITERATIONS)
                    for password in passwords
                ),
            )
            if len(self._offers) >= _CACHE:
                del self._offers[next(iter(self._offers))]
            self._offers[key] = offer
        return offer


@dataclass(slots=True)
class _Conversation:
    """A SCRAM conversation between its saslStart and its last saslContinue."""

    id: int
    mechanism: Mechanism
    first: ClientFirst
    server_first: ServerFirst
    offer: _Offer
    skip_empty: bool
    proved: bool = False


class LoginEmulation:
    """The login conversation of one client connection."""

    __slots__ = ("_authenticated", "_conversation", "_count", "_keys", "_random", "_required")

    def __init__(self, keys: LoginKeys, random: Callable[[int], bytes], *, required: bool = False) -> None:
        self._keys = keys
        self._random = random
        self._required = required
        self._authenticated = False
        self._conversation: _Conversation | None = None
        self._count = 0

    @property
    def open(self) -> bool:
        """Whether commands may pass: always, unless a login is required and has not succeeded."""
        return self._authenticated or not self._required

    def allows(self, name: str) -> bool:
        """Whether the command `name` may pass now (hello and the login itself always may)."""
        return self.open or name in _BEFORE_LOGIN

    def answer(self, name: str, body: bytes) -> LoginAnswer:
        """Answer a command of LOGIN_COMMANDS whose document is `body`. Never raises for what the client sent."""
        try:
            fields = walk.top_level(body)
            if name == "saslStart":
                return self._start(body, fields)
            if name == "saslContinue":
                return self._continue(body, fields)
            if name == "authenticate":
                return self._authenticate(body, fields)
        except (BsonError, ScramError, UnicodeDecodeError):
            self._conversation = None
            return self._failure(None)
        if name == "getnonce":
            return LoginAnswer(build.document((build.string(b"nonce", self._random(8).hex()), _OK)))
        self._authenticated = False
        self._conversation = None
        return LoginAnswer(build.document((_OK,)))

    def _start(self, body: bytes, fields: _Fields) -> LoginAnswer:
        self._conversation = None
        self._count += 1
        name = _string(body, fields.get(b"mechanism"))
        payload = _payload(body, fields.get(b"payload"))
        if name == "PLAIN":
            return self._plain(payload)
        if name not in _SCRAM:
            return self._failure(name, f"{_shown(name)} is not offered; ")
        mechanism = Mechanism(name)
        first = ClientFirst.parse(payload)
        offer = self._keys.offer(mechanism, first.username, required=self._required)
        nonce = first.nonce + base64.b64encode(self._random(_NONCE_BYTES))
        server_first = ServerFirst.make(nonce, offer.salt, _ITERATIONS)
        self._conversation = _Conversation(
            self._count, mechanism, first, server_first, offer, _skips_empty(body, fields.get(b"options"))
        )
        return LoginAnswer(_step(self._count, server_first.raw, done=False), mechanism)

    def _plain(self, payload: bytes) -> LoginAnswer:
        parts = payload.split(b"\0")
        if len(parts) != 3 or (self._required and not self._keys.is_password(parts[2])):
            return self._failure("PLAIN")
        self._authenticated = True
        return LoginAnswer(_step(self._count, b"", done=True), "PLAIN", finished=True, succeeded=True)

    def _continue(self, body: bytes, fields: _Fields) -> LoginAnswer:
        conversation = self._conversation
        number = fields.get(b"conversationId")
        if conversation is None or number is None or walk.integer(body, number[0], number[1]) != conversation.id:
            self._conversation = None
            return self._failure(None, "no login is under way; ")
        payload = _payload(body, fields.get(b"payload"))
        if conversation.proved:  # the empty exchange that older drivers end with; Java's says again what it was told
            self._conversation = None
            return self._success(conversation, b"")
        signature = _signature(conversation, payload)
        if signature is None:
            self._conversation = None
            return self._failure(conversation.mechanism)
        message = ServerFinal(signature).encode()
        if conversation.skip_empty:
            self._conversation = None
            return self._success(conversation, message)
        conversation.proved = True
        return LoginAnswer(_step(conversation.id, message, done=False), conversation.mechanism)

    def _success(self, conversation: _Conversation, payload: bytes) -> LoginAnswer:
        self._authenticated = True
        document = _step(conversation.id, payload, done=True)
        return LoginAnswer(document, conversation.mechanism, finished=True, succeeded=True)

    def _authenticate(self, body: bytes, fields: _Fields) -> LoginAnswer:
        mechanism = _string(body, fields.get(b"mechanism"))
        if mechanism != "MONGODB-X509" or self._required:
            return self._failure(mechanism)
        strange = next((name for name in fields if name not in _X509_FIELDS and name[:1] != b"$"), None)
        if strange is not None:
            # No driver's login: as mongod answers it, so that a malformed one is no success.
            return self._malformed(mechanism, f"BSON field 'authenticate.{_quoted(strange)}' is an unknown field.")
        user = _string(body, fields.get(b"user")) or ""
        self._authenticated = True
        document = build.document((build.string(b"dbname", "$external"), build.string(b"user", user), _OK))
        return LoginAnswer(document, mechanism, finished=True, succeeded=True)

    def _malformed(self, mechanism: str, message: str) -> LoginAnswer:
        document = error_document(MongoCode.UNKNOWN_FIELD, None, message)
        return LoginAnswer(document, mechanism, finished=True)

    def _failure(self, mechanism: str | None, reason: str = "") -> LoginAnswer:
        hint = _REQUIRED_HINT if self._required else _OPEN_HINT
        document = error_document(MongoCode.AUTHENTICATION_FAILED, None, f"Authentication failed: {reason}{hint}")
        return LoginAnswer(document, _shown(mechanism), finished=True)


def is_login(name: str) -> bool:
    """Whether a command belongs to this file and must never be forwarded."""
    return name in LOGIN_COMMANDS


_Fields = dict[bytes, tuple[int, int, int]]
_OK: Final = build.double(b"ok", 1.0)
_SCRAM: Final = frozenset(Mechanism)
# Of `authenticate` for X.509, and those that any command may have.
_X509_FIELDS: Final = frozenset(
    b"authenticate mechanism user apiVersion apiStrict apiDeprecationErrors autocommit comment lsid maxTimeMS "
    b"readConcern startTransaction txnNumber writeConcern".split()
)


def _signature(conversation: _Conversation, payload: bytes) -> bytes | None:
    """The server's signature under the password that the client's proof shows; None if it shows none of them."""
    final = ClientFinal.parse(payload)
    if final.nonce != conversation.server_first.nonce:
        return None
    mechanism = conversation.mechanism
    message = auth_message(conversation.first, conversation.server_first, final)
    for keys in conversation.offer.keys:
        if proof_is_right(mechanism, stored_key(mechanism, keys.client_key), message, final.proof):
            return server_signature(mechanism, keys.server_key, message)
    return None


def _step(conversation_id: int, payload: bytes, *, done: bool) -> bytes:
    return build.document(
        (
            build.int32(b"conversationId", conversation_id),
            build.boolean(b"done", done),
            build.binary(b"payload", payload),
            _OK,
        )
    )


def _string(body: bytes, value: tuple[int, int, int] | None) -> str | None:
    return None if value is None or value[0] != walk.STRING else walk.text(body, value[1], value[2])


def _payload(body: bytes, value: tuple[int, int, int] | None) -> bytes:
    """A SASL payload: binary, or base64 text, which mongod takes as well."""
    if value is not None and value[0] == walk.BINARY:
        return body[value[1] + 5 : value[2]]
    text = _string(body, value)
    if text is None:
        raise BsonError("a payload is missing")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BsonError("a payload is no base64") from error


def _skips_empty(body: bytes, value: tuple[int, int, int] | None) -> bool:
    if value is None or value[0] != walk.DOCUMENT:
        return False
    found = walk.find(body, b"skipEmptyExchange", value[1], value[2])
    return found is not None and walk.number(body, found[0], found[1]) not in (None, 0)


def _quoted(name: bytes) -> str:
    """A field's name as it may be quoted."""
    return _shown(name.decode("utf-8", "replace")) or ""


def _shown(mechanism: str | None) -> str | None:
    """A mechanism's name as it may be quoted: the client could have put anything there."""
    if mechanism is None:
        return None
    return "".join(c for c in mechanism[:_NAME_SHOWN] if c.isalnum() or c in "-_")
