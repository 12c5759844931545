"""Addresses that are never dialled, in every form that they can be written in."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.net.places import is_public, never_dialled


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
    assert never_dialled(ip)


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "::1", "10.0.0.1", "172.16.0.9", "192.168.1.1", "100.64.0.1", "8.8.8.8", "2001:db8::1", "fd00::5"],
)
def test_databases_live_here(ip: str) -> None:
    assert not never_dialled(ip)


@given(st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_no_wrapping_hides_link_local(ip: ipaddress.IPv4Address) -> None:
    assert never_dialled(str(ip))
    assert never_dialled(f"::ffff:{ip}")
    assert never_dialled(f"64:ff9b::{ip}")


@given(st.ip_addresses())
def test_the_rule_knows_every_address(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        assert never_dialled(str(ip))
    else:
        never_dialled(str(ip))


@pytest.mark.parametrize("ip", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_the_internet(ip: str) -> None:
    assert is_public(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "10.1.2.3",
        "100.64.0.1",
        "192.168.0.1",
        "::1",
        "fd00::5",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a00:1",
    ],
)
def test_not_the_internet(ip: str) -> None:
    assert not is_public(ip)
