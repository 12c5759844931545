"""MONGODB-AWS: signatures as AWS's own library makes them, and challenges that are not answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.scram.aws import AwsClient, authorization, region_of
from wardgate.scram.primitives import ScramError

NOW = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NONCE = bytes(range(32))

# Made with botocore 1.44.5 (SigV4Auth, service sts) for the request of the driver authentication specification.
VECTORS = [
    (
        None,
        "sts.amazonaws.com",
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240229/us-east-1/sts/aws4_request, "
            "SignedHeaders=content-length;content-type;host;x-amz-date;x-mongodb-gs2-cb-flag;x-mongodb-server-nonce, "
            "Signature=f62f50c0bdee2bdbbf13ad0942b7cf31fac4a888cb323194af1cf6de139587e3"
        ),
    ),
    (
        "FwoGZXIvYXdzE+/token==",
        "sts.eu-central-1.amazonaws.com",
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240229/eu-central-1/sts/aws4_request, "
            "SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-security-token;"
            "x-mongodb-gs2-cb-flag;x-mongodb-server-nonce, "
            "Signature=c70ac882cdb22f1fefac033dbdf765fb4799ecd90630eb525571fddc2265b599"
        ),
    ),
]


def client(**changes: Any) -> AwsClient:
    values: dict[str, Any] = {"access_key": "AKIDEXAMPLE", "secret_key": SECRET, "nonce": NONCE, "now": lambda: NOW}
    return AwsClient(**{**values, **changes})


def challenge(**changes: Any) -> bytes:
    return bson.encode({"s": bytes(range(64)), "h": "sts.amazonaws.com", **changes})


@pytest.mark.parametrize(("token", "host", "header"), VECTORS)
def test_signatures(token: str | None, host: str, header: str) -> None:
    assert authorization("AKIDEXAMPLE", SECRET, token, host, bytes(range(64)), NOW) == header
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    assert authorization("AKIDEXAMPLE", SECRET, token, host, bytes(range(64)), elsewhere) == header
    ours = client(token=token)
    assert bson.decode(ours.start()) == {"r": NONCE, "p": 110}
    answer = ours.step(challenge(h=host))
    assert answer is not None
    assert bson.decode(answer) == {"a": header, "d": "20240229T235958Z", **({} if token is None else {"t": token})}
    assert ours.step(b"") is None
    assert SECRET.encode() not in answer


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sts.amazonaws.com", "us-east-1"),
        ("sts.us-west-2.amazonaws.com", "us-west-2"),
        ("sts.us-west-2.amazonaws.com.ch", "us-west-2"),
        ("example.com", "com"),
        ("localhost", "us-east-1"),
    ],
)
def test_regions(host: str, region: str) -> None:
    assert region_of(host) == region


@pytest.mark.parametrize(
    "host", ["", "a" * 256, ".", "first..second", "sts.", ".sts", "a b", "a\nb", "sts.é.com", "h:1"]
)
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(ScramError) as caught:
        client().step(challenge(h=host))
    assert caught.value.code == "aws_host"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "aws_malformed"),
        (b"\0" * 40, "aws_malformed"),
        (bson.encode({"h": "sts.amazonaws.com"}), "aws_malformed"),
        (challenge(s="text"), "aws_malformed"),
        (challenge(h=7), "aws_malformed"),
        (challenge(x="x" * 5000), "aws_malformed"),
        (challenge(s=bytes(range(32))), "aws_nonce"),
        (challenge(s=bytes(range(65))), "aws_nonce"),
        (challenge(s=bytes(64)), "aws_nonce"),
    ],
)
def test_challenges_that_are_not_answered(payload: bytes, code: str) -> None:
    with pytest.raises(ScramError) as caught:
        client().step(payload)
    assert caught.value.code == code


@given(st.binary(max_size=200))
def test_no_challenge_breaks_it(payload: bytes) -> None:
    try:
        client().step(payload)
    except ScramError:
        return
    raise AssertionError("random bytes continued our nonce")


def test_a_nonce_of_another_length_is_a_bug() -> None:
    with pytest.raises(ValueError):
        client(nonce=b"short")
