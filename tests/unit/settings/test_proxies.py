from __future__ import annotations

from gateway.settings import ForwardedHeader, ProxySettings
from tests.unit.settings.test_loader import MINIMAL, LoaderTestCase

TRUSTED = "networks = ['192.0.2.0/24']\n"
LISTEN = "[listen]\ntls = ['tcp:6100']\nplain = ['unix:/run/x.sock:mode=660', 'systemd:front']\n"


class LoadProxiesTests(LoaderTestCase):
    def proxies(self, text: str) -> ProxySettings:
        return self.load(MINIMAL + LISTEN + "[proxies]\n" + text).proxies

    def test_defaults(self) -> None:
        self.assertEqual(self.load(MINIMAL).proxies, ProxySettings())
        self.assertEqual(ProxySettings((), False, (), ForwardedHeader.NONE), ProxySettings())

    def test_every_key(self) -> None:
        self.assertEqual(
            self.proxies(
                "networks = ['192.0.2.0/24', '2001:db8::1']\nunix = true\nforwarded = 'forwarded'\n"
                "listeners = ['tcp:6100', 'unix:/run/x.sock:mode=660']"
            ),
            ProxySettings(
                networks=("192.0.2.0/24", "2001:db8::1"),
                unix=True,
                forwarded=ForwardedHeader.FORWARDED,
                listeners=("tcp:6100", "unix:/run/x.sock:mode=660"),
            ),
        )

    def test_good(self) -> None:
        for text in (
            TRUSTED,
            TRUSTED + "listeners = ['tcp:6100', 'systemd:front']",
            "unix = true\nlisteners = ['unix:/run/x.sock:mode=660', 'systemd:front']",
            "unix = true\nforwarded = 'x-forwarded-for'",
        ):
            self.proxies(text)

    def test_bad(self) -> None:
        for text, expected in {
            "networks = ['proxy.example.com']": "proxies.networks: 'proxy.example.com' is not a network",
            "networks = ['192.0.2.1/24']": "proxies.networks: network '192.0.2.1/24' has bits set",
            "networks = ['0.0.0.0/0']": "proxies.networks: '0.0.0.0/0' is everybody",
            "networks = ['::/0']": "proxies.networks: '::/0' is everybody",
            "forwarded = 'via'": "proxies.forwarded: is not one of 'none', 'x-forwarded-for', 'forwarded'",
            "forwarded = 'forwarded'": "proxies.forwarded: is 'forwarded', but no proxy is trusted",
            TRUSTED + "listeners = ['tcp:6101']": "proxies.listeners: 'tcp:6101' is neither in listen.tls",
            TRUSTED + "listeners = ['x']": "proxies.listeners: 'x' is neither in listen.tls nor",
            "unix = true\nlisteners = ['tcp:6100']": "proxies.networks: is empty, but 'tcp:6100' is for",
            TRUSTED + "listeners = ['unix:/run/x.sock:mode=660']": "proxies.unix: is false, but 'unix:/run/",
            "listeners = ['systemd:front']": "proxies.networks: is empty, but 'systemd:front' is for",
        }.items():
            (line, *_) = self.problems(MINIMAL + LISTEN + "[proxies]\n" + text)
            self.assertIn(expected, line)

    def test_targets(self) -> None:
        patterns = ("*.lab.example.com", "192.0.2.0/24", "console.example.com:5901", "[2001:db8::1]:5900")
        text = MINIMAL + f"[targets]\nproxy_protocol = {list(patterns)}"
        self.assertEqual(patterns, self.load(text).targets.proxy_protocol)
        line = self.problem("[targets]\nproxy_protocol = ['a b']")
        self.assertIn("targets.proxy_protocol: 'a b' is no target", line)
