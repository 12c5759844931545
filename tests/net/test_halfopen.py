from __future__ import annotations

from wardgate.net.halfopen import HalfOpen


def test_room_is_taken_and_given_back() -> None:
    room = HalfOpen(3, 2)
    assert room.enter("192.0.2.1")
    assert room.enter("192.0.2.1")
    assert not room.enter("192.0.2.1")
    assert room.enter("192.0.2.2")
    assert not room.enter("192.0.2.3")
    room.leave("192.0.2.1")
    assert room.enter("192.0.2.1")
    assert room.now == 3


def test_an_ipv6_host_is_one_address_however_many_it_has() -> None:
    room = HalfOpen(10, 1)
    assert room.enter("2001:db8::1")
    assert not room.enter("2001:db8::ffff")
    assert room.enter("2001:db8:0:1::1")
    assert room.enter("::ffff:192.0.2.1")
    assert not room.enter("192.0.2.1")


def test_without_a_cap_per_address_only_the_total_counts() -> None:
    room = HalfOpen(3, None)
    assert [room.enter("relay r1") for _ in range(4)] == [True, True, True, False]
