"""`wardgate demo`: its options, and how it ends.

Law: whatever way it ends (all shown, Ctrl+C, SIGTERM, a step that failed), every process it started has ended and its
folder is gone.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from pathlib import Path

import click

from ..testing.processes import ProcessFailedError, interrupt
from ..testing.stack import CommandFailedError
from .story import Story
from .tell import JsonTeller, Teller, TerminalTeller

INTERRUPTED = 130  # before there was anything to use
FAILED = 1
LOST = 7


@click.command(name="demo")
@click.option("--once", is_flag=True, help="Show all of it, end the session, and exit.")
@click.option("--json", "as_json", is_flag=True, help="One event a line, each step with its duration.")
def cli(once: bool, as_json: bool) -> int:
    """Everything on this machine, against a real MongoDB.

    Starts a MongoDB with TLS and passwords, the control plane, a relay and a gateway, opens a session, runs a driver
    through it and shows what is on record. It stays up until Ctrl+C and leaves nothing behind.
    """
    teller: Teller = JsonTeller() if as_json else TerminalTeller()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    folder = Path(tempfile.mkdtemp(prefix="wardgate-demo-"))
    try:
        with Story(folder, teller) as story:
            story.tell()
            if not once:
                _stay(story, teller, stop)
            story.end()
            return LOST if story.lost else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except (CommandFailedError, ProcessFailedError) as error:
        teller.failed(error.message.splitlines())
        return FAILED
    finally:
        teller.close()
        shutil.rmtree(folder, ignore_errors=True)


def _stay(story: Story, teller: Teller, stop: threading.Event) -> None:
    """Until Ctrl+C, SIGTERM, or the end of one of the processes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # before the invitation: who reads it may answer at once
        signal.signal(number, lambda *_: stop.set())
    teller.invite(story.invitation())
    while not stop.wait(0.25):
        if story.has_lost_a_process():
            return
