"""What the documentation says of names is what the code says, and no name is missing."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from wardgate.api.models import EndReason
from wardgate.api.problems import ProblemCode
from wardgate.cli.exits import Exit

ROOT = Path(__file__).resolve().parents[2]


def _load_tool() -> Any:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "tools" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _load_tool()


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", tool.PAGES)
def test_generated_blocks_are_what_would_be_written(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert tool.render(text) == text, "run make docs"


def test_every_block_is_on_a_page() -> None:
    found = set().union(*(tool.blocks_of((ROOT / name).read_text(encoding="utf-8")) for name in tool.PAGES))
    assert found == set(tool.BLOCKS)


def test_a_block_is_replaced_whole_and_nothing_else_is() -> None:
    page = "before\n<!-- begin exit-codes: by hand -->\nold\nolder\n<!-- end exit-codes -->\nafter\n"
    written = tool.render(page)
    assert written.startswith("before\n<!-- begin exit-codes: by hand -->\n\n| code |")
    assert written.endswith("|\n\n<!-- end exit-codes -->\nafter\n")
    assert "old" not in written
    assert tool.render(written) == written


def test_every_command_and_option_is_told() -> None:
    page = _page("cli.md")
    for path, command in tool.commands():
        assert f"\n### {path}\n" in page
        for parameter in command.params:
            assert all(name in page for name in parameter.opts if name.startswith("--"))


def test_every_code_reason_and_variable_is_told() -> None:
    cli, api = _page("cli.md"), _page("api.md")
    assert [code for code in ProblemCode if f"| `{code.value}` |" not in api] == []
    assert [reason for reason in EndReason if f"| `{reason.value}` |" not in cli] == []
    assert [code for code in Exit if f"| {code.value} |" not in cli] == []
    read = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"WARDGATE_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8"))
    }
    assert [name for name in sorted(read) if f"| `{name}` |" not in cli] == []


def test_a_name_without_a_sentence_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no sentence for"):
        tool._must_know({"known": ""}, ["known", "new"])
    with pytest.raises(SystemExit, match="nothing left of"):
        tool._must_know({"known": "", "gone": ""}, ["known"])
