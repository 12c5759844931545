"""Rules by path: which fields of which collections are not shown.

A rule is `[database/]collection.field.field…`. A segment is a name, `*` (any one) or `**` (any number of them). What
lies below a masked field is masked with it. Names of collections may have dots, so a rule is a path through collection
and field alike: `fs.files.owner` is the field `owner` of the collection `fs.files`, and `files.owner` of `fs`, and both
are masked. A first `*` stands for a whole collection, whatever dots it has.

Fields are found as MongoDB's own dotted paths find them: through arrays whether an index is named or not, through the
positional operators, and through operators (`$set`, `$and`, `$elemMatch`), which are no part of a path.

Law: `Node.step` errs towards masking. The automaton behind it grows with what rules say and never with what clients
send: names that no rule has are all the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from ...errors import WardgateError

PATH_BYTES: Final = 512
SEGMENTS_MAX: Final = 32
_NAMES_MAX: Final = 64  # remembered at a node, and only
_NAME_BYTES: Final = 64  # ones up to this length: clients choose them
_NODES_MAX: Final = 1_024  # remembered; a rule with many wildcards could make more
_ROOTS_MAX: Final = 1_024  # namespaces remembered: clients choose them

_ANY: Final = b"*"
_MANY: Final = b"**"
_BUCKETS: Final = "system.buckets."  # a time series' own collections: their fields stand below others
_ELSEWHERE: Final = frozenset({"system.profile"})  # collections with copies of what stands in others

_State: TypeAlias = tuple[int, int]  # rule, place in it
_States: TypeAlias = frozenset[_State]


class RuleError(WardgateError):
    """A rule that can't be used, and why."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_rule", message)


class Path(NamedTuple):
    """A rule by path. `database` None: any."""

    database: str | None
    segments: tuple[bytes, ...]


def parse(text: str) -> Path:
    """The path that `text` means; RuleError."""
    if len(text.encode()) > PATH_BYTES:
        raise RuleError(f"A masking path has at most {PATH_BYTES} bytes.")
    if not text.isprintable():
        raise RuleError("A masking path has a character that can't be printed.")
    database, slash, rest = text.rpartition("/")
    if slash and not database:
        raise RuleError("The masking path begins with a slash: give the database before it, or leave the slash out.")
    if "/" in database or "." in database or (database != "*" and "*" in database):
        raise RuleError(f"{database!r} is no name of a database; before the slash stands one, or *.")
    segments = rest.split(".")
    if "" in segments:
        raise RuleError(f"The masking path {text!r} has an empty segment.")
    if len(segments) < 2:
        raise RuleError(f"{text!r} names no field: write collection.field, for example customers.card.number.")
    if len(segments) > SEGMENTS_MAX:
        raise RuleError(f"A masking path has at most {SEGMENTS_MAX} segments.")
    for segment in segments:
        if "*" in segment and segment not in ("*", "**"):
            raise RuleError(f"{segment!r}: a wildcard stands for whole segments, * for one and ** for any number.")
        if segment.startswith("$"):
            raise RuleError(f"{segment!r}: operators are no part of a path; leave it out.")
    if "*" * len("".join(segments)) == "".join(segments):
        raise RuleError("The masking path has wildcards only: it would mask everything.")
    names = [segment.encode() for segment in segments]
    if names[-1] == _MANY:
        names[-1] = _ANY  # what lies below a masked field is masked with it
    return Path(None if database in ("", "*") else database, tuple(names))


class Node:
    """Where a path has come to. `masks`: a rule ends here. `dead`: none can end at or below it."""

    __slots__ = ("_automaton", "_known", "_literals", "_names", "dead", "masks", "states")

    def __init__(self, automaton: Automaton, states: _States) -> None:
        self._automaton = automaton
        self.states = states
        self.dead = not states
        self.masks = automaton.ends(states)
        self._literals = automaton.literals(states)
        self._known: dict[bytes | bool, Node] = {}
        self._names: dict[bytes, Node] = {}  # the newest ones: the same few come again and again

    def step(self, segment: bytes) -> Node:
        """One name further. A number may be an index, which rules need not name."""
        if self.dead or self.masks:
            return self
        number = segment.isdigit()
        key = segment if segment in self._literals else number
        found = self._known.get(key)
        if found is None:
            states = self._automaton.after(self.states, segment)
            found = self._known[key] = self._automaton.node(states | self.states if number else states)
        return found

    def walk(self, name: bytes) -> Node:
        """Along a name as it stands in a command: dotted, with positional operators, or an operator itself."""
        found = self._names.get(name)
        if found is None:
            found = self._walk(name)
            if len(name) <= _NAME_BYTES:
                if len(self._names) >= _NAMES_MAX:
                    self._names.clear()
                self._names[name] = found
        return found

    def _walk(self, name: bytes) -> Node:
        if b"." not in name:
            return self if name[:1] == b"$" else self.step(name)
        node = self
        for segment in name.split(b"."):
            if segment[:1] != b"$":
                node = node.step(segment)
        return node

    def anywhere(self) -> Node:
        """The same rules at any field of theirs: for a path that begins inside a document."""
        return self._automaton.anywhere(self.states)


