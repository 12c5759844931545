"""The documents of a streamed request, masked on their way into the record.

It watches the reader of the request and gathers what is to be sealed in place of the message's own bytes. What it can't
mask (a document that is too long or no document) makes the whole body withheld, and so do rules that changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..audit.parts import section_head
from ..command.facts import Command
from ..command.masking import Masking, SectionMasker
from ..command.placeholders import withheld
from ..command.sensitive import Recorded
from ..rawbson import walk
from ..rawbson.walk import BsonError

_PART_BYTES: Final = 512 * 1024
_WHY: Final = "a masking rule is in force, and not all of its documents can be masked"


class MaskedParts:
    """Of one request, under the rules that hold when it begins. `command` tells what is known of it."""

    def __init__(self, rules: Masking, command: Callable[[], Command | None]) -> None:
        self.rules = rules
        self._command = command
        self._masker = SectionMasker(rules)
        self._name = ""
        self._out: list[bytes] = []
        self._lost = False

    # --- as the reader's watch --------------------------------------------------------------------------------------

    def section(self, name: bytes, first: bytes) -> None:
        """Documents begin."""
        self._name = name.decode()
        self._out.append(section_head(name))
        if self._masker.known:
            return
        command = self._command()
        if command is not None:
            self._masker.know(command)
        elif first and first[0] == walk.STRING:
            value = first.index(0) + 1
            self._masker.guess(first[value + 4 : -1].decode("utf-8", "replace"))

    def documents(self, data: bytes) -> None:
        """Some of them."""
        if self._lost:
            return
        try:
            self._out.append(self._masker.documents(self._name, data))
        except BsonError:
            self.unread()

    def unread(self) -> None:
        """One can't be masked."""
        self._lost = True
        self._out.clear()

    # --- for the record ---------------------------------------------------------------------------------------------

    def ready(self) -> Iterator[bytes]:
        """What is masked by now, in pieces to be sealed."""
        data = b"".join(self._out)
        self._out.clear()
        for start in range(0, len(data), _PART_BYTES):
            yield data[start : start + _PART_BYTES]

    def recorded(self, recorded: Recorded, rules: Masking | None) -> Recorded:
        """What the record of the request shows beside its documents; `rules` are those in force at its end."""
        if recorded.masked == ("*",):
            return recorded
        if self._lost or rules is not self.rules:
            return Recorded(withheld(recorded.body, _WHY), (), ("*",))
        return Recorded(recorded.body, (), tuple(dict.fromkeys((*recorded.masked, *self._masker.masked))))
