"""Large and compressed messages against a real MongoDB: streamed, compressed on either leg, refused as mongod does."""

from __future__ import annotations

import itertools
import os
import struct
import threading
from collections.abc import Callable
from typing import Any

import bson
import gridfs
import pytest
from pymongo import DeleteOne, InsertOne, MongoClient, UpdateOne, WriteConcern
from pymongo.cursor import CursorType
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure

from wardgate.audit import records as audit
from wardgate.audit.codec import Assembler, Entry
from wardgate.policy.decide import Policy
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.playbook import (
    MORE_TO_COME,
    body_section,
    command,
    document_of,
    op_msg_sections,
    sequence_section,
)
from wardgate.wire.compression import Compressor, compress, decompress, read_head
from wardgate.wire.header import HEADER, Opcode, header_of

from .test_pump import Bare, Document, client_of, eventually
from .wire_client import RawClient

MB = 1_000_000
BLOB = os.urandom(MB)


def streamed(gateway: Any) -> list[audit.CommandIntent | audit.Denied]:
    """Commands that were streamed, with their bodies."""
    found = []
    records = gateway.records
    for record in records:
        if isinstance(record, audit.CommandIntent | audit.Denied) and record.streamed is not None:
            assembler = Assembler(Entry(0, record, ()))
            for part in records:
                if isinstance(part, audit.UploadPart):
                    assembler.add(part)
            whole = assembler.record()
            assert isinstance(whole, audit.CommandIntent | audit.Denied)
            found.append(whole)
    return found


def insert(
    documents: list[Document], *, flags: int = 0, last: bool = False, into: str = "large", database: str = "large"
) -> bytes:
    """With its documents in a section, before the kind-0 section if that is to be `last`."""
    sections = [body_section({"insert": into, "$db": database}), sequence_section("documents", documents)]
    return op_msg_sections(sections[::-1] if last else sections, 7, flags)


# --- requests ---------------------------------------------------------------------------------------------------------


def test_bulk_writes_of_every_kind(rs1: Any, mongod_rs1: MongoDeployment) -> None:
    with client_of(rs1) as client:
        things = client.large.things
        things.drop()
        things.insert_many([{"_id": n, "x": BLOB[:50_000]} for n in range(100)])
        writes: list[Any] = [UpdateOne({"_id": n}, {"$set": {"y": BLOB[:20_000]}}) for n in range(100)]
        writes += [DeleteOne({"_id": n, "pad": {"$ne": BLOB[:10_000]}}) for n in range(50)]
        writes += [InsertOne({"_id": n, "x": BLOB[:30_000]}) for n in range(200, 230)]
        result = things.bulk_write(writes)
        assert (result.modified_count, result.deleted_count, result.inserted_count) == (100, 50, 30)
        with pytest.raises(BulkWriteError) as error:
            things.insert_many([{"_id": n % 400, "x": BLOB[:10_000]} for n in range(300, 500)], ordered=False)
        assert error.value.details["writeErrors"][0]["code"] == 11000
        things.insert_one({"_id": "largest", "x": os.urandom(16 * 1024 * 1024 - 100)})
        with client.start_session() as session, session.start_transaction():
            things.insert_many([{"_id": f"t{n}", "x": BLOB[:100_000]} for n in range(20)], session=session)
            session.abort_transaction()
        assert things.count_documents({"_id": {"$regex": "^t"}}) == 0
    recorded = streamed(rs1)
    assert {each.command for each in recorded} == {"insert", "update", "delete"}
    assert sum(len(each.sequences[0][1]) for each in recorded) > 25 * MB
    with mongod_rs1.client() as direct:
        assert direct.large.things.find_one({"_id": 99})["y"] == BLOB[:20_000]


@pytest.mark.parametrize("last", [False, True])
def test_47_9_megabytes_in_sections_of_any_order(standalone: Any, last: bool) -> None:
    with client_of(standalone) as client:
        client.large.large.drop()
        documents = [{"x": BLOB} for _ in range(47)]
        documents.append({"x": BLOB[: 47_970_000 - len(insert(documents))]})
        with Bare(standalone.main_port) as bare:
            assert bare.ask(insert(documents, last=last))["n"] == 48
            assert bare.ask(command({"ping": 1}, 8))["ok"] == 1
        assert client.large.large.count_documents({}) == 48


def test_one_byte_too_many_closes_that_socket_only(standalone: Any) -> None:
    with Bare(standalone.main_port) as other, Bare(standalone.main_port) as bare:
        assert other.ask(command({"ping": 1}, 1))["ok"] == 1
        bare.send(HEADER.pack(48_000_001, 7, 0, 2013))
        assert bare.receive() == b""
        assert other.ask(command({"ping": 1}, 2))["ok"] == 1


