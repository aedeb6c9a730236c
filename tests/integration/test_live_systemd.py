"""The units under a systemd that runs: as documented, with all of their confinement."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import needs
from tests.support.livesystemd import PYTHON, LiveSystemd, live_systemd, why_not
from tests.support.process import ROOT

pytestmark = needs("systemd", "openssl")

_UNIT = "console-gateway"
_WSP = "ovirt-websocket-proxy"
_TARGETS = """
[targets]
networks = ["127.0.0.1/32"]
"""
_SETTINGS = f"""
[tls]
certificate = "/etc/console-gateway/server.pem"
key = "/etc/console-gateway/server.key"
[tickets]
certificate = "/etc/console-gateway/engine.pem"
[uses]
file = "/var/lib/console-gateway/uses.sqlite"
[audit]
file = "/var/log/console-gateway/audit.jsonl"
{_TARGETS}
"""
_ANSWERS = (
    "OVESETUP_CONFIG/fqdn=str:wsp.example.org OVESETUP_ENGINE_CONFIG/fqdn=str:none "
    "OVESETUP_CONFIG/remoteEngineSetupStyle=str:own_ca "
    "CONSOLE_GATEWAY/program=str:/opt/console-gateway/bin/console-gateway"
)
_TICKET_KEY = "/etc/pki/console-gateway-ca/keys/engine.key.nopass"
_CA = "/etc/pki/ovirt-engine/ca.pem"
_INSTALL = """
cd /root
groupadd --system console-gateway-keys
install -d -m 0755 /etc/console-gateway
console-gateway pki init-ca ca --key-kind ec
console-gateway pki request localhost --key-kind ec
console-gateway pki sign --directory ca --in localhost.req --out server.pem --requested-names
install -m 0644 server.pem /etc/console-gateway/server.pem
install -m 0640 -g console-gateway-keys localhost.key /etc/console-gateway/server.key
openssl req -x509 -newkey rsa:2048 -nodes -days 10 -subj /CN=tickets -keyout tickets.key \\
    -out /etc/console-gateway/engine.pem
