"""Which keys of the engine are accepted, and for how long after another took their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import SettingsError
from gateway.settings.model import TicketSettings
from gateway.tickets import EngineKeys, TicketDecoder, TicketFault, TicketRefused, load_engine_keys
from tests.unit.tickets import samples
from tests.unit.tickets.samples import engine_key, large_key, other_key

OLD, NEW, LARGE = (key().public_key() for key in (engine_key, other_key, large_key))


class EngineCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.keys = EngineKeys([OLD], clock=self.clock, now=self.clock.seconds)
        self.decoder = TicketDecoder(self.keys, TicketSettings(), lambda: samples.NOW)

    def judge(self, key: samples.Key) -> TicketFault | None:
        try:
            self.decoder.decode(samples.genuine(key=key))
        except TicketRefused as refused:
            return refused.fault
        return None

    def accepted(self) -> list[str]:
        """Names of the keys whose tickets are taken."""
        known = {"old": engine_key(), "new": other_key(), "large": large_key()}
        return [name for name, key in known.items() if self.judge(key) is None]


class OverlapTests(EngineCase):
    def test_former_key(self) -> None:
        self.keys.replace([NEW], overlap=60)
        self.assertEqual(self.accepted(), ["old", "new"])
        self.clock.advance(59.999)
        self.assertEqual(self.accepted(), ["old", "new"])
        self.clock.advance(0.001)
        self.assertEqual(self.accepted(), ["new"])
        self.assertIs(self.judge(engine_key()), TicketFault.SIGNATURE_MISMATCH)
        self.assertEqual(self.keys.former(), {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        self.keys.replace([NEW], overlap=0)
        self.assertEqual(self.accepted(), ["new"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_any_timer(self) -> None:
        """What counts is the clock: nobody has to be told that the time is over."""
        keys = EngineKeys([OLD], now=self.clock.seconds)
        self.decoder = TicketDecoder(keys, TicketSettings(), lambda: samples.NOW)
        keys.replace([NEW], overlap=60)
        self.assertEqual(self.accepted(), ["old", "new"])
        self.clock.advance(60)
        self.assertEqual(self.accepted(), ["new"])

    def test_clocks_that_disagree(self) -> None:
        """The reactor's clock is put forward: the key stays for its time; then back: not longer."""
        moment = 0.0
        self.keys = EngineKeys([OLD], clock=self.clock, now=lambda: moment)
        self.decoder = TicketDecoder(self.keys, TicketSettings(), lambda: samples.NOW)
        self.keys.replace([NEW], overlap=60)
        self.clock.advance(3600)
        self.assertEqual(self.accepted(), ["old", "new"])
        self.assertEqual([round(call.getTime()) for call in self.clock.getDelayedCalls()], [3660])
        moment = 60
        self.assertEqual(self.accepted(), ["new"])

    def test_the_same_again(self) -> None:
        self.keys.replace([OLD], overlap=60)
        self.assertEqual(self.keys.former(), {})
        self.assertEqual(self.accepted(), ["old"])

    def test_further_reloads_give_no_more_time(self) -> None:
        self.keys.replace([NEW], overlap=60)
        self.clock.advance(30)
        self.keys.replace([NEW], overlap=60)
        self.keys.replace([LARGE], overlap=3600)
        self.assertEqual(self.accepted(), ["old", "new", "large"])
        self.clock.advance(30)
        self.assertEqual(self.accepted(), ["new", "large"])
        self.clock.advance(3569)
        self.assertEqual(self.accepted(), ["new", "large"])
        self.clock.advance(1)
        self.assertEqual(self.accepted(), ["large"])

    def test_a_shorter_overlap_counts_for_all(self) -> None:
        self.keys.replace([NEW], overlap=3600)
        self.keys.replace([NEW], overlap=10)
        self.clock.advance(9)
        self.assertEqual(self.accepted(), ["old", "new"])
        self.keys.replace([NEW], overlap=0)
        self.assertEqual(self.accepted(), ["new"])

    def test_there_and_back(self) -> None:
        self.keys.replace([NEW], overlap=60)
        self.clock.advance(50)
        self.keys.replace([OLD], overlap=60)
        self.clock.advance(59)
        self.assertEqual(self.accepted(), ["old", "new"])
        self.clock.advance(1)
        self.assertEqual(self.accepted(), ["old"])
        self.clock.advance(3600)
        self.assertEqual(self.accepted(), ["old"])

    def test_keys_beside_it(self) -> None:
        """The next key is accepted before it is in use, and one that is taken away there is gone at once."""
        self.keys.replace([OLD], [NEW, LARGE, NEW, OLD], overlap=60)
        self.assertEqual(self.accepted(), ["old", "new", "large"])
        self.assertEqual(len(self.keys.accepted()), 3)
        self.keys.replace([NEW], overlap=60)
        self.assertEqual(self.accepted(), ["old", "new"])
        self.keys.replace([NEW], [OLD], overlap=60)
        self.clock.advance(3600)
        self.assertEqual(self.accepted(), ["old", "new"])
        self.keys.replace([NEW], overlap=60)
        self.assertEqual(self.accepted(), ["new"])

    def test_no_key(self) -> None:
        with pytest.raises(ValueError, match="key"):
            EngineKeys([], [NEW])
        with pytest.raises(ValueError, match="key"):
            self.keys.replace([], [NEW], overlap=60)
        self.assertEqual(self.accepted(), ["old"])

    def test_former_keys_are_bounded(self) -> None:
        keys = [rsa.generate_private_key(65537, 1024).public_key() for _ in range(12)]
        for key in keys:
            self.keys.replace([key], overlap=3600)
        self.assertEqual([key.key for key in self.keys.former()], keys[3:11])
        self.assertEqual(len(self.keys.accepted()), 9)

    def test_sizes(self) -> None:
        """A ticket of no key's size is refused as such, former keys included."""
        self.assertIs(self.judge(large_key()), TicketFault.SIGNATURE_SIZE)
        self.keys.replace([LARGE], overlap=60)
        self.assertIs(self.judge(other_key()), TicketFault.SIGNATURE_MISMATCH)
        self.clock.advance(60)
        self.assertIs(self.judge(other_key()), TicketFault.SIGNATURE_SIZE)

    def test_close(self) -> None:
        self.keys.replace([NEW], overlap=60)
        self.keys.close()
        self.keys.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 2), st.sets(st.integers(0, 2)), st.integers(0, 5), st.integers(0, 5)),
            max_size=8,
        )
    )
    def test_never_beyond(self, steps: list[tuple[int, set[int], int, int]]) -> None:
        """Beside what the settings name, no key but one that was named within the overlap then in force."""
        known = (OLD, NEW, LARGE)
        clock = Clock()
        keys = EngineKeys([OLD], clock=clock, now=clock.seconds)
        ends: dict[int, float] = {}
        present = 0
        for key, also, overlap, passed in steps:
            end = clock.seconds() + overlap
            ends = {each: min(until, end) for each, until in ends.items()} | {present: end}
            for each in (key, *also):
                ends.pop(each, None)
            present = key
            keys.replace([known[key]], [known[each] for each in also], overlap=overlap)
            clock.advance(passed)
            former = {each for each, until in ends.items() if until > clock.seconds()}
            accepted = {known.index(each.key) for each in keys.accepted()}
            self.assertEqual(accepted, {key} | also | former)


