"""Aggregation pipelines under rules by path.

A stage can carry a masked value on under another name, and a later stage can compare with it there. So a pipeline is
*tainted* from the stage on that reads a masked field, takes in documents of another collection that has masked fields,
or is not understood: from there on none of its literals is shown, only what is structure. Before that, filters and
constructed fields are treated as they are anywhere.
"""

from __future__ import annotations

from typing import Final

from ...rawbson import build, walk
from .paths import Automaton, Node
from .walker import Trail, Walker, spliced

# Nothing in these is compared with a document's value, or becomes one.
_STRUCTURE: Final = frozenset({
    b"$collStats", b"$count", b"$indexStats", b"$limit", b"$listLocalSessions", b"$listSessions", b"$planCacheStats",
    b"$sample", b"$skip", b"$unset", b"$unwind",
})  # fmt: skip
_CHOOSING: Final = frozenset({b"$project", b"$sort"})
_COMPUTING: Final = frozenset({
    b"$addFields", b"$bucket", b"$bucketAuto", b"$documents", b"$group", b"$project", b"$redact", b"$replaceRoot",
    b"$replaceWith", b"$set", b"$sort", b"$sortByCount",
})  # fmt: skip
_JOINS: Final = frozenset({b"$graphLookup", b"$lookup", b"$unionWith"})
# Of a join: names of collections and fields.
_NAMES: Final = frozenset({
    b"as", b"coll", b"connectFromField", b"connectToField", b"db", b"depthField", b"foreignField", b"from",
    b"localField", b"maxDepth",
})  # fmt: skip
_OWN_FIELDS: Final = (b"localField", b"connectFromField")


