"""What two accounts of the specifications' tests say of each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compat import specs
from compat.compare import Known
from compat.specs import compare, spec_files

FILES = [("crud/find", "find.json")]


class Told:
    """A side that tells what it is given, one account after the other."""

    def __init__(self, *accounts: dict[str, dict[str, Any]]) -> None:
        self.accounts = list(accounts)
        self.asked: list[Any] = []

    def account(self, _files: Any, rows: Any = None) -> Any:
        self.asked.append(rows)
        return self.accounts.pop(0)


def told(**values: Any) -> dict[str, dict[str, Any]]:
    return {row: {"row": row, **value} for row, value in values.items()}


def found(direct: Told, through: Told) -> dict[str, Any]:
    return compare(direct, through, FILES)  # type: ignore[arg-type]


def test_what_differs_once_and_not_again_is_the_same() -> None:
    direct = Told(told(a={"value": 1}, b={"value": 1}), told(b={"value": 1}))
    through = Told(told(a={"value": 1}, b={"value": 2}), told(b={"value": 1}))
    assert found(direct, through) == {"same": 2, "known": {}, "neither": {}, "absent": 0, "again": 1, "differ": {}}
    assert direct.asked == through.asked == [None, ["b"]]


def test_what_is_meant_to_differ_does_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "SPECIFICATIONS", (Known("a", "value", "why"),))
    direct, through = Told(told(a={"value": 1})), Told(told(a={"value": 2}))
    assert found(direct, through)["known"] == {"a": ["why"]}


def test_what_differs_every_time_differs() -> None:
    ways = [Told(*(told(a={"value": value}) for _ in range(3))) for value in (1, 2)]
    assert found(ways[0], ways[1])["differ"] == {"a": ["value: 1 → 2"]}
    ways = [Told(*([told(a={"value": 1})] * 3)), Told({}, {}, {})]
    assert found(ways[0], ways[1])["differ"] == {"a": ["not reported through wardgate"]}


def test_an_error_on_both_sides_is_no_same_result() -> None:
    account = told(a={"error": {"message": "x"}}, b={"value": 1, "unexpected": ["find: y"]}, c={"absent": "sharded"})
    assert found(Told(account), Told(account)) == {
        "same": 0,
        "known": {},
        "neither": {"a": {"message": "x"}, "b": ["find: y"]},
        "absent": 1,
        "again": 0,
        "differ": {},
    }


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "test" / "crud" / "unified"
    folder.mkdir(parents=True)
    for name, content in {"find": {"schemaVersion": "1.0", "tests": []}, "old": {"tests": []}, "list": []}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    assert spec_files(tmp_path, "crud") == [("crud/unified/find", str(folder / "find.json"))]
