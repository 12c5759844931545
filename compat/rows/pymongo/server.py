"""Rows about the server as a client sees it: addresses, monitoring, errors, diagnosis, options of the connection."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
import time
from typing import Any

import bson
import pymongo
from pymongo import encryption_options, monitoring
from pymongo.errors import AutoReconnect, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Nearest, Primary, PrimaryPreferred, Secondary, SecondaryPreferred

from .trial import AbsentError, Listener, Trial, plain, row


async def _numbers(t: Trial, number: int = 20) -> None:
    await t(t.things.insert_many([{"_id": each, "n": each} for each in range(number)]))


# --- who is there -------------------------------------------------------------------------------------------------


@row("connect: ping, address, topology")
async def connect(t: Trial) -> Any:
    await t(t.client.admin.command("ping"))
    await discovered(t, t.client)
    topology = t.client.topology_description
    return {
        "version": (await t(t.client.server_info()))["version"],
        "address": ":".join(map(str, await t(t.client.address))) if topology.topology_type_name == "Single" else None,
        "topology": [topology.topology_type_name, topology.replica_set_name],
        "servers": sorted(each.server_type_name for each in topology.server_descriptions().values()),
    }


@row("hello, field by field")
async def hello(t: Trial) -> Any:
    modern = await t(t.db.command("hello"))
    legacy = await t(t.db.command("isMaster"))
    return [plain(modern), sorted(modern), sorted(legacy), modern["topologyVersion"]["counter"] >= 0]


@row("discovery: a member in the client's view for each in the set")
async def discovery(t: Trial) -> Any:
    hosts = (await t(t.client.admin.command("hello"))).get("hosts", [])
    where, _, query = t.uri.partition("?")
    kept = [each for each in query.split("&") if each and not each.startswith(("replicaSet=", "directConnection="))]
    try:
        client = t.make(f"{where}?{'&'.join([*kept, 'replicaSet=nosuchset'])}", serverSelectionTimeoutMS=1_500)
        wrong = await t(client.admin.command("ping"))
    except PyMongoError as error:
        wrong = type(error).__name__
    return [len(hosts), len(await t(t.client.nodes)), wrong]


async def discovered(t: Trial, client: Any) -> None:
    """Wait until the client knows all members: before that it may well take the first that it hears of."""
    hosts = (await t(client.admin.command("hello"))).get("hosts", [])
    for _ in range(100):
        alone = client.topology_description.topology_type_name in ("Single", "LoadBalanced")
        if alone or len(await t(client.nodes)) >= len(hosts):
            break
        await asyncio.sleep(0.1)


class _Places(monitoring.ConnectionPoolListener):
    """Every address that the driver's pools connect to."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def connection_created(self, event: Any) -> None:
        """A socket of the pool."""
        self.seen.add(":".join(map(str, event.address)))

    def pool_created(self, event: Any) -> None:
        """Nobody asks for this and the following."""

    pool_ready = pool_cleared = pool_closed = connection_ready = connection_closed = pool_created
    connection_check_out_started = connection_check_out_failed = connection_checked_out = pool_created
    connection_checked_in = pool_created


@row("discovery: every address that the driver speaks to")
async def places(t: Trial) -> Any:
    listener = _Places()
    client = t.make(event_listeners=[listener], heartbeatFrequencyMS=500)
    await t(client[t.name].things.insert_one({"_id": 1}))
    await discovered(t, client)
    for _ in range(20):
        await t.all(client[t.name].get_collection("things", read_preference=Nearest()).find())
    known = client.topology_description.server_descriptions()
    # As keys: where two ports of ours stand for one member, they become one.
    return dict.fromkeys(sorted(listener.seen | {":".join(map(str, each)) for each in known}), True)


class _Beats(monitoring.ServerHeartbeatListener):
    """Counts what the driver's monitors see."""

    def __init__(self) -> None:
        self.awaited = self.succeeded_ = self.failures = 0
        self.polls = False
        self.enough = threading.Event()

    def started(self, event: Any) -> None:
        """Nobody asks."""

    def succeeded(self, event: Any) -> None:
        """A heartbeat came."""
        self.succeeded_ += 1
        self.awaited += bool(event.awaited)
        if self.succeeded_ >= 4 and (self.awaited or self.polls):
            self.enough.set()

    def failed(self, event: Any) -> None:
        """A heartbeat failed."""
        self.failures += 1


