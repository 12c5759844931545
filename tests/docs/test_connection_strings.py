"""The page on connection strings names every option, under what it means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wardgate.control.resources.options import OPTIONS, Option, Role

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "connection-strings.md").read_text(encoding="utf-8")
HEADS = {
    Role.HONOURED: "Honoured by the gateway:",
    Role.FORM: "Also fields of the form",
    Role.CLIENT: "Accepted without effect",
    Role.REFUSED: "Refused:",
}


def _part(role: Role) -> str:
    """The page from the role's beginning to the next one's."""
    start = PAGE.index(HEADS[role])
    later = [PAGE.index(head) for head in [*HEADS.values(), "Any other option"] if PAGE.index(head) > start]
    return PAGE[start : min(later)]


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: str(option.name))
def test_every_option_stands_where_it_belongs(option: Option) -> None:
    assert re.search(rf"`{option.name}`", _part(option.role))
    assert option.advice in PAGE
