"""`wardgate sso …`: a provider kept from the command line, and the rule on passwords."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wardgate.testing.issuer import Issuer

from ..control.sso.conftest import SECRET, Idp
from .conftest import Live


@pytest.fixture
def idp(live: Live) -> Iterator[Idp]:
    with Issuer() as issuer:
        yield Idp(issuer, live.control)


async def test_a_provider_from_its_adding_to_its_removal(live: Live, idp: Idp) -> None:
    assert "There is no provider" in (await live.run("sso", "list")).out
    assert (await live.run("group", "create", "dba")).code == 0
    words = ["--issuer", idp.url, "--client-id", "wardgate", "--client-secret-stdin", "--email-domain", "corp.example"]
    made = await live.run("sso", "add", "corp", *words, "--map", "cn=admins=dba", "--json", stdin=f"{SECRET}\n")
    assert made.code == 0, made.err
    assert made.json["mappings"] == [{"value": "cn=admins", "group": "dba"}]
    assert (made.json["has_secret"], made.json["lifetime"]) == (True, "12h")
    assert SECRET not in made.out
    tried = await live.run("sso", "test", "corp")
    assert (tried.code, "discovery" in tried.out) == (0, True)
    assert "corp.example" in (await live.run("sso", "list")).out
    changed = await live.run("sso", "update", "corp", "--lifetime", "none", "--no-map", "--trust-mfa", "--json")
    assert (changed.json["lifetime"], changed.json["mappings"], changed.json["trust_mfa"]) == (None, [], True)
    shown = await live.run("sso", "show", "corp")
    for word in (made.json["redirect_uri"], "corp.example", "as long as it is used", "trusted"):
        assert word in shown.out
    idp.issuer.more["token_endpoint"] = None
    live.control.clock.forward(minutes=11)
    broken = await live.run("sso", "test", "corp")
    assert (broken.code, "token endpoint" in broken.out) == (1, True)
    assert (await live.run("sso", "remove", "corp")).code == 0
    assert (await live.run("sso", "show", "corp")).code == 4


async def test_what_is_refused_says_why(live: Live, idp: Idp) -> None:
    here = ["--client-id", "wardgate", "--email-domain", "corp.example"]
    inside = await live.run("sso", "add", "corp", "--issuer", "https://169.254.169.254", *here)
    assert (inside.code, "error:" in inside.err) in ((1, True), (2, True))
    plain = await live.run("sso", "add", "corp", "--issuer", "http://idp.example", *here)
    assert (plain.code, "https://" in plain.err) == (2, True)
    mapping = await live.run("sso", "add", "corp", "--issuer", idp.url, *here, "--map", "nothing")
    assert (mapping.code, "VALUE=GROUP" in mapping.err) == (2, True)
    assert (await live.run("sso", "update", "corp")).code == 2


async def test_passwords_off_and_on(live: Live, idp: Idp) -> None:
    assert "on for everybody" in (await live.run("sso", "policy")).out
    words = [
        "--issuer",
        idp.url,
        "--client-id",
        "wardgate",
        "--email-domain",
        "example.com",
        "--email-domain",
        "b.example",
    ]
    assert (await live.run("sso", "add", "corp", *words)).code == 0
    locked = await live.run("sso", "policy", "--passwords-off")
    assert (locked.code, "nobody could sign in" in locked.err) == (1, True)
    assert (await live.run("sso", "update", "corp", "--email-domain", "b.example")).code == 0
    assert (await live.run("sso", "policy", "--passwords-off", "--json")).json == {"passwords_off": True}
    login = ["login", "--email", "ann@b.example", "--password-stdin"]
    assert (await live.run(*login, stdin="x\n")).code == 4
    assert "on for everybody" in (await live.run("sso", "policy", "--passwords-on")).out
    assert (await live.run(*login, stdin="x\n")).code == 3
