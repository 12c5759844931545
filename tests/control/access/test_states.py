"""control.access.states: the table of transitions, whole."""

from __future__ import annotations

from itertools import product

from wardgate.api.models import EndReason, SessionStatus
from wardgate.control.access.states import LIVE, TRANSITIONS, allowed

STARTING, ACTIVE, ENDED = SessionStatus


def test_nothing_leaves_ended_and_nothing_goes_back() -> None:
    for after, reason in product(SessionStatus, [None, *EndReason]):
        assert not allowed(ENDED, after, reason)
        assert not allowed(after, STARTING, reason)


def test_an_end_has_a_reason_and_only_an_end_has_one() -> None:
    for before, after in product(SessionStatus, SessionStatus):
        assert not (after is ENDED and allowed(before, after, None))
        assert not any(after is not ENDED and allowed(before, after, reason) for reason in EndReason)


def test_what_never_started_fails_and_what_ran_does_not() -> None:
    assert allowed(STARTING, ENDED, EndReason.FAILED_TO_START)
    assert not allowed(ACTIVE, ENDED, EndReason.FAILED_TO_START)
    assert not allowed(STARTING, ENDED, EndReason.IDLE)
    for reason in set(EndReason) - {EndReason.FAILED_TO_START}:
        assert allowed(ACTIVE, ENDED, reason)


def test_the_table_names_every_live_state() -> None:
    assert {before for before, _ in TRANSITIONS} == LIVE
