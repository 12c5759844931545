"""A recorded body as people read it: canonical Extended JSON, laid out, with its parts marked for colour.

The types stay (`{"$numberLong": "5"}` says what `5` would hide), but such an object stands on one line. Law: every
piece of text is escaped here, and control characters are shown as JSON's own escapes; what was recorded is hostile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from markupsafe import Markup, escape

_INDENT: Final = "  "
_SHORT: Final = 72  # a value that fits is put on one line
_MOST_CHARS: Final = 100_000
CUT: Final = "…"


def pretty(body: Any, most: int = _MOST_CHARS) -> tuple[Markup, bool]:
    """(HTML for a <pre>, whether it was cut because it is longer than `most` characters)."""
    parts: list[str] = []
    size = 0
    for kind, text in _pieces(body, 0):
        if size + len(text) > most:
            parts.append(f'<i class="cut">{CUT}</i>')
            return Markup("".join(parts)), True  # noqa: S704 - every piece below is escaped
        size += len(text)
        shown = str(escape(text))
        parts.append(f'<i class="{kind}">{shown}</i>' if kind else shown)
    return Markup("".join(parts)), False  # noqa: S704 - every piece above is escaped


def preview(body: Any, most: int = 180) -> str:
    """The beginning of a body on one line, without the fields that every command has."""
    if not isinstance(body, dict):
        return ""
    kept = {name: value for name, value in body.items() if name not in _EVERYWHERE}
    rest = dict(list(kept.items())[1:])  # the command's name and collection stand beside it
    parts: list[str] = []
    size = 0
    for name, value in rest.items():
        text = f"{name}: {_line(value, most)}"
        parts.append(text)
        size += len(text)
        if size > most:
            break
    line = ", ".join(parts)
    return line if len(line) <= most else line[: most - 1] + CUT


_EVERYWHERE: Final = frozenset(
    {"$db", "lsid", "$clusterTime", "$readPreference", "txnNumber", "apiVersion", "$audit", "$client", "$configTime"}
)


def _line(value: Any, most: int) -> str:
    """JSON on one line, cut before it is written where it is long."""
    pieces: list[str] = []
    size = 0
    for piece in json.JSONEncoder(ensure_ascii=True).iterencode(value):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            break
    return "".join(pieces)


def _fits(value: Any) -> str | None:
    """The value on one line, if that is short."""
    text = _line(value, _SHORT)
    return text if len(text) <= _SHORT else None


def _pieces(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        if _is_typed(value) and _fits(value) is not None:
            yield "typed", _line(value, _SHORT)
            return
        yield from _object(value, depth)
    elif isinstance(value, list) and value:
        yield from _array(value, depth)
    else:
        yield _kind(value), json.dumps(value, ensure_ascii=True)


def _is_typed(value: dict[str, Any]) -> bool:
    return next(iter(value)).startswith("$") and len(value) <= 2


def _object(value: dict[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    inner = "\n" + _INDENT * (depth + 1)
    yield "", "{"
    for number, (name, each) in enumerate(value.items()):
        yield "", ("," if number else "") + inner
        yield "name", json.dumps(name, ensure_ascii=True)
        yield "", ": "
        yield from _pieces(each, depth + 1)
    yield "", "\n" + _INDENT * depth + "}"


def _array(value: list[Any], depth: int) -> Iterator[tuple[str, str]]:
    inner = "\n" + _INDENT * (depth + 1)
    yield "", "["
    for number, each in enumerate(value):
        yield "", ("," if number else "") + inner
        yield from _pieces(each, depth + 1)
    yield "", "\n" + _INDENT * depth + "]"


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "plain"
