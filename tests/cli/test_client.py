"""The client as the local proxy sees it; the process in front is played."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess

import pytest

from wardgate.cli.access.client import Client


@pytest.mark.parametrize("own_group", [True, False])
@pytest.mark.parametrize("stopped", [True, False])
async def test_a_client_whose_process_in_front_was_killed_does_not_stay(own_group: bool, stopped: bool) -> None:
    """Also where it has no process group of its own, as in a pipeline or in the background."""
    front, back = socket.socketpair()
    over = asyncio.Event()
    with subprocess.Popen(["sleep", "1000"], start_new_session=own_group) as process:
        try:
            client = Client(["sleep"], back)
            await client.attach(over.set)
            client.running = True
            if stopped:
                process.send_signal(signal.SIGSTOP)
            front.sendall(json.dumps({"started": process.pid, "group": own_group}).encode() + b"\n")
            front.close()
            await asyncio.wait_for(over.wait(), 5)
            assert await asyncio.to_thread(process.wait, 10) == -signal.SIGTERM
        finally:
            process.kill()
    assert client.asked
