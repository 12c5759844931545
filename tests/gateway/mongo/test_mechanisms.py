"""Logins other than SCRAM: X.509 at a real server, PLAIN, MONGODB-AWS and MONGODB-OIDC at one that checks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from wardgate.api.machine import Credentials, MongoTarget
from wardgate.api.models import HopKind, Mechanism
from wardgate.errors import WardgateError
from wardgate.gateway.mongo.approach import approach, run_test
from wardgate.gateway.mongo.errors import MongoError
from wardgate.gateway.mongo.login import Login
from wardgate.gateway.mongo.server import ServerConnection
from wardgate.gateway.mongo.site import Site
from wardgate.gateway.mongo.target import Target
from wardgate.numbers import Numbers
from wardgate.secret import Secret
from wardgate.testing.certificates import CertificateAuthority
from wardgate.testing.mongo import STANDALONE, MongoDeployment, MongoFactory
from wardgate.testing.sasl import SaslServer

from .conftest import model_of, server_context

CA = CertificateAuthority.create()
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJndyJ9.c2ln"
SECRET = "correct/horse+battery"


def model(server: SaslServer, **changes: Any) -> MongoTarget:
    values: dict[str, Any] = {
        "hosts": [("localhost", server.port)],
        "tls": True,
        "reject_unauthorized": True,
        "ca_certificate": CA.pem,
        "auth_database": "admin",
    }
    return MongoTarget(**{**values, **changes})


async def whoami(target: Target, login: Login) -> list[tuple[str, str]]:
    async with await ServerConnection.open(target, target.seeds[0], purpose="test", login=login) as connection:
        status = await connection.command({"connectionStatus": 1})
    return [(user["user"], user["db"]) for user in status["authInfo"]["authenticatedUsers"]]


@pytest.fixture
def serve() -> Callable[..., SaslServer]:
    return lambda mechanism, users, **more: SaslServer(mechanism, users, tls=server_context(CA.issue()), **more)


# --- at a server that checks --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An account, and whom the server knows."""

    mechanism: Mechanism
    users: dict[str, str]
    username: str = ""
    password: str = ""

    @property
    def credentials(self) -> Credentials:
        return Credentials(mechanism=self.mechanism, username=self.username, password=self.password)


CASES = [
    Case(Mechanism.PLAIN, {"ldap user, ö": SECRET}, "ldap user, ö", SECRET),
    Case(Mechanism.AWS, {"AKIDEXAMPLE": SECRET}, "AKIDEXAMPLE", SECRET),
    Case(Mechanism.OIDC, {JWT: "gateway"}),
]


@pytest.fixture(params=CASES, ids=lambda case: case.mechanism.value)
def case(request: pytest.FixtureRequest) -> Case:
    return cast("Case", request.param)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    file = tmp_path / "token"
    file.write_text(f"{JWT}\n")
    return Site(oidc_token_file=file, oidc_hosts=("localhost",))


async def test_logins(serve: Callable[..., SaslServer], site: Site, quick: Numbers, case: Case) -> None:
    async with serve(case.mechanism.value, case.users) as server:
        target, login = await approach(model(server), case.credentials, site, quick)
        assert login.name_for_hello is None
        for _ in range(2):  # each login is a new one
            assert await whoami(target, login) == [(case.username or "gateway", "$external")]
        assert all("options" not in command for command in server.seen)
        result = await run_test(model(server), case.credentials, site, quick)
        assert result.ok, result.hops
        assert [hop.hop for hop in result.hops].count(HopKind.LOGIN) == 1
        login.wipe()
        with pytest.raises(MongoError) as caught:
            await whoami(target, login)
        assert caught.value.code == "login_failed"


async def test_refused_logins(serve: Callable[..., SaslServer], site: Site, quick: Numbers, case: Case) -> None:
    others = dict.fromkeys(case.users, "something else") if case.password else {}
    async with serve(case.mechanism.value, others) as server:
        result = await run_test(model(server), case.credentials, site, quick)
    (failed,) = [hop for hop in result.hops if not hop.ok]
    assert (failed.hop, failed.code) == (HopKind.LOGIN, "login_failed")
    assert SECRET not in str(result)
    assert JWT not in str(result)
    async with serve("GSSAPI", {}) as server:
        result = await run_test(model(server), case.credentials, site, quick)
    (failed,) = [hop for hop in result.hops if not hop.ok]
    assert (failed.hop, failed.code) == (HopKind.LOGIN, "login_mechanism")


