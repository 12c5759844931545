"""A way that never writes again after a fault is found, also where no gap is judged."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, cast

import pytest

from torture import elections
from torture.judge import Seen
from torture.world import Load, Way


@dataclass
class Told:
    """A load as far as the wait looks at it."""

    way: Way
    lines: list[dict[str, Any]]

    def so_far(self) -> Seen:
        return Seen.of(json.dumps(each) for each in self.lines)


def test_who_does_not_write_again_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elections, "RECOVERED_S", 0.3)
    since = time.monotonic()
    before = {"w": "x", "op": "insertOne", "id": "w-1", "a": since - 2, "b": since + 1}
    after = {"w": "x", "op": "insertOne", "id": "w-2", "a": since + 1, "b": since + 2}
    dead, alive = Way("pymongo", "main", "mongodb://a"), Way("pymongo", "members", "mongodb://b")
    loads = [Told(dead, [before]), Told(alive, [before, after])]
    assert elections.wait_recovered(cast(list[Load], loads), since) == [dead]
