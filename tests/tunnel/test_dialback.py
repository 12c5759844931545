from __future__ import annotations

import json
from pathlib import Path

import pytest

from wardgate.tunnel import dialback

VECTORS = json.loads((Path(__file__).parent / "vectors/dialback.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors(vector: dict[str, str]) -> None:
    ticket = bytes.fromhex(vector["ticket"])
    assert dialback.preface(ticket).hex() == vector["hex"]
    assert dialback.parse_preface(dialback.preface(ticket) + b"more") == ticket


@pytest.mark.parametrize("data", [b"", b"WGB1", b"WGB1" + bytes(15), b"WGB2" + bytes(16)])
def test_anything_else_is_none(data: bytes) -> None:
    assert dialback.parse_preface(data) is None
