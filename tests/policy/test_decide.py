from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import bson
import pytest
from bson import Binary, Int64

from wardgate.command.catalogue import CATALOGUE, Area
from wardgate.command.facts import Command, parse
from wardgate.policy.decide import ALLOW, Deny, Policy, Rule, SessionWork, decide
from wardgate.wire.message import build_msg, parse_request

UUID = bytes(range(16))
LSID = {"id": Binary(UUID, 4)}
FOREIGN = {"id": Binary(bytes(16), 4)}
WORK = SessionWork(logical_sessions=frozenset({UUID}), cursors=frozenset({5}), operations=frozenset({77}))
ADMIN = Policy(allow_admin=True)


def command(document: Mapping[str, Any], database: str = "shop") -> Command:
    return parse(parse_request(build_msg(bson.encode({**document, "$db": database}), 1)))


def rule_of(document: Mapping[str, Any], database: str = "shop", policy: Policy | None = None) -> Rule | None:
    verdict = decide(command(document, database), policy or Policy(), WORK)
    if isinstance(verdict, Deny):
        assert verdict.code == 13
        assert verdict.rule.value in verdict.message, "the sentence names the rule"
        return verdict.rule
    return None


ALLOWED: list[tuple[dict[str, Any], str]] = [
    ({"ping": 1}, "admin"),
    ({"find": "orders", "filter": {}}, "shop"),
    ({"insert": "orders", "documents": [{}]}, "shop"),
    ({"aggregate": "orders", "pipeline": [{"$out": "copy"}]}, "shop"),
    ({"aggregate": 1, "pipeline": [{"$currentOp": {"allUsers": True}}]}, "admin"),
    ({"aggregate": "orders", "pipeline": [{"$changeStream": {}}]}, "shop"),
    ({"find": "orders", "filter": {"$where": "1"}}, "shop"),
    ({"mapReduce": "orders", "out": "copy"}, "shop"),
    ({"createIndexes": "orders", "indexes": []}, "shop"),
    ({"dropDatabase": 1}, "shop"),
    ({"renameCollection": "shop.a", "to": "shop.b"}, "admin"),
    ({"explain": {"delete": "orders", "deletes": []}}, "shop"),
    ({"serverStatus": 1}, "admin"),
    ({"replSetGetStatus": 1}, "admin"),
    ({"replSetGetConfig": 1}, "admin"),
    ({"usersInfo": 1}, "shop"),
    ({"connectionStatus": 1}, "admin"),
    ({"profile": -1}, "shop"),
    ({"find": "oplog.rs"}, "local"),
    ({"find": "shards"}, "config"),
    ({"aggregate": "collections", "pipeline": [{"$merge": {"into": {"db": "shop", "coll": "x"}}}]}, "config"),
    ({"insert": "notes", "documents": [{}]}, "admin"),
    ({"commitTransaction": 1, "lsid": LSID}, "admin"),
    ({"bulkWrite": 1, "ops": [], "nsInfo": [{"ns": "shop.a"}]}, "admin"),
    ({"endSessions": [LSID]}, "admin"),
    ({"refreshSessions": [LSID]}, "admin"),
    ({"killSessions": [LSID]}, "admin"),
    ({"killCursors": "orders", "cursors": [Int64(5)]}, "shop"),
    ({"killOp": 1, "op": 77}, "admin"),
    ({"getMore": Int64(5), "collection": "orders"}, "shop"),
]

