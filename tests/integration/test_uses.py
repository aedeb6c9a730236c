"""How often a ticket opens a console: with a real process, and whatever becomes of it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.integration.case import InstallationTestCase, Table, eventually
from tests.support.http import Answer, read_answer, upgrade
from tests.support.process import GatewayProcess
from tests.support.targets import TargetServer, greet

RACERS = 50
ONCE: Table = {"vnc": "single"}


class UseTests(InstallationTestCase):
    def setUp(self) -> None:
        self.target = TargetServer(greet)
        self.addCleanup(self.target.close)
        self.open: list[socket.socket] = []

    def start(self, uses: Table, name: str = "settings.toml") -> GatewayProcess:
        unlimited = {"vnc": None, "spice": None, "serial": None}
        gateway = GatewayProcess(self.settings_file(name, uses={**unlimited, **uses}))
        self.addCleanup(gateway.stop)
        return gateway.ready()

    def connect(self, gateway: GatewayProcess) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", gateway.plain_port), 10)
        self.addCleanup(sock.close)
        return sock

    def ask(self, gateway: GatewayProcess, ticket: str) -> Answer:
        """The answer to an upgrade; what it opens stays open."""
        sock = self.connect(gateway)
        sock.sendall(upgrade("/" + ticket))
        self.open.append(sock)
        return read_answer(sock)[0]

    def assert_used(self, answer: Answer) -> None:
        self.assertEqual((answer.status, answer.body), (403, b"Ticket has been used\n"))

    def assert_accepted(self, count: int) -> None:
        """So many connections come to the target, and no more."""
        eventually(lambda: self.target.accepted >= count)
        self.assertEqual(self.target.accepted, count)

    def race(self, gateway: GatewayProcess, ticket: str) -> Counter[int]:
        """So many upgrades at once; how they were answered, by status."""
        request = upgrade("/" + ticket)
        ready = threading.Barrier(RACERS)

        def run(sock: socket.socket) -> int:
            sock.sendall(request[:-1])
            ready.wait(10)
            sock.sendall(request[-1:])
            return read_answer(sock)[0].status

        with ThreadPoolExecutor(RACERS) as pool:
            return Counter(pool.map(run, [self.connect(gateway) for _ in range(RACERS)]))

    def test_a_race_for_one_ticket_has_one_winner(self) -> None:
        file = str(self.installation.directory / "race.sqlite")
        for uses, winners in (
            (ONCE, 1),
            ({**ONCE, "file": file}, 1),
            ({"vnc": "group", "vnc_count": 3}, 3),
        ):
            gateway = self.start(uses)
            for _ in range(3):
                accepted = self.target.accepted
                answers = self.race(gateway, self.installation.ticket(self.target.port))
                self.assertEqual(answers, {101: winners, 403: RACERS - winners})
                self.assert_accepted(accepted + winners)
            # At its end all of its output is here.
            self.assertEqual(gateway.stop(), 0)
            self.assertEqual(gateway.output.count("session started"), 3 * winners)
            self.assertEqual(
                gateway.output.count("reason=ticket-used detail='used-up'"), 3 * (RACERS - winners)
            )
            self.assertNotIn("Traceback", gateway.output)

    def test_used_tickets_are_remembered_over_a_kill(self) -> None:
        file = self.installation.directory / "uses.sqlite"
        uses: Table = {**ONCE, "file": str(file)}
        used, ended, fresh = (self.installation.ticket(self.target.port) for _ in range(3))
        first = self.start(uses)
        self.assertEqual(self.ask(first, ended).status, 101)
        self.open[-1].close()
        first.wait_for("session ended ")
        self.assertEqual(self.ask(first, used).status, 101)
        first.signal(signal.SIGKILL)
        self.assertEqual(first.wait(), -signal.SIGKILL)
        second = self.start(uses)
        for ticket in (used, ended):
            self.assert_used(self.ask(second, ticket))
        self.assertEqual(self.ask(second, fresh).status, 101)
        self.assertEqual(second.stop(), 0)
        third = self.start(uses)
        for ticket in (used, ended, fresh):
            self.assert_used(self.ask(third, ticket))
        self.assertNotIn("Traceback", first.output + second.output + third.output)

    def test_killed_right_behind_the_answer(self) -> None:
        """What a client was answered is on the disk already."""
        uses: Table = {**ONCE, "file": str(self.installation.directory / "behind.sqlite")}
        tickets = []
        for _ in range(5):
            gateway = self.start(uses)
            tickets.append(self.installation.ticket(self.target.port))
            self.assertEqual(self.ask(gateway, tickets[-1]).status, 101)
            gateway.signal(signal.SIGKILL)
            gateway.wait()
        gateway = self.start(uses)
        for ticket in tickets:
            self.assert_used(self.ask(gateway, ticket))

    def test_a_group_is_over_when_its_user_has_left(self) -> None:
        gateway = self.start({"window": 1.0})
        ticket = self.installation.ticket(self.target.port)
        self.assertEqual([self.ask(gateway, ticket).status for _ in range(3)], [101, 101, 403])
        late = self.installation.ticket(self.target.port)
        self.assertEqual(self.ask(gateway, late).status, 101)
        time.sleep(1.2)
        self.assert_used(self.ask(gateway, late))
        gateway.wait_for("detail='window-over'")
        gone = self.installation.ticket(self.target.port)
        self.assertEqual(self.ask(gateway, gone).status, 101)
        self.open[-1].sendall(b"\x82\x81\0\0\0\0x")
        self.assertIn(b"RFB", self.open[-1].recv(100))
        self.open[-1].close()
        eventually(lambda: gateway.output.count("session ended") == 1)
        self.assert_used(self.ask(gateway, gone))
        gateway.wait_for("detail='group-ended'")