@row("monitoring: heartbeats in every mode")
async def heartbeats(t: Trial) -> Any:
    found: dict[str, Any] = {}
    for mode in ("auto", "stream", "poll"):
        beats = _Beats()
        beats.polls = mode == "poll"
        options: dict[str, Any] = {"event_listeners": [beats], "heartbeatFrequencyMS": 500}
        if mode != "auto":
            options["serverMonitoringMode"] = mode
        try:
            client = t.make(**options)
        except (PyMongoError, ValueError):
            continue
        await t(client.admin.command("ping"))
        enough = await asyncio.get_running_loop().run_in_executor(None, beats.enough.wait, 10)
        await discovered(t, client)
        types = {each.server_type_name for each in client.topology_description.server_descriptions().values()}
        found[mode] = [enough, beats.awaited > 0, beats.failures, sorted(types)]
        await t(client.close())
    return found


@row("read preferences: who serves")
async def read_preferences(t: Trial) -> Any:
    await t(t.things.with_options(write_concern=pymongo.WriteConcern("majority")).insert_one({"_id": 1}))
    topology = t.client.topology_description.topology_type_name
    found: dict[str, Any] = {}
    wanted = [Primary(), PrimaryPreferred(), Secondary(), SecondaryPreferred(max_staleness=120), Nearest()]
    for preference in wanted:
        client = t.make(serverSelectionTimeoutMS=1_000)
        await discovered(t, client)
        try:
            answer = await t(client.admin.command("hello", read_preference=preference))
            roles = [name for name in ("isWritablePrimary", "secondary") if answer.get(name)]
            document = await t(client[t.name].get_collection("things", read_preference=preference).find_one())
        except PyMongoError as error:
            roles, document = [type(error).__name__], None
        # The nearest member is any member.
        found[preference.name] = [roles if preference.name != "Nearest" else bool(roles), document]
    tagged = Secondary(tag_sets=[{"nowhere": "1"}])
    nowhere = t.make(serverSelectionTimeoutMS=1_000)
    try:
        await t(nowhere[t.name].get_collection("things", read_preference=tagged).find_one())
        found["tags"] = "served"
    except PyMongoError as error:
        found["tags"] = type(error).__name__
    return [topology, found]


@row("reads from every secondary", needs="many")
async def secondaries(t: Trial) -> Any:
    await t(t.things.with_options(write_concern=pymongo.WriteConcern(3)).insert_many([{"_id": n} for n in range(50)]))
    with t.root() as root:
        hosts = root.admin.command("hello")
    before = _reads(t, hosts)
    things = t.db.get_collection("things", read_preference=Secondary())
    counts = {len(await t.all(things.find({}, batch_size=9))) for _ in range(20)}
    after = _reads(t, hosts)
    primary = hosts["primary"]
    return [counts == {50}, [host == primary for host in sorted(after) if after[host] - before[host] >= 20]]


def _reads(t: Trial, hello_reply: dict[str, Any]) -> dict[str, int]:
    """Queries each member has served so far; the secondaries' numbers are added up."""
    found: dict[str, int] = {}
    login, _, rest = t.admin_uri.partition("@")
    options = [each for each in rest.partition("?")[2].split("&") if not each.startswith("replicaSet=")]
    for host in hello_reply["hosts"]:
        uri = f"{login}@{host}/?{'&'.join([*options, 'directConnection=true'])}"
        client: Any = pymongo.MongoClient(uri)
        with client:
            role = host if host == hello_reply["primary"] else "secondaries"
            found[role] = found.get(role, 0) + client.admin.command("serverStatus")["opcounters"]["query"]
    return found


# --- errors -------------------------------------------------------------------------------------------------------


