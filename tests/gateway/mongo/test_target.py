"""The one spelling of addresses, and what a target takes from the control plane."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.api.machine import MongoTarget
from wardgate.gateway.mongo.errors import MongoError
from wardgate.gateway.mongo.target import Target, join_address, split_address
from wardgate.testing.certificates import CertificateAuthority


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("DB1.Example:27018", ("db1.example", 27018)),
        ("db1", ("db1", 27017)),
        ("[::1]:27017", ("::1", 27017)),
        ("[2001:DB8::1]", ("2001:db8::1", 27017)),
        ("under_score:1", ("under_score", 1)),
    ],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts
    assert split_address(join_address(*parts)) == parts


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":27017",
        "a:0",
        "a:70000",
        "a:x",
        "a b:1",
        "/tmp/mongodb.sock",
        "u@h:1",
        "[nope]:1",
        "[::1",
        "a:1:2",
        "h#:1",
        "a\n:1",
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError):
        split_address(address)


@given(st.text(max_size=40))
def test_an_address_has_one_spelling(text: str) -> None:
    try:
        address = join_address(*split_address(text))
    except ValueError:
        return
    assert join_address(*split_address(address)) == address


def model(**changes: Any) -> MongoTarget:
    values: dict[str, Any] = {
        "hosts": [("DB1", 27017), ("db2", 27018), ("db1", 27017)],
        "tls": True,
        "reject_unauthorized": True,
        "auth_database": "admin",
    }
    return MongoTarget(**{**values, **changes})


def test_target_from_the_control_plane() -> None:
    target = Target.of(model(set_name="rs0", options={"directConnection": True}))
    assert target.seeds == ("db1:27017", "db2:27018")
    assert (target.set_name, target.direct, target.verified) == ("rs0", True, True)
    assert not Target.of(model(reject_unauthorized=False)).verified
    assert Target.of(model(tls=False, reject_unauthorized=False)).tls is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ca_certificate": "hello"}, "ca_invalid"),
        ({"ca_certificate": ""}, "ca_invalid"),
        ({"ca_certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "ca_invalid"),
        ({"srv_host": "cluster.example.net", "hosts": []}, "dns_failed"),  # nobody has located it
        ({"hosts": []}, "dns_failed"),
        ({"hosts": [("a b", 1)]}, "dns_failed"),
        ({"hosts": [(f"h{n}", 1) for n in range(100)]}, "dns_failed"),
    ],
)
def test_targets_that_are_none(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(MongoError) as caught:
        Target.of(model(**changes))
    assert caught.value.code == code


def test_a_given_authority_replaces_the_systems() -> None:
    target = Target.of(model(ca_certificate=CertificateAuthority.create().pem))
    assert target.tls is not None
    assert len(target.tls.get_ca_certs()) == 1
