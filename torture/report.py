"""Findings as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Results = Mapping[str, Sequence[Mapping[str, Any]]]
_HIDDEN = frozenset({"wrong", "messages"})


def wrong(results: Results) -> list[str]:
    """Everything that should not be, a sentence each."""
    return [f"{name}, {row['way']}: {each}" for name, rows in results.items() for row in rows for each in row["wrong"]]


def table(results: Results, seed: int) -> str:
    """All trials, each with its rows."""
    lines = [f"# Torture, seed {seed}", ""]
    for name, rows in results.items():
        keys = list(dict.fromkeys(key for row in rows for key in row if key not in _HIDDEN))
        lines += [f"## {name}", "", "| " + " | ".join(keys) + " | verdict |", "|" + "---|" * (len(keys) + 1)]
        for row in rows:
            verdict = "; ".join(row["wrong"]) or "good"
            lines.append("| " + " | ".join([*(_cell(row.get(key, "")) for key in keys), verdict]) + " |")
        lines += ["", *(f"- {row['way']}: {each}" for row in rows for each in row.get("messages", ())), ""]
    found = wrong(results)
    lines += ["", f"{len(found)} findings." if found else "Nothing was wrong."]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count} × {name}" for name, count in value.items()) or "none"
    return str(value)
