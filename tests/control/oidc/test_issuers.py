"""Asking issuers over real HTTP: what is believed, for how long, and where nobody can send us."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from wardgate.control.oidc import Expected, Issuers, TokenRefusedError
from wardgate.control.outbound import Outbound
from wardgate.control.sources import Sources
from wardgate.errors import WardgateError
from wardgate.testing.issuer import Issuer, Reply, make_key

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def issuers(clock: Any) -> Issuers:
    return Issuers(Outbound(frozenset({"127.0.0.1"})), Sources(now=clock))


def token(issuer: Issuer, clock: Any, *, kid: str = "first", **changes: Any) -> str:
    at = int(clock().timestamp())
    return issuer.sign({"iss": issuer.url, "aud": "wardgate", "iat": at, "exp": at + 600, **changes}, kid=kid)


def expected(issuer: Issuer) -> Expected:
    return Expected(issuer.url, "wardgate")


async def failure(issuers: Issuers, url: str) -> WardgateError:
    with pytest.raises(WardgateError) as caught:
        await issuers.metadata(url)
    return caught.value


async def test_a_token_is_verified_with_what_the_issuer_publishes(issuers: Issuers, issuer: Issuer, clock: Any) -> None:
    for _ in range(5):
        await issuers.verify(token(issuer, clock), expected(issuer))
    assert issuer.asked == {DISCOVERY: 1, "/keys": 1}
    clock.forward(minutes=11)
    await issuers.verify(token(issuer, clock), expected(issuer))
    assert issuer.asked == {DISCOVERY: 2, "/keys": 2}


async def test_many_at_once_ask_once(issuers: Issuers, issuer: Issuer, clock: Any) -> None:
    await asyncio.gather(*(issuers.verify(token(issuer, clock), expected(issuer)) for _ in range(10)))
    assert issuer.asked["/keys"] == 1


async def test_a_new_key_is_found_and_strangers_make_no_requests(issuers: Issuers, issuer: Issuer, clock: Any) -> None:
    await issuers.verify(token(issuer, clock), expected(issuer))
    issuer.add_key("RS256", "second")
    with pytest.raises(TokenRefusedError):
        await issuers.verify(token(issuer, clock, kid="second"), expected(issuer))  # asked a moment ago
    clock.forward(seconds=31)
    await issuers.verify(token(issuer, clock, kid="second"), expected(issuer))
    asked = issuer.asked["/keys"]
    stranger = Issuer()
    stranger.keys["x"] = make_key("RS256", "x")
    stranger.url = issuer.url
    for _ in range(20):
        with pytest.raises(TokenRefusedError):
            await issuers.verify(token(stranger, clock, kid="x"), expected(issuer))
    assert issuer.asked["/keys"] == asked
    stranger._server.server_close()


async def test_a_key_that_was_taken_back_is_believed_ten_minutes(issuers: Issuers, issuer: Issuer, clock: Any) -> None:
    issuer.add_key("RS256", "leaked")
    leaked = token(issuer, clock, kid="leaked", exp=int(clock().timestamp()) + 7_200)
    await issuers.verify(leaked, expected(issuer))
    del issuer.keys["leaked"]
    clock.forward(minutes=10)
    with pytest.raises(TokenRefusedError):
        await issuers.verify(leaked, expected(issuer))


async def test_an_issuer_that_is_down_is_believed_an_hour(issuers: Issuers, issuer: Issuer, clock: Any) -> None:
    await issuers.verify(token(issuer, clock), expected(issuer))
    issuer.route(DISCOVERY, lambda _: Reply(503))
    clock.forward(minutes=59)
    await issuers.verify(token(issuer, clock), expected(issuer))
    clock.forward(minutes=2)
    assert (await failure(issuers, issuer.url)).code == "outbound_failed"


async def test_an_issuer_that_fails_is_not_asked_again_at_once(issuers: Issuers, issuer: Issuer, clock: Any) -> None:
    issuer.route(DISCOVERY, lambda _: Reply(500))
    for _ in range(5):
        await failure(issuers, issuer.url)
    assert issuer.asked[DISCOVERY] == 1
    clock.forward(seconds=31)
    await failure(issuers, issuer.url)
    assert issuer.asked[DISCOVERY] == 2


async def test_one_issuer_does_not_speak_for_another(issuers: Issuers, issuer: Issuer) -> None:
    issuer.more["issuer"] = "https://login.example.com"
    assert "another name" in (await failure(issuers, issuer.url)).message


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>"),
        Reply(200, b"[]"),
        Reply(200, b'{"issuer": "a", "issuer": "b"}'),
        Reply(200, b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        Reply(200, b" " * 300_000),
        Reply(302, b"", {"location": "http://169.254.169.254/latest"}),
        Reply(401),
    ],
)
async def test_what_an_issuer_may_not_answer(issuers: Issuers, issuer: Issuer, reply: Reply) -> None:
    issuer.route(DISCOVERY, lambda _: reply)
    assert (await failure(issuers, issuer.url)).code == "outbound_failed"


@pytest.mark.parametrize(
    "place",
    [
        "http://169.254.169.254/keys",
        "https://169.254.169.254/keys",
        "https://[::ffff:169.254.169.254]/keys",
        "https://10.0.0.1/keys",
        "https://localhost/keys",
        "https://user:password@127.0.0.1/keys",
        "http://example.com/keys",
        "file:///etc/passwd",
        "https://127.0.0.1:99999/keys",
        "gopher://127.0.0.1/",
        "https://",
        "https://exa mple.com/",
        7,
    ],
)
async def test_keys_are_fetched_from_nowhere_else(issuers: Issuers, issuer: Issuer, place: Any) -> None:
    issuer.more["jwks_uri"] = place
    error = await failure(issuers, issuer.url)
    assert error.code in ("outbound_refused", "outbound_failed")
    assert issuer.asked["/keys"] == 0


async def test_this_machine_is_reached_only_where_the_operator_says_so(issuer: Issuer, clock: Any) -> None:
    closed = Issuers(Outbound(), Sources(now=clock))
    assert (await failure(closed, issuer.url)).code == "outbound_refused"
    assert issuer.asked == {}


async def test_the_address_that_was_judged_is_the_one_that_is_asked(
    issuers: Issuers, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere at its second look-up (DNS rebinding): there is no second look-up."""
    looked: list[str] = []
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def watched(host: Any, port: Any, **more: Any) -> Any:
        looked.append(str(host))
        return await real("127.0.0.1", port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", watched)
    named = Outbound(frozenset({"localhost", "issuer.test"}))
    answer = await named.get(issuer.url.replace("127.0.0.1", "localhost") + "/keys")
    assert answer.status == 200
    assert [host for host in looked if host == "localhost"] == ["localhost"]


@pytest.mark.parametrize("url", ["https://a.example.com?x=1", "https://a.example.com#x", "a.example.com", ""])
def test_what_is_no_issuer(issuers: Issuers, url: str) -> None:
    with pytest.raises(WardgateError):
        issuers.check(url)
