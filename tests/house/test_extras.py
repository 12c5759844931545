"""Each extra alone is enough for its program: whatever the extra does not bring cannot be imported.

Instead of installing each extra into an environment of its own, a hook in a fresh interpreter refuses every package
that the extra's requirements do not reach. That is what a user with `pip install wardgate[relay]` has.
"""

from __future__ import annotations

import importlib.metadata as metadata
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HELP = {
    "": ["--help"],
    "cli": ["pam", "db", "access", "--help"],
    "relay": ["relay", "run", "--help"],
    "gateway": ["gateway", "run", "--help"],
    "server": ["server", "run", "--help"],
}

RUNNER = """
import sys

allowed, arguments = set(sys.argv[1].split(",")), sys.argv[2:]


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in third_party - allowed:
            raise ModuleNotFoundError(f"No module named {name!r} (not in this extra)", name=name)


import importlib.metadata

third_party = set(importlib.metadata.packages_distributions())
sys.meta_path.insert(0, Refuse())
sys.argv = ["wardgate", *arguments]
from wardgate.cli.main import main

sys.exit(main())
"""


def _reached(extra: str) -> set[str]:
    """The distributions that `wardgate[extra]` brings, itself included."""
    found: set[tuple[str, str]] = set()
    todo = [("wardgate", extra), ("wardgate", "")]
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in found:
            continue
        found.add((name, wanted))
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                dependency = canonicalize_name(requirement.name)
                todo += [(dependency, each) for each in (*requirement.extras, "")]
    return {name for name, _ in found}


def _modules(extra: str) -> set[str]:
    reached = _reached(extra)
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if reached & {canonicalize_name(each) for each in distributions}
    }


@pytest.mark.parametrize("extra", list(HELP))
def test_help_needs_nothing_but_the_extra(extra: str) -> None:
    for arguments in (["--help"], ["--version"], HELP[extra]):
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, ",".join(_modules(extra)), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "wardgate" in done.stdout.lower()


def test_the_hook_refuses_what_an_extra_does_not_bring() -> None:
    assert "rich" not in _modules("relay")
    assert "pymongo" not in _modules("cli")
    assert "click" in _modules("")
    code = RUNNER.replace("from wardgate.cli.main import main", "import fastapi")
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(_modules("cli"))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "not in this extra" in done.stderr
