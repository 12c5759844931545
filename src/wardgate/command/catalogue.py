"""Every command that mongod and mongos of the releases 3.6 to 8.0 answer to, and what sort of thing it is.

What it is not: a list of what is allowed. It says what a command *can* do and where its namespace stands; whether it
may is policy's business. Names are exact: MongoDB tells `ismaster` from `isMaster` only because both are on its list.

Law: a name that is not here is unknown, and unknown is treated as the strongest effect. The lists stay alphabetical.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final, NamedTuple


class Effect(StrEnum):
    """What a command can do; the strongest one counts: read < write < code < admin. Auth stands apart."""

    ADMIN = "admin"
    AUTH = "auth"
    CODE = "code"
    READ = "read"
    WRITE = "write"


class Area(Enum):
    """What a command is about, as far as a policy could care."""

    DATA = "data"  # documents, collections, indexes
    DIAGNOSIS = "diagnosis"  # looks at the server, changes nothing
    INTERNAL = "internal"  # between members of a cluster, or for MongoDB's own tests
    KILL = "kill"  # stops work: one's own or somebody else's
    LOGIN = "login"  # wardgate answers it itself
    REPLICATION = "replication"  # changes a replica set
    SERVER = "server"  # changes a running server or its settings
    SHARDING = "sharding"  # changes a sharded cluster
    USERS = "users"  # changes users or roles


class Place(Enum):
    """Where a command's namespace stands."""

    CURSOR = "cursor"  # getMore: in the field `collection`
    DATABASE = "database"  # it is on the whole database or server
    FULL = "full"  # its value is ``database.collection``
    VALUE = "value"  # its value is the collection


class Entry(NamedTuple):
    """One command. `name` as text, so that no look-up needs to decode."""

    name: str
    effect: Effect
    area: Area
    place: Place


_READS_ON_COLLECTION = """
    checkShardingIndex collStats collstats count distinct find geoNear geoSearch listIndexes listSearchIndexes
    parallelCollectionScan planCacheListFilters planCacheListPlans planCacheListQueryShapes repairCursor
    validate
"""
_WRITES_ON_COLLECTION = """
    analyze cleanupStructuredEncryptionData cloneCollectionAsCapped collMod compact
    compactStructuredEncryptionData convertToCapped create createIndexes createSearchIndexes delete
    deleteIndexes drop dropIndexes dropSearchIndex findAndModify findandmodify insert planCacheClear
    planCacheClearFilters planCacheSetFilter reIndex setIndexCommitQuorum update updateSearchIndex
"""
_READS_ON_DATABASE = """
    explain listCollections
"""
_DIAGNOSIS = """
    atlasVersion availableQueryOptions balancerCollectionStatus balancerStatus buildInfo buildinfo
    checkMetadataConsistency connectionStatus connPoolStats currentOp dbHash dbhash dbStats dbstats
    driverOIDTest endSessions features getClusterParameter getCmdLineOpts getDatabaseVersion
    getDefaultRWConcern getDiagnosticData getESERotateActiveKEKStatus getFreeMonitoringStatus getLastError
    getlasterror getLog getParameter getPrevError getprevError getShardMap getTrafficRecordingStatus hello
    hostInfo isdbgrid isMaster ismaster listCommands listDatabases listShards listshards lockInfo ping
    refreshSessions replSetGetConfig replSetGetRBID replSetGetStatus resetError reseterror rolesInfo
    serverStatus shardConnPoolStats shardingState startSession top usersInfo validateDBMetadata whatsmyuri
"""
_DIAGNOSIS_FULL = """
    dataSize datasize filemd5 getShardVersion splitVector
"""
_USERS = """
    createRole createUser dropAllRolesFromDatabase dropAllUsersFromDatabase dropRole dropUser
    grantPrivilegesToRole grantRolesToRole grantRolesToUser invalidateUserCache oidcListKeys oidcRefreshKeys
    revokePrivilegesFromRole revokeRolesFromRole revokeRolesFromUser updateRole updateUser
"""
_SERVER = """
    autoCompact configureQueryAnalyzer dbCheck dropConnections flushRouterConfig fsync fsyncUnlock logRotate
    profile refreshLogicalSessionCacheNow releaseMemory removeQuerySettings repairDatabase rotateCertificates
    rotateFTDC setClusterParameter setDefaultRWConcern setFeatureCompatibilityVersion setFreeMonitoring
    setParameter setProfilingFilterGlobally setQuerySettings setUserWriteBlockMode shutdown
    startRecordingTraffic startTrafficRecording stopRecordingTraffic stopTrafficRecording touch
"""
_REPLICATION = """
    replSetAbortPrimaryCatchUp replSetFreeze replSetInitiate replSetMaintenance replSetReconfig
    replSetResizeOplog replSetStepDown replSetStepDownWithForce replSetStepUp replSetSyncFrom
"""
_SHARDING = """
    abortMoveCollection abortReshardCollection abortUnshardCollection addShard addshard addShardToZone
    balancerSetStrategy balancerStart balancerStop cleanupOrphaned cleanupReshardCollection clearJumboFlag
    commitReshardCollection commitTransitionToDedicatedConfigServer configureCollectionBalancing
    enableSharding enablesharding mergeAllChunksOnShard mergeChunks moveChunk movechunk moveCollection
    movePrimary moveprimary moveRange refineCollectionShardKey removeShard removeshard removeShardFromZone
    repairShardedCollectionChunksHistory resetPlacementHistory reshardCollection setAllowMigrations
    shardCollection shardcollection split splitChunk startTransitionToDedicatedConfigServer
    stopTransitionToDedicatedConfigServer transitionFromDedicatedConfigServer
    transitionToDedicatedConfigServer transitionToShardedCluster unsetSharding unshardCollection
    updateZoneKeyRange
"""
# Everything that begins with an underscore is internal too, without being listed.
_INTERNAL = """
    abortShardSplit appendOplogNote applyOps autoSplitVector captrunc clearLog clone cloneCollection
    clusterAbortTransaction clusterAggregate clusterBulkWrite clusterCommitTransaction clusterCount
    clusterDelete clusterFind clusterGetMore clusterInsert clusterUpdate commitShardSplit configureFailPoint
    connPoolSync coordinateCommitTransaction copydb cpuload diagLogging donorAbortMigration
    donorForgetMigration donorStartMigration donorWaitForMigrationToCommit doTxn echo emptycapped forceerror
    forgetShardSplit godinsert handshake httpClientRequest importCollection
    internalRenameIfOptionsAndIndexesMatch journalLatencyTest listDatabasesForAllTenants logMessage
    makeSnapshot pinHistoryReplicated prepareTransaction reapLogicalSessionCacheNow recipientForgetMigration
    recipientSyncData recipientVoteImportedFiles replicateSearchIndexCommand replSetElect replSetFresh
    replSetGetNewElectionCandidates replSetHeartbeat replSetReadConcernTimestamps replSetRequestVotes
    replSetTest replSetTestEgress replSetUpdatePosition setCommittedSnapshot setShardVersion sleep stageDebug
    streams_getMetrics streams_startStreamProcessor streams_stopStreamProcessor sysprofile
    testCommandFeatureFlaggedOnLatestFCV testDeprecation testDeprecationInVersion2 testInternalTransactions
    testRemoval testReshardCloneCollection testVersion2 testVersions1And2 voteAbortIndexBuild
    voteCommitImportCollection voteCommitIndexBuild voteCommitTransaction waitForFailPoint
    waitForOngoingChunkSplits whatsmysni writebacklisten
"""
_KILL = "killAllSessions killAllSessionsByPattern killOp killSessions"
_LOGIN = "authenticate copydbgetnonce copydbsaslstart getnonce logout saslContinue saslStart"


