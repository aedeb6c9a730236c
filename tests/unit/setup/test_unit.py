from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.ovirt_websocket_proxy import ovirt_websocket_proxy
from gateway.control.address import DEFAULT_SOCKET
from gateway.setup.errors import SetupError
from gateway.setup.host.unit import unit_text

ROOT = Path(__file__).resolve().parents[3]


def keys(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


class UnitTests(SynchronousTestCase):
    def test_shipped_one(self) -> None:
        shipped = (ROOT / "etc" / "ovirt-websocket-proxy.service").read_text(encoding="utf-8")
        self.assertEqual(shipped, unit_text(["/opt/console-gateway/bin/console-gateway"]))

    def test_in_place_of_the_original(self) -> None:
        found = keys(unit_text(["/x/console-gateway"]))
        for key, value in (
            ("Type", "notify"),
            ("User", "ovirt"),
            ("Group", "ovirt"),
            ("EnvironmentFile", "-/etc/sysconfig/ovirt-websocket-proxy"),
            ("ExecStart", "/x/console-gateway ovirt-websocket-proxy --systemd=notify $EXTRA_ARGS start"),
            ("ExecReload", "/x/console-gateway reload"),
            ("WantedBy", "multi-user.target"),
        ):
            self.assertEqual(found[key], value)
        self.assertGreaterEqual(int(found["LimitNOFILE"]), 65535)
        self.assertNotIn("DynamicUser", found)

    def test_command_line_is_understood(self) -> None:
        _, *arguments = keys(unit_text(["/x"]))["ExecStart"].replace("$EXTRA_ARGS ", "").split()
        self.assertEqual(arguments.pop(0), ovirt_websocket_proxy.name)
        context = ovirt_websocket_proxy.make_context("x", arguments)
        self.assertEqual((context.params["action"], context.params["systemd"]), ("start", "notify"))

    def test_control_socket_is_where_commands_look(self) -> None:
        found = keys(unit_text(["/x"]))
        self.assertEqual(f"/run/{found['RuntimeDirectory']}/control.sock", str(DEFAULT_SOCKET))
        self.assertNotIn("PrivateUsers", found)

    def test_as_safe_as_the_other_unit(self) -> None:
        other = keys((ROOT / "etc" / "console-gateway.service").read_text(encoding="utf-8"))
        found = keys(unit_text(["/x"]))
        for key, value in other.items():
            if key.startswith(
                ("Protect", "Private", "Restrict", "Capab", "NoNew", "Lock", "SystemCall", "Remove")
            ):
                self.assertEqual(found[key], value, key)

    def test_homes(self) -> None:
        for program in ("/home/x/bin/y", "/root/y"):
            self.assertEqual(keys(unit_text([program]))["ProtectHome"], "read-only")

    def test_odd_commands(self) -> None:
        found = keys(unit_text(["/opt/my dir/x", "-m", 'a"b\\c', "100%", "$HOME", "{x}"]))
        self.assertEqual(found["ExecReload"], '"/opt/my dir/x" -m "a\\"b\\\\c" "100%%" "$$HOME" "{x}" reload')
        for command in ([], ["x"], [""], ["/x", ""], ["/x\nExecStart=/y"], ["/x", "\x1b"]):
            with self.assertRaises(SetupError, msg=command):
                unit_text(command)
