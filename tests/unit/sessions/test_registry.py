"""Places: the limits, who is on a console with whom, and that what is taken is given back once."""

from __future__ import annotations

import datetime
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import client_key
from gateway.reasons import Refusal
from gateway.sessions import Full, Place, Registry
from gateway.settings import Attach, LimitSettings, SessionSettings
from gateway.tickets import Grant, Kind, Target

NOON = datetime.datetime(2030, 1, 2, 12, tzinfo=datetime.UTC)


def grant(ticket: str = "t1", host: str = "host1", *, path: str | None = None, **more: Any) -> Grant:
    target = Target(host, 5900, path=path)
    return Grant(target, NOON, NOON, id=ticket, **more)


def make(limits: LimitSettings | None = None, **settings: Any) -> Registry:
    return Registry(Clock(), limits or LimitSettings(), SessionSettings(**settings))


class RegistryCase(SynchronousTestCase):
    def assert_full(self, registry: Registry, client: str, refusal: Refusal, to: Grant | None = None) -> None:
        before = registry.taken
        error = self.assertRaises(Full, registry.take_place, client, to or grant())
        self.assertIs(refusal, error.refusal)
        self.assertEqual(before, registry.taken)

    def assert_empty(self, registry: Registry) -> None:
        kept = (registry._clients, registry._subjects, registry._groups, registry._consoles)
        self.assertEqual((0, [False] * 4), (registry.taken, [bool(each) for each in kept]))


class LimitTests(RegistryCase):
    def test_limit_of_all(self) -> None:
        registry = make(LimitSettings(sessions=2, sessions_per_client=2))
        first = registry.take_place("a", grant())
        registry.take_place("b", grant())
        self.assert_full(registry, "c", Refusal.SESSION_LIMIT)
        first.give_back()
        registry.take_place("c", grant())

    def test_an_ipv6_network_is_one_client(self) -> None:
        registry = make(LimitSettings(sessions=10, sessions_per_client=2))
        first = registry.take_place("2001:db8::1", grant())
        registry.take_place("2001:db8::2", grant())
        self.assertEqual(first.client, "2001:db8::1")
        self.assert_full(registry, "2001:db8::3", Refusal.CLIENT_LIMIT)
        registry.take_place("2001:db8:0:1::3", grant())
        # What was counted by one prefix is given back by it.
        registry.configure(registry.limits, SessionSettings(), client_key(48))
        first.give_back()
        self.assertEqual(sum(registry._clients.values()), 2)

    def test_limit_of_one_client(self) -> None:
        registry = make(LimitSettings(sessions=10, sessions_per_client=2))
        first = registry.take_place("a", grant())
        registry.take_place("a", grant())
        self.assert_full(registry, "a", Refusal.CLIENT_LIMIT)
        registry.take_place("b", grant())
        first.give_back()
        registry.take_place("a", grant())
        self.assert_full(registry, "a", Refusal.CLIENT_LIMIT)

    def test_limit_of_one_subject(self) -> None:
        registry = make(LimitSettings(sessions_per_subject=2))
        first = registry.take_place("a", grant("t1", subject="ann"))
        registry.take_place("b", grant("t2", "host2", subject="ann"))
        self.assert_full(registry, "c", Refusal.SUBJECT_LIMIT, grant("t3", "host3", subject="ann"))
        registry.take_place("c", grant("t4", subject="bob"))
        for _ in range(3):
            registry.take_place("c", grant("t5"))
        first.give_back()
        registry.take_place("c", grant("t3", "host3", subject="ann"))

    def test_limit_of_one_console(self) -> None:
        registry = make(LimitSettings(users_per_console=2))
        first = registry.take_place("a", grant("t1"))
        second = registry.take_place("a", grant("t1"))
        registry.take_place("b", grant("t2"))
        self.assert_full(registry, "c", Refusal.CONSOLE_LIMIT, grant("t3"))
        registry.take_place("c", grant("t4", "host2"))
        registry.take_place("c", grant("t2"))
        first.give_back()
        self.assert_full(registry, "c", Refusal.CONSOLE_LIMIT, grant("t3"))
        second.give_back()
        registry.take_place("c", grant("t3"))

    def test_a_place_is_given_back_once(self) -> None:
        registry = make(LimitSettings(sessions=2))
        place = registry.take_place("a", grant())
        registry.take_place("a", grant())
        place.give_back()
        place.give_back()
        registry.take_place("a", grant())
        self.assert_full(registry, "a", Refusal.SESSION_LIMIT)

    def test_closed(self) -> None:
        registry = make()
        place = registry.take_place("a", grant())
        registry.close()
        self.assertFalse(registry.is_open)
        self.assert_full(registry, "a", Refusal.SHUTTING_DOWN)
        place.give_back()
        self.assert_full(registry, "a", Refusal.SHUTTING_DOWN)
        registry.open()
        registry.take_place("a", grant())

    def test_admission_is_stopped_by_an_operator(self) -> None:
        registry = make()
        registry.stop_admitting()
        self.assert_full(registry, "a", Refusal.NOT_ADMITTING)
        registry.close()
        registry.open()
        self.assertFalse(registry.is_open, "a restart of the service is no operator's word")
        self.assert_full(registry, "a", Refusal.NOT_ADMITTING)
        registry.resume_admitting()
        self.assertTrue(registry.is_open)
        registry.take_place("a", grant())

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.sampled_from("xyz")), max_size=60))
    def test_what_is_taken_never_exceeds_the_limits(self, steps: list[tuple[bool, str, str]]) -> None:
        registry = make(LimitSettings(sessions=5, sessions_per_client=3, users_per_console=2))
        places: list[tuple[str, str, Place]] = []
        for take, client, ticket in steps:
            mine = [place for place in places if place[0] == client]
            if not take and mine:
                mine[0][2].give_back()
                places.remove(mine[0])
                continue
            tickets = {ticket for _, ticket, _ in places}
            refusal = None
            if len(places) == 5:
                refusal = Refusal.SESSION_LIMIT
            elif len(mine) == 3:
                refusal = Refusal.CLIENT_LIMIT
            elif len(tickets) == 2 and ticket not in tickets:
                refusal = Refusal.CONSOLE_LIMIT
            if refusal is not None:
                self.assert_full(registry, client, refusal, grant(ticket))
            else:
                places.append((client, ticket, registry.take_place(client, grant(ticket))))
        for _, _, place in places:
            place.give_back()
        self.assert_empty(registry)


