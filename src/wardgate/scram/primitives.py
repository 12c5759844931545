"""The arithmetic and the four messages of SCRAM, shared by our client and by the emulated server.

What it is: RFC 5802 and RFC 7677 without channel binding, plus MongoDB's one deviation (SCRAM-SHA-1 hashes
``MD5(username ":mongo:" password)`` in place of the password). What it is not: a conversation. Nothing here remembers
anything, and every nonce and salt is an argument.

Law: a message is either exactly of the RFC's shape or a `ScramError`. Attributes come in their order, none twice,
none empty where the RFC wants a value, and a mandatory extension (``m=``) is refused, because ignoring it would mean
agreeing to something unknown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from enum import StrEnum

from pymongo.saslprep import saslprep

from ..errors import WardgateError

ITERATIONS_MIN = 4_096  # RFC 7677's floor; MongoDB's own are 10,000 and 15,000
ITERATIONS_MAX = 100_000  # a hostile server must not buy minutes of our CPU with one integer
MESSAGE_BYTES = 4_096  # longest SCRAM message taken; MongoDB's own are under 300 bytes
GS2_HEADER = b"n,,"  # no channel binding, no authorisation identity
GS2_HEADER_ENCODED = base64.b64encode(GS2_HEADER)  # the `c=` of every client-final: biws

_NONCE = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")  # printable ASCII without comma
_DIGITS = re.compile(rb"[1-9][0-9]{0,9}")


class ScramError(WardgateError):
    """A SCRAM message or conversation that must not go on. `code` is one of the ``scram_…`` codes raised below."""


class Mechanism(StrEnum):
    """The mechanisms, by their SASL names."""

    SHA_1 = "SCRAM-SHA-1"
    SHA_256 = "SCRAM-SHA-256"

    @property
    def hash_name(self) -> str:
        """The name that `hashlib` knows."""
        return "sha1" if self is Mechanism.SHA_1 else "sha256"

    @property
    def digest_bytes(self) -> int:
        """Length of every key, signature and proof."""
        return 20 if self is Mechanism.SHA_1 else 32


@dataclass(frozen=True, slots=True)
class Keys:
    """What a password becomes. `client_key` logs in as its user: treat it like the password."""

    client_key: bytearray = field(repr=False)
    server_key: bytearray = field(repr=False)

    def wipe(self) -> None:
        """Overwrite both in memory."""
        for key in (self.client_key, self.server_key):
            key[:] = bytes(len(key))


def prepare_password(mechanism: Mechanism, username: str, password: str) -> bytes:
    """The bytes that go into PBKDF2. Raises ScramError(scram_password) for a password that SASLprep prohibits."""
    if mechanism is Mechanism.SHA_1:
        digest = hashlib.md5(f"{username}:mongo:{password}".encode(), usedforsecurity=False)
        return digest.hexdigest().encode()
    if password.isascii() and password.isprintable():
        return password.encode()  # SASLprep changes nothing here; and it can't take an empty string
    try:
        prepared: str = saslprep(password)
    except (ValueError, IndexError) as error:
        raise ScramError(
            "scram_password", "The password has characters that SCRAM-SHA-256 (SASLprep, RFC 4013) does not allow."
        ) from error
    return prepared.encode()


def derive_keys(mechanism: Mechanism, prepared: bytes, salt: bytes, iterations: int) -> Keys:
    """PBKDF2 and the two HMACs: the expensive step (about 1 ms for 2,000 iterations). It releases the GIL."""
    salted = hashlib.pbkdf2_hmac(mechanism.hash_name, prepared, salt, iterations)
    return Keys(
        bytearray(hmac.digest(salted, b"Client Key", mechanism.hash_name)),
        bytearray(hmac.digest(salted, b"Server Key", mechanism.hash_name)),
    )


def stored_key(mechanism: Mechanism, client_key: bytes | bytearray) -> bytes:
    """H(ClientKey): what a server keeps."""
    return hashlib.new(mechanism.hash_name, client_key).digest()


def client_proof(mechanism: Mechanism, client_key: bytes | bytearray, auth_message: bytes) -> bytes:
    """ClientKey XOR HMAC(StoredKey, AuthMessage)."""
    signature = hmac.digest(stored_key(mechanism, client_key), auth_message, mechanism.hash_name)
    return bytes(a ^ b for a, b in zip(client_key, signature, strict=True))


def proof_is_right(mechanism: Mechanism, stored: bytes, auth_message: bytes, proof: bytes) -> bool:
    """The server's check of a client's proof, in constant time."""
    if len(proof) != mechanism.digest_bytes:
        return False
    signature = hmac.digest(stored, auth_message, mechanism.hash_name)
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    return hmac.compare_digest(stored_key(mechanism, client_key), stored)


def server_signature(mechanism: Mechanism, server_key: bytes | bytearray, auth_message: bytes) -> bytes:
    """HMAC(ServerKey, AuthMessage): the server's proof that it knows the password too."""
    return hmac.digest(bytes(server_key), auth_message, mechanism.hash_name)


def escape_name(name: str) -> bytes:
    """A user name as ``saslname``. MongoDB's specification: the name itself is not SASLprepped."""
    return name.encode().replace(b"=", b"=3D").replace(b",", b"=2C")


def unescape_name(data: bytes) -> str:
    """The reverse; a lone ``=`` is refused."""
    if re.search(rb"=(?!3D|2C)", data) or b"," in data:
        raise _malformed("a user name is not escaped")
    try:
        return data.replace(b"=2C", b",").replace(b"=3D", b"=").decode()
    except UnicodeDecodeError as error:
        raise _malformed("a user name is not UTF-8") from error