@pytest.mark.parametrize("weak", [{"tls": False}, {"reject_unauthorized": False}])
async def test_never_without_verified_tls(
    serve: Callable[..., SaslServer], site: Site, quick: Numbers, case: Case, weak: dict[str, bool]
) -> None:
    async with serve(case.mechanism.value, case.users) as server:
        result = await run_test(model(server, **weak), case.credentials, site, quick)
        assert [(hop.hop, hop.code) for hop in result.hops] == [(HopKind.LOGIN, "login_needs_tls")]
        with pytest.raises(MongoError) as caught:
            await approach(model(server, **weak), case.credentials, site, quick)
        assert caught.value.code == "login_needs_tls"
        assert server.seen == []


async def test_a_nonce_that_is_not_ours_gets_no_signature(
    serve: Callable[..., SaslServer], site: Site, quick: Numbers
) -> None:
    async with serve("MONGODB-AWS", {"AKIDEXAMPLE": SECRET}, spoil_nonce=True) as server:
        credentials = Credentials(mechanism=Mechanism.AWS, username="AKIDEXAMPLE", password=SECRET)
        target, login = await approach(model(server), credentials, site, quick)
        with pytest.raises(MongoError) as caught:
            await whoami(target, login)
        assert caught.value.code == "login_hostile"
        assert not any("saslContinue" in command for command in server.seen)


# --- the gateway's own token --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "allowed"),
    [
        ((), False),
        (("other.example",), False),
        (("*.localhost",), False),
        (("notlocalhost",), False),
        (("localhost",), True),
        (("db1.example", "localhost"), True),
    ],
)
async def test_the_token_is_for_named_hosts_only(
    serve: Callable[..., SaslServer], site: Site, quick: Numbers, hosts: tuple[str, ...], allowed: bool
) -> None:
    async with serve("MONGODB-OIDC", {JWT: "gateway"}) as server:
        ours = Site(oidc_token_file=site.oidc_token_file, oidc_hosts=hosts)
        result = await run_test(model(server), Credentials(mechanism=Mechanism.OIDC), ours, quick)
        assert result.ok is allowed
        if not allowed:
            assert [hop.code for hop in result.hops] == ["login_host"]
            assert server.seen == []


async def test_the_token_is_not_for_members_that_nobody_named(
    serve: Callable[..., SaslServer], site: Site, quick: Numbers
) -> None:
    """A set names its members by itself, and so does a record that is looked up again."""
    async with serve("MONGODB-OIDC", {JWT: "gateway"}) as server, serve("MONGODB-OIDC", {}) as stranger:
        elsewhere = f"127.0.0.1:{stranger.port}"
        members = {"setName": "rs0", "hosts": [f"localhost:{server.port}", elsewhere]}
        server.extra_hello = members
        stranger.extra_hello = {**members, "isWritablePrimary": False, "secondary": True}
        credentials = Credentials(mechanism=Mechanism.OIDC)
        result = await run_test(model(server), credentials, site, quick)
        assert [(hop.target, hop.code) for hop in result.hops if not hop.ok] == [(elsewhere, "login_host")]
        target, login = await approach(model(server), credentials, site, quick)
        with pytest.raises(MongoError) as caught:
            await ServerConnection.open(target, elsewhere, purpose="test", login=login)
        assert caught.value.code == "login_host"
        assert stranger.seen == []


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "login_token"), (b"", "login_token"), (b"no token", "login_token"), (b"\xff", "login_token")],
)
async def test_a_token_file_that_helps_nobody(
    serve: Callable[..., SaslServer], site: Site, quick: Numbers, content: bytes | None, code: str
) -> None:
    assert site.oidc_token_file is not None
    if content is None:
        site.oidc_token_file.unlink()
    else:
        site.oidc_token_file.write_bytes(content)
    async with serve("MONGODB-OIDC", {JWT: "gateway"}) as server:
        result = await run_test(model(server), Credentials(mechanism=Mechanism.OIDC), site, quick)
    assert [hop.code for hop in result.hops if not hop.ok] == ["login_token"]


