"""What stands where in a command, as far as rules by path must know: its filters, documents, updates and pipelines.

Three sorts of commands: those that carry no documents are recorded as they are; those in `_PARTS` are understood part
by part, and of a part that is none of theirs no literal is shown; any other can't be understood, and its content is
withheld where a rule could be about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from ...rawbson import build, walk
from ..catalogue import CATALOGUE, Area
from .paths import Automaton, Node
from .pipelines import Pipelines
from .walker import Trail, Walker, spliced

_Element: TypeAlias = tuple[int, bytes, int, int]

# Areas in which no command has a filter or a document of the application's.
_PLAIN_AREAS: Final = frozenset({Area.KILL, Area.LOGIN, Area.REPLICATION, Area.USERS})
_PLAIN: Final = (
    frozenset(entry.name for entry in CATALOGUE.values() if entry.area in _PLAIN_AREAS)
    | frozenset(entry.name for entry in CATALOGUE.values() if entry.area is Area.DIAGNOSIS)
    - {"currentOp", "dataSize", "datasize", "splitVector"}
    | frozenset({
        "abortTransaction", "collStats", "collstats", "commitTransaction", "compact", "convertToCapped", "drop",
        "dropDatabase", "dropIndexes", "deleteIndexes", "flushRouterConfig", "fsync", "fsyncUnlock", "getMore",
        "listCollections", "listIndexes", "listSearchIndexes", "logRotate", "reIndex", "renameCollection",
        "setFeatureCompatibilityVersion", "setParameter", "shutdown", "validate",
    })
)  # fmt: skip

# Options that hold no value of a document, in any command.
_OPTIONS: Final = frozenset({
    b"$audit", b"$client", b"$clusterTime", b"$configServerState", b"$configTime", b"$db", b"$readPreference",
    b"$topologyTime", b"allowDiskUse", b"allowPartialResults", b"allowSpeculativeMajorityRead",
    b"apiDeprecationErrors", b"apiStrict", b"apiVersion", b"autocommit", b"awaitData", b"background", b"batchSize",
    b"bulk", b"bypassDocumentValidation", b"bypassEmptyTsReplacement", b"capped", b"changeStreamPreAndPostImages",
    b"clusteredIndex", b"collation", b"comment", b"commitQuorum", b"cursor", b"databaseVersion", b"errorsOnly",
    b"exchange", b"expireAfterSeconds", b"explain", b"fromMongos", b"isMapReduceCommand", b"jsMode", b"key",
    b"limit", b"lsid", b"max", b"maxAwaitTimeMS", b"maxTimeMS", b"maxTimeMSOpOnly", b"mayBypassWriteBlocking",
    b"multi", b"needsMerge", b"new", b"noCursorTimeout", b"noResponse", b"nsInfo", b"oplogReplay", b"ordered",
    b"out", b"queryHash", b"rawData", b"readConcern", b"remove", b"returnKey", b"sampleRate", b"shardVersion",
    b"showRecordId", b"singleBatch", b"size", b"skip", b"slowms", b"startTransaction", b"stmtId", b"stmtIds",
    b"storageEngine", b"tailable", b"term", b"timeseries", b"txnNumber", b"txnRetryCounter", b"upsert", b"verbose",
    b"verbosity", b"viewOn", b"writeConcern",
})  # fmt: skip


class Parts:
    """One command's parts, each by what it is."""

    def __init__(self, walker: Walker, automaton: Automaton, database: str) -> None:
        self._walker = walker
        self._automaton = automaton
        self._database = database
        self._pipelines = Pipelines(walker, automaton, database)

    def body(self, data: bytes, start: int, stop: int, name: str, node: Node, trail: Trail = None) -> bytes | None:
        """A command document (also one that is explained) over documents at `node`."""
        kinds = _PARTS.get(name, {})
        spaces = self._spaces(data, start, stop) if name == "bulkWrite" else []
        edits: list[tuple[int, int, bytes]] = []
        for index, (kind, field, value, end) in enumerate(walk.listed(data, start, stop)):
            here = (trail, field)
            if name == "explain" and not index and kind == walk.DOCUMENT:
                inner = self.body(data, value, end, inner_name(data, value, end), node, here)
                new = None if inner is None else build.element(kind, field, inner)
            elif name == "bulkWrite" and field == b"ops":
                new = self._bulk(data, (kind, field, value, end), spaces, here)
            else:
                handle = kinds.get(field)
                if handle is not None:
                    new = handle(self, data, (kind, field, value, end), node, here)
                elif not index or field in _OPTIONS:
                    new = self._walker.plain(data, kind, field, value, end, here)
                else:
                    new = self._walker.literal(data, kind, field, value, end, here)
            if new is not None:
                edits.append((value - len(field) - 2, end, new))
        return spliced(data, start, stop, edits)

    def document(self, data: bytes, start: int, stop: int, identifier: str, node: Node) -> bytes | None:
        """One document of a section, or of the body's array that could have been one."""
        trail: Trail = (None, identifier.encode())
        self._walker.again()
        if identifier in ("updates", "deletes", "ops") and not node.dead:
            return self._statement(data, start, stop, node, trail)
        if identifier == "nsInfo":
            node = self._automaton.node(frozenset())
        return self._walker.fields(data, start, stop, node, trail)

    # --- parts ------------------------------------------------------------------------------------------------------

    def _fields(self, data: bytes, element: _Element, node: Node, trail: Trail) -> bytes | None:
        kind, name, start, stop = element
        if kind not in (walk.DOCUMENT, walk.ARRAY):
            return self._literal(data, element, node, trail)
        array = b"$" if kind == walk.ARRAY else None
        inner = self._walker.fields(data, start, stop, node, trail, array=array)
        return None if inner is None else build.element(kind, name, inner)

    def _chosen(self, data: bytes, element: _Element, node: Node, trail: Trail) -> bytes | None:
        kind, name, start, stop = element
        if kind == walk.STRING:  # the name of an index
            return self._walker.plain(data, kind, name, start, stop, trail)
        return self._walker.expression(data, kind, name, start, stop, node, trail, chosen=True)

    def _literal(self, data: bytes, element: _Element, node: Node, trail: Trail) -> bytes | None:
        return self._walker.literal(data, *element, trail)

    def _any_fields(self, data: bytes, element: _Element, node: Node, trail: Trail) -> bytes | None:
        """Array filters: paths that begin at a variable, which stands for any field."""
        kind, name, start, stop = element
        if kind != walk.ARRAY:
            return self._literal(data, element, node, trail)
        edits: list[tuple[int, int, bytes]] = []
        for inner_kind, index, value, end in walk.listed(data, start, stop):
            new = self._filter_of_variables(data, inner_kind, index, value, end, node, trail)
            if new is not None:
                edits.append((value - len(index) - 2, end, new))
        inner = spliced(data, start, stop, edits)
        return None if inner is None else build.element(kind, name, inner)

    def _filter_of_variables(
        self, data: bytes, kind: int, name: bytes, start: int, stop: int, node: Node, trail: Trail
    ) -> bytes | None:
        if kind != walk.DOCUMENT:
            return self._walker.literal(data, kind, name, start, stop, trail)
        edits: list[tuple[int, int, bytes]] = []
        for inner_kind, field, value, end in walk.listed(data, start, stop):
            here = (trail, field)
            _, dot, rest = field.partition(b".")
            if not dot or node.anywhere().walk(rest).masks:
                new = self._walker.literal(data, inner_kind, field, value, end, here)
            elif inner_kind in (walk.DOCUMENT, walk.ARRAY):
                below = node.anywhere().walk(rest)
                array = field if inner_kind == walk.ARRAY else None
                inner = self._walker.fields(data, value, end, below, here, array=array)
                new = None if inner is None else build.element(inner_kind, field, inner)
            else:
                new = self._walker.plain(data, inner_kind, field, value, end, here)
            if new is not None:
                edits.append((value - len(field) - 2, end, new))
        found = spliced(data, start, stop, edits)
        return None if found is None else build.element(kind, name, found)

    def _pipeline(self, data: bytes, element: _Element, node: Node, trail: Trail) -> bytes | None:
        kind, name, start, stop = element
        if kind != walk.ARRAY:
            return self._literal(data, element, node, trail)
        inner, _ = self._pipelines.run(data, start, stop, node, trail)
        return None if inner is None else build.element(kind, name, inner)

    def _update(self, data: bytes, element: _Element, node: Node, trail: Trail) -> bytes | None:
        """Update operators, a replacement or a pipeline."""
        part = self._pipeline if element[0] == walk.ARRAY else self._fields
        return part(data, element, node, trail)

    def _statements(self, data: bytes, element: _Element, node: Node, trail: Trail) -> bytes | None:
        """The array of updates or deletes."""
        kind, name, start, stop = element
        if kind != walk.ARRAY:
            return self._literal(data, element, node, trail)
        edits: list[tuple[int, int, bytes]] = []
        for inner_kind, index, value, end in walk.listed(data, start, stop):
            if inner_kind != walk.DOCUMENT:
                new = self._walker.literal(data, inner_kind, index, value, end, trail)
            else:
                inner = self._statement(data, value, end, node, trail)
                new = None if inner is None else build.element(inner_kind, index, inner)
            if new is not None:
                edits.append((value - len(index) - 2, end, new))
        found = spliced(data, start, stop, edits)
        return None if found is None else build.element(kind, name, found)

    def _statement(self, data: bytes, start: int, stop: int, node: Node, trail: Trail) -> bytes | None:
        """One update, delete, index or operation of a bulk write."""
        edits: list[tuple[int, int, bytes]] = []
        for kind, field, value, end in walk.listed(data, start, stop):
            here = (trail, field)
            handle = _STATEMENT.get(field)
            if handle is not None:
                new = handle(self, data, (kind, field, value, end), node, here)
            elif field in _STATEMENT_OPTIONS:
                new = self._walker.plain(data, kind, field, value, end, here)
            else:
                new = self._walker.literal(data, kind, field, value, end, here)
            if new is not None:
                edits.append((value - len(field) - 2, end, new))
        return spliced(data, start, stop, edits)

    # --- bulk writes over several collections -----------------------------------------------------------------------

    def _spaces(self, data: bytes, start: int, stop: int) -> list[Node]:
        """Where the documents of each namespace begin."""
        found = walk.fields(data, start, stop).get(b"nsInfo")
        if found is None or found[0] != walk.ARRAY:
            return []
        spaces = []
        for kind, _, value, end in walk.listed(data, found[1], found[2]):
            named = walk.fields(data, value, end).get(b"ns") if kind == walk.DOCUMENT else None
            if named is None or named[0] != walk.STRING:
                return []
            spaces.append(self._automaton.root(data[named[1] + 4 : named[2] - 1].decode("utf-8", "replace")))
        return spaces

    def _bulk(self, data: bytes, element: _Element, spaces: list[Node], trail: Trail) -> bytes | None:
        kind, name, start, stop = element
        if kind != walk.ARRAY:
            return self._walker.literal(data, kind, name, start, stop, trail)
        edits: list[tuple[int, int, bytes]] = []
        for inner_kind, index, value, end in walk.listed(data, start, stop):
            if inner_kind != walk.DOCUMENT:
                new = self._walker.literal(data, inner_kind, index, value, end, trail)
            else:
                inner = self._statement(data, value, end, _space(data, value, end, spaces, self._automaton), trail)
                new = None if inner is None else build.element(inner_kind, index, inner)
            if new is not None:
                edits.append((value - len(index) - 2, end, new))
        found = spliced(data, start, stop, edits)
        return None if found is None else build.element(kind, name, found)