"""
_CLIENT = '''
"""Uses a console on this host, and does as it is told on standard input meanwhile."""
import asyncio, ssl, subprocess, sys

from websockets.asyncio.client import connect

key, authority, name = sys.argv[1:]


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)


async def main():
    await asyncio.start_server(echo, "127.0.0.1", 5907)
    command = ["console-gateway", "ticket", "sign", "--key", key, "--host", "127.0.0.1", "--port", "5907"]
    ticket = subprocess.check_output(command, text=True).strip()
    context = ssl.create_default_context(cafile=authority)
    async with connect(f"wss://{name}:6100/{ticket}", ssl=context, subprotocols=["binary"]) as console:
        for number, line in enumerate(["true", *sys.stdin.read().splitlines()]):
            process = await asyncio.create_subprocess_shell(line)
            assert await process.wait() == 0, line
            sent = b"%d" % number
            await console.send(sent)
            assert await asyncio.wait_for(console.recv(), 10) == sent, line
    print("well")


asyncio.run(main())
'''


@pytest.fixture(scope="module")
def host() -> Iterator[LiveSystemd]:
    reason = why_not()
    if reason:
        pytest.skip(f"no systemd can run: {reason}")
    with tempfile.TemporaryDirectory() as directory, live_systemd(Path(directory)) as running:
        (running.shared / "client.py").write_text(_CLIENT, encoding="utf-8")
        yield running


def use_console(host: LiveSystemd, key: str, authority: str, name: str, *meanwhile: str) -> str:
    """Have a session through the gateway, which goes on while commands are run; return what they said."""
    command = (*PYTHON, "/shared/client.py", key, authority, name)
    said = host.run(*command, data="\n".join(meanwhile))
    assert said.endswith("well\n")
    return said


def test_the_gateways_own_unit(host: LiveSystemd) -> None:
    host.shell(_INSTALL)
    host.run("sh", "-c", "cat >/etc/console-gateway/console-gateway.toml", data=_SETTINGS)
    for kind in ("service", "socket"):
        unit = (ROOT / "etc" / f"console-gateway.{kind}").read_text(encoding="utf-8")
        host.run("sh", "-c", f"cat >/etc/systemd/system/console-gateway.{kind}", data=unit)
    host.shell(f"systemctl daemon-reload; systemctl enable --now {_UNIT}")
    process = host.state(_UNIT, "MainPID")
    status = json.loads(host.run("console-gateway", "status", "--json"))
    assert status["sessions"]["total"] == 0
    # Nobody else's account, and no capability.
    facts = host.run("cat", f"/proc/{process}/status")
    uid = int(re.findall(r"^Uid:\s+(\d+)", facts, re.MULTILINE)[0])
    assert 61184 <= uid <= 65519
    assert re.findall(r"^Cap(?:Eff|Bnd|Prm):\s+(\w+)$", facts, re.MULTILINE) == ["0" * 16] * 3
    assert re.search(r"^NoNewPrivs:\s+1$", facts, re.MULTILINE)
    use_console(
        host,
        "/root/tickets.key",
        "/root/ca/ca.pem",
        "localhost",
        f"systemctl reload {_UNIT}",
        "console-gateway hand-over",
    )
    after = host.wait_for_state(_UNIT, "MainPID", (process, "0"))
    assert host.state(_UNIT, "ActiveState") == "active"
    audit = host.run("cat", "/var/log/console-gateway/audit.jsonl")
    (ended,) = (event for event in map(json.loads, audit.splitlines()) if event["event"] == "session-ended")
    assert (ended["reason"], ended["code"]) == ("client-closed", 1000)
    # A wrong certificate: the reload fails, and everything is as it was.
    host.shell(
        "cp /etc/console-gateway/server.pem /root/; cp /root/ca/ca.pem /etc/console-gateway/server.pem"
    )
    host.run("systemctl", "reload", _UNIT, fails=True)
    assert "does not belong" in host.journal(_UNIT)
    host.shell(f"cp /root/server.pem /etc/console-gateway/; systemctl reload {_UNIT}")
    assert host.state(_UNIT, "MainPID") == after
    # Killed, it comes back.
    host.run("kill", "-KILL", after)
    assert host.wait_for_state(_UNIT, "MainPID", (after, "0"))
    assert host.wait_for_state(_UNIT, "ActiveState", ("activating", "failed", "inactive")) == "active"
    assert host.state(_UNIT, "NRestarts") == "1"
    # Rotation.
    host.shell(
        "cd /var/log/console-gateway; mv audit.jsonl audit.jsonl.1; "
        f"systemctl kill --signal=SIGUSR1 {_UNIT}; until [ -e audit.jsonl ]; do sleep 0.1; done"
    )
    # With the port held by systemd, a connection waits for the gateway.
    host.shell(
        f"systemctl stop {_UNIT}; printf '[listen]\\ntls = [\"systemd:console-gateway\"]\\n' "
        f">>/etc/console-gateway/console-gateway.toml; systemctl start {_UNIT}.socket"
    )
    assert host.state(_UNIT, "Result") == "success"
    assert host.state(_UNIT, "ActiveState") == "inactive"
    use_console(host, "/root/tickets.key", "/root/ca/ca.pem", "localhost", "console-gateway sessions")
    host.shell(f"systemctl disable --now {_UNIT}.socket {_UNIT}")
    assert "Traceback" not in host.journal(_UNIT)


def test_setup_and_cleanup(host: LiveSystemd) -> None:
    before = tree(host)
    files = "/etc/ovirt-engine"
    with account(host):
        assert "The gateway works: wss://wsp.example.org:6100/" in set_up(host)
        assert host.state(_WSP, "ActiveState") == "active"
        assert host.run("systemctl", "is-enabled", _WSP) == "enabled\n"
        process = host.state(_WSP, "MainPID")
        assert host.run("stat", "--format", "%U", f"/proc/{process}") == "ovirt\n"
        host.run("sh", "-c", f"cat >{files}/further.toml", data=_TARGETS)
        line = f"CONSOLE_GATEWAY_SETTINGS={files}/further.toml\n"
        host.run("sh", "-c", f"cat >{files}/ovirt-websocket-proxy.conf.d/99.conf", data=line)
        host.run("systemctl", "reload", _WSP)
        use_console(host, _TICKET_KEY, _CA, "wsp.example.org", "console-gateway hand-over")
        host.shell(f"rm {files}/further.toml {files}/ovirt-websocket-proxy.conf.d/99.conf")
        assert "nothing has to be changed" in set_up(host)
        clean_up(host)
    assert tree(host) == before


def test_renewal(host: LiveSystemd) -> None:
    """A new certificate ends no session, and one that cannot be put to use changes nothing."""
    before = tree(host)
    files = "/etc/ovirt-engine"
    renew = f"console-gateway setup --accept-defaults --renew --otopi-environment '{_ANSWERS}'"
    with account(host):
        set_up(host)
        host.run("sh", "-c", f"cat >{files}/further.toml", data=_TARGETS)
        line = f"CONSOLE_GATEWAY_SETTINGS={files}/further.toml\n"
        host.run("sh", "-c", f"cat >{files}/ovirt-websocket-proxy.conf.d/99.conf", data=line)
        host.run("systemctl", "reload", _WSP)
        process, former = host.state(_WSP, "MainPID"), served_serial(host)
        said = use_console(host, _TICKET_KEY, _CA, "wsp.example.org", renew)
        assert "Reloading the service" in said
        assert "Stopping the service" not in said
        assert "The gateway works: wss://wsp.example.org:6100/" in said
        assert host.state(_WSP, "MainPID") == process
        renewed = served_serial(host)
        assert renewed != former
        # What the gateway refuses to read is taken back, and what it says about it is told.
        host.shell(f"printf '[limits]\nsessions = -1\n' >>{files}/further.toml")
        there = tree(host)
        said = host.run("bash", "-c", renew, fails=True)
        assert re.search(r"its log ends with: .*limits\.sessions.*; everything is as it was before", said), (
            said
        )
        assert tree(host) == there
        assert (host.state(_WSP, "MainPID"), served_serial(host)) == (process, renewed)
        # So it does for what does not start.
        host.run("systemctl", "stop", _WSP)
        said = host.run("bash", "-c", renew, fails=True)
        assert re.search(r"its log ends with: .*limits\.sessions.*; everything is as it was before", said), (
            said
        )
        assert tree(host) == there
        assert host.state(_WSP, "ActiveState") == "inactive"
        host.shell(f"rm {files}/further.toml {files}/ovirt-websocket-proxy.conf.d/99.conf")
        clean_up(host)
    # A CA that has signed more than setup had it sign stays, and so does the certificate that was replaced.
    left = sorted(line.split()[0] for line in set(tree(host).splitlines()) - set(before.splitlines()))
    others = [place for place in left if not place.startswith("/etc/pki/console-gateway-ca")]
    backup = others.pop()
    assert re.fullmatch(r"/etc/pki/ovirt-engine/certs/websocket-proxy\.cer\.\d{14}", backup)
    assert all(backup.startswith(f"{place}/") for place in others), others
    host.run("rm", "-r", *(place for place in left if place.rpartition("/")[0] not in left))
    assert tree(host) == before


@needs("firewalld")
def test_firewalld(host: LiveSystemd) -> None:
    """The port is open between setup and cleanup, and nothing else changes."""
    host.shell("systemctl start dbus firewalld; firewall-cmd --state")
    before = host.run("firewall-cmd", "--list-all-zones")
    assert "dport 6100" not in host.run("nft", "list", "ruleset")
    with account(host):
        set_up(host)
        for permanent in ("--zone=public", "--permanent"):
            host.run("firewall-cmd", permanent, "--query-service=ovirt-websocket-proxy")
        assert "tcp dport 6100 accept" in host.run("nft", "list", "ruleset")
        clean_up(host)
    assert host.run("firewall-cmd", "--list-all-zones") == before
    host.run("firewall-cmd", "--permanent", "--query-service=ovirt-websocket-proxy", fails=True)
    assert "dport 6100" not in host.run("nft", "list", "ruleset")
    host.shell("systemctl stop firewalld")


@contextlib.contextmanager
def account(host: LiveSystemd) -> Iterator[None]:
    """The host has its name, and the account of the service."""
    host.shell(
        "echo 127.0.0.1 wsp.example.org >>/etc/hosts; "
        "useradd --system --no-create-home --shell /sbin/nologin --user-group ovirt"
    )
    yield
    # Through a copy: the file itself is a mount where this machine is a container.
    host.shell("userdel ovirt; grep -v wsp.example.org /etc/hosts >/root/hosts; cat /root/hosts >/etc/hosts")


def set_up(host: LiveSystemd) -> str:
    return host.run("console-gateway", "setup", "--accept-defaults", "--otopi-environment", _ANSWERS)


def served_serial(host: LiveSystemd) -> str:
    """The serial number of the certificate that a new connection sees."""
    connect = "openssl s_client -connect wsp.example.org:6100 </dev/null 2>/dev/null"
    return host.shell(f"{connect} | openssl x509 -noout -serial")


def clean_up(host: LiveSystemd) -> None:
    wanted = "OVESETUP_CORE/remove=bool:True"
    host.run("console-gateway", "cleanup", "--accept-defaults", "--otopi-environment", wanted)
    assert host.state(_WSP, "LoadState") == "not-found"


def tree(host: LiveSystemd) -> str:
    """What setup and cleanup may have to do with."""
    places = (
        "/etc/systemd /etc/pki /etc/ovirt-engine* /var/lib/ovirt-engine /var/log/ovirt-engine /etc/firewalld"
    )
    return host.shell(f"find {places} -printf '%p %m %U %G %s %l\\n' 2>/dev/null | sort || true")
