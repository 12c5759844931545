from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.tunnel import frames
from wardgate.tunnel.frames import FrameError, FrameReader

VECTORS = json.loads((Path(__file__).parent / "vectors/frames.json").read_text())["vectors"]
DIALECTS = {
    "to_gateway": frames.TO_GATEWAY,
    "to_client": frames.TO_CLIENT,
    "preface": frames.PREFACE,
    "to_relay": frames.TO_RELAY,
    "from_relay": frames.FROM_RELAY,
}


def packed(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "little") + text.encode()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["json"]["t"])
def test_vectors(vector: dict[str, Any]) -> None:
    wire = bytes.fromhex(vector["hex"])
    frame = DIALECTS[vector["dialect"]].decode(wire[4:])
    assert frame is not None
    assert frame.model_dump(mode="json") == vector["json"]
    assert frames.encode(frame) == wire


def test_every_frame_has_a_vector() -> None:
    kinds = {vector["json"]["t"] for vector in VECTORS}
    known = {model.model_fields["t"].default for model in frames.Frame.__subclasses__()}
    assert kinds == known


@given(st.lists(st.integers(1, 60), max_size=20))
def test_bytes_may_come_in_any_cut(cuts: list[int]) -> None:
    sent = [frames.Ready(), frames.Notice(message="é" * 20), frames.Ping()]
    wire = b"".join(map(frames.encode, sent))
    reader, got, at = FrameReader(frames.TO_CLIENT), [], 0
    for cut in [*cuts, len(wire)]:
        reader.feed(wire[at : at + cut])
        at += cut
        got += list(reader.frames())
    assert got == sent


def test_what_follows_a_preface_is_left_as_it_is() -> None:
    reader = FrameReader(frames.PREFACE)
    reader.feed(frames.encode(frames.Open(local="127.0.0.1:1")) + b"\xff\xff\xff\xffmongo")
    assert reader.next_frame() == frames.Open(local="127.0.0.1:1")
    assert reader.leftover() == b"\xff\xff\xff\xffmongo"
    assert reader.leftover() == b""


def test_unknown_kinds_and_fields_are_skipped() -> None:
    reader = FrameReader(frames.TO_CLIENT)
    reader.feed(packed('{"t":"later","x":1}') + packed('{"t":"ping","new":true}') + packed('{"t":"open"}'))
    assert list(reader.frames()) == [frames.Ping()]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"t":1}',
        '{"t":"ping","t":"ready"}',
        '{"t":"notice"}',
        '{"t":"notice","message":5}',
        '{"t":"topology","kind":"x","members":[]}',
        "[" * 5000,
    ],
)
def test_malformed_frames_end_the_stream(text: str) -> None:
    reader = FrameReader(frames.TO_CLIENT)
    reader.feed(packed(text))
    with pytest.raises(FrameError):
        reader.next_frame()


def test_a_length_is_judged_before_its_bytes_come() -> None:
    reader = FrameReader(frames.TO_CLIENT)
    reader.feed((65537).to_bytes(4, "little"))
    with pytest.raises(FrameError):
        reader.next_frame()


def test_a_frame_too_long_is_not_sent() -> None:
    with pytest.raises(FrameError):
        frames.encode(frames.Topology(kind="sharded", members=[frames.Member(address="m" * 300, role="mongos")] * 300))


def test_errors_never_repeat_what_was_received() -> None:
    with pytest.raises(FrameError) as caught:
        frames.TO_CLIENT.decode(b'{"t":"notice","message":{"hunter2":1}}')
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"