async def test_a_renewed_token_is_read_at_the_next_login(
    serve: Callable[..., SaslServer], site: Site, quick: Numbers
) -> None:
    async with serve("MONGODB-OIDC", {JWT: "first", f"{JWT}2": "second"}) as server:
        target, login = await approach(model(server), Credentials(mechanism=Mechanism.OIDC), site, quick)
        assert await whoami(target, login) == [("first", "$external")]
        assert site.oidc_token_file is not None
        site.oidc_token_file.write_text(f"{JWT}2")
        assert await whoami(target, login) == [("second", "$external")]


def test_a_site_from_the_environment(tmp_path: Path) -> None:
    site = Site.of(
        {
            "WARDGATE_GATEWAY_DNS": "[::1]:5353",
            "WARDGATE_GATEWAY_OIDC_TOKEN_FILE": str(tmp_path / "t"),
            "WARDGATE_GATEWAY_OIDC_HOSTS": " DB1.example.com, *.Example.net,",
        }
    )
    assert repr(site.names) == "Names(('::1', 5353))"
    assert site.oidc_token_file == tmp_path / "t"
    assert site.oidc_hosts == ("db1.example.com", "*.example.net")
    site.check_oidc_hosts(["db1.example.com", "a.b.example.net"])
    with pytest.raises(MongoError):
        site.check_oidc_hosts(["db1.example.com", "example.net"])
    with pytest.raises(MongoError):
        Site.of({}).oidc_token()


@pytest.mark.parametrize(
    "environment",
    [
        {"WARDGATE_GATEWAY_DNS": "dns.example.com:53"},
        {"WARDGATE_GATEWAY_DNS": "10.0.0.1"},
        {"WARDGATE_GATEWAY_DNS": "10.0.0.1:70000"},
        {"WARDGATE_GATEWAY_OIDC_HOSTS": "*"},
        {"WARDGATE_GATEWAY_OIDC_HOSTS": "https://db1"},
        {"WARDGATE_GATEWAY_OIDC_HOSTS": "a.*.b"},
    ],
)
def test_an_environment_that_makes_no_sense(environment: dict[str, str]) -> None:
    with pytest.raises(WardgateError) as caught:
        Site.of(environment)
    assert next(iter(environment)) in caught.value.message


# --- X.509 at a real server ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(mongod_rs1: MongoDeployment) -> str:
    return mongod_rs1.create_x509_login("x509 reader, ö", ["readAnyDatabase"]).decode()


@pytest.fixture
def x509(certificate: str) -> Credentials:
    return Credentials(mechanism=Mechanism.X509, client_certificate=certificate)


async def test_a_client_certificate_logs_in(mongod_rs1: MongoDeployment, x509: Credentials, quick: Numbers) -> None:
    target, login = await approach(model_of(mongod_rs1), x509, Site(), quick)
    assert await whoami(target, login) == [("CN=x509 reader\\, \\C3\\B6,O=wardgate test clients", "$external")]
    result = await run_test(model_of(mongod_rs1), x509, Site(), quick)
    assert result.ok, result.hops
    assert HopKind.LOGIN in [hop.hop for hop in result.hops]
    login.wipe()
    with pytest.raises(MongoError):
        await whoami(target, login)


async def test_a_certificate_that_is_no_user(mongod_rs1: MongoDeployment, quick: Numbers) -> None:
    assert mongod_rs1.ca is not None
    stranger = Credentials(mechanism=Mechanism.X509, client_certificate=mongod_rs1.ca.issue_client("nobody").decode())
    result = await run_test(model_of(mongod_rs1), stranger, Site(), quick)
    (failed,) = [hop for hop in result.hops if not hop.ok]
    assert (failed.hop, failed.code) == (HopKind.LOGIN, "login_failed")
    assert "client certificate" in failed.message


