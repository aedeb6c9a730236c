"""Connections to the engine's host: who is let in, what is refused, what nobody gets to see."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from gateway.setup.enrolling.askpass import check_password, offered_password, private_directory
from gateway.setup.enrolling.hostkey import HostKey, parse_scan, same_fingerprint
from gateway.setup.enrolling.ssh import Destination, LoginDenied, NoConnection, Remote
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import AnswerError, SetupError
from gateway.setup.host.commands import TookTooLong, run_child
from tests.unit.setup.enrolling import fake_ssh

PASSWORD = "sesam  $HOME \\'\"`x` öffne"
CHANGED = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n"
UNKNOWN = "No ED25519 host key is known for engine and you have requested strict checking.\n"
PATH = {"PATH": "/usr/bin:/bin"}


def blob(kind: str, rest: bytes = b"\0\0\0\x20" + bytes(32)) -> str:
    return base64.b64encode(len(kind).to_bytes(4, "big") + kind.encode() + rest).decode()


SCAN = (
    "# engine:22 SSH-2.0-OpenSSH_9.2\n"
    f"engine ssh-rsa {blob('ssh-rsa')}\n"
    f"engine ssh-ed25519 {blob('ssh-ed25519')}\n"
    f"engine ssh-dss {blob('ssh-dss')}\n"
)


class RemoteTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def remote(self, *, password: str | None = None, greeting: str | None = None, **more: Any) -> Remote:
        options: dict[str, Any] = {} if greeting is None else {"greeting": greeting}
        tools = Tools(**fake_ssh(self.state, password=password, **options), timeout=5.0)
        remote = Remote(Destination("engine", 22, **more), tools)
        return self.enterContext(remote)

    def seen(self) -> str:
        return (self.state / "seen").read_text(errors="replace")

    def test_a_password_gets_there_and_nowhere_else(self) -> None:
        remote = self.remote(password=PASSWORD)
        self.assertEqual(remote.identify(), ())
        remote.log_in(PASSWORD)
        done = remote.run(["cat"], data=b"over there")
        self.assertEqual((done.status, done.output), (0, b"over there"))
        self.assertNotIn("sesam", self.seen())
        self.assertNotIn("sesam", repr(remote) + repr(remote.destination))

    def test_words_reach_the_command_as_they_are(self) -> None:
        remote = self.remote()
        remote.identify()
        remote.log_in("")
        words = ['/O=It\'s "quoted"; $(id) `id`', "a  b", "", "*"]
        done = remote.run(["printf", "<%s>", *words])
        self.assertEqual(done.output.decode(), "".join(f"<{word}>" for word in words))

    def test_a_wrong_password_is_told_apart(self) -> None:
        remote = self.remote(password="right")
        remote.identify()
        with self.assertRaisesRegex(LoginDenied, "engine does not let root in"):
            remote.log_in("wrong")
        with self.assertRaises(LoginDenied):
            remote.log_in("")
        remote.log_in("right")

    def test_another_user_becomes_root_without_being_asked(self) -> None:
        remote = self.remote(user="operator")
        remote.identify()
        remote.log_in("")
        done = remote.run(["cat", "/etc/hostname"])
        self.assertIn("arg sudo -n cat /etc/hostname\n", self.seen())
        self.assertIn("arg -l\narg operator\n", self.seen())
        # There is no sudo here, or it does what was asked.
        self.assertIn(done.status, {0, 1, 127})

    def test_a_changed_key_is_the_end(self) -> None:
        remote = self.remote(greeting=CHANGED)
        with self.assertRaisesRegex(SetupError, "host key is not the one that is known") as caught:
            remote.identify()
        self.assertNotIsInstance(caught.exception, NoConnection)

    def test_a_key_of_another_kind_counts_as_changed(self) -> None:
        remote = self.remote(greeting=UNKNOWN)
        (self.state / "known").write_text("engine ssh-rsa AAAA\n")
        with self.assertRaisesRegex(SetupError, "of another kind"):
            remote.identify()

    def test_an_unknown_key_is_shown_and_then_pinned(self) -> None:
        remote = self.remote(greeting=UNKNOWN)
        (self.state / "scan").write_text(SCAN)
        best, other = remote.identify()
        self.assertEqual((best.kind, other.kind), ("ssh-ed25519", "ssh-rsa"))
        remote.pin(best)
        remote.log_in("")
        seen = self.seen().rpartition("arg -M\n")[0]
        self.assertIn("arg HostKeyAlgorithms=ssh-ed25519\n", seen)
        self.assertIn("arg GlobalKnownHostsFile=/dev/null\n", seen)
        self.assertIn("arg StrictHostKeyChecking=yes\n", seen)

    def test_an_unknown_key_that_cannot_be_read(self) -> None:
        remote = self.remote(greeting=UNKNOWN)
        with self.assertRaisesRegex(NoConnection, "cannot be read; add it to known_hosts"):
            remote.identify()

    def test_nobody_there(self) -> None:
        text = "ssh: connect to host engine port 22: Connection refused\n"
        with self.assertRaisesRegex(NoConnection, "engine port 22: no ssh connection: .*refused"):
            self.remote(greeting=text).identify()

    def test_a_broken_connection_is_one(self) -> None:
        remote = self.remote()
        remote.identify()
        (self.state / "failures").write_text("Connection reset by 10.0.0.1 port 22\n")
        with self.assertRaisesRegex(NoConnection, "Connection reset"):
            remote.log_in("")
        remote.log_in("")
        with self.assertRaises(NoConnection):
            remote.run(["sh", "-c", "exit 255"])

    def test_commands_end(self) -> None:
        remote = self.remote()
        remote.identify()
        remote.log_in("")
        begin = time.monotonic()
        with self.assertRaisesRegex(SetupError, "engine: sleep did not end in time"):
            remote.run(["sleep", "20"], timeout=0.2)
        with self.assertRaisesRegex(SetupError, "more than 262144 bytes"):
            remote.run(["cat", "/dev/zero"])
        self.assertLess(time.monotonic() - begin, 4)

    def test_jump_hosts_are_noticed(self) -> None:
        remote = self.remote()
        self.assertTrue(remote.direct)
        other = self.remote()
        (self.state / "config").write_text("proxyjump bastion\n")
        self.assertFalse(other.direct)

    def test_leaving_ends_everything(self) -> None:
        remote = self.remote()
        remote.identify()
        remote.log_in("")
        os.kill(self.master(), 0)
        remote.__exit__()
        self.assert_gone()

    def test_an_interrupt_ends_everything(self) -> None:
        remote = self.remote()
        remote.identify()
        (self.state / "hang").touch()
        with mock.patch("time.sleep", self.interrupt), self.assertRaises(KeyboardInterrupt):
            remote.log_in(PASSWORD)
        self.assertEqual(list(self.place().iterdir()), [])
        remote.__exit__()
        self.assert_gone()

    def interrupt(self, _: float) -> None:
        """Ctrl-C, as soon as ssh is there."""
        if (self.state / "place").exists() and (self.state / "place").read_text():
            raise KeyboardInterrupt

    def master(self) -> int:
        return int((self.state / "pid").read_text())

    def place(self) -> Path:
        return Path((self.state / "place").read_text())

    def assert_gone(self) -> None:
        self.assertFalse(self.place().exists())
        with self.assertRaises(ProcessLookupError):
            os.kill(self.master(), 0)

    def test_there_is_no_ssh(self) -> None:
        remote = self.enterContext(Remote(Destination("engine", 22), Tools(ssh="/nowhere/ssh")))
        with self.assertRaisesRegex(SetupError, "no program ssh; install it"):
            remote.identify()


class PasswordTests(unittest.SynchronousTestCase):
    def test_offered_privately_and_taken_back(self) -> None:
        with private_directory() as directory:
            self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
            with offered_password(directory, PASSWORD) as offer:
                offer.to(os.getpid())
                program = offer.environment["SSH_ASKPASS"]
                self.assertNotIn("sesam", str(offer))
                self.assertNotIn(b"sesam", Path(program).read_bytes())
                for _ in range(2):
                    done = run_child([program, "password: "], PATH, timeout=5)
                    self.assertEqual(done.output.decode(), f"{PASSWORD}\n")
            self.assertEqual(list(directory.iterdir()), [])
        self.assertFalse(directory.exists())

    def test_a_jump_host_does_not_get_it(self) -> None:
        """What ssh starts to get there has the same environment, and asks for passwords of its own."""
        with private_directory() as directory, offered_password(directory, PASSWORD) as offer:
            offer.to(os.getpid())
            program = offer.environment["SSH_ASKPASS"]
            done = run_child(["/bin/sh", "-c", f"{program} 'password of the jump host: '; exit $?"], PATH)
            self.assertEqual((done.status, done.output), (1, b""))

    def test_no_room_for_it(self) -> None:
        with private_directory() as directory:
            error = OSError(errno.ENOSPC, "No space left on device")
            with (
                mock.patch("pathlib.Path.write_text", side_effect=error),
                self.assertRaisesRegex(SetupError, "temporary files cannot be written: No space"),
                offered_password(directory, PASSWORD),
            ):
                self.fail("it was offered")
            self.assertEqual(list(directory.iterdir()), [])

    def test_no_place_for_programs(self) -> None:
        with (
            mock.patch("os.statvfs", return_value=mock.Mock(f_flag=os.ST_NOEXEC)),
            self.assertRaisesRegex(SetupError, "set TMPDIR"),
            private_directory(),
        ):
            self.fail("there was one")

    def test_what_cannot_be_handed_over(self) -> None:
        for bad in ("a\nb", "a\0b", "x" * 1001, "\udcff"):
            with self.assertRaises(AnswerError) as caught:
                check_password(bad)
            self.assertNotIn(bad, str(caught.exception))
        self.assertEqual(check_password(PASSWORD), PASSWORD)


class HostKeyTests(unittest.SynchronousTestCase):
    def test_fingerprints_are_those_of_ssh_keygen(self) -> None:
        (key, _) = parse_scan(SCAN.encode())
        digest = hashlib.sha256(base64.b64decode(blob("ssh-ed25519"))).digest()
        self.assertEqual(key.fingerprint, "SHA256:" + base64.b64encode(digest).decode().rstrip("="))
        for answer in (key.fingerprint, key.fingerprint[7:], f" {key.fingerprint}= "):
            self.assertIs(same_fingerprint(answer, [key]), key)
        self.assertIsNone(same_fingerprint(key.fingerprint.lower(), [key]))
        self.assertIsNone(same_fingerprint("", [key]))

    def test_what_is_no_key_is_passed_over(self) -> None:
        lines = [
            "engine ssh-ed25519 !!!!",
            f"engine ssh-ed25519 {blob('ssh-rsa')}",
            "engine ssh-ed25519",
            f"engine ssh-ed25519 {blob('ssh-ed25519', bytes(9000))}",
            "\xff\xfe",
        ]
        self.assertEqual(parse_scan("\n".join(lines).encode("latin-1")), ())

    @given(st.binary(max_size=200) | st.from_regex(r"x ssh-ed25519 [A-Za-z0-9+/=]{0,80}\n").map(str.encode))
    def test_whatever_is_scanned(self, output: bytes) -> None:
        for key in parse_scan(output):
            self.assertEqual(parse_scan(key.line.encode()), (key,))

    def test_a_pinned_key_takes_no_broken_signatures(self) -> None:
        self.assertNotIn("ssh-rsa,", HostKey("ssh-rsa", b"").algorithms + ",")


class ChildTests(unittest.SynchronousTestCase):
    def test_what_it_says(self) -> None:
        done = run_child(["/bin/sh", "-c", "cat; echo no >&2; exit 3"], PATH, data=b"x" * 300, timeout=5)
        self.assertEqual((done.status, done.output, done.reason), (3, b"x" * 300, "no"))
        self.assertNotIn("xxx", repr(done))

    def test_it_need_not_listen(self) -> None:
        done = run_child(["/bin/sh", "-c", "exit 0"], PATH, data=b"x" * 1000000, timeout=5)
        self.assertEqual(done.status, 0)

    def test_it_may_close_its_voices_first(self) -> None:
        with self.assertRaises(TookTooLong):
            run_child(["/bin/sh", "-c", "exec >&- 2>&-; sleep 9"], PATH, timeout=0.2)

    def test_it_ends_when_we_are_killed(self) -> None:
        """Nobody is left who could end it: a connection would stay open for ever."""
        fifo = Path(self.enterContext(tempfile.TemporaryDirectory())) / "fifo"
        os.mkfifo(fifo)
        script = (
            "import os, signal, time\n"
            "from gateway.setup.host.commands import start_child\n"
            f"command = 'echo here > {fifo}; exec sleep 60 > {fifo}'\n"
            f"start_child(['/bin/sh', '-c', command], {PATH}, lasting=True)\n"
            "time.sleep(60)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", script])
        self.addCleanup(parent.wait)
        self.addCleanup(parent.kill)
        with fifo.open("rb") as pipe:
            self.assertEqual(pipe.readline(), b"here\n")
        with fifo.open("rb") as pipe:
            parent.kill()
            self.assertEqual(select.select([pipe], [], [], 10)[0], [pipe])
            self.assertEqual(pipe.read(), b"")

    def test_it_has_no_terminal(self) -> None:
        done = run_child(["/bin/sh", "-c", "echo x > /dev/tty"], PATH, timeout=5)
        self.assertNotEqual(done.status, 0)