class Automaton:
    """All paths of a set of rules."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._nodes: dict[_States, Node] = {}
        self._roots: dict[str, Node] = {}
        # For what nothing is known of: any field of any collection.
        self.everything = self.node(frozenset(self._fields(range(len(self._paths)))))
        self._copies: Node | None = None

    def root(self, namespace: str) -> Node:
        """Where the documents of ``database.collection`` begin; of a database alone, those of any collection in it."""
        found = self._roots.get(namespace)
        if found is None:
            if len(self._roots) >= _ROOTS_MAX:
                self._roots.clear()
            found = self._roots[namespace] = self._root(namespace)
        return found

    def root_anywhere(self, collection: str) -> Node:
        """Where the documents of a collection of this name begin, in whatever database; empty: of any collection."""
        return self._begin(range(len(self._paths)), collection)

    def _root(self, namespace: str) -> Node:
        database, _, collection = namespace.partition(".")
        if database == "local":
            return self._copied()
        return self._begin([i for i, path in enumerate(self._paths) if path.database in (None, database)], collection)

    def _begin(self, rules: Sequence[int], collection: str) -> Node:
        if collection in _ELSEWHERE or collection.startswith(_BUCKETS):
            return self._copied()
        if not collection or collection == "$cmd":
            return self.node(frozenset(self._fields(rules)))
        states = self.close({(rule, 0) for rule in rules})
        for segment in collection.encode("utf-8", "surrogatepass").split(b"."):
            states = self.after(states, segment)
        whole = self.close({(rule, 1) for rule in rules if self._paths[rule].segments[0] == _ANY})
        begun = frozenset(state for state in states | whole if state[1] < len(self._paths[state[0]].segments))
        return self.node(begun)

    def _copied(self) -> Node:
        """Where documents begin that hold, somewhere below, documents of other collections or commands on them."""
        if self._copies is None:
            tails = {path.segments[at:] for path in self._paths for at in range(1, len(path.segments))}
            below = Automaton(Path(None, (_MANY, *tail)) for tail in sorted(tails))
            self._copies = below.node(below.close({(rule, 0) for rule in range(len(tails))}))
        return self._copies

    def _fields(self, rules: Iterable[int]) -> Iterable[_State]:
        for rule in rules:
            segments = self._paths[rule].segments
            yield from ((rule, place) for place in range(0 if segments[0] == _MANY else 1, len(segments)))

    def anywhere(self, states: _States) -> Node:
        """At any field at or below these places."""
        return self.node(
            frozenset((rule, later) for rule, at in states for later in range(at, len(self._paths[rule].segments)))
        )

    def node(self, states: _States) -> Node:
        """The node of these states."""
        found = self._nodes.get(states)
        if found is None:
            if len(self._nodes) >= _NODES_MAX:
                self._nodes.clear()
                self._roots.clear()
            found = self._nodes[states] = Node(self, states)
        return found

    def after(self, states: _States, segment: bytes) -> _States:
        """Where these places lead with `segment`."""
        reached: set[_State] = set()
        for rule, place in states:
            segments = self._paths[rule].segments
            if place == len(segments):
                continue
            wanted = segments[place]
            if wanted == _MANY:
                reached.add((rule, place))
            elif wanted in (_ANY, segment):
                reached.add((rule, place + 1))
        return self.close(reached)

    def close(self, states: set[_State]) -> _States:
        """With all places that are reached by a `**` that stands for nothing."""
        todo = list(states)
        while todo:
            rule, place = todo.pop()
            segments = self._paths[rule].segments
            if place < len(segments) and segments[place] == _MANY and (rule, place + 1) not in states:
                states.add((rule, place + 1))
                todo.append((rule, place + 1))
        return frozenset(states)

    def ends(self, states: _States) -> bool:
        """Whether a rule ends here."""
        return any(place == len(self._paths[rule].segments) for rule, place in states)

    def literals(self, states: _States) -> frozenset[bytes]:
        """The names that these places tell from others."""
        return frozenset(
            self._paths[rule].segments[place] for rule, place in states if place < len(self._paths[rule].segments)
        )
