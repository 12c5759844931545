"""Rules by pattern: texts that are not shown wherever they stand.

The syntax is RE2's: no look-around and no back-references, and in turn a search whose time grows with the text alone,
so that no client can stall a gateway with a text made for it (ADR 0016). A pattern is looked for in every string and in
every name of a field; where it is found, the whole string is masked.

`Patterns.may_be_in` looks through a whole message at once. Law: it never says no where `found_in` would say yes of a
text in it: what bounds a text (zero bytes, lengths below 16 MB, types) is never part of a word, and anchors, which
would not hold there, are left out of what it looks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import re2

from .paths import RuleError

PATTERN_BYTES: Final = 512
_MEMORY: Final = 1024 * 1024  # of one compiled pattern
_MEMORY_TOGETHER: Final = 16 * 1024 * 1024
_ANCHORS: Final = frozenset("AzZ")


def check(text: str) -> None:
    """RuleError if `text` is no pattern that can be used."""
    if not text:
        raise RuleError("A masking pattern is not empty.")
    if len(text.encode()) > PATTERN_BYTES:
        raise RuleError(f"A masking pattern has at most {PATTERN_BYTES} bytes.")
    if not text.isprintable():
        raise RuleError(r"A masking pattern has a character that can't be printed: write it as an escape, such as \t.")
    if _compile(text).search(b"") is not None:
        raise RuleError(f"The masking pattern {text!r} matches the empty text: it would mask everything.")


def _compile(text: str, memory: int = _MEMORY) -> re2._Regexp:
    # In a group, so that what is left open in it (a quotation) is found here and not where it is put beside others.
    try:
        return re2.compile(f"(?:{text})", _options(memory))
    except re2.error as error:
        why = error.args[0] if error.args else "it can't be compiled"
        why = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise RuleError(f"The masking pattern {text[:100]!r} does not compile (RE2 syntax): {why}.") from error


def _options(memory: int) -> re2.Options:
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    options.never_capture = True
    return options


class Patterns:
    """All patterns of a set of rules, as one: a single search, which falls back to a slower one and never gives up
    (RE2's own sets do, when their memory is used up)."""

    def __init__(self, texts: Iterable[str]) -> None:
        """RuleError for one that does not compile."""
        texts = tuple(texts)
        for text in texts:
            check(text)
        self._exact = _together(texts)
        relaxed = tuple(unanchored(text) for text in texts)
        # One that holds everywhere once its anchors are gone could just as well be looked for in each text.
        self._within = None if any(_says_nothing(text) for text in relaxed) else _together(relaxed)

    def may_be_in(self, data: bytes) -> bool:
        """Whether a text in these bytes of BSON could have a pattern in it."""
        return self._within is None or self._within.search(data) is not None

    def found_in(self, text: bytes) -> bool:
        """Whether one is in this text (UTF-8)."""
        return self._exact.search(text) is not None


def _together(texts: Iterable[str]) -> re2._Regexp:
    return _compile("|".join(f"(?:{text})" for text in texts), _MEMORY_TOGETHER)


def _says_nothing(relaxed: str) -> bool:
    try:
        return _compile(relaxed).search(b"") is not None
    except RuleError:
        return True


def unanchored(text: str) -> str:
    """The pattern without its anchors: it finds all that `text` finds, and more."""
    return "".join(_without_anchors(text))


def _without_anchors(text: str) -> Iterator[str]:
    pos, in_class = 0, False
    while pos < len(text):
        char = text[pos]
        if char == "\\" and pos + 1 < len(text):
            if text[pos + 1] == "Q":  # what is quoted has no anchors
                stop = text.find("\\E", pos)
                stop = len(text) if stop < 0 else stop + 2
                yield text[pos:stop]
                pos = stop
                continue
            escape = text[pos : pos + 2]
            yield "(?:)" if text[pos + 1] in _ANCHORS and not in_class else escape
            pos += 2
            continue
        if in_class:
            # "]" right behind the opening (or behind its "^") is a member; "[:alpha:]" has brackets of its own.
            if text.startswith("[:", pos) and ":]" in text[pos:]:
                stop = text.index(":]", pos) + 2
                yield text[pos:stop]
                pos = stop
                continue
            in_class = char != "]"
        elif char == "[":
            in_class = True
            stop = pos + 1 + text.startswith("^", pos + 1)
            stop += text.startswith("]", stop)
            yield text[pos:stop]
            pos = stop
            continue
        elif char in "^$":
            yield "(?:)"
            pos += 1
            continue
        yield char
        pos += 1
