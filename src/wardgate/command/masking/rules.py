"""The rules of one project, compiled, and what a command's record becomes under them.

`Masking` is a value: the same rules give the same record. `Redactor` holds the rules that are in force now, for a
session whose rules may change while it lives; without rules it costs one comparison.

Law: what can't be understood under an active rule is withheld, and the record says so. Facts (namespaces, effect,
sizes) are no part of this: they were found in the command as it was sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, NamedTuple

from ...rawbson import walk
from ...rawbson.walk import BsonError
from ..facts import Command
from ..placeholders import TEXT, withheld
from ..sensitive import Recorded, record_body
from . import commands
from .commands import Parts
from .paths import Automaton, Node, RuleError, parse
from .patterns import Patterns
from .walker import TooMuchError, Walker

RULES_MAX: Final = 100
_NOT_UNDERSTOOD: Final = "a masking rule is in force, and it is not known where this command has values"
_BROKEN: Final = "a masking rule is in force, and its documents can't be read"
_TOO_MUCH: Final = "a masking rule is in force, and there is more in it than can be looked through"


class Rule(NamedTuple):
    """One rule: `expression` is a path or a pattern (`paths.parse`, `patterns.check`)."""

    kind: Literal["path", "pattern"]
    expression: str


def digest_of(rules: Iterable[Rule]) -> str:
    """What names a set of rules, whatever their order; empty for none."""
    ordered = sorted(set(rules))
    return hashlib.sha256(json.dumps(ordered).encode()).hexdigest() if ordered else ""


class Masking:
    """Compiled rules."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """RuleError, naming the first that can't be used."""
        if len(rules) > RULES_MAX:
            raise RuleError(f"A project has at most {RULES_MAX} masking rules.")
        self.digest = digest_of(rules)
        self.count = len(rules)
        self._automaton = Automaton(parse(rule.expression) for rule in rules if rule.kind == "path")
        texts = [rule.expression for rule in rules if rule.kind == "pattern"]
        self._patterns = Patterns(texts) if texts else None
        self._nowhere = self._automaton.node(frozenset())

    # --- whole commands ---------------------------------------------------------------------------------------------

    def record(self, command: Command) -> Recorded:
        """A command as it may be recorded."""
        recorded = record_body(command)
        if recorded.masked == ("*",):
            return recorded
        request = command.request
        hinted = self.hints(request.raw if recorded.masked == () else recorded.body)
        concerned = self.concerns(command)
        if not hinted and not concerned:
            return recorded
        if concerned and _is_opaque(command):
            return Recorded(withheld(recorded.body, _NOT_UNDERSTOOD), (), ("*",))
        try:
            return self._masked(command, recorded, concerned=concerned, hinted=hinted)
        except TooMuchError:
            return Recorded(withheld(recorded.body, _TOO_MUCH), (), ("*",))
        except BsonError:
            return Recorded(withheld(recorded.body, _BROKEN), (), ("*",))

    def would_mask(self, command: Command) -> tuple[str, ...]:
        """The paths that these rules alone mask in it."""
        recorded = self.record(command)
        before = set(record_body(command).masked)
        return tuple(path for path in recorded.masked if path not in before)

    def hints(self, data: bytes) -> bool:
        """Whether a pattern could be found in these bytes of BSON."""
        return self._patterns is not None and self._patterns.may_be_in(data)

    def concerns(self, command: Command) -> bool:
        """Whether a rule by path could be about what this command touches."""
        if self._automaton.everything.dead or commands.is_plain(_name(command)):
            return False
        return any(not self._automaton.root(namespace).dead for namespace in command.namespaces) or not command.known

    def _masked(self, command: Command, recorded: Recorded, *, concerned: bool, hinted: bool) -> Recorded:
        body, masked = recorded.body, dict.fromkeys(recorded.masked)
        if concerned:
            walker = Walker(None, self._nowhere)
            parts = Parts(walker, self._automaton, command.database)
            body = parts.body(body, 0, len(body), command.name, self._node(command)) or body
            masked.update(dict.fromkeys(walker.masked))
        if hinted:
            walker = Walker(self._patterns, self._nowhere)
            body = walker.fields(body, 0, len(body), self._nowhere, None) or body
            masked.update(dict.fromkeys(walker.masked))
        sections = SectionMasker(self, command)
        sequences = tuple((name, sections.documents(name, documents)) for name, documents in recorded.sequences)
        masked.update(dict.fromkeys(sections.masked))
        return Recorded(body, sequences, tuple(masked))

    def _node(self, command: Command) -> Node:
        """The documents that a command's own fields are about."""
        if command.name == "bulkWrite":
            return self._automaton.everything
        place = command.database if command.collection is None else f"{command.database}.{command.collection}"
        return self._automaton.root(place)

    # --- text -------------------------------------------------------------------------------------------------------

    def error(self, text: str, command: Command) -> str:
        """What MongoDB said of a command: it may quote any value of a document, so of a masked collection's it is
        hidden, and elsewhere where a pattern is in it."""
        return TEXT if self.concerns(command) or self._is_in(text) else text

    def text(self, text: str) -> str:
        """A text that is about no command."""
        return TEXT if self._is_in(text) else text

    def _is_in(self, text: str) -> bool:
        return self._patterns is not None and self._patterns.found_in(text.encode("utf-8", "surrogatepass"))

    # --- for sections that come in pieces -----------------------------------------------------------------------------

    def walkers(self) -> tuple[Walker, Walker | None]:
        """One for paths, and one for patterns behind it, if there are any."""
        by_pattern = None if self._patterns is None else Walker(self._patterns, self._nowhere)
        return Walker(None, self._nowhere), by_pattern

    def parts(self, walker: Walker, command: Command | None, collection: str = "") -> tuple[Parts, Node]:
        """For documents of a section; `command` None: of what they belong to no more than the `collection` is known."""
        if command is None:
            return Parts(walker, self._automaton, ""), self._automaton.root_anywhere(collection)
        node = self._node(command) if self.concerns(command) else self._nowhere
        return Parts(walker, self._automaton, command.database), node

    @property
    def nowhere(self) -> Node:
        """The node of no rule."""
        return self._nowhere


