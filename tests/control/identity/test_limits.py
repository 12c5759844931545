"""The token buckets, as a rule that hypothesis tries to break."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wardgate.control.identity.limits import LoginLimiter, TokenBuckets


@given(st.lists(st.floats(0, 30), max_size=200))
def test_never_more_than_burst_and_refill(gaps: list[float]) -> None:
    buckets, now, taken = TokenBuckets(burst=5, per_second=0.5), 0.0, 0
    for gap in gaps:
        now += gap
        taken += buckets.take("k", now) == 0.0
        assert taken <= 5 + now * 0.5 + 1e-6


@given(st.floats(0, 1e6))
def test_whoever_waits_as_told_gets_in(start: float) -> None:
    buckets = TokenBuckets(burst=1, per_second=0.1)
    assert buckets.take("k", start) == 0.0
    wait = buckets.take("k", start)
    assert wait > 0
    assert buckets.take("k", start + wait + 1e-3) == 0.0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets = TokenBuckets(burst=1, per_second=1.0)
    assert buckets.take("k", 100.0) == 0.0
    assert buckets.take("k", 50.0) > 0


def test_addresses_of_one_ipv6_network_share_a_bucket() -> None:
    limiter = LoginLimiter()
    for number in range(10):
        assert limiter.take(f"2001:db8::{number:x}", "a@example.com", 0.0) == 0.0
    assert limiter.take("2001:db8::ffff", "a@example.com", 0.0) > 0
    assert limiter.take("2001:db8:0:1::1", "a@example.com", 0.0) == 0.0


def test_another_account_from_the_same_address_is_not_slowed_at_first() -> None:
    limiter = LoginLimiter()
    for _ in range(11):
        limiter.take("192.0.2.1", "a@example.com", 0.0)
    assert limiter.take("192.0.2.1", "b@example.com", 0.0) == 0.0


def test_memory_is_bounded() -> None:
    buckets = TokenBuckets(burst=1, per_second=1.0)
    for number in range(30_000):
        buckets.take(str(number), 0.0)
    assert len(buckets._buckets) <= 20_000


def test_a_thousand_places_against_one_account_are_slow_and_the_owner_gets_in() -> None:
    """50 guesses a second from ever new places, and the owner at home, on a journey, and mistyping."""
    limiter, taken, account = LoginLimiter(), 0, "owner@example.com"
    for guess in range(10_000):
        address, now = f"198.{guess % 1_000 // 250}.{guess % 250}.7", guess / 50
        if limiter.take(address, account, now) == 0.0:
            taken += 1
            limiter.failed(account, now)
        if guess % 500 == 0:
            assert limiter.take("203.0.113.5", account, now, familiar=True) == 0.0
            limiter.succeeded("203.0.113.5", account)
    assert limiter.take("2001:db8::1", account, 200.0) == 0.0  # never seen there, and the first try counts
    assert taken <= 30 + 200 / 60 + 2 * 1_000
    assert limiter.take("198.0.0.7", account, 200.0) > 0
    assert limiter.take("198.0.0.7", "other@example.com", 200.0) == 0.0


def test_many_accounts_from_one_place_are_slowed() -> None:
    limiter = LoginLimiter()
    tried = [limiter.take("192.0.2.1", f"{n}@example.com", n / 50, familiar=True) == 0.0 for n in range(500)]
    assert sum(tried) <= 50 + 10
    assert limiter.take("192.0.2.2", "1@example.com", 10.0) == 0.0
