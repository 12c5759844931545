"""Rows about work in progress: sessions, transactions, cursors, streams, retries."""

from __future__ import annotations

import asyncio
from typing import Any

import bson
import pymongo
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Secondary
from pymongo.write_concern import WriteConcern

from .trial import AbsentError, Listener, Trial, fault, has, plain, row


async def _numbers(t: Trial, number: int = 100) -> None:
    await t(t.things.insert_many([{"_id": each, "n": each} for each in range(number)]))


def _session(t: Trial, **options: Any) -> Any:
    return t.within(t.client.start_session(**options))


async def _transaction(t: Trial, session: Any) -> Any:
    """`start_transaction` is awaited by the async client before it is entered."""
    return await t(session.start_transaction())


# --- sessions and transactions ------------------------------------------------------------------------------------


@row("transactions: commit and abort", needs="set")
async def transactions(t: Trial) -> Any:
    await _numbers(t, 3)
    async with _session(t) as session:
        async with t.within(session.start_transaction()):
            await t(t.things.update_one({"_id": 1}, {"$inc": {"n": 100}}, session=session))
            await t(t.things.insert_one({"_id": "new"}, session=session))
            outside = await t(t.things.count_documents({}))
            inside = await t(t.things.count_documents({}, session=session))
        await _transaction(t, session)
        await t(t.things.delete_many({}, session=session))
        await t(session.abort_transaction())
    return [outside, inside, await t.all(t.things.find())]


@row("with_transaction, with a commit that fails once", needs="set")
async def with_transaction(t: Trial) -> Any:
    await _numbers(t, 1)
    calls: list[int] = []

    async def work(session: Any) -> str:
        calls.append(1)
        await t(t.things.update_one({"_id": 0}, {"$inc": {"n": 1}}, session=session))
        return "done"

    def plain_work(session: Any) -> str:
        calls.append(1)
        t.things.update_one({"_id": 0}, {"$inc": {"n": 1}}, session=session)
        return "done"

    labels = ["TransientTransactionError"]
    async with _session(t) as session:
        with t.failing(1, failCommands=["commitTransaction"], errorCode=251, errorLabels=labels):
            done = await t(session.with_transaction(work if t.is_async else plain_work))
    return [done, len(calls), await t(t.things.find_one())]


@row("write conflict of two transactions", needs="set")
async def write_conflict(t: Trial) -> Any:
    await _numbers(t, 1)
    async with _session(t) as first, _session(t) as second:
        await _transaction(t, first)
        await _transaction(t, second)
        await t(t.things.update_one({"_id": 0}, {"$set": {"by": 1}}, session=first))
        clash = await t.caught(lambda: t.things.update_one({"_id": 0}, {"$set": {"by": 2}}, session=second))
        await t(first.commit_transaction())
        late = await t.caught(lambda: t.things.find_one({}, session=second))
        await t(second.abort_transaction())
    return [clash, late, await t(t.things.find_one())]


@row("transactions: what the server refuses in them", needs="set")
async def refused_in_transactions(t: Trial) -> Any:
    await _numbers(t, 1)
    found = []
    for work in (
        lambda session: t.things.find_one({"$where": "sleep(1)"}, session=session),
        lambda session: t.things.aggregate([{"$out": "x"}], session=session),
        lambda session: t.db.command("listCollections", session=session),
    ):
        async with _session(t) as session:
            await _transaction(t, session)
            found.append(await t.caught(lambda work=work, session=session: work(session)))
            await t(session.abort_transaction())
    return found


@row("a transaction goes on over another socket", needs="set")
async def transaction_sockets(t: Trial) -> Any:
    await _numbers(t, 3)
    async with _session(t) as session:
        await _transaction(t, session)
        await t(t.things.update_one({"_id": 1}, {"$set": {"x": 1}}, session=session))

        async def busy(_: int) -> Any:
            return await t.slow(t.things, 50)

        async def inside(number: int) -> Any:
            if number < 4:
                return await busy(number)
            return await t(t.things.count_documents({"x": 1}, session=session))

        counts = await t.parallel(5, inside)
        await t(session.commit_transaction())
    return [counts, await t(t.things.count_documents({"x": 1}))]


@row("causal consistency", needs="set")
async def causal(t: Trial) -> Any:
    listener = Listener()
    client = t.make(event_listeners=[listener])
    things = client[t.name].things
    concern: dict[str, Any] = {"read_concern": ReadConcern("majority"), "write_concern": WriteConcern("majority")}
    things = things.with_options(**concern)
    seen = []
    async with t.within(client.start_session(causal_consistency=True)) as session:
        for number in range(5):
            await t(things.insert_one({"_id": number}, session=session))
            seen.append(await t(things.find_one({"_id": number}, session=session)))
        times = session.operation_time is not None, session.cluster_time is not None
    finds = listener.named("find")
    return [seen, times, ["afterClusterTime" in each["readConcern"] for each in finds], "$clusterTime" in finds[0]]