class Pipelines:
    """Of one command on `database`."""

    def __init__(self, walker: Walker, automaton: Automaton, database: str) -> None:
        self._walker = walker
        self._automaton = automaton
        self._database = database

    def run(
        self, data: bytes, start: int, stop: int, node: Node, trail: Trail, *, tainted: bool = False
    ) -> tuple[bytes | None, bool]:
        """The pipeline (an array) at data[start:stop] over documents at `node`, and whether it ends tainted."""
        edits: list[tuple[int, int, bytes]] = []
        for kind, name, value, end in walk.listed(data, start, stop):
            if kind != walk.DOCUMENT:
                new = self._walker.literal(data, kind, name, value, end, trail)
            else:
                inner, tainted = self._stage(data, value, end, node, trail, tainted)
                new = None if inner is None else build.element(kind, name, inner)
            if new is not None:
                edits.append((value - len(name) - 2, end, new))
        return spliced(data, start, stop, edits), tainted

    def _stage(
        self, data: bytes, start: int, stop: int, node: Node, trail: Trail, tainted: bool
    ) -> tuple[bytes | None, bool]:
        edits: list[tuple[int, int, bytes]] = []
        for kind, name, value, end in walk.listed(data, start, stop):
            new, tainted = self._operator(data, kind, name, value, end, node, (trail, name), tainted)
            if new is not None:
                edits.append((value - len(name) - 2, end, new))
        return spliced(data, start, stop, edits), tainted

    def _operator(
        self, data: bytes, kind: int, name: bytes, start: int, stop: int, node: Node, trail: Trail, tainted: bool
    ) -> tuple[bytes | None, bool]:
        """One stage, or what is beside it in its document."""
        walker = self._walker
        chosen = name in _CHOOSING
        if name in _STRUCTURE:
            return walker.plain(data, kind, name, start, stop, trail), tainted
        if name in (b"$out", b"$merge"):
            return self._output(data, kind, name, start, stop, trail), tainted
        if name == b"$facet" and kind == walk.DOCUMENT:
            return self._facet(data, kind, name, start, stop, node, trail, tainted)
        if name in _JOINS:
            return self._join(data, kind, name, start, stop, node, trail, tainted)
        if not tainted and name == b"$match" and kind == walk.DOCUMENT:
            inner = walker.fields(data, start, stop, node, trail)
            return (None if inner is None else build.element(kind, name, inner)), False
        known = name in _COMPUTING
        if tainted or (not known and not node.dead) or walker.mentions(data, kind, start, stop, node):
            expression = name != b"$match"  # in a filter a text that begins with a dollar is a value like any other
            new = walker.literal(data, kind, name, start, stop, trail, expression=expression, chosen=chosen)
            return new, True
        return walker.expression(data, kind, name, start, stop, node, trail, chosen=chosen), False

    def _output(self, data: bytes, kind: int, name: bytes, start: int, stop: int, trail: Trail) -> bytes | None:
        """Where results go. What a $merge does to documents that are there is about the other collection's fields."""
        if kind != walk.DOCUMENT:
            return self._walker.plain(data, kind, name, start, stop, trail)
        edits: list[tuple[int, int, bytes]] = []
        for inner_kind, field, value, end in walk.listed(data, start, stop):
            if field == b"let" or (field == b"whenMatched" and inner_kind == walk.ARRAY):
                new = self._walker.literal(data, inner_kind, field, value, end, (trail, field), expression=True)
                if new is not None:
                    edits.append((value - len(field) - 2, end, new))
        inner = spliced(data, start, stop, edits)
        return None if inner is None else build.element(kind, name, inner)

    def _facet(
        self, data: bytes, kind: int, name: bytes, start: int, stop: int, node: Node, trail: Trail, tainted: bool
    ) -> tuple[bytes | None, bool]:
        edits: list[tuple[int, int, bytes]] = []
        after = tainted
        for inner_kind, field, value, end in walk.listed(data, start, stop):
            if inner_kind != walk.ARRAY:
                new = self._walker.literal(data, inner_kind, field, value, end, (trail, field))
            else:
                inner, one = self.run(data, value, end, node, (trail, field), tainted=tainted)
                after = after or one
                new = None if inner is None else build.element(inner_kind, field, inner)
            if new is not None:
                edits.append((value - len(field) - 2, end, new))
        found = spliced(data, start, stop, edits)
        # The documents are in the facets' arrays now, where no rule looks for them.
        return (None if found is None else build.element(kind, name, found)), after or not node.dead

    def _join(
        self, data: bytes, kind: int, name: bytes, start: int, stop: int, node: Node, trail: Trail, tainted: bool
    ) -> tuple[bytes | None, bool]:
        """Documents of another collection come in."""
        walker = self._walker
        if kind != walk.DOCUMENT:  # $unionWith's short form
            other = self._other(data, kind, start, stop)
            return self._walker.plain(data, kind, name, start, stop, trail), tainted or not other.dead
        fields = walk.fields(data, start, stop)
        source = next((fields[key] for key in (b"from", b"coll") if key in fields), None)
        # Without one the documents are those of the pipeline's own $documents.
        other = self._automaton.root(self._database) if source is None else self._other(data, *source)
        if not tainted:
            tainted = walker.mentions(data, kind, start, stop, node) or self._reads_names(data, fields, node)
        edits: list[tuple[int, int, bytes]] = []
        inside = False
        for inner_kind, field, value, end in walk.listed(data, start, stop):
            new: bytes | None = None
            here = (trail, field)
            if field == b"pipeline" and inner_kind == walk.ARRAY:
                inner, inside = self.run(data, value, end, other, here, tainted=tainted)
                new = None if inner is None else build.element(inner_kind, field, inner)
            elif field in _NAMES:
                new = self._walker.plain(data, inner_kind, field, value, end, here)
            elif field == b"restrictSearchWithMatch" and inner_kind == walk.DOCUMENT and not tainted:
                inner = walker.fields(data, value, end, other, here)
                new = None if inner is None else build.element(inner_kind, field, inner)
            elif tainted or not other.dead:
                expression = field != b"restrictSearchWithMatch"
                new = walker.literal(data, inner_kind, field, value, end, here, expression=expression)
            else:
                new = walker.expression(data, inner_kind, field, value, end, node, here)
            if new is not None:
                edits.append((value - len(field) - 2, end, new))
        found = spliced(data, start, stop, edits)
        tainted = tainted or inside or not other.dead
        return (None if found is None else build.element(kind, name, found)), tainted

    def _other(self, data: bytes, kind: int, start: int, stop: int) -> Node:
        """The documents of the collection that a join names."""
        database, collection = self._database, ""
        if kind == walk.STRING:
            collection = data[start + 4 : stop - 1].decode("utf-8", "replace")
        elif kind == walk.DOCUMENT:
            named = walk.fields(data, start, stop)
            for key in (b"db", b"coll"):
                if key in named and named[key][0] == walk.STRING:
                    text = data[named[key][1] + 4 : named[key][2] - 1].decode("utf-8", "replace")
                    database, collection = (text, collection) if key == b"db" else (database, text)
        return self._automaton.root(f"{database}.{collection}" if collection else database)

    def _reads_names(self, data: bytes, fields: dict[bytes, tuple[int, int, int]], node: Node) -> bool:
        for key in _OWN_FIELDS:
            found = fields.get(key)
            if found is not None and not node.walk(data[found[1] + 4 : found[2] - 1]).dead:
                return True
        return False
