"""Which way to the gateway first: a book of routes with what was seen of them.

A direct route comes before relays, because nobody stands in it; relays come in the order of their measured latency.
What failed lately comes last, in whatever kind it is: it may be back, but others are tried before it. A place that was
not there counts again as soon as it takes a connection; one that took it and said nothing only when a stream was opened
through it. Pure: times are arguments, and whoever dials tells what came of it.

Law: no route is ever left out, but a direct one that leads to another instance than the one that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ..api.models import Route

FAILED_SECONDS: Final = 30.0  # as long as a relay or gateway counts as online without a word


@dataclass(slots=True)
class _Seen:
    latency: float | None = None
    failed_at: float | None = None
    deaf: bool = False  # it takes connections and leads nowhere


Place = tuple[str, str]  # a route's kind and address: what is measured, whatever its token


class RouteBook:
    """The routes of one session."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._routes: list[Route] = list(routes)
        self._seen: dict[Place, _Seen] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def replace(self, routes: Iterable[Route]) -> bool:
        """The routes as the control plane names them now; what was seen of those that stay is kept.

        Answers whether there is a place that was not known.
        """
        known = {place(route) for route in self._routes}
        self._routes = list(routes)
        places = {place(route) for route in self._routes}
        self._seen = {each: seen for each, seen in self._seen.items() if each in places}
        return not places <= known

    def measured(self, route: Route, seconds: float, *, proved: bool = False) -> None:
        """A TCP connection took `seconds`; `proved`: a stream was opened over it."""
        seen = self._of(route)
        seen.latency = seconds
        if proved or not seen.deaf:
            seen.failed_at, seen.deaf = None, False

    def failed(self, route: Route, now: float, *, deaf: bool = True) -> None:
        """It led nowhere, or what it carried went silent; `deaf` False: it took no connection, or cut it."""
        seen = self._of(route)
        seen.failed_at, seen.deaf = now, deaf or seen.deaf

    def forget(self) -> None:
        """Measure again: the network may be another one. Failures are remembered."""
        for seen in self._seen.values():
            seen.latency = None

    def unmeasured(self) -> Sequence[Route]:
        """Routes whose latency nobody knows, one for each place."""
        found = {place(each): each for each in self._routes if self._of(each).latency is None}
        return list(found.values())

    def order(self, now: float, instance: str | None = None, first: Place | None = None) -> list[Route]:
        """The routes to try, in this order; with `instance`, those that can lead to it; `first` before others."""
        usable = [each for each in self._routes if instance is None or each.instance in (None, instance)]
        # A stable sort: as the control plane named them, where all is equal.
        return sorted(usable, key=lambda route: self._rank(route, now, first))

    def _rank(self, route: Route, now: float, first: Place | None) -> tuple[bool, bool, bool, float]:
        seen = self._of(route)
        failed = seen.failed_at is not None and now - seen.failed_at < FAILED_SECONDS
        latency = float("inf") if seen.latency is None else seen.latency
        return failed, place(route) != first, route.kind != "direct", latency

    def _of(self, route: Route) -> _Seen:
        return self._seen.setdefault(place(route), _Seen())


def place(route: Route) -> Place:
    """Where it leads, whatever its token."""
    return route.kind, route.address
