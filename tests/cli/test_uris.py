"""URIs, read back by PyMongo's own parser."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pymongo.uri_parser import parse_uri

from wardgate.cli.access.uris import LocalLogin, uri, uris_of

MAIN = "127.0.0.1:31000"
MEMBERS = {"db1:27017": "127.0.0.1:31001", "db2:27017": "127.0.0.1:31002"}
LOGIN = LocalLogin("readonly-user", "wgs_secret")


def of(kind: str, **changes: Any) -> Any:
    facts: dict[str, Any] = {"set_name": None, "single": False, "login": None, **changes}
    return uris_of(MAIN, MEMBERS if kind == "replica_set" else {}, kind=kind, **facts)


def test_a_set() -> None:
    made = of("replica_set", set_name="rs0")
    assert (made.main, made.shown) == (f"mongodb://{MAIN}/", f"mongodb://{MAIN}/")
    assert made.set_uri == "mongodb://127.0.0.1:31001,127.0.0.1:31002/?replicaSet=rs0"


def test_a_set_with_a_single_port() -> None:
    assert of("replica_set", set_name="rs0", single=True).set_uri == f"mongodb://{MAIN}/?replicaSet=rs0"


def test_what_is_no_set() -> None:
    assert of("standalone").set_uri is None
    assert of("sharded").main == f"mongodb://{MAIN}/"
    assert of("load_balanced").main == f"mongodb://{MAIN}/?loadBalanced=true"


def test_the_password_stands_where_it_must_and_nowhere_else() -> None:
    made = of("replica_set", set_name="rs0", login=LOGIN)
    assert made.main == f"mongodb://readonly-user:wgs_secret@{MAIN}/"
    assert made.set_uri.startswith("mongodb://readonly-user:wgs_secret@127.0.0.1:31001,")
    assert made.shown == f"mongodb://readonly-user@{MAIN}/"
    assert "wgs_secret" not in repr(LOGIN)


def test_a_socket() -> None:
    made = uri(["/run/user/1000/wardgate-0123456789abcdef/mongodb.sock"])
    assert made == "mongodb://%2Frun%2Fuser%2F1000%2Fwardgate-0123456789abcdef%2Fmongodb.sock/"
    assert parse_uri(made)["nodelist"] == [("/run/user/1000/wardgate-0123456789abcdef/mongodb.sock", None)]


@given(user=st.text(min_size=1), password=st.text(min_size=1), name=st.text(min_size=1))
def test_nothing_breaks_out_of_its_place(user: str, password: str, name: str) -> None:
    try:
        made = uri([MAIN], LocalLogin(user, password), {"replicaSet": name})
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    read = parse_uri(made, warn=False)
    assert (read["username"], read["password"]) == (user, password)
    assert read["nodelist"] == [("127.0.0.1", 31000)]
    assert made.isascii()
    assert made.count("&") == 0
    assert made.count("?") == 1