class LogTests(EngineCase):
    def test_lines(self) -> None:
        (before,) = self.keys.accepted()
        with capturedLogs() as events:
            self.keys.replace([NEW], overlap=60)
            self.judge(other_key())
            self.judge(engine_key())
            self.clock.advance(60)
            self.judge(engine_key())
            self.keys.replace([NEW], overlap=60)
        ours = [event for event in events if event["log_namespace"].startswith("gateway.")]
        former, ticket = f"the engine's former key {before.fingerprint[:16]}", ours[1]["ticket"]
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in ours],
            [
                (
                    LogLevel.info,
                    f"tickets of {former} are accepted for 60 seconds more",
                ),
                (
                    LogLevel.debug,
                    f"ticket {ticket} is signed with {former}, accepted for 60 seconds more",
                ),
                (LogLevel.info, f"tickets of {former} are no longer accepted"),
            ],
        )
        self.assertRegex(ticket, r"^[0-9a-f]{16}$")

    def test_one_that_is_withdrawn(self) -> None:
        self.keys.replace([OLD], [NEW], overlap=60)
        with capturedLogs() as events:
            self.keys.replace([OLD], overlap=60)
        (event,) = events
        self.assertIn("no longer accepted", str(formatEvent(event)))


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def file(self, name: str, data: bytes) -> Path:
        (self.directory / name).write_bytes(data)
        return self.directory / name

    def test_both(self) -> None:
        certificate = samples.certificate_of(engine_key()).public_bytes(Encoding.PEM)
        first = self.file("engine.pem", certificate)
        second = self.file("next.pem", samples.public_pem_of(other_key()))
        self.assertEqual(load_engine_keys(TicketSettings(certificate=first)), ((OLD,), ()))
        self.assertEqual(
            load_engine_keys(TicketSettings(certificate=first, also=(second, first))), ((OLD,), (NEW, OLD))
        )

    def test_problems(self) -> None:
        bad = self.file("bad.pem", b"nothing")
        settings = TicketSettings(also=(bad, self.directory / "none.pem"))
        error = self.assertRaises(SettingsError, load_engine_keys, settings)
        self.assertEqual(
            [(problem.key, problem.file.name) for problem in error.problems],
            [("tickets.certificate", "settings"), ("tickets.also", "bad.pem"), ("tickets.also", "none.pem")],
        )
        self.assertIn("no such file", str(error))