@row("causal consistency: reading one's own writes from a secondary", needs="many")
async def causal_secondary(t: Trial) -> Any:
    concern: dict[str, Any] = {"read_concern": ReadConcern("majority"), "write_concern": WriteConcern("majority")}
    things = t.things.with_options(read_preference=Secondary(), **concern)
    seen = []
    async with t.within(t.client.start_session(causal_consistency=True)) as session:
        for number in range(20):
            await t(things.insert_one({"_id": number}, session=session))
            seen.append(await t(things.count_documents({}, session=session)))
    return seen


@row("snapshot reads", needs="set")
async def snapshot(t: Trial) -> Any:
    await t(t.things.with_options(write_concern=WriteConcern("majority")).insert_one({"_id": 1}))
    try:
        opened = _session(t, snapshot=True)
    except TypeError:
        raise AbsentError("no snapshot sessions") from None
    async with opened as session:
        before = await t(t.things.count_documents({}, session=session))
        await t(t.things.insert_one({"_id": 2}))
        during = await t(t.things.count_documents({}, session=session))
    return [before, during, await t(t.things.count_documents({}))]


@row("logical sessions: implicit, reused, refreshed, ended, killed")
async def sessions(t: Trial) -> Any:
    listener = Listener()
    client = t.make(event_listeners=[listener])
    await t(client[t.name].things.insert_many([{"_id": each} for each in range(10)]))
    await t(client[t.name].things.find_one())
    implicit = ["lsid" in command for name, command in listener.commands if name in ("insert", "find")]
    reused = len({bytes(command["lsid"]["id"]) for _, command in listener.commands if "lsid" in command})
    async with t.within(client.start_session()) as session:
        cursor = client[t.name].things.find({}, batch_size=2, session=session)
        first = await t(cursor.next())
        refreshed = (await t(client.admin.command("refreshSessions", [session.session_id])))["ok"]
        killed = (await t(client.admin.command("killSessions", [session.session_id])))["ok"]
        after = await t.caught(lambda: t.all(cursor))
        ended = (await t(client.admin.command("endSessions", [session.session_id])))["ok"]
    return [implicit, reused, first, refreshed, killed, after, ended]


# --- cursors ------------------------------------------------------------------------------------------------------


@row("getMore over several sockets")
async def get_more(t: Trial) -> Any:
    await _numbers(t, 60)
    cursor = t.things.find({}, batch_size=5).sort("_id", 1)
    seen = [(await t(cursor.next()))["_id"] for _ in range(3)]

    async def work(number: int) -> Any:
        if number:  # these hold sockets, so that the cursor's next batches travel on another
            return await t.slow(t.things, 3)
        return [each["_id"] async for each in t.each(cursor)]

    results = await t.parallel(5, work)
    return [seen, results]


@row("killCursors")
async def kill_cursors(t: Trial) -> Any:
    await _numbers(t)
    opened = await t(t.db.command("find", "things", batchSize=2))
    cursor_id = opened["cursor"]["id"]
    killed = await t(t.db.command("killCursors", "things", cursors=[cursor_id]))
    after = await t.caught(lambda: t.db.command("getMore", cursor_id, collection="things"))
    counts = [len(killed[name]) for name in ("cursorsKilled", "cursorsNotFound", "cursorsAlive", "cursorsUnknown")]
    return [counts, after]


@row("exhaust cursors", needs="member")
async def exhaust(t: Trial) -> Any:
    await t(t.things.insert_many([{"_id": each, "filler": "x" * 1000} for each in range(10_000)]))
    kind = pymongo.CursorType.EXHAUST
    whole = await t.all(t.things.find({}, cursor_type=kind, batch_size=100))
    cursor = t.things.find({}, cursor_type=kind, batch_size=100)
    for _ in range(150):
        await t(cursor.next())
    await t(cursor.close())
    return [len(whole), sum(each["_id"] for each in whole), await t(t.things.count_documents({}))]


@row("tailable and awaitData cursors")
async def tailable(t: Trial) -> Any:
    await t(t.db.create_collection("capped", capped=True, size=100_000))
    await t(t.db.capped.insert_many([{"_id": each} for each in range(3)]))
    kind = pymongo.CursorType.TAILABLE_AWAIT
    cursor = t.db.capped.find({}, cursor_type=kind).max_await_time_ms(5_000)
    seen = [(await t(cursor.next()))["_id"] for _ in range(3)]

    async def work(number: int) -> Any:
        if number:
            return (await t(t.db.capped.insert_one({"_id": "late"}))).acknowledged
        return (await t(cursor.next()))["_id"]

    seen += await t.parallel(2, work)
    alive = cursor.alive
    await t(cursor.close())
    plain_kind = await t.caught(lambda: t.all(t.things.find({}, cursor_type=pymongo.CursorType.TAILABLE)))
    return [seen, alive, plain_kind]


