"""Places: the limits, and that what is taken is given back once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.reasons import Refusal
from gateway.sessions import Full, Place, Registry
from gateway.settings import LimitSettings


class RegistryTests(SynchronousTestCase):
    def assert_full(self, registry: Registry, client: str, refusal: Refusal) -> None:
        self.assertIs(refusal, self.assertRaises(Full, registry.take_place, client).refusal)

    def test_limit_of_all(self) -> None:
        registry = Registry(LimitSettings(sessions=2, sessions_per_client=2))
        first = registry.take_place("a")
        registry.take_place("b")
        self.assert_full(registry, "c", Refusal.SESSION_LIMIT)
        first.give_back()
        registry.take_place("c")

    def test_limit_of_one_client(self) -> None:
        registry = Registry(LimitSettings(sessions=10, sessions_per_client=2))
        first = registry.take_place("a")
        registry.take_place("a")
        self.assert_full(registry, "a", Refusal.CLIENT_LIMIT)
        registry.take_place("b")
        first.give_back()
        registry.take_place("a")
        self.assert_full(registry, "a", Refusal.CLIENT_LIMIT)

    def test_a_place_is_given_back_once(self) -> None:
        registry = Registry(LimitSettings(sessions=2))
        place = registry.take_place("a")
        registry.take_place("a")
        place.give_back()
        place.give_back()
        registry.take_place("a")
        self.assert_full(registry, "a", Refusal.SESSION_LIMIT)

    def test_closed(self) -> None:
        registry = Registry(LimitSettings())
        place = registry.take_place("a")
        registry.close()
        self.assert_full(registry, "a", Refusal.SHUTTING_DOWN)
        place.give_back()
        self.assert_full(registry, "a", Refusal.SHUTTING_DOWN)
        registry.open()
        registry.take_place("a")

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=60))
    def test_what_is_taken_never_exceeds_the_limits(self, steps: list[tuple[bool, str]]) -> None:
        registry = Registry(LimitSettings(sessions=5, sessions_per_client=3))
        places: list[Place] = []
        for take, client in steps:
            mine = [place for place in places if place.client == client]
            if not take and mine:
                mine[0].give_back()
                places.remove(mine[0])
                continue
            if len(places) == 5:
                self.assert_full(registry, client, Refusal.SESSION_LIMIT)
            elif len(mine) == 3:
                self.assert_full(registry, client, Refusal.CLIENT_LIMIT)
            else:
                places.append(registry.take_place(client))
        for place in places:
            place.give_back()
        self.assertFalse(registry._clients)
