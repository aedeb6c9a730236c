"""Which workloads are measured, and with whom."""

from __future__ import annotations

import click
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.__main__ import _chosen
from benchmarks.contenders import CONTENDERS
from benchmarks.vocabulary import Transport, chosen_scale
from benchmarks.workloads import WORKLOADS


class WorkloadTests(SynchronousTestCase):
    def chosen(self, *names: str) -> list[str]:
        return [workload.name for workload in _chosen(names)]

    def test_a_name_stands_for_itself_and_anything_else_for_what_begins_so(self) -> None:
        self.assertEqual(self.chosen("down-64k"), ["down-64k"])
        self.assertEqual(self.chosen("down-64"), ["down-64k", "down-64k-tls"])
        self.assertEqual(self.chosen("sessions-tls", "echo"), ["echo", "sessions-tls"])
        self.assertEqual(self.chosen(), list(WORKLOADS))
        self.assertRaises(click.BadParameter, self.chosen, "nothing")

    def test_tls_to_the_target_is_measured_over_wss_with_those_who_can(self) -> None:
        scale = chosen_scale(quick=True, rounds=None, seconds=None, mebibytes=None)
        secured = [workload for name, workload in WORKLOADS.items() if name.endswith("-tls")]
        self.assertEqual(len(secured), 3)
        for workload in secured:
            self.assertEqual(workload.transports, (Transport.WSS,))
            suitable = {c.name for c in CONTENDERS.values() if workload.suits(c, Transport.WSS, scale)}
            self.assertEqual(suitable, {"ours", "nginx", "haproxy"})
            plain = WORKLOADS[workload.name.removesuffix("-tls")]
            self.assertIn(Transport.WS, plain.transports)
            self.assertTrue(plain.suits(CONTENDERS["websockify"], Transport.WSS, scale))