@row("error documents")
async def errors(t: Trial) -> Any:
    await _numbers(t)
    await t(t.things.create_index("n", unique=True))
    command = t.db.command
    return {
        "duplicate": await t.caught(lambda: t.things.insert_one({"_id": 1})),
        "duplicate index": await t.caught(lambda: t.things.update_one({"_id": 2}, {"$set": {"n": 3}})),
        "duplicates": await t.caught(lambda: t.things.insert_many([{"_id": 1}, {"_id": 2}], ordered=False)),
        "operator": await t.caught(lambda: t.things.find_one({"$nonsense": 1})),
        "stage": await t.caught(lambda: t.all(t.things.aggregate([{"$nonsense": 1}]))),
        "field": await t.caught(lambda: command("find", "things", nonsense=1)),
        "type": await t.caught(lambda: command("find", 5)),
        "namespace": await t.caught(lambda: command("find", "$x..")),
        "immutable": await t.caught(lambda: t.things.update_one({"_id": 1}, {"$set": {"_id": 5}})),
        "division": await t.caught(lambda: t.all(t.things.aggregate([{"$project": {"x": {"$divide": [1, "$zero"]}}},
                                                                     {"$project": {"y": {"$divide": [1, 0]}}}]))),
        "no collection": await t.caught(lambda: command("validate", "nothing")),
        "rights": await t.caught(lambda: t.client.config.things.insert_one({})),
        "getMore": await t.caught(lambda: command("getMore", bson.Int64(4711), collection="things")),
        "collation": await t.caught(lambda: t.things.find_one({}, collation={"locale": "nonsense"})),
        "regex": await t.caught(lambda: t.things.find_one({"n": {"$regex": "("}})),
    }  # fmt: skip


@row("errors by fail point: codes and labels unchanged")
async def failpoint_errors(t: Trial) -> Any:
    await _numbers(t)
    client = t.make(retryReads=False, retryWrites=False, heartbeatFrequencyMS=500)
    things = client[t.name].things
    found = []
    for code, labels in ((112, []), (50, []), (13, []), (6, []), (251, ["TransientTransactionError"]), (133, [])):
        with t.failing(1, failCommands=["find"], errorCode=code, errorLabels=labels):
            found.append(await t.caught(lambda: things.find_one()))
    return found


@row("document validation says why")
async def validation(t: Trial) -> Any:
    schema = {"$jsonSchema": {"required": ["name"], "properties": {"name": {"bsonType": "string"}}}}
    await t(t.db.create_collection("strict", validator=schema))
    return [
        await t.caught(lambda: t.db.strict.insert_one({"_id": 1, "name": 1})),
        await t.caught(lambda: t.db.strict.insert_many([{"_id": 2, "name": "ok"}, {"_id": 3}])),
    ]


# --- diagnosis ----------------------------------------------------------------------------------------------------


@row("listDatabases, stats, buildInfo, hostInfo, serverStatus")
async def diagnosis(t: Trial) -> Any:
    await _numbers(t)
    admin = t.client.admin
    databases = await t(t.client.list_database_names())
    stats = await t(t.db.command("collStats", "things"))
    return {
        "databases": t.name in databases,
        "listed": [sorted(each) for each in await t.all(t.client.list_databases()) if each["name"] == t.name],
        "dbStats": (await t(t.db.command("dbStats")))["objects"],
        "collStats": [stats["ns"], stats["count"], stats["nindexes"]],
        "buildInfo": plain(await t(admin.command("buildInfo"))),
        "hostInfo": (await t(admin.command("hostInfo")))["os"]["type"],
        "serverStatus": sorted(await t(admin.command("serverStatus"))),
        "listCommands": len((await t(admin.command("listCommands")))["commands"]),
        "getLog": sorted(await t.caught(lambda: admin.command("getLog", "startupWarnings"))),
        "indexStats": len(await t.all(t.things.aggregate([{"$indexStats": {}}]))),
        "collStats stage": [each["ns"] for each in await t.all(t.things.aggregate([{"$collStats": {"count": {}}}]))],
        "top": sorted(await t.caught(lambda: admin.command("top"))),
        "getParameter": await t.caught(lambda: admin.command("getParameter", 1, logLevel=1)),
        "whatsmyuri": sorted(await t(admin.command("whatsmyuri"))),
        "features": await t.caught(lambda: admin.command("features")),
        "sample": len(await t.all(t.things.aggregate([{"$sample": {"size": 3}}]))),
    }


