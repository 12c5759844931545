"""The client against an honest server made of the same arithmetic, and against every dishonest one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardgate.scram import primitives as p
from wardgate.scram.client import CACHE_ENTRIES, KeyCache, ScramClient

SHA1, SHA256 = p.Mechanism.SHA_1, p.Mechanism.SHA_256
NONCE = b"c" * 24


@dataclass
class Server:
    """An honest server for one user."""

    mechanism: p.Mechanism = SHA256
    password: str = "pencil"
    salt: bytes = b"0123456789abcdef"
    iterations: int = 4096
    first: p.ClientFirst = field(init=False)
    server_first: p.ServerFirst = field(init=False)

    def challenge(self, payload: bytes) -> bytes:
        self.first = p.ClientFirst.parse(payload)
        self.server_first = p.ServerFirst.make(self.first.nonce + b"server", self.salt, self.iterations)
        return self.server_first.raw

    def check(self, payload: bytes) -> bytes | None:
        final = p.ClientFinal.parse(payload)
        prepared = p.prepare_password(self.mechanism, self.first.username, self.password)
        keys = p.derive_keys(self.mechanism, prepared, self.salt, self.iterations)
        signed = p.auth_message(self.first, self.server_first, final)
        assert final.nonce == self.server_first.nonce
        if not p.proof_is_right(self.mechanism, p.stored_key(self.mechanism, keys.client_key), signed, final.proof):
            return None
        return p.ServerFinal(p.server_signature(self.mechanism, keys.server_key, signed)).encode()


def log_in(client: ScramClient, server: Server) -> bool:
    proof = client.step(server.challenge(client.start()))
    assert proof is not None
    final = server.check(proof)
    if final is None:
        return False
    assert client.step(final) is None
    return client.done


@pytest.mark.parametrize("mechanism", [SHA1, SHA256])
@pytest.mark.parametrize("username", ["user", "a,b=c", "ünï"])
def test_login(mechanism: p.Mechanism, username: str) -> None:
    assert log_in(ScramClient(mechanism, username, "pencil", NONCE), Server(mechanism))


@given(st.text(min_size=1, max_size=8), st.text(max_size=8), st.sampled_from([SHA1, SHA256]))
@settings(max_examples=30)
def test_only_the_right_password_logs_in(password: str, other: str, mechanism: p.Mechanism) -> None:
    try:
        same = p.prepare_password(mechanism, "u", password) == p.prepare_password(mechanism, "u", other)
    except (p.ScramError, UnicodeEncodeError):
        return
    assert log_in(ScramClient(mechanism, "u", password, NONCE), Server(mechanism, password))
    assert log_in(ScramClient(mechanism, "u", other, NONCE), Server(mechanism, password)) is same


def step_of(challenge: bytes) -> ScramClient:
    client = ScramClient(SHA256, "user", "pencil", NONCE)
    client.start()
    client.step(challenge)
    return client


@pytest.mark.parametrize(
    ("challenge", "code"),
    [
        (b"r=" + NONCE + b"x,s=QQ==,i=4095", "scram_iterations"),
        (b"r=" + NONCE + b"x,s=QQ==,i=100001", "scram_iterations"),
        (b"r=" + NONCE + b"x,s=QQ==,i=2147483647", "scram_iterations"),
        (b"r=" + NONCE + b",s=QQ==,i=4096", "scram_nonce"),
        (b"r=" + NONCE[:-1] + b"Xx,s=QQ==,i=4096", "scram_nonce"),
        (b"r=server,s=QQ==,i=4096", "scram_nonce"),
        (b"", "scram_malformed"),
        (b"garbage", "scram_malformed"),
        (b"e=other-error", "scram_refused"),
        (b"m=1,r=" + NONCE + b"x,s=QQ==,i=4096", "scram_extension"),
    ],
)
def test_hostile_challenge(challenge: bytes, code: str) -> None:
    with pytest.raises(p.ScramError) as caught:
        step_of(challenge)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("final", "code"),
    [
        (b"v=" + b"QUFB" * 10, "scram_signature"),
        (b"v=", "scram_malformed"),
        (b"", "scram_malformed"),
        (b"e=invalid-proof", "scram_refused"),
    ],
)
def test_server_that_does_not_know_the_password(final: bytes, code: str) -> None:
    cache = KeyCache()
    client = ScramClient(SHA256, "user", "pencil", NONCE, cache)
    client.step(Server().challenge(client.start()))
    with pytest.raises(p.ScramError) as caught:
        client.step(final)
    assert caught.value.code == code
    assert not client.done
    assert len(cache) == 0
    with pytest.raises(p.ScramError):
        client.step(final)


def test_cache_spares_the_derivation(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, server = KeyCache(), Server()
    first = ScramClient(SHA256, "user", "pencil", NONCE, cache)
    challenge = server.challenge(first.start())
    assert first.derives(challenge)
    proof = first.step(challenge)
    assert proof is not None
    final = server.check(proof)
    assert final is not None
    first.step(final)

    second = ScramClient(SHA256, "user", "pencil", b"d" * 24, cache)
    challenge = server.challenge(second.start())
    assert not second.derives(challenge)
    with monkeypatch.context() as patch:
        patch.setattr(p, "derive_keys", None)
        proof = second.step(challenge)
    assert proof is not None
    assert server.check(proof)


def test_cache_never_serves_another_password_or_count() -> None:
    cache = KeyCache()
    assert log_in(ScramClient(SHA256, "user", "pencil", NONCE, cache), Server())
    assert not log_in(ScramClient(SHA256, "user", "pen", NONCE, cache), Server())
    assert log_in(ScramClient(SHA256, "user", "pencil", NONCE, cache), Server(iterations=5000))
    assert len(cache) == 2


def test_cache_is_bounded_and_wiped_for_good() -> None:
    cache = KeyCache()
    for salt in range(CACHE_ENTRIES + 2):
        assert log_in(ScramClient(SHA256, "user", "pencil", NONCE, cache), Server(salt=bytes([salt]) * 16))
    assert len(cache) == CACHE_ENTRIES
    cache.wipe()
    assert len(cache) == 0
    assert log_in(ScramClient(SHA256, "user", "pencil", NONCE, cache), Server())
    assert len(cache) == 0


def test_derives_never_raises() -> None:
    client = ScramClient(SHA256, "user", "pencil", NONCE)
    assert not client.derives(b"garbage")
    client.start()
    assert not client.derives(b"garbage")
    assert not client.derives(b"r=" + NONCE + b"x,s=QQ==,i=2147483647")


def test_used_once_and_with_a_real_nonce() -> None:
    client = ScramClient(SHA256, "user", "pencil", NONCE)
    client.start()
    with pytest.raises(RuntimeError):
        client.start()
    with pytest.raises(ValueError):
        ScramClient(SHA256, "user", "pencil", b"short")
