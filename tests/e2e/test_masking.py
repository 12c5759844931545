"""Masking rules, from the command line to the record: what a rule names was never written down."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from wardgate.testing.stack import Access, Stack

Client = MongoClient[dict[str, Any]]
CARD = "4929 1234 5678 9012"
SSN = "078-05-1120-secret"


def rule(stack: Stack, *args: str, check: bool = True) -> Any:
    return stack.wardgate.run("project", "masking", *args, check=check)


def records(stack: Stack, session_id: str, command: str, count: int = 1) -> list[dict[str, Any]]:
    """The records of one command, `count` of them at least; their outcomes are there too."""
    deadline = time.monotonic() + 15
    while True:
        found = [each for each in stack.logs(session_id) if each.get("command") == command]
        if (len(found) >= count and all(each["ok"] is not None for each in found)) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.fixture
def rules(stack: Stack) -> Any:
    rule(stack, "add", stack.project_id, "card", "--path", "customers.card.number", "--description", "PCI")
    rule(stack, "add", stack.project_id, "ssn", "--pattern", r"\d{3}-\d{2}-\d{4}-secret")
    yield
    for name in ("card", "ssn", "late"):
        rule(stack, "remove", stack.project_id, name, check=False)


def test_what_a_rule_names_is_nowhere(stack: Stack, access: Any, rules: Any) -> None:
    opened: Access = access()
    with Client(opened.uri) as client:
        customers = client.masked.customers
        customers.drop()
        customers.create_index("card.number", unique=True)
        customers.insert_one({"_id": 1, "name": "Ann", "card": {"number": CARD, "expires": "12/29"}, "note": SSN})
        customers.insert_many([{"_id": n, "card": {"number": f"{CARD}{n}"}, "pad": "x" * 4096} for n in range(2, 120)])
        ann = customers.find_one({"card.number": CARD, "name": "Ann"})
        assert ann is not None
        assert ann["note"] == SSN
        customers.update_one({"_id": 1}, {"$set": {"card.number": CARD + "0", "name": "Eve"}})
        list(customers.aggregate([{"$match": {"name": "Eve"}}, {"$group": {"_id": "$card.number"}}]))
        with contextlib.suppress(OperationFailure):
            customers.insert_one({"_id": 2000, "card": {"number": CARD + "0"}})
        with contextlib.suppress(OperationFailure):
            client.masked.command("findAndModify", "customers", query={"_id": 1}, update={"$inc": {"card.number": 1}})
    found = {name: records(stack, opened.session_id, name) for name in ("insert", "find", "update", "aggregate")}
    small, large, refused = found["insert"]
    (document,) = small["body"]["documents"]
    assert document["card"] == {"number": "$wardgateMasked:string", "expires": "12/29"}
    assert (document["name"], document["note"]) == ("Ann", "$wardgateMasked:string")
    assert small["details"]["masked"] == ["documents.card.number", "documents.note"]
    assert [each["card"] for each in large["body"]["documents"]] == [{"number": "$wardgateMasked:string"}] * 118
    assert large["body"]["documents"][0]["pad"] == "x" * 4096, "what was streamed is recorded whole, but for the rule"
    assert refused["write_errors"] == 1
    (read,) = found["find"]
    assert read["body"]["filter"] == {"card.number": "$wardgateMasked:string", "name": "Ann"}
    (changed,) = found["update"]
    assert changed["body"]["updates"][0]["u"] == {"$set": {"card.number": "$wardgateMasked:string", "name": "Eve"}}
    (failed,) = records(stack, opened.session_id, "findAndModify")
    assert (failed["ok"], failed["error"]) == (0.0, "$wardgateMasked:string"), "MongoDB's error quotes the value"
    opened.close()
    stack.wardgate.run("pam", "session", "verify", opened.session_id)
    for form in ("jsonl", "csv", "mongosh", "bundle"):
        exported = stack.folder / f"masked.{form}"
        stack.wardgate.run("pam", "session", "export", opened.session_id, "--format", form, "--output", str(exported))
        for secret in (CARD, SSN):
            assert secret.encode() not in exported.read_bytes()
    hits = stack.wardgate.run("pam", "search", CARD, "--session", opened.session_id, "--json").out
    assert hits == ""
    assert stack.wardgate.run("pam", "search", "wardgateMasked", "--session", opened.session_id, "--json").out


def test_a_live_session_gets_a_new_rule(stack: Stack, access: Any, rules: Any) -> None:
    opened: Access = access()
    with Client(opened.uri) as client:
        things = client.masked.things
        things.find_one({"token": "before"})
        rule(stack, "add", stack.project_id, "late", "--path", "masked/things.token")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            events = [each for each in stack.logs(opened.session_id) if each.get("event") == "masking_rules"]
            if len(events) == 2:
                break
            time.sleep(0.5)
        assert [each["details"]["message"].split(",")[0] for each in events] == ["2 in force", "3 in force"]
        things.find_one({"token": "after"})
    before, after = records(stack, opened.session_id, "find", 2)
    assert before["body"]["filter"] == {"token": "before"}, "what is recorded is never changed"
    assert after["body"]["filter"] == {"token": "$wardgateMasked:string"}


def test_a_rule_is_tried_out_before_it_is_made(stack: Stack, access: Any) -> None:
    opened: Access = access()
    with Client(opened.uri) as client:
        for number in range(3):
            client.tried.people.find_one({"passport": f"P{number}"})
        client.tried.people.insert_one({"passport": "P9", "name": "x"})
    assert len(records(stack, opened.session_id, "find", 3)) == 3
    assert records(stack, opened.session_id, "insert")
    tried = rule(stack, "test", stack.project_id, "--path", "tried/people.passport", "--session", opened.session_id,
                 "--json")  # fmt: skip
    found = json.loads(tried.out)
    assert found["masked"] == 4
    assert [(each["collection"], each["command"], each["path"], each["commands"]) for each in found["paths"]] == [
        ("people", "find", "filter.passport", 3),
        ("people", "insert", "documents.passport", 1),
    ]
    shown = rule(stack, "test", stack.project_id, "--pattern", "^P[0-9]$", "--session", opened.session_id)
    assert "P9" not in shown.out
    assert "filter.passport" in shown.out


def test_a_rule_that_can_not_be_used_is_refused(stack: Stack) -> None:
    before = rule(stack, "list", stack.project_id, "--json").out
    for args in (
        ("--pattern", "(unclosed"),
        ("--pattern", r"(a)\1"),
        ("--pattern", "a*"),
        ("--path", "customers"),
        ("--path", "a..b"),
        ("--path", "c.$set.x"),
        ("--path", "**"),
        (),
        ("--path", "a.b", "--pattern", "x"),
    ):
        answer = rule(stack, "add", stack.project_id, "bad", *args, check=False)
        assert answer.status == 2, args
        assert answer.err
    assert rule(stack, "list", stack.project_id, "--json").out == before


def test_no_file_has_it(stack: Stack, rules: Any, access: Any) -> None:
    opened: Access = access()
    with Client(opened.uri) as client:
        client.masked.customers.find_one({"card.number": CARD + "-nowhere", "x": SSN})
    assert records(stack, opened.session_id, "find")
    for path in sorted(Path(stack.folder).rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            assert (CARD + "-nowhere").encode() not in content, path
            assert SSN.encode() not in content, path