def _entries() -> dict[bytes, Entry]:
    read, write, admin = Effect.READ, Effect.WRITE, Effect.ADMIN
    table = [
        (_READS_ON_COLLECTION, read, Area.DATA, Place.VALUE),
        (_WRITES_ON_COLLECTION, write, Area.DATA, Place.VALUE),
        (_READS_ON_DATABASE, read, Area.DATA, Place.DATABASE),
        (_DIAGNOSIS, read, Area.DIAGNOSIS, Place.DATABASE),
        (_DIAGNOSIS_FULL, read, Area.DIAGNOSIS, Place.FULL),
        (_USERS, admin, Area.USERS, Place.DATABASE),
        (_SERVER, admin, Area.SERVER, Place.DATABASE),
        (_REPLICATION, admin, Area.REPLICATION, Place.DATABASE),
        (_SHARDING, admin, Area.SHARDING, Place.DATABASE),
        (_INTERNAL, admin, Area.INTERNAL, Place.DATABASE),
        (_KILL, admin, Area.KILL, Place.DATABASE),
        (_LOGIN, Effect.AUTH, Area.LOGIN, Place.DATABASE),
        ("aggregate", read, Area.DATA, Place.VALUE),
        ("getMore", read, Area.DATA, Place.CURSOR),
        ("killCursors", read, Area.KILL, Place.VALUE),
        ("bulkWrite dropDatabase abortTransaction commitTransaction", write, Area.DATA, Place.DATABASE),
        ("renameCollection", write, Area.DATA, Place.FULL),
        ("group mapReduce mapreduce", Effect.CODE, Area.DATA, Place.VALUE),
        ("$eval eval", Effect.CODE, Area.DATA, Place.DATABASE),
    ]
    entries: dict[bytes, Entry] = {}
    for names, effect, area, place in table:
        for name in names.split():
            if name.encode() in entries:
                raise AssertionError(f"{name} stands twice in the catalogue")
            entries[name.encode()] = Entry(name, effect, area, place)
    return entries


CATALOGUE: Final = _entries()


def look_up(name: bytes) -> Entry | None:
    """The entry of a command; None for an unknown one."""
    entry = CATALOGUE.get(name)
    if entry is None and name.startswith(b"_") and name.isascii():
        return Entry(name.decode(), Effect.ADMIN, Area.INTERNAL, Place.DATABASE)
    return entry