def _space(data: bytes, start: int, stop: int, spaces: list[Node], automaton: Automaton) -> Node:
    """The documents that an operation is about; where that can't be told, any."""
    for kind, _, value, _ in walk.listed(data, start, stop):
        number = walk.integer(data, kind, value)
        return spaces[number] if number is not None and 0 <= number < len(spaces) else automaton.everything
    return automaton.everything


def inner_name(data: bytes, start: int, stop: int) -> str:
    """The name of the command in a document."""
    return (walk.first_key(data, start, stop) or b"").decode("utf-8", "replace")


def is_plain(name: str) -> bool:
    """Whether a command carries no documents and no filters on any."""
    return name in _PLAIN


def is_understood(name: str) -> bool:
    """Whether rules by path know what stands where in a command."""
    return name in _PARTS


_Handle: TypeAlias = Callable[[Parts, bytes, _Element, Node, Trail], "bytes | None"]

_FIELDS: _Handle = Parts._fields
_CHOSEN: _Handle = Parts._chosen
_LITERAL: _Handle = Parts._literal
_PIPELINE: _Handle = Parts._pipeline
_UPDATE: _Handle = Parts._update
_STATEMENTS: _Handle = Parts._statements
_ARRAY_FILTERS: _Handle = Parts._any_fields

