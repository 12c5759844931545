"""No source file over 600 lines: a file that long has two subjects.

Migrations are written by a program, from models that stand in files of their own, and nobody edits them.
"""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT = 600
WRITTEN = Path("src/wardgate/control/db/migrations/versions")
ROOTS = ("src", "tests", "bench", "compat", "torture", "tools")


def too_long(root: Path) -> list[str]:
    """`path: lines` of every Python file below `root`'s source folders that is over the limit."""
    found = []
    for folder in ROOTS:
        for path in sorted((root / folder).rglob("*.py")):
            if WRITTEN in path.relative_to(root).parents:
                continue
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > LIMIT:
                found.append(f"{path.relative_to(root)}: {lines} lines, {LIMIT} are allowed")
    return found


def main() -> int:
    """Exit status 1 and one line for each file that is too long."""
    found = too_long(Path(__file__).resolve().parents[1])
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