def parse_attributes(message: bytes) -> list[tuple[str, bytes]]:
    """``a=…,b=…`` in order. Refuses repeats, nameless parts, overlong messages and the extension marker ``m``."""
    if len(message) > MESSAGE_BYTES:
        raise _malformed("a message is too long")
    attributes: list[tuple[str, bytes]] = []
    for part in message.split(b","):
        if len(part) < 2 or part[1:2] != b"=" or not part[:1].isalpha():
            raise _malformed("a part has no name")
        attributes.append((part[:1].decode(), part[2:]))
    names = [name for name, _ in attributes]
    if len(set(names)) != len(names):
        raise _malformed("an attribute stands twice")
    if "m" in names:
        raise ScramError("scram_extension", "The other side demands a SCRAM extension that wardgate does not know.")
    return attributes


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """``n,,n=user,r=nonce``."""

    username: str
    nonce: bytes

    @property
    def bare(self) -> bytes:
        """Without the GS2 header: the first part of the AuthMessage."""
        return b"n=" + escape_name(self.username) + b",r=" + self.nonce

    def encode(self) -> bytes:
        """As sent in saslStart."""
        return GS2_HEADER + self.bare

    @classmethod
    def parse(cls, message: bytes) -> ClientFirst:
        """The server's reading. Channel binding and authorisation identities are refused."""
        if not message.startswith(GS2_HEADER):
            raise ScramError(
                "scram_channel_binding", "SCRAM with channel binding or an authorisation identity is not supported."
            )
        values = _exactly(message[len(GS2_HEADER) :], "nr")
        return cls(unescape_name(values[0]), _nonce(values[1]))


@dataclass(frozen=True, slots=True)
class ServerFirst:
    """``r=nonce,s=salt,i=iterations``. `raw` is what came or goes: the AuthMessage needs those very bytes."""

    nonce: bytes
    salt: bytes
    iterations: int
    raw: bytes

    @classmethod
    def make(cls, nonce: bytes, salt: bytes, iterations: int) -> ServerFirst:
        """A message to send."""
        raw = b"r=" + nonce + b",s=" + base64.b64encode(salt) + b",i=" + str(iterations).encode()
        return cls(nonce, salt, iterations, raw)

    @classmethod
    def parse(cls, message: bytes) -> ServerFirst:
        """The client's reading: shape only; whether nonce and iterations are acceptable is the client's to judge."""
        if message.startswith(b"e="):
            raise _refused(message)
        nonce, salt, iterations = _exactly(message, "rsi")
        if not _DIGITS.fullmatch(iterations):
            raise _malformed("the iteration count is no number")
        return cls(_nonce(nonce), _base64(salt), int(iterations), message)


@dataclass(frozen=True, slots=True)
class ClientFinal:
    """``c=biws,r=nonce,p=proof``."""

    nonce: bytes
    proof: bytes

    @property
    def without_proof(self) -> bytes:
        """The last part of the AuthMessage."""
        return b"c=" + GS2_HEADER_ENCODED + b",r=" + self.nonce

    def encode(self) -> bytes:
        """As sent in saslContinue."""
        return self.without_proof + b",p=" + base64.b64encode(self.proof)

    @classmethod
    def parse(cls, message: bytes) -> ClientFinal:
        """The server's reading."""
        binding, nonce, proof = _exactly(message, "crp")
        if binding != GS2_HEADER_ENCODED:
            raise ScramError("scram_channel_binding", "The SCRAM channel binding changed within the conversation.")
        return cls(_nonce(nonce), _base64(proof))


@dataclass(frozen=True, slots=True)
class ServerFinal:
    """``v=signature``."""

    signature: bytes = field(repr=False)

    def encode(self) -> bytes:
        """As sent in the last reply."""
        return b"v=" + base64.b64encode(self.signature)

    @classmethod
    def parse(cls, message: bytes) -> ServerFinal:
        """The client's reading; ``e=…`` is the server's refusal."""
        if message.startswith(b"e="):
            raise _refused(message)
        (signature,) = _exactly(message, "v")
        return cls(_base64(signature))


def auth_message(client_first: ClientFirst, server_first: ServerFirst, client_final: ClientFinal) -> bytes:
    """What both sides sign (RFC 5802, section 3)."""
    return b",".join((client_first.bare, server_first.raw, client_final.without_proof))


def _exactly(message: bytes, names: str) -> list[bytes]:
    """The values of attributes that are `names` in that order. Optional extensions may follow and are ignored."""
    attributes = parse_attributes(message)
    if "".join(name for name, _ in attributes[: len(names)]) != names:
        raise _malformed(f"its attributes are not {names}")
    return [value for _, value in attributes[: len(names)]]


def _nonce(value: bytes) -> bytes:
    if not _NONCE.fullmatch(value):
        raise _malformed("a nonce is not printable")
    return value


def _base64(value: bytes) -> bytes:
    try:
        decoded = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise _malformed("a value is not base64") from error
    if not decoded:
        raise _malformed("a value is empty")
    return decoded


def _malformed(what: str) -> ScramError:
    return ScramError("scram_malformed", f"The SCRAM conversation is malformed: {what}.")


def _refused(message: bytes) -> ScramError:
    reason = "".join(c if c.isprintable() else "?" for c in message[2:80].decode("ascii", "replace"))
    return ScramError("scram_refused", f"The server refused the SCRAM login: {reason}.")