def test_documents_in_the_body_of_old_drivers(standalone: Any) -> None:
    with Bare(standalone.main_port) as bare:
        bare.ask(command({"drop": "large"}, 1, database="large"))
        documents = [{"n": n, "x": BLOB[:100_000]} for n in range(150)]
        reply = bare.ask(command({"insert": "large", "documents": documents, "ordered": True}, 2, database="large"))
        assert reply["n"] == 150
    (record,) = streamed(standalone)
    assert bson.decode(record.body)["documents"] == documents


def test_an_unacknowledged_insert_of_megabytes(standalone: Any, mongod_standalone: MongoDeployment) -> None:
    with client_of(standalone) as client:
        client.large.quiet.drop()
        quiet = client.large.get_collection("quiet", write_concern=WriteConcern(w=0))
        quiet.insert_many([{"_id": n, "x": BLOB} for n in range(5)])
        assert client.large.quiet.count_documents({}) == 5
    with mongod_standalone.client() as direct, Bare(standalone.main_port) as bare:
        bare.send(insert([{"_id": n, "x": BLOB} for n in range(5, 8)], flags=MORE_TO_COME, into="quiet"))
        bare.socket.close()
        eventually(lambda: direct.large.quiet.count_documents({}) == 8)


def test_a_read_only_user_is_told_by_mongodb_itself(mongod_standalone: MongoDeployment, gateway: Any) -> None:
    with gateway(mongod_standalone, mongod_standalone.ro) as it, client_of(it) as client:
        with pytest.raises(OperationFailure) as error:
            client.large.large.insert_many([{"x": BLOB} for _ in range(3)])
        assert error.value.code == 13
        assert "not authorized on large" in str(error.value)
        assert client.large.command("ping")["ok"] == 1


def test_a_refused_insert_costs_neither_server_nor_connection(mongod_standalone: MongoDeployment, gateway: Any) -> None:
    with gateway(mongod_standalone, policy=Policy()) as it, Bare(it.main_port) as bare:
        documents = [{"x": BLOB} for _ in range(3)]
        assert bare.ask(insert(documents, database="config"))["code"] == 13
        assert bare.ask(command({"ping": 1}, 8))["ok"] == 1
        with Bare(it.main_port) as other:
            assert other.ask(insert(documents, last=True, database="config"))["code"] == 13
            assert other.receive() == b""  # it was at the server but for its end
        (first, second) = streamed(it)
        assert isinstance(first, audit.Denied)
        assert isinstance(second, audit.Denied)
        assert first.sequences == second.sequences
    with mongod_standalone.client() as direct:
        assert "large" not in direct.config.list_collection_names()


def test_a_client_that_goes_in_mid_request_leaves_nothing(standalone: Any, mongod_standalone: MongoDeployment) -> None:
    message = insert([{"x": BLOB} for _ in range(10)], into="half")
    with mongod_standalone.client() as direct:
        direct.large.half.drop()
        with Bare(standalone.main_port) as bare:
            bare.send(message[:-100])
            eventually(lambda: any(isinstance(each, audit.UploadPart) for each in standalone.records))
        eventually(lambda: any(isinstance(each, audit.Malformed) for each in standalone.records))
        eventually(lambda: not standalone.streams)
        assert direct.large.half.count_documents({}) == 0


def test_a_session_that_ends_in_mid_request_leaves_nothing(standalone: Any, mongod_standalone: MongoDeployment) -> None:
    message = insert([{"x": BLOB} for _ in range(10)], into="half")
    with mongod_standalone.client() as direct, Bare(standalone.main_port) as bare:
        direct.large.half.drop()
        bare.send(message[:-100])
        eventually(lambda: any(isinstance(each, audit.UploadPart) for each in standalone.records))
        standalone.end("Time is up.")
        eventually(lambda: not standalone.streams)
        assert direct.large.half.count_documents({}) == 0


