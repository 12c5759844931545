"""A stand-in for the local proxy behind a client: `play_proxy.py HOW CLIENT ARGS…`, run by test_job.

It speaks the local proxy's side of the line to the process in front, and says on standard error what it hears.
HOW: `serve` until the client ends; `end` it as soon as a line `now` comes on the FIFO in $CUE; `die` likewise.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from wardgate.cli.access import job

URI = "mongodb://rw:wgs_secret@127.0.0.1:1/"
SHOWN = "mongodb://rw@127.0.0.1:1/"


def serve(line: socket.socket) -> int:
    how = sys.argv[1]
    heard = line.makefile("r")
    front = os.getppid()
    line.sendall(json.dumps({"start": URI, "shown": SHOWN}).encode() + b"\n")
    if how != "serve":
        said = json.loads(heard.readline())
        with Path(os.environ["CUE"]).open() as cue:
            cue.readline()
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        line.sendall(json.dumps({"end": 0.1}).encode() + b"\n")
        os.kill(front, signal.SIGCONT)
    for text in heard:
        said: dict[str, Any] = json.loads(text)  # type: ignore[no-redef]
        sys.stderr.write(f"heard {text}")
        sys.stderr.flush()
        if "interrupt" in said:
            line.sendall(json.dumps({"end": 0.0}).encode() + b"\n")
        if "failed" in said:
            return 1
        if "exited" in said:
            return 7 if how == "end" else int(said["exited"])
    sys.stderr.write("the process in front is gone\n")
    return 9


if __name__ == "__main__":
    sys.exit(job.run_in_front(sys.argv[2:], serve, lambda: None))