@row("raw batches")
async def raw_batches(t: Trial) -> Any:
    await _numbers(t)
    found = await t.all(has(t.things, "find_raw_batches")({}, batch_size=30).sort("_id", 1))
    grouped = await t.all(await t(t.things.aggregate_raw_batches([{"$sort": {"_id": 1}}], batchSize=60)))
    return [[len(bson.decode_all(each)) for each in found], [plain(each) for each in grouped]]


@row("cursor options")
async def cursor_options(t: Trial) -> Any:
    await _numbers(t)
    await t(t.things.create_index("n"))
    find = t.things.find
    bounds: dict[str, Any] = {"hint": "n_1"}
    found = [
        await t.all(find({}, {"_id": 0}).sort("n", 1).min([("n", 5)]).max([("n", 7)]).hint("n_1")),
        await t.all(find({"n": 3}, return_key=True, **bounds)),
        [sorted(each) for each in await t.all(find({"n": 3}, show_record_id=True))],
        len(await t.all(find({}, no_cursor_timeout=True, batch_size=10))),
        len(await t.all(find({}, allow_disk_use=True).sort("n", -1))),
        await t.all(find({"n": {"$lt": 2}}, comment="mine").max_time_ms(5_000)),
    ]
    cloned = find().limit(2)
    return [found, len(await t.all(cloned.clone())), len(await t.all(cloned)), len(await t.all(cloned.rewind()))]


# --- change streams -----------------------------------------------------------------------------------------------


