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