class AttachTests(RegistryCase):
    def test_refuse(self) -> None:
        cases: list[tuple[dict[str, Any], Attach | None]] = [
            ({}, Attach.REFUSE),
            ({"attach": Attach.REFUSE}, None),
        ]
        for settings, mine in cases:
            registry = make(**settings)
            first = registry.take_place("a", grant("t1", attach=mine))
            self.assert_full(registry, "b", Refusal.CONSOLE_IN_USE, grant("t2", attach=mine))
            self.assert_full(registry, "b", Refusal.CONSOLE_IN_USE, grant("t2", "HOST1", attach=mine))
            registry.take_place("a", grant("t1", attach=mine)).give_back()
            registry.take_place("b", grant("t2", "host2", attach=mine)).give_back()
            registry.take_place("b", grant("t3", attach=Attach.SHARE)).give_back()
            first.give_back()
            registry.take_place("b", grant("t2", attach=mine)).give_back()
            self.assert_empty(registry)

    def test_consoles_behind_one_address(self) -> None:
        registry = make(attach=Attach.REFUSE)
        registry.take_place("a", grant("t1", path="/a/vnc"))
        registry.take_place("a", grant("t2", path="/b/vnc"))
        self.assert_full(registry, "b", Refusal.CONSOLE_IN_USE, grant("t3", path="/a/vnc"))

    def test_others(self) -> None:
        registry = make()
        groups = [registry.take_place("a", grant(ticket)).group for ticket in ("t1", "t2", "t2", "t3")]
        self.assertIs(groups[1], groups[2])
        self.assertEqual([groups[0], groups[3]], registry.others(groups[1]))
        elsewhere = registry.take_place("a", grant("t4", "host2")).group
        self.assertEqual([], registry.others(elsewhere))

    def test_what_a_group_knows(self) -> None:
        registry = make(attach=Attach.TAKE_OVER)
        target = attrs.evolve(grant().target, host="Host1", kind=Kind.SPICE)
        group = registry.take_place("a", attrs.evolve(grant(subject="ann"), target=target)).group
        self.assertEqual(("t1", "ann", "host1:5900"), (group.ticket, group.subject, group.console))
        self.assertEqual((Kind.SPICE, Attach.TAKE_OVER), (group.kind, group.attach))
