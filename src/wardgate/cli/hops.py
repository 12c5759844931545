"""How a connection test is shown: each hop, the first one that fails, and what to do about it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ..api.models import Account, Hop, Resource, TestResult
from .output import line, print_json, safe, show


def print_hops(context: dict[str, Any]) -> None:
    """Show the test that a problem document carries, where it carries one."""
    if "hops" not in context:
        return
    try:
        result = TestResult.model_validate(context)
    except ValidationError:
        return
    print_test(result, stderr=True)


def tell_saved(saved: Resource | Account, as_json: bool, sentence: str) -> None:
    """A form that was saved: what is noteworthy about it, and the test that it passed."""
    if as_json:
        print_json(saved)
        return
    line(sentence)
    for warning in saved.warnings:
        line(f"note: {warning}", stderr=True)
    if saved.test is not None:
        print_test(saved.test)


def print_test(result: TestResult, *, stderr: bool = False) -> None:
    """Show every hop of `result`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(4):
        table.add_column(overflow="fold")
    for hop in result.hops:
        mark = Text("✓", style="green") if hop.ok else Text("✗", style="red")
        table.add_row(mark, hop.hop.value, Text(safe(hop.target), style="dim"), Text(_words(hop)))
    show(table, stderr=stderr)


def _words(hop: Hop) -> str:
    return f"{safe(hop.message)} ({hop.duration_ms:.0f} ms)" if hop.ok else safe(hop.message)
