"""Record `wardgate demo --once` in a terminal of its own and draw it as docs/img/demo.svg, the picture in the README.

The picture is what a person sees, so it is made by running the real thing; run this again when the demo changes.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS, ROWS = 130, 60
TARGET = Path(__file__).parent.parent / "docs" / "img" / "demo.svg"
THEME = TerminalTheme(
    (16, 20, 24),
    (222, 226, 230),
    [
        (73, 80, 87),
        (250, 82, 82),
        (64, 192, 87),
        (250, 176, 5),
        (76, 110, 245),
        (190, 75, 219),
        (21, 170, 191),
        (206, 212, 218),
    ],
    [
        (134, 142, 150),
        (255, 107, 107),
        (81, 207, 102),
        (255, 212, 59),
        (92, 124, 250),
        (204, 93, 232),
        (34, 184, 207),
        (248, 249, 250),
    ],
)

_CURSOR = re.compile(r"\x1b\[(?:\?25[hl]|\d*[AK])")
_SPINNER = re.compile(r"[\u2801-\u28ff]")
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def record(argv: list[str]) -> bytes:
    """Everything that `argv` prints on a terminal of COLUMNS × ROWS."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
        os.execvp(argv[0], argv)  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    seen = bytearray()
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the terminal is gone with its last process
            break
        if not piece:
            break
        seen += piece
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise SystemExit(f"{' '.join(argv)} ended with exit status {status}:\n{seen.decode(errors='replace')}")
    return bytes(seen)


def settled(raw: bytes) -> str:
    """The lines as they stand at the end: of a line that was drawn over only the last drawing, and no spinner."""
    lines = raw.decode().replace("\r\n", "\n").split("\n")
    drawn = (_CURSOR.sub("", line.rpartition("\r")[2]) for line in lines)
    return "\n".join(line for line in drawn if not _SPINNER.search(line)).strip("\n")


def main() -> None:
    """Record, draw, save."""
    program = Path(sys.executable).parent / "wardgate"
    text = Text.from_ansi(settled(record([str(program), "demo", "--once"])))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    console.print(Text("$ wardgate demo --once\n", style="dim"))
    console.print(text)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    drawing = console.export_svg(title="make demo", theme=THEME, font_aspect_ratio=0.61)
    TARGET.write_text(_FONT_FACE.sub("", drawing))  # a picture fetches nothing


if __name__ == "__main__":
    main()