def large_and_wrong() -> dict[str, bytes]:
    """Messages beyond what is held that mongod refuses, some with an answer."""
    documents = [{"x": BLOB[:100_000]} for _ in range(5)]
    sections = body_section({"insert": "large", "$db": "large"}), sequence_section("documents", documents)
    raw = insert(documents)
    length, _, _, _ = HEADER.unpack_from(raw)
    summed = HEADER.pack(length + 4, 7, 0, 2013) + struct.pack("<I", 1) + raw[20:] + b"\1\2\3\4"
    cut = bytearray(raw)
    cut[-1] = 7
    return {
        "no $db": op_msg_sections([body_section({"insert": "large"}), sections[1]], 7),
        "two bodies": op_msg_sections([*sections, sections[0]], 7),
        "two sequences": op_msg_sections([*sections, sections[1]], 7),
        "unknown section": op_msg_sections([*sections, b"\x09"], 7),
        "unknown sequence": op_msg_sections([sections[0], sequence_section("others", documents)], 7),
        "sequence and field": op_msg_sections(
            [body_section({"insert": "large", "documents": [], "$db": "large"}), sections[1]], 7
        ),
        "wrong checksum": summed,
        "no end": bytes(cut),
        "command of 17 MB": command({"find": "large", "comment": b"x" * 17 * MB}, 7),
    }


@pytest.mark.parametrize("name", large_and_wrong())
def test_large_messages_that_are_wrong_are_refused_as_mongod_refuses_them(
    standalone: Any, mongod_standalone: MongoDeployment, name: str
) -> None:
    message = large_and_wrong()[name]
    with RawClient(mongod_standalone, mongod_standalone.root) as direct:
        theirs = direct.ask(message)
    with Bare(standalone.main_port) as bare:
        bare.send(message)
        ours = bare.receive()
    assert bool(ours) == (theirs is not None)
    if theirs is not None:
        assert document_of(ours)["code"] == document_of(theirs)["code"]


# --- compression ------------------------------------------------------------------------------------------------------


def counters(client: MongoClient[Document]) -> dict[str, int]:
    """How many bytes the server has decompressed, by compressor."""
    found = client.admin.command("serverStatus")["network"]["compression"]
    return {name: int(each["decompressor"]["bytesIn"]) for name, each in found.items()}


@pytest.mark.parametrize("ours", ["", "zlib", "zstd,snappy"])
@pytest.mark.parametrize("theirs", ["", "zlib", "snappy", "zstd"])
def test_drivers_work_whatever_is_compressed(
    mongod_standalone: MongoDeployment, gateway: Any, ours: str, theirs: str
) -> None:
    options = {"compressors": ours} if ours else {}
    with mongod_standalone.client() as direct, gateway(mongod_standalone, options=options) as it:
        before = counters(direct)
        with client_of(it, **({"compressors": theirs} if theirs else {})) as client:
            database = client["compressed"]
            client.drop_database("compressed")
            database.orders.insert_many([{"_id": n, "text": "x" * 500} for n in range(2000)])
            assert len(list(database.orders.find({}, batch_size=300))) == 2000
            assert len(list(database.orders.find({}, cursor_type=CursorType.EXHAUST, batch_size=100))) == 2000
            quiet = database.get_collection("orders", write_concern=WriteConcern(w=0))
            quiet.insert_one({"_id": "quiet"})
            assert database.orders.count_documents({}) == 2001
            content = os.urandom(1_500_000)
            files = gridfs.GridFS(database)
            assert files.get(files.put(content)).read() == content
            with pytest.raises(OperationFailure) as error:
                database.command("find", "orders", filter={"$nonsense": 1})
            assert error.value.code == 2
        after = counters(direct)
        used = {name for name in after if after[name] > before[name]}
        assert used == ({ours.split(",")[0]} if ours else set())
        sizes = [intent.bytes_in for intent, _ in it.commands() if intent.command == "insert"]
        assert max(sizes) > 500 * 2000  # uncompressed


@pytest.mark.parametrize("compressor", Compressor)
def test_a_large_compressed_insert(standalone: Any, compressor: Compressor) -> None:
    documents = [{"_id": n, "x": bytes(MB), "y": BLOB[:10_000]} for n in range(45)]
    with client_of(standalone, compressors=compressor.word) as client:
        client.large.packed.drop()
        client.admin.command("ping")
        assert len(client.large.packed.insert_many(documents).inserted_ids) == 45
        assert sum(len(each["x"]) for each in client.large.packed.find()) == 45 * MB
    recorded = streamed(standalone)[-1]
    assert recorded.bytes_in > 45 * MB
    assert recorded.sequences[0][1] == b"".join(map(bson.encode, documents))


@pytest.mark.parametrize("compressor", Compressor)
def test_frames_are_really_compressed(standalone: Any, compressor: Compressor) -> None:
    with Bare(standalone.main_port) as bare:
        hello = bare.ask(command({"hello": 1, "compression": ["nope", compressor.word]}, 1, database="admin"))
        assert hello["compression"] == [compressor.word]
        bare.send(compress(command({"listCommands": 1}, 2, database="admin"), compressor))
        answer = bare.receive()
        assert header_of(answer).opcode == Opcode.COMPRESSED
        opened = decompress(answer, read_head(answer, [compressor]))
        assert len(opened) > 2 * len(answer)
        assert document_of(opened)["ok"] == 1
        for each in itertools.repeat(compressor, 3):  # one behind the other
            bare.send(compress(command({"ping": 1}, 3), each), command({"ping": 1}, 4))
            assert header_of(bare.receive()).opcode == Opcode.COMPRESSED
            assert header_of(bare.receive()).opcode == Opcode.MSG