class SectionMasker:
    """The documents of sections, masked one by one."""

    def __init__(self, masking: Masking, command: Command | None = None) -> None:
        self._masking = masking
        self._by_path, self._by_pattern = masking.walkers()
        self.known = command is not None
        self._parts, self._node = masking.parts(self._by_path, command)

    @property
    def masked(self) -> tuple[str, ...]:
        """The masked paths so far."""
        by_pattern = () if self._by_pattern is None else self._by_pattern.masked
        return (*self._by_path.masked, *by_pattern)

    def guess(self, collection: str) -> None:
        """The documents from now on belong to a collection of this name, in whatever database."""
        self._parts, self._node = self._masking.parts(self._by_path, None, collection)

    def know(self, command: Command) -> None:
        """What the documents from now on belong to."""
        self.known = True
        self._parts, self._node = self._masking.parts(self._by_path, command)

    def documents(self, identifier: str, data: bytes) -> bytes:
        """Documents that stand one behind the other; BsonError."""
        if not self._node.dead:
            data = self._each(data, lambda start, stop: self._parts.document(data, start, stop, identifier, self._node))
        walker, masking = self._by_pattern, self._masking
        if walker is None or not masking.hints(data):
            return data
        whole, trail = data, (None, identifier.encode())

        def by_pattern(start: int, stop: int) -> bytes | None:
            walker.again()
            return walker.fields(whole, start, stop, masking.nowhere, trail)

        return self._each(data, by_pattern)

    @staticmethod
    def _each(data: bytes, mask: Callable[[int, int], bytes | None]) -> bytes:
        parts: list[bytes] = []
        pos = kept = 0
        while pos < len(data):
            stop = walk.document_end(data, pos, len(data))
            walk.validate(data, pos, stop)
            new = mask(pos, stop)
            if new is not None:
                parts += (data[kept:pos], new)
                kept = stop
            pos = stop
        parts.append(data[kept:])
        return b"".join(parts)


def _name(command: Command) -> str:
    return command.name if command.inner is None else command.inner


def _is_opaque(command: Command) -> bool:
    return not commands.is_understood(_name(command))


class Redactor:
    """The rules in force. None: there are none."""

    __slots__ = ("rules",)

    def __init__(self, rules: Masking | None = None) -> None:
        self.rules = rules

    def record(self, command: Command) -> Recorded:
        """A command as it may be recorded now."""
        return record_body(command) if self.rules is None else self.rules.record(command)

    def error(self, text: str, command: Command) -> str:
        """What is recorded of MongoDB's error on a command."""
        return text if self.rules is None else self.rules.error(text, command)

    def text(self, text: str) -> str:
        """What is recorded of a text of our own, which may quote a name."""
        return text if self.rules is None else self.rules.text(text)
