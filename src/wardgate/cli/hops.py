"""How a connection test is shown: each hop, the first one that fails, and what to do about it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ..api.models import Hop, TestResult
from .output import safe, show


def print_hops(context: dict[str, Any]) -> None:
    """Show the test that a problem document carries, where it carries one."""
    if "hops" not in context:
        return
    try:
        result = TestResult.model_validate(context)
    except ValidationError:
        return
    print_test(result, stderr=True)


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