async def _events(t: Trial, stream: Any, number: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(200):
        event = await t(stream.try_next())
        if event is not None:
            kept = ("operationType", "documentKey", "fullDocument", "updateDescription", "ns")
            found.append({key: plain(event[key]) for key in kept if key in event})
            if len(found) == number:
                break
    return found


@row("change streams: collection, database, cluster", needs="set")
async def change_streams(t: Trial) -> Any:
    found = []
    await _numbers(t, 2)
    for target in (t.things, t.db):
        async with t.within(target.watch(full_document="updateLookup", max_await_time_ms=500)) as stream:
            await t(t.things.insert_one({"_id": "a"}))
            await t(t.things.update_one({"_id": "a"}, {"$set": {"x": 1}}))
            await t(t.things.delete_one({"_id": "a"}))
            found.append(await _events(t, stream, 3))
    only = [{"$match": {"ns.db": t.name}}]
    async with t.within(t.client.watch(only, max_await_time_ms=500)) as stream:
        await t(t.things.insert_one({"_id": "b"}))
        found.append(await _events(t, stream, 1))
    return found


@row("change streams: resume by token, by time, after a lost cursor", needs="set")
async def resume(t: Trial) -> Any:
    await _numbers(t, 1)
    async with t.within(t.things.watch(max_await_time_ms=500)) as stream:
        await t(t.things.insert_many([{"_id": each} for each in ("a", "b", "c")]))
        first = await _events(t, stream, 1)
        token = stream.resume_token
    async with t.within(t.things.watch(resume_after=token, max_await_time_ms=500)) as stream:
        second = await _events(t, stream, 2)
    hello = await t(t.db.command("hello"))
    at = hello["operationTime"]
    await t(t.things.insert_one({"_id": "d"}))
    after = bson.Timestamp(at.time, at.inc + 1)
    async with t.within(t.things.watch(start_at_operation_time=after, max_await_time_ms=500)) as stream:
        third = await _events(t, stream, 1)
        with t.failing(1, failCommands=["getMore"], errorCode=43, closeConnection=False):
            await t(t.things.insert_one({"_id": "e"}))
            fourth = await _events(t, stream, 1)
        with t.failing(1, failCommands=["getMore"], closeConnection=True):
            await t(t.things.insert_one({"_id": "f"}))
            fifth = await _events(t, stream, 1)
    return [first, second, third, fourth, fifth]


@row("change streams: dropped collection, bad token, missing pre-image", needs="set")
async def stream_errors(t: Trial) -> Any:
    await _numbers(t, 1)
    async with t.within(t.things.watch(max_await_time_ms=500)) as stream:
        await t(t.things.drop())
        dropped = await _events(t, stream, 2)
    token = {"_data": "00"}

    async def bad() -> Any:
        async with t.within(t.things.watch(resume_after=token)) as stream:
            return await t(stream.try_next())

    try:
        answer: Any = await bad()
    except OperationFailure as error:
        answer = fault(error)
    return [dropped, answer]


# --- retries ------------------------------------------------------------------------------------------------------


@row("retryable writes: txnNumber, and one retry after a lost connection", needs="set")
async def retryable_writes(t: Trial) -> Any:
    listener = Listener()
    client = t.make(event_listeners=[listener], retryWrites=True, heartbeatFrequencyMS=500)
    things = client[t.name].things
    await t(things.insert_one({"_id": 0}))
    found = []
    failures: list[dict[str, Any]] = [
        {"closeConnection": True},
        {"errorCode": 10107, "errorLabels": ["RetryableWriteError"]},
        {"errorCode": 91, "errorLabels": ["RetryableWriteError"]},
    ]
    for number, failure in enumerate(failures, 1):
        listener.commands.clear()
        with t.failing(1, failCommands=["insert"], **failure):
            result = await t.caught(lambda number=number: things.insert_one({"_id": number}))
        sent = listener.named("insert")
        found.append([result.get("error") if isinstance(result, dict) else "ok", len(sent), "txnNumber" in sent[0]])
    return [found, await t(things.count_documents({}))]


@row("retryable writes: errors without the label are not retried", needs="set")
async def no_retry(t: Trial) -> Any:
    listener = Listener()
    client = t.make(event_listeners=[listener], retryWrites=True, heartbeatFrequencyMS=500)
    things = client[t.name].things
    await t(things.insert_one({"_id": 0}))
    listener.commands.clear()
    with t.failing(1, failCommands=["insert"], errorCode=11600, errorLabels=[]):
        plain_error = await t.caught(lambda: things.insert_one({"_id": 1}))
    many = await t.caught(lambda: things.update_many({}, {"$set": {"x": 1}}))
    return [plain_error, many is not None, len(listener.named("insert")), "txnNumber" in listener.named("update")[0]]


@row("retryable reads")
async def retryable_reads(t: Trial) -> Any:
    await _numbers(t, 3)
    listener = Listener()
    client = t.make(event_listeners=[listener], retryReads=True, heartbeatFrequencyMS=500)
    things = client[t.name].things
    found = []
    for failure in ({"closeConnection": True}, {"errorCode": 91}, {"errorCode": 8}):
        listener.commands.clear()
        with t.failing(1, failCommands=["find"], **failure):
            answer = await t.caught(lambda: things.find_one({"_id": 1}))
        found.append([answer, len(listener.named("find"))])
    return found


@row("writeConcernError by the server, and one that can't be had")
async def write_concern_errors(t: Trial) -> Any:
    await _numbers(t, 1)
    found = []
    for code in (64, 91):
        with t.failing(1, failCommands=["insert"], writeConcernError={"code": code, "errmsg": "compat"}):
            client = t.make(retryWrites=False, heartbeatFrequencyMS=500)
            found.append(
                await t.caught(lambda client=client, code=code: client[t.name].things.insert_one({"_id": code}))
            )
    beyond = t.things.with_options(write_concern=WriteConcern(w=9, wtimeout=200))
    journal = t.things.with_options(write_concern=WriteConcern(w=1, j=True))
    await t(journal.insert_one({"_id": "journal"}))
    return [found, await t.caught(lambda: beyond.insert_one({"_id": 9}))]


@row("unacknowledged writes keep their order")
async def unacknowledged(t: Trial) -> Any:
    client = t.make(maxPoolSize=1)
    loose = client[t.name].get_collection("things", write_concern=WriteConcern(w=0))
    for number in range(1_000):
        await t(loose.insert_one({"_id": number}))
    counted = await t(client[t.name].things.count_documents({}))
    await t(loose.update_many({}, {"$set": {"x": 1}}))
    await t(loose.delete_many({"_id": {"$lt": 500}}))
    result = await t(loose.insert_one({"_id": 1}))
    left = await t(client[t.name].things.count_documents({"x": 1}))
    return [counted, left, result.acknowledged]


@row("a command is cut off by its deadline")
async def deadlines(t: Trial) -> Any:
    await _numbers(t, 20)
    slow = {"$where": "sleep(100) || true"}
    found = [await t.caught(lambda: t.all(t.things.find(slow).max_time_ms(200)))]
    if hasattr(pymongo, "timeout"):
        try:
            with pymongo.timeout(0.3):
                found.append(len(await t.all(t.things.find(slow))))
        except PyMongoError as error:
            found.append(error.timeout)  # whether server or client notices first is a race
    short = t.make(socketTimeoutMS=300, retryReads=False)
    try:
        await t.all(short[t.name].things.find(slow))
    except PyMongoError as error:
        found.append(type(error).__name__)
    return [*found, await t(t.things.count_documents({}))]


@row("an async task that is cancelled")
async def cancelled(t: Trial) -> Any:
    if not t.is_async:
        raise AbsentError("a thread can't be cancelled")
    await _numbers(t, 20)
    task = asyncio.ensure_future(t.slow(t.things, 100))
    await asyncio.sleep(0.2)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return ["cancelled", await t(t.things.count_documents({}))]
    return "finished"
