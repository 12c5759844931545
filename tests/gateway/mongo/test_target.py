"""Addresses that are never dialled, the one spelling of the others, and what a target takes from the control plane."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.api.machine import MongoTarget
from wardgate.gateway.mongo.errors import MongoError
from wardgate.gateway.mongo.target import Target, join_address, refused, split_address
from wardgate.testing.certificates import CertificateAuthority


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.0.1",
        "0.0.0.0",
        "0.0.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fe80::a9fe:a9fe",
        "fd00:ec2::254",
        "fd20:ce::254",
        "ff02::1",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ],
)
def test_refused_addresses(ip: str) -> None:
    assert refused(ip)


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "::1", "10.0.0.1", "172.16.0.9", "192.168.1.1", "100.64.0.1", "8.8.8.8", "2001:db8::1", "fd00::5"],
)
def test_databases_live_here(ip: str) -> None:
    assert not refused(ip)


@given(st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_no_wrapping_hides_link_local(ip: ipaddress.IPv4Address) -> None:
    assert refused(str(ip))
    assert refused(f"::ffff:{ip}")
    assert refused(f"64:ff9b::{ip}")


@given(st.ip_addresses())
def test_the_rule_knows_every_address(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        assert refused(str(ip))
    else:
        refused(str(ip))


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
