"""The client's side of one SCRAM login, and the cache that makes the second login cheap.

What it is: a machine of three steps. `start` gives the first payload, each `step` takes the server's payload and gives
the next one, or None once the server has proved that it knows the password too. What it is not: SASL. Conversation
ids, commands and mechanism choice belong to the caller; the nonce comes from it as well.

Law:
1. The server's nonce begins with ours and adds to it.
2. The iteration count is within the caller's bounds before one round of PBKDF2 is run.
3. Nothing counts as logged in before the server's signature was compared, in constant time.
4. Keys enter the cache only after 3, so a hostile server can't fill it.
5. After an error the machine stays failed.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum, auto

from . import primitives as p

CACHE_ENTRIES = 8  # a user has one salt per mechanism; a set in the middle of a password change has two
NONCE_BYTES = 24  # as the drivers do: 192 bits, base64 by the caller or not


class KeyCache:
    """Derived keys of one session's credentials. It lives with the lease and is wiped at its end.

    An entry is bound to mechanism, prepared password, salt and iterations, so another password never meets a key that
    is not its own. After `wipe` nothing is kept any more: a login that is still under way can't bring a key back.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, p.Keys] = {}
        self._open = True

    def get(self, mechanism: p.Mechanism, prepared: bytes, first: p.ServerFirst) -> p.Keys | None:
        """The keys, as a copy that outlives a wipe by one login at most."""
        keys = self._entries.get(self._fingerprint(mechanism, prepared, first))
        return None if keys is None else p.Keys(bytearray(keys.client_key), bytearray(keys.server_key))

    def put(self, mechanism: p.Mechanism, prepared: bytes, first: p.ServerFirst, keys: p.Keys) -> None:
        """Keep a copy; the oldest entry leaves when there are too many."""
        if not self._open:
            return
        fingerprint = self._fingerprint(mechanism, prepared, first)
        if fingerprint not in self._entries and len(self._entries) >= CACHE_ENTRIES:
            self._entries.pop(next(iter(self._entries))).wipe()
        self._entries[fingerprint] = p.Keys(bytearray(keys.client_key), bytearray(keys.server_key))

    def wipe(self) -> None:
        """Forget everything, for good."""
        self._open = False
        for keys in self._entries.values():
            keys.wipe()
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    @staticmethod
    def _fingerprint(mechanism: p.Mechanism, prepared: bytes, first: p.ServerFirst) -> bytes:
        bound = b"%b\0%d\0%b" % (mechanism.encode(), first.iterations, prepared)
        return hmac.digest(first.salt, bound, hashlib.sha256)


class _State(Enum):
    NEW = auto()
    FIRST_SENT = auto()
    FINAL_SENT = auto()
    DONE = auto()
    FAILED = auto()


class ScramClient:
    """One login attempt. `nonce` is at least 16 random bytes of printable ASCII without a comma, used once."""

    def __init__(
        self,
        mechanism: p.Mechanism,
        username: str,
        password: str,
        nonce: bytes,
        key_cache: KeyCache | None = None,
        *,
        iterations_min: int = p.ITERATIONS_MIN,
        iterations_max: int = p.ITERATIONS_MAX,
    ) -> None:
        if len(nonce) < 16:
            raise ValueError("a SCRAM nonce of less than 16 bytes could repeat")
        self._mechanism = mechanism
        self._prepared = p.prepare_password(mechanism, username, password)
        self._cache = KeyCache() if key_cache is None else key_cache
        self._bounds = range(iterations_min, iterations_max + 1)
        self._first = p.ClientFirst(username, nonce)
        self._server_first: p.ServerFirst | None = None
        self._keys: p.Keys | None = None
        self._expected = b""
        self._state = _State.NEW

    @property
    def done(self) -> bool:
        """True once the server has proved itself."""
        return self._state is _State.DONE

    def start(self) -> bytes:
        """The payload of saslStart."""
        if self._state is not _State.NEW:
            raise RuntimeError("a ScramClient is used once")
        self._state = _State.FIRST_SENT
        return self._first.encode()

    def derives(self, payload: bytes) -> bool:
        """Whether `step(payload)` will run PBKDF2, which is worth a thread. Never raises."""
        if self._state is not _State.FIRST_SENT:
            return False
        try:
            first = p.ServerFirst.parse(payload)
        except p.ScramError:
            return False
        return first.iterations in self._bounds and self._cache.get(self._mechanism, self._prepared, first) is None

    def step(self, payload: bytes) -> bytes | None:
        """The next payload, or None when done. Raises ScramError, after which the machine stays failed."""
        state, self._state = self._state, _State.FAILED
        if state is _State.FIRST_SENT:
            answer = self._answer_challenge(payload)
            self._state = _State.FINAL_SENT
            return answer
        if state is _State.FINAL_SENT:
            self._check_server(payload)
            self._state = _State.DONE
            return None
        raise p.ScramError("scram_malformed", "The server went on with a SCRAM login that was over.")

    def _answer_challenge(self, payload: bytes) -> bytes:
        first = p.ServerFirst.parse(payload)
        if not first.nonce.startswith(self._first.nonce) or len(first.nonce) == len(self._first.nonce):
            raise p.ScramError(
                "scram_nonce", "The server's SCRAM nonce does not continue ours: somebody may be between."
            )
        if first.iterations not in self._bounds:
            raise p.ScramError(
                "scram_iterations",
                f"The server asks for {first.iterations} SCRAM iterations; "
                f"wardgate takes {self._bounds.start} to {self._bounds.stop - 1}.",
            )
        keys = self._cache.get(self._mechanism, self._prepared, first)
        if keys is None:
            keys = p.derive_keys(self._mechanism, self._prepared, first.salt, first.iterations)
        final = p.ClientFinal(first.nonce, b"")
        signed = p.auth_message(self._first, first, final)
        self._expected = p.server_signature(self._mechanism, keys.server_key, signed)
        self._server_first, self._keys = first, keys
        return p.ClientFinal(first.nonce, p.client_proof(self._mechanism, keys.client_key, signed)).encode()

    def _check_server(self, payload: bytes) -> None:
        signature = p.ServerFinal.parse(payload).signature
        if not hmac.compare_digest(signature, self._expected):
            raise p.ScramError(
                "scram_signature", "The server could not prove that it knows the password: it is not ours."
            )
        assert self._server_first is not None
        assert self._keys is not None
        self._cache.put(self._mechanism, self._prepared, self._server_first, self._keys)
        self._keys.wipe()
