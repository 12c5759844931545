"""A slice of `make compat`: the newest of the three main clients sees through wardgate what it sees directly."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat import report
from compat.clients import all_clients
from compat.run import run
from compat.views import CORE_WORDS

FAMILIES = ("pymongo", "node", "mongosh")


@pytest.mark.slow
def test_every_core_row_is_the_same(mongod_binary: Path, node: Path, mongosh: Path) -> None:
    assert mongod_binary.is_file()
    assert node.is_file()
    assert mongosh.is_file()
    newest = [each for each in all_clients() if each.newest and each.family in FAMILIES and not each.is_async]
    assert [each.why_not for each in newest] == [None, None, None]
    results = run(["rs1"], newest, ["plain"], CORE_WORDS)
    assert not report.bad(results), report.terminal(results)
    assert {client for client, _, _ in results} == {each.name for each in newest}
    assert min(len(cells) for cells in results.values()) >= 8
