"""What the CLI prints: tables for people, JSON for programs, errors in one sentence.

What comes from outside (names, bodies, error texts) is hostile: every control, format and bidirectional character is
shown escaped, and nothing is read as markup. Colour says state and nothing else.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from .. import durations

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Item = TypeVar("Item", bound=BaseModel)

_PIPE_WIDTH = 400  # a table that goes into a file or to grep is never folded
_STATE_COLOURS = {
    "active": "green",
    "online": "green",
    "verified": "green",
    "ok": "green",
    "current": "green",
    "waiting": "yellow",
    "paused": "yellow",
    "failing": "red",
    "starting": "yellow",
    "pending": "yellow",
    "open": "yellow",
    "incomplete": "yellow",
    "lost": "yellow",
    "offline": "red",
    "revoked": "red",
    "tampered": "red",
    "denied": "red",
    "failed": "red",
}


def safe(text: str) -> str:
    """`text` with every character escaped that could move the cursor, hide text or change its direction."""
    return "".join(char if _printable(char) else _escaped(char) for char in text)


def _printable(char: str) -> bool:
    return char == " " or unicodedata.category(char)[0] not in "CZ"


def _escaped(char: str) -> str:
    if unicodedata.category(char) == "Zs":
        return " "
    return char.encode("unicode_escape").decode("ascii")


def console(*, stderr: bool = False) -> Console:
    """A terminal that wraps nothing into pieces when it is a pipe."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def print_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """One object, or a list as one array."""
    if isinstance(value, BaseModel):
        data: Any = value.model_dump(mode="json")
    else:
        data = [item.model_dump(mode="json") for item in value]
    sys.stdout.write(to_json(data, indent=2) + "\n")


def print_json_line(value: BaseModel | dict[str, Any]) -> None:
    """One object on one line, at once."""
    sys.stdout.write(to_json(value.model_dump(mode="json") if isinstance(value, BaseModel) else value) + "\n")
    sys.stdout.flush()


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON for a terminal too: `json` escapes C0 only, and terminals heed the controls of C1 as well."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    # What is not printable stands nowhere but in JSON's strings, where `\uXXXX` means the same.
    return "".join(char if char == "\n" or _printable(char) else json.dumps(char)[1:-1] for char in text)


def line(text: str, *, stderr: bool = False) -> None:
    """One line for people, escaped."""
    stream = sys.stderr if stderr else sys.stdout
    stream.write(safe(text) + "\n")
    stream.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table without lines; `empty` says what to do next where there is nothing to show."""
    from rich.table import Table
    from rich.text import Text

    kept = [tuple(rows_) for rows_ in rows]
    if not kept:
        line(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in kept:
        table.add_row(*(Text(safe(cell), style=_STATE_COLOURS.get(cell, "")) for cell in row))
    console().print(table)


def print_list(
    items: Sequence[Item], as_json: bool, columns: Sequence[str], row: Callable[[Item], Sequence[str]], *, empty: str
) -> None:
    """A list as one JSON array, or as a table with one `row` for each."""
    if as_json:
        print_json(items)
    else:
        print_table(columns, map(row, items), empty=empty)


def print_facts(facts: Iterable[tuple[str, str | None]]) -> None:
    """Names and values, one a line; what is None is left out."""
    from rich.text import Text

    kept = [(name, value) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in kept), default=0) + 3
    for name, value in kept:
        show(Text(name.ljust(width), style="dim") + Text(safe(value), style=_STATE_COLOURS.get(value, "not dim")))


def count(number: int, noun: str) -> str:
    """`1 command`, `2 commands`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show(renderable: RenderableType, *, stderr: bool = False) -> None:
    """Print something of rich's."""
    console(stderr=stderr).print(renderable)


def when(moment: datetime | None) -> str:
    """A time relative to now, as people say it; `–` for none."""
    if moment is None:
        return "–"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if abs(seconds) < 10:
        return "just now"
    amount = _largest_unit(abs(seconds))
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


def exact(moment: datetime | None) -> str | None:
    """A time to the second, UTC, with how long ago it was."""
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({when(moment)})"


def span(seconds: float | None) -> str:
    """A length of time; `–` for none."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    from datetime import timedelta

    return durations.format(timedelta(seconds=round(seconds)))


def _largest_unit(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"