REFUSED: list[tuple[dict[str, Any], str, Rule]] = [
    ({"createUser": "eve", "pwd": "x", "roles": []}, "admin", Rule.USERS_COMMAND),
    ({"grantRolesToUser": "eve", "roles": []}, "admin", Rule.USERS_COMMAND),
    ({"createRole": "r"}, "shop", Rule.USERS_COMMAND),
    ({"shutdown": 1}, "admin", Rule.SERVER_COMMAND),
    ({"setParameter": 1, "logLevel": 2}, "admin", Rule.SERVER_COMMAND),
    ({"fsync": 1, "lock": True}, "admin", Rule.SERVER_COMMAND),
    ({"profile": 2}, "shop", Rule.SERVER_COMMAND),
    ({"profile": -1, "slowms": 0}, "shop", Rule.SERVER_COMMAND),
    ({"replSetReconfig": {}}, "admin", Rule.REPLICATION_COMMAND),
    ({"replSetStepDown": 60}, "admin", Rule.REPLICATION_COMMAND),
    ({"replSetInitiate": {}}, "admin", Rule.REPLICATION_COMMAND),
    ({"addShard": "x"}, "admin", Rule.SHARDING_COMMAND),
    ({"applyOps": []}, "admin", Rule.INTERNAL_COMMAND),
    ({"_configsvrAddShard": 1}, "admin", Rule.INTERNAL_COMMAND),
    ({"configureFailPoint": "x"}, "admin", Rule.INTERNAL_COMMAND),
    ({"killAllSessions": []}, "admin", Rule.OTHERS_WORK),
    ({"killAllSessionsByPattern": []}, "admin", Rule.OTHERS_WORK),
    ({"killSessions": []}, "admin", Rule.OTHERS_WORK),
    ({"killSessions": [LSID, FOREIGN]}, "admin", Rule.OTHERS_WORK),
    ({"killSessions": [{}]}, "admin", Rule.OTHERS_WORK),
    ({"endSessions": [FOREIGN]}, "admin", Rule.OTHERS_WORK),
    ({"killOp": 1, "op": 78}, "admin", Rule.OTHERS_WORK),
    ({"killOp": 1}, "admin", Rule.OTHERS_WORK),
    ({"killCursors": "orders", "cursors": [Int64(5), Int64(6)]}, "shop", Rule.OTHERS_WORK),
    ({"find": Binary(UUID, 4)}, "admin", Rule.COLLECTION_BY_UUID),
    ({"find": "system.users"}, "admin", Rule.CREDENTIALS),
    ({"explain": {"find": "system.users"}}, "admin", Rule.CREDENTIALS),
    (
        {"aggregate": "x", "pipeline": [{"$lookup": {"from": {"db": "admin", "coll": "system.users"}}}]},
        "shop",
        Rule.CREDENTIALS,
    ),
    ({"create": "v", "viewOn": "system.users"}, "admin", Rule.CREDENTIALS),
    ({"usersInfo": "eve", "showCredentials": True}, "admin", Rule.CREDENTIALS),
    ({"insert": "system.roles", "documents": [{}]}, "admin", Rule.SYSTEM_COLLECTION),
    ({"update": "settings", "updates": []}, "config", Rule.SYSTEM_COLLECTION),
    ({"drop": "oplog.rs"}, "local", Rule.SYSTEM_COLLECTION),
    ({"dropDatabase": 1}, "config", Rule.SYSTEM_COLLECTION),
    ({"dropDatabase": 1}, "admin", Rule.SYSTEM_COLLECTION),
    ({"aggregate": "x", "pipeline": [{"$out": 5}]}, "admin", Rule.SYSTEM_COLLECTION),
    ({"aggregate": "x", "pipeline": [{"$out": {"db": "config", "coll": "y"}}]}, "shop", Rule.SYSTEM_COLLECTION),
    ({"renameCollection": "shop.a", "to": "admin.system.version"}, "admin", Rule.SYSTEM_COLLECTION),
    ({"mapReduce": "x", "out": {"replace": "system.roles", "db": "admin"}}, "shop", Rule.SYSTEM_COLLECTION),
    ({"bulkWrite": 1, "nsInfo": [{"ns": "shop.a"}, {"ns": "local.b"}]}, "admin", Rule.SYSTEM_COLLECTION),
    ({"explain": {"shutdown": 1}}, "admin", Rule.SERVER_COMMAND),
    ({"explain": {"createUser": "eve"}}, "admin", Rule.USERS_COMMAND),
    ({"explain": {"noSuchCommand": 1}}, "admin", Rule.UNKNOWN_COMMAND),
    ({"explain": {"killOp": 1, "op": 5}}, "admin", Rule.OTHERS_WORK),
    ({"noSuchCommand": 1}, "shop", Rule.UNKNOWN_COMMAND),
    ({"CREATEUSER": "eve"}, "admin", Rule.UNKNOWN_COMMAND),
]


@pytest.mark.parametrize(("document", "database"), ALLOWED)
def test_ordinary_work_passes(document: dict[str, Any], database: str) -> None:
    assert rule_of(document, database) is None


@pytest.mark.parametrize(("document", "database", "rule"), REFUSED)
def test_what_would_outlive_the_grant_is_refused(document: dict[str, Any], database: str, rule: Rule) -> None:
    assert rule_of(document, database) is rule
    assert rule_of(document, database, ADMIN) is None


@pytest.mark.parametrize("name", ["authenticate", "saslStart", "saslContinue", "getnonce", "logout", "copydbgetnonce"])
def test_a_login_is_never_forwarded(name: str) -> None:
    assert rule_of({name: 1}) is Rule.LOGIN_COMMAND
    assert rule_of({name: 1}, policy=ADMIN) is Rule.LOGIN_COMMAND
    assert rule_of({"explain": {name: 1}}, policy=ADMIN) is Rule.LOGIN_COMMAND


def test_every_command_has_a_verdict() -> None:
    for entry in CATALOGUE.values():
        value: Any = {"find": "c"} if entry.name == "explain" else [] if entry.name.endswith("Sessions") else "x"
        rule = rule_of({entry.name: value})
        assert (rule is None) == (entry.area in {Area.DATA, Area.DIAGNOSIS} or entry.name == "killCursors"), entry.name


def test_allowing_costs_no_object() -> None:
    assert decide(command({"ping": 1}), Policy(), SessionWork()) is ALLOW


def test_rules_are_alphabetical() -> None:
    assert [rule.value for rule in Rule] == sorted(rule.value for rule in Rule)
    assert all(rule.name.lower() == rule.value for rule in Rule)


def test_live_sets_are_read_as_they_are_now() -> None:
    cursors: dict[int, None] = {}
    work = SessionWork(cursors=cursors.keys())
    kill = command({"killCursors": "c", "cursors": [Int64(9)]})
    assert isinstance(decide(kill, Policy(), work), Deny)
    cursors[9] = None
    assert decide(kill, Policy(), work) is ALLOW


def test_a_name_in_a_sentence_is_short() -> None:
    raw = b"\x10" + b"x" * 5_000 + b"\0\1\0\0\0" + bson.encode({"$db": "shop"})[4:-1]
    found = parse(parse_request(build_msg(struct.pack("<i", len(raw) + 5) + raw + b"\0", 1)))
    verdict = decide(found, Policy(), WORK)
    assert isinstance(verdict, Deny)
    assert len(verdict.message) < 300
