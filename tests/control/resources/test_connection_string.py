"""control.resources.connection_string: understood, or refused in one sentence that names what."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.uri_parser import parse_uri

from wardgate.api.machine import MongoTarget
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.control.resources.connection_string import Form, check_database, parse
from wardgate.control.resources.options import OPTIONS, Role

FORM = Form()


def target(text: str, form: Form = FORM) -> MongoTarget:
    return parse(text, form)[0]


def refusal(text: str, form: Form = FORM) -> str:
    with pytest.raises(ProblemError) as caught:
        parse(text, form)
    problem = caught.value.problem
    assert problem.code is ProblemCode.INVALID_CONNECTION_STRING
    assert [error.field for error in problem.errors] == ["connection_string"]
    assert problem.detail.endswith(".")
    return problem.detail


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("mongodb://db1", [("db1", 27017)]),
        ("mongodb://db1/", [("db1", 27017)]),
        ("mongodb://db1/?", [("db1", 27017)]),
        ("mongodb://db1?retryWrites=true", [("db1", 27017)]),
        ("  mongodb://db1:27017,db2:27018/?replicaSet=rs0 ", [("db1", 27017), ("db2", 27018)]),
        ("MongoDB://DB1.Example.COM.", [("db1.example.com", 27017)]),
        ("mongodb://10.0.0.1:1,[2001:DB8::1]:65535,[::1]", [("10.0.0.1", 1), ("2001:db8::1", 65535), ("::1", 27017)]),
        ("mongodb://my_host-1.local", [("my_host-1.local", 27017)]),
    ],
)
def test_hosts(text: str, hosts: list[tuple[str, int]]) -> None:
    assert target(text).hosts == hosts


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mongodb://root:hunter2@db1", "Leave user and password out"),
        ("mongodb://root@db1", "Leave user and password out"),
        ("mongodb://root:hun/ter2@db1", "Leave user and password out"),
        ("mongodb://root:hun?ter2@db1", "Leave user and password out"),
        ("mongodb://db1/shop", "Leave the database out"),
        ("mongodb://db1/admin?replicaSet=rs0", "Leave the database out"),
        ("mongodb+srv://root:hunter2@cluster0.example.net", "Leave user and password out"),
        ("mongodb+srv://cluster0.example.net/shop", "Leave the database out"),
        ("mongodb+srv://cluster0.example.net:27017", "has no port"),
        ("mongodb+srv://a.example.net,b.example.net", "has one name only"),
        ("mongodb+srv://[::1]", "has no port"),
        ("mongodb+srv://10.0.0.1", "needs a name, not an IP address"),
        ("mongodb+srv://169.254.169.254", "never dials"),
        ("mongodb+srv://metadata.google.internal", "never dials"),
        ("mongodb+srv://localhost", "no name with a domain"),
        ("mongodb+srv://", "names no host"),
        ("mongodb+srv://c.example.net/?directConnection=true", "not with mongodb+srv://"),
        ("mongodb+srv://c.example.net/?srvMaxHosts=2&replicaSet=rs0", "srvMaxHosts goes with neither"),
        ("mongodb+srv://c.example.net/?srvMaxHosts=2&loadBalanced=true", "srvMaxHosts goes with neither"),
        ("mongodb+srv://c.example.net/?srvMaxHosts=65", "not a number up to 64"),
        ("mongodb+srv://c.example.net/?srvServiceName=a.b", "srvServiceName is not valid"),
        ("mongodb+srv://c.example.net/?srvServiceName=" + "a" * 63, "srvServiceName is not valid"),
        ("mongodb+srv://c.example.net/?srvAllowedHostsSuffix=.net", "in its own domain"),
        ("postgres://db1", "begins with mongodb://"),
        ("db1:27017", "begins with mongodb://"),
        ("mongodb://", "names no host"),
        ("mongodb:///shop", "names no host"),
        ("mongodb://db1,,db2", "empty place"),
        ("mongodb://db1,", "empty place"),
        ("mongodb://db1:", "port"),
        ("mongodb://db1:0", "port"),
        ("mongodb://db1:65536", "port"),
        ("mongodb://db1:١٢", "port"),
        ("mongodb://db1:27017,db1", "twice"),
        ("mongodb://::1:27017", "IPv6 address is written in brackets"),
        ("mongodb://[::1", "IPv6 address is written in brackets"),
        ("mongodb://[::1]x", "IPv6 address is written in brackets"),
        ("mongodb://[db1]", "IPv6 address is written in brackets"),
        ("mongodb://%2Ftmp%2Fmongodb-27017.sock", "Unix sockets"),
        ("mongodb:///tmp/mongodb-27017.sock", "Unix sockets"),
        ("mongodb://db 1", "space"),
        ("mongodb://db1\x1b[31m", "unprintable"),
        ("mongodb://-db", "not a host name"),
        ("mongodb://" + "a" * 64, "not a host name"),
        ("mongodb://bücher", "xn--"),
        ("mongodb://" + ",".join(f"h{i}" for i in range(51)), "at most 50"),
    ],
)
def test_refused_places(text: str, sentence: str) -> None:
    detail = refusal(text)
    assert sentence in detail
    assert "hunter2" not in detail
    assert "ter2" not in detail


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.1.1",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "255.255.255.255",
        "2852039166",
        "0xA9FEA9FE",
        "169.254.43518",
        "0251.0376.0251.0376",
        "10.0.0.0x1",
    ],
)
def test_addresses_that_hold_no_database_are_refused(host: str) -> None:
    refusal(f"mongodb://{host}")
    refusal(f"mongodb://db1,{host}:27017")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("nonsense=1", "“nonsense” is not an option"),
        ("replicaset=a&replicaSet=b", "replicaSet is given twice"),
        ("replicaSet=", "replicaSet is not valid"),
        ("replicaSet", "name=value"),
        ("=a", "name=value"),
        ("a=b&&c=d", "“a” is not an option"),
        ("tls=true;retryWrites=true", "joined by &"),
        ("tls=maybe", "tls is not valid"),
        ("tls=false", "tls contradicts the form, where Enable SSL is on"),
        ("ssl=false", "ssl contradicts the form"),
        ("tlsInsecure=true", "tlsInsecure contradicts the form, where Reject Unauthorized is on"),
        ("tlsAllowInvalidCertificates=true", "tlsAllowInvalidCertificates contradicts"),
        ("tlsAllowInvalidHostnames=true", "tlsAllowInvalidHostnames is not supported alone"),
        ("tlsCAFile=/etc/ca.pem", "tlsCAFile names a file"),
        ("tlsCertificateKeyFile=/etc/k.pem", "a client certificate belongs to an account"),
        ("authSource=shop", "authSource contradicts the form"),
        ("authMechanism=PLAIN", "each account of the resource has its own mechanism"),
        ("authMechanism=MONGODB-X509", "each account of the resource has its own mechanism"),
        ("authMechanism=GSSAPI", "authMechanism may be SCRAM-SHA-256"),
        ("compressors=zstd,lzo", "compressors may list"),
        ("compressors=zstd,zstd", "compressors may list"),
        ("compressors=", "compressors is not valid"),
        ("zlibCompressionLevel=10", "zlibCompressionLevel is not valid"),
        ("srvMaxHosts=2", "srvMaxHosts goes with mongodb+srv:// only"),
        ("authMechanism=NOPE", "authMechanism is not valid"),
        ("authMechanismProperties=a:b", "authMechanismProperties belongs"),
        ("srvServiceName=a", "srvServiceName goes with mongodb+srv:// only"),
        ("proxyHost=a", "proxyHost is not supported"),
        ("maxPoolSize=abc", "maxPoolSize is not valid"),
        ("readPreference=nearby", "readPreference is not valid"),
        ("connectTimeoutMS=soon", "connectTimeoutMS is not valid"),
        ("loadBalanced=true&replicaSet=rs0", "loadBalanced goes with neither"),
        ("loadBalanced=true&directConnection=true", "loadBalanced goes with neither"),
    ],
)
def test_refused_options(query: str, sentence: str) -> None:
    assert sentence in refusal(f"mongodb://db1/?{query}")


def test_options_for_one_host_are_refused_with_several() -> None:
    assert "one host only" in refusal("mongodb://a,b/?directConnection=true")
    assert "one host only" in refusal("mongodb://a,b/?loadBalanced=true")


def test_honoured_options() -> None:
    read = target(
        "mongodb://db1/?REPLICASET=rs%2D0&authSource=users&authMechanism=SCRAM-SHA-1"
        "&directConnection=true&tls=true&tlsInsecure=false",
        Form(database="users"),
    )
    assert read.set_name == "rs-0"
    assert read.auth_database == "users"
    assert read.options == {"authMechanism": "SCRAM-SHA-1", "directConnection": True}
    assert target("mongodb://db1/?loadBalanced=true").load_balanced
    compressed = target("mongodb://db1/?compressors=zstd%2Csnappy&zlibCompressionLevel=9")
    assert compressed.options == {"compressors": "zstd,snappy", "zlibCompressionLevel": 9}
    assert target("mongodb://db1/?directConnection=false").options == {}


def test_the_form_says_how_the_connection_is_secured() -> None:
    read = target("mongodb://db1/?ssl=false", Form(ssl=False, reject_unauthorized=False, ca_certificate="pem"))
    assert (read.tls, read.reject_unauthorized, read.ca_certificate) == (False, False, "pem")
    assert not target("mongodb://db1/?tlsInsecure=true", Form(reject_unauthorized=False)).reject_unauthorized
    assert "Enable SSL is off" in refusal("mongodb://db1/?tls=true", Form(ssl=False))


def test_what_concerns_clients_only_is_accepted_with_a_notice() -> None:
    read, notices = parse("mongodb://db1/?retryWrites=true&w=majority&readPreferenceTags=a:b&readPreferenceTags=", FORM)
    assert read.options == {}
    assert [notice.split()[0] for notice in notices] == ["retryWrites", "w", "readPreferenceTags"]


def test_every_option_that_pymongo_knows_has_a_meaning_here() -> None:
    from pymongo.uri_parser import URI_OPTIONS

    assert {name.lower() for name in URI_OPTIONS} - {"fsync"} <= OPTIONS.keys()


def test_a_name_whose_hosts_the_gateway_looks_up() -> None:
    read = target("mongodb+srv://Cluster0.Example.NET/?srvServiceName=shop&srvMaxHosts=3")
    assert (read.hosts, read.srv_host) == ([], "cluster0.example.net")
    assert (read.srv_service, read.srv_max_hosts) == ("shop", 3)
    plain, notices = parse("mongodb+srv://c0.example.net/?retryWrites=true&replicaSet=rs0", FORM)
    assert (plain.srv_service, plain.srv_max_hosts, plain.set_name, plain.tls) == ("mongodb", 0, "rs0", True)
    assert [notice.split()[0] for notice in notices] == ["retryWrites"]


HOST = st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z](\.[a-z]{2,5})?", fullmatch=True)
PLACE = st.tuples(HOST, st.one_of(st.none(), st.integers(1, 65535)))


@given(
    places=st.lists(PLACE, min_size=1, max_size=5, unique=True),
    set_name=st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
)
def test_agrees_with_pymongo(places: list[tuple[str, int | None]], set_name: str) -> None:
    hosts = ",".join(host if port is None else f"{host}:{port}" for host, port in places)
    text = f"mongodb://{hosts}/?replicaSet={set_name}"
    theirs = parse_uri(text)
    if len(set(theirs["nodelist"])) < len(places):
        assert "twice" in refusal(text)
        return
    ours = target(text)
    assert ours.hosts == theirs["nodelist"]
    assert ours.set_name == theirs["options"]["replicaSet"]


@settings(max_examples=300)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.text(alphabet="ab1.:,/?&=@[]%;-0x", max_size=60),
        st.tuples(st.sampled_from(sorted(OPTIONS)), st.text(max_size=10)).map(lambda pair: f"h/?{pair[0]}={pair[1]}"),
    )
)
def test_any_text_is_understood_or_refused(text: str) -> None:
    """No other exception, and nothing that was read differs from what pymongo reads."""
    for candidate in (text, f"mongodb://{text}", f"mongodb+srv://{text}"):
        try:
            read, _ = parse(candidate, FORM)
        except ProblemError:
            continue
        if read.srv_host is not None:
            assert (read.hosts, "." in read.srv_host) == ([], True)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = parse_uri(candidate.strip())
        assert theirs["username"] is None
        assert theirs["database"] is None
        assert len(theirs["nodelist"]) == len(read.hosts)
        assert [port for _, port in theirs["nodelist"]] == [port for _, port in read.hosts]


def test_the_table_is_complete() -> None:
    assert all(option.advice for option in OPTIONS.values() if option.role is Role.REFUSED)


@pytest.mark.parametrize("name", ["admin", "users-2", "bücher", "a" * 63])
def test_names_of_databases(name: str) -> None:
    check_database(name)


@pytest.mark.parametrize(
    "name", ["a/b", "a.b", "a b", "a$b", 'a"b', "a\x00b", "a\nb", "a\\b", "a?b", "ü" * 32, "$external"]
)
def test_what_is_no_authentication_database_is_refused(name: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check_database(name)
    assert caught.value.problem.code is ProblemCode.INVALID_REQUEST
    assert [error.field for error in caught.value.problem.errors] == ["database"]
    assert ("Leave $external out" in str(caught.value)) == (name == "$external")
