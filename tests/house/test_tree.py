"""What the whole checkout keeps to."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "wardgate").rglob("*.py"))
PURE = (
    *("errors.py", "secret.py", "ids.py", "durations.py", "numbers.py", "sealing.py"),
    *("rawbson", "wire", "scram", "tunnel", "proof", "command", "policy", "audit", "proxy"),
)
TEXT = {
    *(".cfg", ".cjs", ".css", ".html", ".java", ".js", ".json", ".lock", ".md", ".mako", ".php", ".pl", ".py", ".sh"),
    *(".sql", ".svg", ".toml", ".txt", ".yml"),
}
# A path of the machine that something was written on works nowhere else.
MACHINE_PATH = re.compile(r"(?<![\w./])/(?:home/(?!user\b)\w+|root|Users/\w+|work/(?:main|shared))\b")


def tracked() -> list[Path]:
    """The files of the checkout: git's list, or all but the generated folders where git or its folder is absent."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return [
            path
            for path in ROOT.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        ]
    return [ROOT / name.decode() for name in listed.split(b"\0") if name and (ROOT / name.decode()).is_file()]


def test_no_path_of_anyones_machine() -> None:
    found = []
    for path in tracked():
        scripts = path.suffix in TEXT or path.name in {"Makefile", "run"} or path.parent == ROOT / "tools"
        if not scripts or path == Path(__file__):
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}"
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if MACHINE_PATH.search(line)
        ]
    assert not found


def test_no_secret_files_are_tracked() -> None:
    assert not [
        path for path in tracked() if path.suffix in {".key", ".db"} or path.name in {"master.key", "logins.json"}
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_every_source_file_opens_with_its_theory(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), "the file has no docstring"


def _calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.relative_to(ROOT / "src" / "wardgate").parts[0] in PURE],
    ids=lambda path: str(path.relative_to(ROOT / "src")),
)
def test_the_core_asks_no_clock_and_prints_nothing(path: Path) -> None:
    """import-linter forbids the modules; these come in through modules that the core may have."""
    calls = _calls(ast.parse(path.read_text(encoding="utf-8")))
    forbidden = {"print", "open", "input", "datetime.now", "datetime.utcnow", "date.today", "uuid.uuid4", "uuid4"}
    assert not calls & forbidden


def test_no_file_is_too_long() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "check_files.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_make_lists_its_tasks() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for task in ("setup", "demo", "test", "check", "bench", "docs"):
        assert f"make {task} " in done.stdout
