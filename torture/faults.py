"""What is done to a deployment while loads run. Each fault does its harm, waits as long as it must, and repairs it.

`harm` answers after the harm is done; `repair` brings everything back. What is harmed is the primary of the moment
unless the fault says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from wardgate.testing.mongo import MongoDeployment

Repair = Callable[[], None]
SIGSTOP_S = 13.0  # longer than the default election timeout: somebody else becomes primary, then the old one wakes


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of outage. `harm` returns what repairs it.

    With `last` (seconds) it is repaired after that time, else once the loads write again. Where it `cuts`, all sockets
    of a member are lost at one moment.
    """

    name: str
    what: str
    harm: Callable[[MongoDeployment], Repair]
    last: float = 0.0
    cuts: bool = False


def _nothing() -> None:
    return None


def kill(deployment: MongoDeployment) -> Repair:
    """kill -9 of the primary."""
    index = deployment.primary()
    deployment.kill(index)
    return lambda: deployment.restart(index)


def terminate(deployment: MongoDeployment) -> Repair:
    """SIGTERM: the primary steps down, is silent to newcomers for its quiesce period, and ends."""
    index = deployment.primary()
    ending = threading.Thread(target=deployment.stop, args=(index,))
    ending.start()

    def repair() -> None:
        ending.join(90)
        deployment.restart(index)

    return repair


def step_down(deployment: MongoDeployment) -> Repair:
    """replSetStepDown: the primary hands over and goes on as a secondary."""
    deployment.step_down()
    return _nothing


def freeze(deployment: MongoDeployment) -> Repair:
    """SIGSTOP: the primary's sockets stay open and nothing answers."""
    index = deployment.primary()
    deployment.pause(index)

    return lambda: deployment.resume(index)


def kill_secondary(deployment: MongoDeployment) -> Repair:
    """kill -9 of a secondary."""
    index = deployment.secondaries()[0]
    deployment.kill(index)
    return lambda: deployment.restart(index)


def restart_in_order(deployment: MongoDeployment) -> Repair:
    """The only member is shut down and started again, as for an upgrade."""
    deployment.stop(0)
    return lambda: deployment.restart(0)


KILL9 = Fault("kill9", "kill -9 of the primary", kill, cuts=True)
SIGTERM = Fault("sigterm", "SIGTERM to the primary", terminate, cuts=True)
STEPDOWN = Fault("stepdown", "replSetStepDown", step_down)
SIGSTOP = Fault("sigstop", f"SIGSTOP of the primary for {SIGSTOP_S:.0f} s", freeze, last=SIGSTOP_S)
SECONDARY = Fault("secondary", "kill -9 of a secondary, which is restarted", kill_secondary, last=4.0, cuts=True)
RESTART = Fault("restart", "restart of a set's only member", restart_in_order, last=1.0, cuts=True)
CRASH = Fault("crash", "kill -9 and restart of a set's only member", kill, last=1.0, cuts=True)
OF_THREE = (KILL9, SIGTERM, STEPDOWN, SIGSTOP, SECONDARY)
OF_ONE = (RESTART, CRASH)
