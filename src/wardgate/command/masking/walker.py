"""Raw BSON with what rules name replaced, and nothing else changed.

A `Walker` takes one command's parts and gives each back, either as it came (None) or with placeholders. What it does at
a place depends on what stands there:

- `fields`: a document, a filter or an update: the value of a field that a rule names is masked. Operators are seen
  through. What a filter says in a language of its own (`$expr`, `$where`, `$jsonSchema`, `$text`) is masked whole.
- `projected`: likewise, but 0, 1, -1 and booleans, which only choose or order, are left.
- `literals`: everything that could be a value.

Law: one frame of recursion for each level of the document, whose depth was checked before.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from ...rawbson import build, walk
from ..placeholders import MASK, placeholder
from .paths import Node
from .patterns import Patterns

Trail: TypeAlias = "tuple[Trail, bytes] | None"

ELEMENTS_MAX: Final = 100_000  # looked at in one command: about 0.1 s, in which nobody else is served
_PLACEHOLDER: Final = re.compile(re.escape(MASK.encode()) + rb":[A-Za-z]+").fullmatch
_PATHS_MAX: Final = 64  # of masked paths that a record lists
_AND_MORE: Final = "…"
_CONTAINERS: Final = frozenset({walk.DOCUMENT, walk.ARRAY})
_CODES: Final = frozenset({walk.CODE, walk.CODE_WITH_SCOPE})
_TEXTS: Final = frozenset({walk.STRING, walk.SYMBOL, walk.CODE})
_HIDDEN_NAME: Final = f"{MASK}:name".encode()

# Operators of a filter: their names are kept where their operand is masked.
_OPERATORS: Final = frozenset({
    b"$all", b"$bitsAllClear", b"$bitsAllSet", b"$bitsAnyClear", b"$bitsAnySet", b"$elemMatch", b"$eq", b"$exists",
    b"$geoIntersects", b"$geoWithin", b"$gt", b"$gte", b"$in", b"$lt", b"$lte", b"$mod", b"$ne", b"$near",
    b"$nearSphere", b"$nin", b"$not", b"$options", b"$regex", b"$size", b"$type",
})  # fmt: skip
# Parts of a filter that name fields in ways of their own, or none at all.
_LANGUAGES: Final = frozenset({
    b"$accumulator", b"$comment", b"$expr", b"$function", b"$jsonSchema", b"$search", b"$text", b"$where",
})  # fmt: skip
_COMMENT: Final = b"$comment"
_EXPRESSION: Final = b"$expr"
_CHOICES: Final = frozenset({-1, 0, 1})

# Variables of an expression that are no documents.
_PLAIN_VARIABLES: Final = frozenset({
    b"CLUSTER_TIME", b"DESCEND", b"IS_MR", b"JS_SCOPE", b"KEEP", b"NOW", b"PRUNE", b"REMOVE", b"SEARCH_META",
    b"USER_ROLES",
})  # fmt: skip
_WHOLE_DOCUMENT: Final = frozenset({b"ROOT", b"CURRENT"})
# Operators that name a field without a dollar, or run code.
_OPAQUE: Final = frozenset({b"$accumulator", b"$function", b"$getField", b"$setField", b"$unsetField", b"$where"})


class TooMuchError(walk.BsonError):
    """More to look at than one command may cost: its content is withheld."""


class Walker:
    """Over one command. `masked` gathers the paths of what was masked."""

    def __init__(self, patterns: Patterns | None, nowhere: Node) -> None:
        """`patterns` None: there are none, or none can be in this command. `nowhere` is the node of no rule."""
        self._patterns = patterns
        self._nowhere = nowhere
        self._masked: dict[str, None] = {}
        self._left = ELEMENTS_MAX

    @property
    def masked(self) -> tuple[str, ...]:
        """The masked paths, each once; indices of arrays are left out."""
        if len(self._masked) > _PATHS_MAX:
            return (*list(self._masked)[:_PATHS_MAX], _AND_MORE)
        return tuple(self._masked)

    # --- fields -----------------------------------------------------------------------------------------------------

    def fields(
        self, data: bytes, start: int, stop: int, node: Node, trail: Trail, *, array: bytes | None = None,
        chosen: bool = False,
    ) -> bytes | None:  # fmt: skip
        """The document at data[start:stop], or the array of the name `array`; its place in the collection's documents
        is `node`. Indices are no part of the list that an operator has."""
        patterns = self._patterns
        if node.dead and (patterns is None or not patterns.may_be_in(data[start:stop])):
            return None
        edits: list[tuple[int, int, bytes]] = []
        inside = walk.listed(data, start, stop)
        self._spend(len(inside))
        for index, (kind, name, value, end) in enumerate(inside):
            shown = name if patterns is None or array is not None else self._name(name, index, trail)
            if array is not None:
                here, there = node if array[:1] == b"$" else node.step(b"%d" % index), trail
            else:
                here, there = node.walk(name), (trail, shown)
            new: bytes | None = None
            if name in _LANGUAGES and not node.dead and array is None:
                new = self._language(data, kind, shown, value, end, node, there)
            elif here.masks:
                new = self._value(data, kind, shown, value, end, there, chosen=chosen)
            elif kind in _CONTAINERS:
                if here.dead and patterns is None:
                    continue
                inner = self.fields(
                    data, value, end, here, there, array=name if kind == walk.ARRAY else None, chosen=chosen
                )
                new = None if inner is None else build.element(kind, shown, inner)
            elif patterns is not None:
                new = self._text(data, kind, shown, value, end, there)
            if new is None and shown is not name:
                new = build.element(kind, shown, data[value:end])
            if new is not None:
                edits.append((value - len(name) - 2, end, new))
        return spliced(data, start, stop, edits)

    def _language(
        self, data: bytes, kind: int, name: bytes, start: int, stop: int, node: Node, trail: Trail
    ) -> bytes | None:
        if name == _COMMENT:
            return self._text(data, kind, name, start, stop, trail)
        if name == _EXPRESSION:
            return self.expression(data, kind, name, start, stop, node, trail)
        return self.literal(data, kind, name, start, stop, trail)

    def _value(
        self, data: bytes, kind: int, name: bytes, start: int, stop: int, trail: Trail, *, chosen: bool
    ) -> bytes | None:
        """A masked field's value. What a filter asks of it stays visible as far as the names of operators go."""
        if chosen and _chooses(data, kind, start):
            return None
        if kind == walk.DOCUMENT:
            inner = list(walk.listed(data, start, stop))
            if inner and all(each[1] in _OPERATORS for each in inner):
                parts = [
                    self._value(data, each[0], each[1], each[2], each[3], (trail, each[1]), chosen=False)
                    if each[1] == b"$not"
                    else self._hide(each[0], each[1], (trail, each[1]))
                    for each in inner
                ]
                return build.element(kind, name, build.document(part for part in parts if part is not None))
        return self._hide(kind, name, trail)

    def _hide(self, kind: int, name: bytes, trail: Trail) -> bytes:
        self.note(trail)
        return placeholder(kind, name)

    # --- everything ---------------------------------------------------------------------------------------------------

    def literal(
        self, data: bytes, kind: int, name: bytes, start: int, stop: int, trail: Trail, *, expression: bool = False,
        chosen: bool = False,
    ) -> bytes | None:  # fmt: skip
        """A value of which nothing may be shown but its structure; of an `expression`, the paths that it names too."""
        if kind in _CONTAINERS:
            inner = self.literals(data, start, stop, trail, expression=expression, chosen=chosen)
            return None if inner is None else build.element(kind, name, inner)
        if chosen and _chooses(data, kind, start):
            return None
        if expression and kind == walk.STRING and data[start + 4 : start + 5] == b"$":
            return self._text(data, kind, name, start, stop, trail)
        return self._hide(kind, name, trail)

    def literals(
        self, data: bytes, start: int, stop: int, trail: Trail, *, expression: bool = False, chosen: bool = False
    ) -> bytes | None:
        """Each literal below the document or array at data[start:stop]."""
        edits: list[tuple[int, int, bytes]] = []
        inside = walk.listed(data, start, stop)
        self._spend(len(inside))
        for index, (kind, name, value, end) in enumerate(inside):
            shown = name if self._patterns is None else self._name(name, index, trail)
            there = trail if name.isdigit() else (trail, shown)
            if kind in _CONTAINERS:
                inner = self.literals(
                    data, value, end, there, expression=expression and name != b"$literal", chosen=chosen
                )
                new = None if inner is None else build.element(kind, shown, inner)
            else:
                deep = expression and name != b"$literal"
                new = self.literal(data, kind, shown, value, end, there, expression=deep, chosen=chosen)
            if new is None and shown is not name:
                new = build.element(kind, shown, data[value:end])
            if new is not None:
                edits.append((value - len(name) - 2, end, new))
        return spliced(data, start, stop, edits)

    def expression(
        self, data: bytes, kind: int, name: bytes, start: int, stop: int, node: Node, trail: Trail, *,
        chosen: bool = False,
    ) -> bytes | None:  # fmt: skip
        """An expression. Where it reads what is masked, none of its literals is shown."""
        if self.mentions(data, kind, start, stop, node):
            return self.literal(data, kind, name, start, stop, trail, expression=True, chosen=chosen)
        if kind in _CONTAINERS:
            array = name if kind == walk.ARRAY else None
            inner = self.fields(data, start, stop, node, trail, array=array, chosen=chosen)
            return None if inner is None else build.element(kind, name, inner)
        return self._text(data, kind, name, start, stop, trail)

    def mentions(self, data: bytes, kind: int, start: int, stop: int, node: Node) -> bool:
        """Whether an expression reads a masked field, or something that has one in it or could be one."""
        if node.dead:
            return False
        todo = [(kind, b"", start, stop)]
        while todo:
            self._spend(1)
            kind, name, start, stop = todo.pop()
            if name in _OPAQUE:
                return True
            if kind in _CONTAINERS:
                todo.extend(walk.listed(data, start, stop))
            elif kind in _CODES or (kind == walk.STRING and _reads(data[start + 4 : stop - 1], node)):
                return True
        return False

    # --- patterns -----------------------------------------------------------------------------------------------------

    def _text(self, data: bytes, kind: int, name: bytes, start: int, stop: int, trail: Trail) -> bytes | None:
        """A value that no path masks."""
        patterns = self._patterns
        if patterns is None:
            return None
        if kind in _TEXTS:
            text = data[start + 4 : stop - 1]
            found = patterns.found_in(text) and _PLACEHOLDER(text) is None
        elif kind == walk.REGEX:
            found = patterns.found_in(data[start : data.index(0, start)])
        elif kind in (walk.CODE_WITH_SCOPE, walk.DB_POINTER):
            found = patterns.may_be_in(data[start:stop])
        else:
            return None
        if not found:
            return None
        return self._hide(kind, name, trail)

    def plain(self, data: bytes, kind: int, name: bytes, start: int, stop: int, trail: Trail) -> bytes | None:
        """A value that has nothing to do with any document: patterns only."""
        if self._patterns is None:
            return None
        if kind not in _CONTAINERS:
            return self._text(data, kind, name, start, stop, trail)
        array = name if kind == walk.ARRAY else None
        inner = self.fields(data, start, stop, self._nowhere, trail, array=array)
        return None if inner is None else build.element(kind, name, inner)

    def _name(self, name: bytes, index: int, trail: Trail) -> bytes:
        """The name of a field, or one in place of it."""
        assert self._patterns is not None
        if not self._patterns.found_in(name) or (trail is None and (not index or name == b"$db")):
            return name  # at the top the first one is the command, which is a fact as the database is
        hidden = _HIDDEN_NAME + b":%d" % index  # numbered: there may be several, and a document has a name once
        self.note((trail, hidden))
        return hidden

    def again(self) -> None:
        """The next document has all the patience again."""
        self._left = ELEMENTS_MAX

    def _spend(self, elements: int) -> None:
        self._left -= elements
        if self._left < 0:
            raise TooMuchError("there is too much to look at")

    def note(self, trail: Trail) -> None:
        """Remember a masked path."""
        if len(self._masked) > _PATHS_MAX:
            return
        names: list[str] = []
        while trail is not None:
            trail, name = trail
            names.append(name.decode("utf-8", "backslashreplace"))
        self._masked[".".join(reversed(names))] = None


def spliced(data: bytes, start: int, stop: int, edits: list[tuple[int, int, bytes]]) -> bytes | None:
    """The document at data[start:stop] with these elements replaced; None if there are none."""
    if not edits:
        return None
    parts: list[bytes] = []
    kept = start + 4
    for first, end, new in edits:
        parts += (data[kept:first], new)
        kept = end
    parts.append(data[kept : stop - 1])
    return build.document(parts)


def _reads(text: bytes, node: Node) -> bool:
    if not text.startswith(b"$"):
        return False
    path = text[1:]
    if path.startswith(b"$"):
        variable, _, path = path[1:].partition(b".")
        if variable in _PLAIN_VARIABLES or variable not in _WHOLE_DOCUMENT:
            # Any other variable was defined by an expression, which is looked at too.
            return False
        if not path:
            return True
    return not node.walk(path).dead


def _chooses(data: bytes, kind: int, start: int) -> bool:
    return kind == walk.BOOLEAN or walk.number(data, kind, start) in _CHOICES
