"""Which way first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wardgate.api.models import Route
from wardgate.net.routes import FAILED_SECONDS, RouteBook

EAST = Route(kind="relay", name="east", address="east:1", sni="a")
WEST = Route(kind="relay", name="west", address="west:1", sni="a")
DIRECT = Route(kind="direct", name="near-db", address="gw:1", sni="a", instance="1" * 32)
OTHER = Route(kind="direct", name="near-db", address="gw:2", sni="a", instance="2" * 32)


def names(book: RouteBook, now: float = 0.0, instance: str | None = None) -> list[str]:
    return [route.address for route in book.order(now, instance)]


def test_direct_first_then_relays_by_latency() -> None:
    book = RouteBook([EAST, WEST, DIRECT])
    assert names(book) == ["gw:1", "east:1", "west:1"]
    book.measured(EAST, 0.2)
    book.measured(WEST, 0.1)
    book.measured(DIRECT, 0.9)
    assert names(book) == ["gw:1", "west:1", "east:1"]


def test_what_failed_lately_comes_last_and_later_again_in_its_place() -> None:
    book = RouteBook([EAST, WEST, DIRECT])
    book.failed(DIRECT, 100.0)
    book.failed(EAST, 100.0)
    assert names(book, 101.0) == ["west:1", "gw:1", "east:1"]
    assert names(book, 100.0 + FAILED_SECONDS) == ["gw:1", "east:1", "west:1"]
    book.failed(EAST, 200.0)
    book.measured(EAST, 0.1, proved=True)
    assert names(book, 201.0) == ["gw:1", "east:1", "west:1"]


def test_the_way_that_is_wanted_comes_first_unless_it_failed() -> None:
    book = RouteBook([DIRECT, EAST, WEST])
    assert [each.address for each in book.order(0.0, first=("relay", "west:1"))] == ["west:1", "gw:1", "east:1"]
    book.failed(WEST, 0.0)
    assert [each.address for each in book.order(1.0, first=("relay", "west:1"))] == ["gw:1", "east:1", "west:1"]


def test_a_place_that_takes_connections_again_is_back_unless_it_was_deaf() -> None:
    book = RouteBook([DIRECT, EAST, WEST])
    book.failed(DIRECT, 100.0, deaf=False)
    book.failed(EAST, 100.0)
    for route in (DIRECT, EAST, WEST):
        book.measured(route, 0.1)
    assert names(book, 101.0) == ["gw:1", "west:1", "east:1"]


def test_a_direct_route_leads_to_its_own_instance_only() -> None:
    book = RouteBook([DIRECT, OTHER, EAST])
    assert names(book, instance="2" * 32) == ["gw:2", "east:1"]
    assert names(book) == ["gw:1", "gw:2", "east:1"]


def test_new_routes_keep_what_was_seen_of_the_old_places() -> None:
    book = RouteBook([EAST])
    book.measured(EAST, 0.3)
    assert not book.replace([EAST.model_copy(update={"sni": "b"})])
    assert book.replace([WEST, EAST])
    assert names(book) == ["east:1", "west:1"]
    assert [route.address for route in book.unmeasured()] == ["west:1"]


@given(st.lists(st.tuples(st.sampled_from([EAST, WEST, DIRECT, OTHER]), st.floats(0, 100), st.booleans())))
def test_no_route_is_ever_left_out(events: list[tuple[Route, float, bool]]) -> None:
    book = RouteBook([EAST, WEST, DIRECT, OTHER])
    for route, number, good in events:
        if good:
            book.measured(route, number)
        else:
            book.failed(route, number)
        assert sorted(names(book, number)) == ["east:1", "gw:1", "gw:2", "west:1"]