_STATEMENT: Final[dict[bytes, _Handle]] = {
    b"arrayFilters": _ARRAY_FILTERS,
    b"constants": _LITERAL,
    b"c": _LITERAL,
    b"document": _FIELDS,
    b"filter": _FIELDS,
    b"hint": _CHOSEN,
    b"key": _CHOSEN,
    b"partialFilterExpression": _FIELDS,
    b"q": _FIELDS,
    b"sort": _CHOSEN,
    b"u": _UPDATE,
    b"updateMods": _UPDATE,
    b"wildcardProjection": _CHOSEN,
}
_STATEMENT_OPTIONS: Final = _OPTIONS | {
    b"2dsphereIndexVersion", b"bits", b"bucketSize", b"default_language", b"delete", b"dropDups", b"hidden",
    b"insert", b"language_override", b"min", b"name", b"ns", b"prepareUnique", b"sparse", b"textIndexVersion",
    b"unique", b"update", b"v", b"weights",
}  # fmt: skip
_FIND: Final[dict[bytes, _Handle]] = {
    b"filter": _FIELDS,
    b"hint": _CHOSEN,
    b"let": _LITERAL,
    b"max": _FIELDS,
    b"min": _FIELDS,
    b"projection": _CHOSEN,
    b"sort": _CHOSEN,
}
_MODIFY: Final[dict[bytes, _Handle]] = {
    b"arrayFilters": _ARRAY_FILTERS,
    b"fields": _CHOSEN,
    b"hint": _CHOSEN,
    b"let": _LITERAL,
    b"query": _FIELDS,
    b"sort": _CHOSEN,
    b"update": _UPDATE,
}
_MAP_REDUCE: Final[dict[bytes, _Handle]] = {b"query": _FIELDS, b"sort": _CHOSEN}  # its functions and scope are hidden
_PARTS: Final[dict[str, dict[bytes, _Handle]]] = {
    "aggregate": {b"hint": _CHOSEN, b"let": _LITERAL, b"pipeline": _PIPELINE},
    "bulkWrite": {b"let": _LITERAL},
    "collMod": {b"index": _LITERAL, b"pipeline": _PIPELINE, b"validator": _FIELDS},
    "count": {b"hint": _CHOSEN, b"query": _FIELDS},
    "create": {b"pipeline": _PIPELINE, b"validator": _FIELDS},
    "createIndexes": {b"indexes": _STATEMENTS},
    "currentOp": {},
    "delete": {b"deletes": _STATEMENTS, b"let": _LITERAL},
    "distinct": {b"hint": _CHOSEN, b"query": _FIELDS},
    "explain": {},
    "find": _FIND,
    "findAndModify": _MODIFY,
    "findandmodify": _MODIFY,
    "insert": {b"documents": _FIELDS},
    "mapReduce": _MAP_REDUCE,
    "mapreduce": _MAP_REDUCE,
    "profile": {},
    "update": {b"let": _LITERAL, b"updates": _STATEMENTS},
}