async def test_a_certificate_of_another_authority(mongod_rs1: MongoDeployment, quick: Numbers) -> None:
    stranger = Credentials(mechanism=Mechanism.X509, client_certificate=CA.issue_client("nobody").decode())
    result = await run_test(model_of(mongod_rs1), stranger, Site(), quick)
    failed = next(hop for hop in result.hops if not hop.ok)
    assert (failed.hop, failed.code) == (HopKind.TLS, "tls_client_certificate")


async def test_a_certificate_that_expired_meanwhile(mongod_rs1: MongoDeployment, quick: Numbers) -> None:
    assert mongod_rs1.ca is not None
    now = datetime.now(UTC)
    pem = mongod_rs1.ca.issue_client("late", not_before=now - timedelta(days=2), not_after=now - timedelta(days=1))
    late = Credentials(mechanism=Mechanism.X509, client_certificate=pem.decode())
    result = await run_test(model_of(mongod_rs1), late, Site(), quick)
    assert [(hop.hop, hop.code) for hop in result.hops] == [(HopKind.TLS, "client_certificate_expired")]


@pytest.mark.parametrize("pem", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
async def test_a_lease_with_a_broken_certificate(mongod_rs1: MongoDeployment, quick: Numbers, pem: str) -> None:
    broken = Credentials(mechanism=Mechanism.X509, client_certificate=pem)
    with pytest.raises(MongoError) as caught:
        await approach(model_of(mongod_rs1), broken, Site(), quick)
    assert caught.value.code == "client_certificate_invalid"


async def test_a_key_of_somebody_else(mongod_rs1: MongoDeployment, certificate: str, quick: Numbers) -> None:
    other = CA.issue_client("other").decode()
    mixed = other[: other.index("-----BEGIN CERT")] + certificate[certificate.index("-----BEGIN CERT") :]
    with pytest.raises(MongoError) as caught:
        await approach(
            model_of(mongod_rs1), Credentials(mechanism=Mechanism.X509, client_certificate=mixed), Site(), quick
        )
    assert caught.value.code == "client_certificate_invalid"
    assert "KEY-----" not in str(caught.value)


async def test_scram_behind_mutual_tls(serve: Callable[..., SaslServer], quick: Numbers) -> None:
    """A server that wants a certificate from everybody: any mechanism, with one on the account."""
    context = server_context(CA.issue(), client_ca=CA.pem)
    async with SaslServer("PLAIN", {"u": SECRET}, tls=context) as server:
        bare = Credentials(mechanism=Mechanism.PLAIN, username="u", password=SECRET)
        result = await run_test(model(server), bare, Site(), quick)
        assert [hop.code for hop in result.hops if not hop.ok] == ["tls_client_certificate"]
        shown = bare.model_copy(update={"client_certificate": CA.issue_client("machine").decode()})
        result = await run_test(model(server), shown, Site(), quick)
        assert result.ok, result.hops


async def test_a_mongod_that_wants_a_certificate_from_everybody(mongod: MongoFactory, quick: Numbers) -> None:
    deployment = mongod(replace(STANDALONE, demands_certificates=True))
    nobody = await run_test(model_of(deployment), None, Site(), quick)
    assert [(hop.hop, hop.code) for hop in nobody.hops if not hop.ok] == [(HopKind.TLS, "tls_client_certificate")]
    assert "demand a client certificate" in nobody.hops[-1].message
    assert deployment.ca is not None
    scram = Credentials(
        username=deployment.ro.username,
        password=deployment.ro.password,
        client_certificate=deployment.ca.issue_client("machine").decode(),
    )
    result = await run_test(model_of(deployment), scram, Site(), quick)
    assert result.ok, result.hops


def test_nothing_prints_a_secret(certificate: str) -> None:
    credentials = Credentials(mechanism=Mechanism.X509, client_certificate=certificate, password=SECRET)
    login = Login("u", Secret(SECRET), "admin", Mechanism.PLAIN)
    shown = f"{credentials!r} {login!r} {login.conversation()!r}"
    assert SECRET not in shown
    assert "PRIVATE KEY" not in shown
