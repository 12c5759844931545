"""Authority: a binding permits at its place and below, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.api.problems import ProblemError
from wardgate.control.audit_log import Cause
from wardgate.control.identity.actor import ORGANISATION, Actor, Binding, Scope
from wardgate.control.identity.permissions import MACHINE, ROLE_PERMISSIONS, SELF, Permission, Role

ids = st.sampled_from(["1", "2"])
scopes = st.one_of(
    st.just(ORGANISATION),
    st.builds(Scope, ids),
    st.builds(Scope, ids, ids),
    st.builds(Scope, ids, ids, ids),
)


def actor(*bindings: tuple[Role, Scope]) -> Actor:
    held = tuple(Binding(role, scope) for role, scope in bindings)
    return Actor("usr_1", "a@example.com", "s", Cause("a@example.com"), held)


@given(scopes, scopes, scopes)
def test_covering_is_a_partial_order(a: Scope, b: Scope, c: Scope) -> None:
    assert a.covers(a)
    assert ORGANISATION.covers(a)
    if a.covers(b) and b.covers(a):
        assert a == b
    if a.covers(b) and b.covers(c):
        assert a.covers(c)


@given(scopes, scopes, st.sampled_from(Role), st.sampled_from(Permission))
def test_may_means_a_permitting_role_at_a_covering_place(held: Scope, at: Scope, role: Role, p: Permission) -> None:
    who = actor((role, held))
    expected = p in SELF or (p in ROLE_PERMISSIONS[role] and held.covers(at))
    assert who.may(p, at) == expected
    if expected:
        assert who.may_within(p, at)


def test_invisible_is_missing_and_visible_is_refused() -> None:
    who = actor((Role.CONNECTOR, Scope("1", "1", "1")))
    with pytest.raises(ProblemError) as refused:
        who.require(Permission.PROJECT_GATEWAY_CREATE, Scope("1"))
    assert refused.value.code == "forbidden"
    with pytest.raises(ProblemError) as missing:
        who.require(Permission.PROJECT_GATEWAY_CREATE, Scope("2"), what="project 2")
    assert missing.value.code == "not_found"
    assert missing.value.message == "There is no project 2, or you may not see it."


def test_no_role_is_a_machine_and_the_table_is_whole() -> None:
    for permissions in ROLE_PERMISSIONS.values():
        assert not permissions & (MACHINE | SELF)
    granted = frozenset().union(*ROLE_PERMISSIONS.values())
    assert granted | MACHINE | SELF == frozenset(Permission)


def test_permissions_are_alphabetical_and_spell_scope_resource_action() -> None:
    names = [permission.name for permission in Permission]
    assert names == sorted(names)
    for permission in Permission:
        assert permission.value.count(":") == 2
