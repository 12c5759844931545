"""sealing: a value opens with its key and purpose, and with nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate import sealing
from wardgate.sealing import SealError


@given(plaintext=st.binary(max_size=300), info=st.binary(max_size=60))
def test_round_trip(plaintext: bytes, info: bytes) -> None:
    private, public = sealing.generate()
    blob = sealing.seal(public, info, plaintext)
    assert len(blob) == len(plaintext) + sealing.OVERHEAD
    assert plaintext == sealing.open_(private, info, blob)
    assert sealing.public_of(private) == public


def test_another_purpose_another_key_or_other_bytes_do_not_open() -> None:
    private, public = sealing.generate()
    other, _ = sealing.generate()
    info = sealing.lease_info("ses_a", "gw_a")
    blob = sealing.seal(public, info, b"secret")
    cases = [
        (private, sealing.lease_info("ses_b", "gw_a"), blob),
        (private, sealing.test_info("ses_a", "gw_a"), blob),
        (other, info, blob),
        (private, info, blob[:-1]),
        (private, info, blob[:-1] + bytes([blob[-1] ^ 1])),
        (private, info, b""),
        (b"short", info, blob),
    ]
    for key, purpose, sealed in cases:
        with pytest.raises(SealError):
            sealing.open_(key, purpose, sealed)


@pytest.mark.parametrize("public", [b"", b"x" * 31, bytes(32)])
def test_a_key_that_is_none_is_refused(public: bytes) -> None:
    with pytest.raises(SealError):
        sealing.seal(public, b"", b"secret")


def test_purposes_differ() -> None:
    purposes = [
        sealing.lease_info("a", "b"),
        sealing.test_info("a", "b"),
        sealing.epoch_info("a", 1),
        sealing.epoch_info("a", 2),
        sealing.relay_key_info("a"),
    ]
    assert len(set(purposes)) == len(purposes)