@row("replica set commands", needs="replica")
async def replica_commands(t: Trial) -> Any:
    status = await t(t.client.admin.command("replSetGetStatus"))
    config = await t.caught(lambda: t.client.admin.command("replSetGetConfig"))
    return [
        status["set"],
        [[each["name"], each["stateStr"]] for each in status["members"]],
        config if "error" in config else [each["host"] for each in config["config"]["members"]],
    ]


@row("connectionStatus on a pool of 20 sockets")
async def pool(t: Trial) -> Any:
    await _numbers(t, 5)
    client = t.make(maxPoolSize=20, minPoolSize=20)

    async def status(_: int) -> Any:
        await t.slow(client[t.name].things, 20)
        found = await t(client.admin.command("connectionStatus", showPrivileges=True))
        info = found["authInfo"]
        roles = sorted(each["role"] for each in info["authenticatedUserRoles"])
        return [len(info["authenticatedUsers"]), roles, len(info["authenticatedUserPrivileges"])]

    found = await t.parallel(20, status)
    return [len(found), found[0], all(each == found[0] for each in found)]


@row("currentOp shows one's own operation, and killOp ends it")
async def kill_op(t: Trial) -> Any:
    await _numbers(t)
    comment = f"compat-{os.getpid()}-{time.time_ns()}"

    async def work(number: int) -> Any:
        if number == 0:
            query = {"$where": "sleep(500) || true", "$comment": comment}
            return await t.caught(lambda: t.all(t.things.find(query)))
        stages = [{"$currentOp": {}}, {"$match": {"command.filter.$comment": comment}}]
        for _ in range(100):
            found = await t.all(await t(t.client.admin.aggregate(stages)))
            if found:
                return (await t(t.client.admin.command("killOp", op=found[0]["opid"])))["ok"]
            await asyncio.sleep(0.05)
        return "never seen"

    if pymongo.version_tuple < (3, 9):
        raise AbsentError("no aggregate on a database")
    return await t.parallel(2, work)


@row("appName, driver metadata and comment arrive at the server")
async def attribution(t: Trial) -> Any:
    await _numbers(t)
    comment = f"compat-{time.time_ns()}"
    found = []
    for name in ("mine", "m" * 128):
        client = t.make(appname=name)
        with t.root() as root:
            root[t.name].command("profile", 2)
            try:
                await t.all(client[t.name].things.find({}, batch_size=5, comment=comment))
                seen = list(root[t.name]["system.profile"].find({"command.comment": comment}).sort("ts", 1))
                seen += list(
                    root[t.name]["system.profile"].find({"originatingCommand.comment": comment, "op": "getmore"})
                )
            finally:
                root[t.name].command("profile", 0)
                root[t.name]["system.profile"].drop()
        kept = [each for each in seen if each["op"] == "query"]
        found.append(
            [len(kept), kept[0]["appName"].endswith(name[-20:]) if len(name) < 100 else len(kept[0]["appName"])]
        )
    with t.root() as root:
        metadata = [
            each["clientMetadata"]["driver"]["name"].split("|")[0]
            for each in root.admin.aggregate([{"$currentOp": {"idleConnections": True, "allUsers": True}}])
            if each.get("appName", "").endswith("mine")
        ]
    return [found, sorted(set(metadata))]


@row("logout leaves the connection as it was")
async def logout(t: Trial) -> Any:
    await _numbers(t)
    client = t.make(maxPoolSize=1)
    before = await t(client[t.name].things.count_documents({}))
    if "@" in t.uri and "://compat:@" not in t.uri:  # directly it would log out, and there it should
        return [before, 1.0]
    return [before, (await t(client.admin.command("logout")))["ok"] and 1.0]


# --- options of the connection ------------------------------------------------------------------------------------


@row("versioned API")
async def versioned_api(t: Trial) -> Any:
    if not hasattr(pymongo, "server_api"):
        raise AbsentError("no versioned API")
    api = pymongo.server_api.ServerApi("1", strict=True, deprecation_errors=True)
    client = t.make(server_api=api)
    things = client[t.name].things
    await t(things.insert_one({"_id": 1}))
    unknown = t.make()
    return [
        await t(things.find_one()),
        len(await t.all(things.find({}, batch_size=1))),
        await t.caught(lambda: client[t.name].command("collStats", "things")),
        await t.caught(lambda: things.distinct("_id")),
        await t.caught(lambda: t.all(things.find({"$text": {"$search": "x"}}))),
        await t.caught(lambda: unknown.admin.command({"ping": 1, "apiVersion": "2"})),
    ]