@pytest.mark.parametrize(
    "bad",
    [
        compress(command({"ping": 1}, 7), Compressor.SNAPPY),  # not agreed
        compress(compress(command({"ping": 1}, 7), Compressor.ZLIB), Compressor.ZLIB),
        compress(command({"ping": 1}, 7), Compressor.ZLIB)[:-1] + b"\0",
        HEADER.pack(1025, 7, 0, 2012) + struct.pack("<iiB", 2013, 2**31 - 1, 2) + bytes(1000),
    ],
    ids=["not agreed", "nested", "damaged", "bomb"],
)
def test_compressed_lies_end_only_their_own_connection(standalone: Any, bad: bytes) -> None:
    with Bare(standalone.main_port) as other, Bare(standalone.main_port) as bare:
        assert other.ask(command({"ping": 1}, 1))["ok"] == 1
        bare.ask(command({"hello": 1, "compression": ["zlib"]}, 1, database="admin"))
        bare.send(bad)
        assert bare.receive() == b""
        assert other.ask(command({"ping": 1}, 2))["ok"] == 1
    assert any(isinstance(each, audit.Malformed) for each in standalone.records)


# --- back-pressure ----------------------------------------------------------------------------------------------------


def test_a_client_that_does_not_read_stops_the_server_and_nobody_else(
    standalone: Any, mongod_standalone: MongoDeployment
) -> None:
    with mongod_standalone.client() as direct:
        direct.large.slow.drop()
        direct.large.slow.insert_many([{"_id": n, "x": BLOB} for n in range(60)])
    with Bare(standalone.main_port) as bare, client_of(standalone) as client:
        bare.send(command({"find": "slow", "batchSize": 15}, 7, database="large"))
        cursor = None
        for _ in range(3):  # several replies would fit into the sockets' buffers, not 15 MB
            first = bare.receive()
            cursor = document_of(first)["cursor"]["id"]
            bare.send(
                command({"getMore": bson.Int64(cursor), "collection": "slow", "batchSize": 15}, 8, database="large")
            )
            assert client.large.slow.find_one({"_id": 1}) is not None
        (stream,) = (each for each in standalone.streams if each.statistics().get("command") == "getMore")
        held: Callable[[], int] = lambda: standalone.call(lambda: stream.statistics()["to_client_bytes"])  # noqa: E731
        eventually(lambda: held() > 0)
        assert held() < 4 * 1024 * 1024
        assert len(document_of(bare.receive())["cursor"]["nextBatch"]) == 15


def test_a_server_that_does_not_read_stops_the_client(standalone: Any, mongod_standalone: MongoDeployment) -> None:
    """mongod is stopped in the middle of an insert: what piles up in the gateway is bounded."""
    message = insert([{"x": BLOB} for _ in range(45)], into="slow")
    with Bare(standalone.main_port) as bare:
        assert bare.ask(command({"drop": "slow"}, 1, database="large"))["ok"] in (0, 1)
        mongod_standalone.pause(0)
        try:
            sender = threading.Thread(target=lambda: bare.send(message))
            sender.start()
            (stream,) = (each for each in standalone.streams if each.statistics().get("commands"))
            eventually(lambda: standalone.call(lambda: stream._pump._client.paused))
            assert sender.is_alive()
            piled = standalone.call(stream.statistics)
            assert 0 < piled["to_server_bytes"] + piled["buffered_bytes"] < 4 * 1024 * 1024
        finally:
            mongod_standalone.resume(0)
        sender.join(30)
        assert document_of(bare.receive())["n"] == 45


def test_a_server_that_dies_in_mid_request_closes_the_socket(mongod_own: MongoDeployment, gateway: Any) -> None:
    message = insert([{"x": BLOB} for _ in range(10)])
    with gateway(mongod_own) as it, Bare(it.main_port) as bare:
        assert bare.ask(command({"ping": 1}, 1))["ok"] == 1
        bare.send(message[:-100])
        eventually(lambda: any(isinstance(each, audit.UploadPart) for each in it.records))
        mongod_own.kill(0)
        assert bare.receive() == b""
        with client_of(it, serverSelectionTimeoutMS=1000) as client, pytest.raises(AutoReconnect):
            client.admin.command("ping")
