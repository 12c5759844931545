"""The store of records: packed and sealed, made once, on disk or in a bucket, and what happens while it is away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardgate import ids, sealing
from wardgate.api.models import VerificationState
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit.chain import ChainReader, ChainWriter, EpochHead, Link, tail_frame
from wardgate.audit.frame import Frame, split
from wardgate.control.access.places import SessionDirectory
from wardgate.control.paging import Paging
from wardgate.control.records import Bucket, Layered, ObjectFolder, ObjectStore, RecordService, packing
from wardgate.control.records.objects import StoreAway, keep
from wardgate.errors import WardgateError
from wardgate.proof.epoch import UnreadableObject
from wardgate.testing.bucket import BucketDouble

from .conftest import AT, Recorded
from .samples import CLOSED, OPENED, find, insert, ok

SESSION = ids.make(ids.Kind.SESSION, 1_893_456_000_000, bytes(10))
KEY = bytes(range(32))


def opener(session_id: str, epoch: int, key_id: str, sealed: bytes) -> bytes:
    assert (session_id, epoch, key_id) == (SESSION, 3, "audit-1")
    if sealed != b"sealed key":
        raise ValueError("not ours")
    return KEY


def written(documents: list[bytes], *, tail: bool) -> list[Frame]:
    head = EpochHead(b"sealed key", "audit-1", "gw_one", AT, Link(2, 7, bytes(32)))
    raw = ids.to_bytes(SESSION, ids.Kind.SESSION)
    writer = ChainWriter(raw, 3, KEY, head)
    frames = [writer.head_frame, *[writer.append(document) for document in documents]]
    if tail:
        frames.append(tail_frame(raw, Link(3, writer.seq, writer.hash)))
    return split(b"".join(frames))


def packed(frames: list[Frame], before: bytes = b"") -> bytes:
    first = frames[0].head
    reader = ChainReader(first.session, 3, KEY, Link(3, first.seq - 1, before) if before else None)
    documents = {frame.head.seq: document for frame in frames if (document := reader.accept(frame)) is not None}
    return packing.pack(frames, documents, before, KEY, "audit-1", b"sealed key")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=12), st.booleans(), st.data())
def test_a_packed_batch_gives_back_every_byte(documents: list[bytes], tail: bool, data: st.DataObject) -> None:
    frames = written(documents, tail=tail)
    cut = data.draw(st.integers(1, len(frames)))
    made = packing.remake(packed(frames[:cut]), opener)
    assert made.data == b"".join(frame.raw for frame in frames[:cut])
    if cut < len(frames):
        behind = packing.remake(packed(frames[cut:], made.hashes[-1]), opener)
        assert (behind.first, behind.before) == (cut, made.hashes[-1])
        assert behind.data == b"".join(frame.raw for frame in frames[cut:])
        assert behind.closed is tail


def test_the_same_batch_gives_the_same_object_and_is_much_smaller() -> None:
    frames = written([b"find orders of customer 4711, limit 10 " * 5] * 200, tail=False)
    assert packed(frames) == packed(frames)
    assert len(packed(frames)) * 10 < sum(len(frame.raw) for frame in frames)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_object_that_was_changed_anywhere_does_not_open(data: st.DataObject) -> None:
    whole = packed(written([b"one", b"two"], tail=True))
    at = data.draw(st.integers(0, len(whole) - 1))
    spoilt = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    if packing.is_packed(spoilt):
        with pytest.raises((UnreadableObject, AssertionError)):
            packing.remake(spoilt, opener)


@pytest.mark.parametrize("length", [0, 4, 20, 60, 90])
def test_an_object_that_was_cut_does_not_open(length: int) -> None:
    with pytest.raises(UnreadableObject):
        packing.remake(packed(written([b"one"], tail=False))[:length], opener)


# --- stores ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketDouble]:
    pytest.importorskip("obstore")
    with BucketDouble() as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        yield double


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return ObjectFolder(tmp_path / "records")
    return Bucket(request.getfixturevalue("bucket").url)


def test_an_object_is_made_once(store: ObjectStore) -> None:
    store.put("ses_a/one", b"first")
    with pytest.raises(FileExistsError):
        store.put("ses_a/one", b"second")
    assert store.get("ses_a/one") == b"first"
    assert keep(store, "ses_a/one", b"first") == "ses_a/one"
    other = keep(store, "ses_a/one", b"second")
    assert (store.get("ses_a/one"), store.get(other)) == (b"first", b"second")
    store.delete("ses_a/one")
    store.delete("ses_a/one")
    with pytest.raises(FileNotFoundError):
        store.get("ses_a/one")


def test_a_folder_keeps_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectFolder(tmp_path / "records")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreAway, match="No space left on device"):
            store.put("ses_a/one", b"first")
    assert [path for path in (tmp_path / "records").rglob("*") if path.is_file()] == []
    store.put("ses_a/one", b"first")


def test_what_was_kept_in_the_folder_is_read_there_after_a_move(bucket: BucketDouble, tmp_path: Path) -> None:
    folder = ObjectFolder(tmp_path)
    folder.put("ses_a/old", b"old")
    store = Layered(Bucket(bucket.url), folder)
    store.put("ses_a/new", b"new")
    assert (store.get("ses_a/old"), store.get("ses_a/new")) == (b"old", b"new")
    assert list(bucket.objects) == ["wardgate/ses_a/new"]
    store.delete("ses_a/old")
    store.delete("ses_a/new")
    with pytest.raises(FileNotFoundError):
        store.get("ses_a/old")
    assert not bucket.objects


@pytest.mark.parametrize(
    ("status", "why"), [(503, "unavailable"), (500, "an error of its own"), (403, "access is denied")]
)
def test_a_bucket_that_refuses_is_away_and_says_why(bucket: BucketDouble, status: int, why: str) -> None:
    store = Bucket(bucket.url)
    store.put("ses_a/one", b"first")
    with bucket.failing(status):
        for ask in (lambda: store.put("ses_a/two", b"x"), lambda: store.get("ses_a/one")):
            with pytest.raises(StoreAway, match=why) as caught:
                ask()
            assert "wardgate-test-secret" not in str(caught.value)
    assert store.get("ses_a/one") == b"first"


def test_a_bucket_that_is_not_there_is_away(bucket: BucketDouble) -> None:
    store = Bucket(bucket.url)
    bucket.stop()
    with pytest.raises(StoreAway, match="can't be reached"):
        store.get("ses_a/one")


def test_a_put_that_was_done_and_not_confirmed_is_found_again(bucket: BucketDouble) -> None:
    store = Bucket(bucket.url)
    bucket.fail_after_keeping = True
    with pytest.raises((StoreAway, FileExistsError)):
        store.put("ses_a/one", b"first")
    bucket.fail_after_keeping = False
    assert keep(store, "ses_a/one", b"first") == "ses_a/one"
    assert bucket.objects == {"wardgate/ses_a/one": b"first"}


@pytest.mark.parametrize(
    "url",
    [
        "http://bucket/prefix",
        "s3://",
        "s3://key:secret@bucket/prefix",
        "s3://bucket?endpoint=http://storage.example.com",
        "s3://bucket?acl=public-read",
        "s3://bucket?path_style=maybe",
    ],
)
def test_a_store_that_makes_no_sense_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(WardgateError) as caught:
        Bucket(url)
    assert caught.value.code == "bad_records_store"
    assert "secret" not in caught.value.message


# --- the control plane over a store ---------------------------------------------------------------------------------


@pytest.fixture
def in_bucket(recorded: Recorded, bucket: BucketDouble) -> RecordService:
    """The record service of the same installation, over the bucket."""
    services = recorded.control.services
    return RecordService(
        services.database,
        services.audit_log,
        services.sources,
        services.keys,
        SessionDirectory(),
        Bucket(bucket.url),
        services.keeping,
    )


async def test_an_outage_of_the_store_loses_nothing_and_is_called_by_its_name(
    recorded: Recorded, in_bucket: RecordService, bucket: BucketDouble
) -> None:
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2))
    epoch.records = in_bucket
    await epoch.ship()
    epoch.append(insert(100), ok(4), CLOSED)
    with bucket.failing(503):
        with pytest.raises(ProblemError) as caught:
            await epoch.ship()
        assert (caught.value.problem.code, caught.value.problem.status) == (ProblemCode.STORE_UNAVAILABLE, 503)
        assert "503" in caught.value.message
        assert await recorded.control.count("record_batches") == 1
        # What can't be read now is neither missing nor tampered with.
        for ask in (
            in_bucket.verify(recorded.actor(), recorded.session_id),
            in_bucket.read(recorded.actor(), recorded.session_id, Paging()),
        ):
            with pytest.raises(ProblemError) as caught:
                await ask
            assert caught.value.problem.code is ProblemCode.STORE_UNAVAILABLE
        assert (await recorded.row()).verification is not VerificationState.TAMPERED
    await epoch.ship()
    await recorded.end()
    await in_bucket.sweep()
    assert (await in_bucket.verify(recorded.actor(), recorded.session_id)).state is VerificationState.VERIFIED
    page = await in_bucket.read(recorded.actor(), recorded.session_id, Paging())
    assert [item.command for item in page.items if item.kind == "command"] == ["find", "insert"]


async def test_records_of_the_first_form_stay_readable_and_verifiable(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(OPENED, find(value="old"), ok(2))
    await epoch.ship()
    (path,) = recorded.files()
    path.write_bytes(recorded.stored(path))  # as a version before this one kept it
    epoch.append(find(value="new"), ok(4), CLOSED)
    await epoch.ship()
    await recorded.end()
    await recorded.records.sweep()
    assert (await recorded.verify()).state is VerificationState.VERIFIED
    page = await recorded.records.read(recorded.actor(), recorded.session_id, Paging())
    assert ["old" in str(item.body) for item in page.items if item.kind == "command"] == [True, False]


async def test_objects_that_were_moved_are_named_as_frames_are(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2))
    await epoch.ship()
    for value in range(2):
        await epoch.append(find(value=value), find(value=value + 1)).ship()
    files = recorded.files()
    first, second, third = (path.read_bytes() for path in files)
    assert packing.is_packed(second)
    files[1].write_bytes(third)
    found = await recorded.verify()
    assert (found.how, found.epoch, found.seq) == ("gap", 1, 4)
    files[1].write_bytes(first)
    assert (await recorded.verify()).how == "replayed"
    files[1].write_bytes(second[:-1] + bytes([second[-1] ^ 1]))
    found = await recorded.verify()
    assert (found.how, found.seq) == ("altered", 4)
    files[1].write_bytes(b"")
    assert (await recorded.verify()).state is VerificationState.TAMPERED
    files[1].write_bytes(second)
    assert (await recorded.verify()).state is VerificationState.OPEN


async def test_an_object_under_a_key_of_somebody_elses_is_no_record(recorded: Recorded) -> None:
    """Everybody can seal a key to the public audit key, and pack what they like under it."""
    epoch = (await recorded.lease()).append(OPENED, find())
    await epoch.ship()
    await epoch.append(find(value="true")).ship()
    keys = recorded.control.services.keys
    key = os.urandom(32)
    sealed = sealing.seal(keys.audit_public_key, sealing.epoch_info(recorded.session_id, 1), key)
    path = recorded.files()[1]
    (frame,) = split(recorded.stored(path))
    forged = packing.pack([frame], {frame.head.seq: b"\5\0\0\0\0"}, bytes(32), key, keys.audit_key_id, sealed)
    path.write_bytes(forged)
    page = await recorded.records.read(recorded.actor(), recorded.session_id, Paging())
    assert "can't be read" in str(page.items[-1].body)
    found = await recorded.verify()
    assert (found.state, found.how, found.seq) == (VerificationState.TAMPERED, "altered", 3)