@row("compressors asked for in the URI")
async def compressors(t: Trial) -> Any:
    found: dict[str, Any] = {}
    for name in ("zlib", "snappy", "zstd", "zstd,snappy,zlib"):
        client = t.make(compressors=name)
        await t(client[t.name].things.insert_many([{"filler": "x" * 10_000} for _ in range(50)]))
        found[name] = [len(each["filler"]) for each in await t.all(client[t.name].things.find({}).limit(30))] == [
            10_000
        ] * 30
    return found


@row("read concerns")
async def read_concerns(t: Trial) -> Any:
    await _numbers(t)
    found = {}
    for level in ("local", "available", "majority", "linearizable", "snapshot", "nonsense"):
        things = t.things.with_options(read_concern=ReadConcern(level))
        found[level] = await t.caught(lambda things=things: things.count_documents({}))
    return found


@row("client-side encryption, explicit and automatic decryption")
async def encryption(t: Trial) -> Any:
    try:
        place = "pymongo.asynchronous.encryption" if t.is_async else "pymongo.encryption"
        encrypting = importlib.import_module(place)
        kind = getattr(encrypting, "AsyncClientEncryption" if t.is_async else "ClientEncryption")
        providers = {"local": {"key": b"\5" * 96}}
        vault = t.make()
        namespace = f"{t.name}.keys"
        options: Any = bson.codec_options.CodecOptions(uuid_representation=4)
        encryption = kind(providers, namespace, vault, options)
    except (ImportError, AttributeError, PyMongoError) as error:
        raise AbsentError(f"no client-side encryption: {type(error).__name__}") from None
    algorithm = encrypting.Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Deterministic
    key_id = await t(encryption.create_data_key("local", key_alt_names=["mine"]))
    secret = await t(encryption.encrypt("secret", algorithm, key_id=key_id))
    await t(t.things.insert_one({"_id": 1, "secret": secret}))
    raw = await t(t.things.find_one({"secret": secret}))
    opened = await t(encryption.decrypt(raw["secret"]))
    automatic_options = encryption_options.AutoEncryptionOpts(providers, namespace, bypass_auto_encryption=True)
    automatic = t.make(auto_encryption_opts=automatic_options)
    seen = await t(automatic[t.name].things.find_one())
    await t(encryption.close())
    return [raw["secret"].subtype, opened, seen]


@row("logging in by oneself: user without password, wrong password")
async def own_login(t: Trial) -> Any:
    if "directConnection=true" in t.uri:
        raise AbsentError("asked once, without directConnection")
    wrong = await t.caught(lambda: t.make(username="compat", password="wrong").admin.command("buildInfo"))
    return [wrong.get("error"), wrong.get("details", {}).get("code"), wrong.get("details", {}).get("codeName")]


@row("many clients, opened and closed")
async def many_clients(t: Trial) -> Any:
    await _numbers(t)
    counts = []
    for _ in range(10):
        client = t.make()
        counts.append(await t(client[t.name].things.count_documents({})))
        await t(client.close())
    try:
        closed = await t(client[t.name].things.count_documents({}))
    except (PyMongoError, AutoReconnect) as error:
        closed = type(error).__name__
    return [counts, closed == 20 or closed]


@row("commands as their listener sees them")
async def monitored(t: Trial) -> Any:
    listener = Listener()
    client = t.make(event_listeners=[listener])
    things = client[t.name].things
    await t(things.insert_one({"_id": 1}))
    await t(things.find_one())
    await t.caught(lambda: things.insert_one({"_id": 1}))
    await t.caught(lambda: client[t.name].command("find", 5))
    commands = [(name, command) for name, command in listener.commands if not name.startswith("sasl")]
    fields = [sorted(set(command) - {"$clusterTime"}) for _, command in commands]
    return [[name for name, _ in commands], fields, listener.failures]
